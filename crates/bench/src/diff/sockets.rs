//! The clients of a script over sockets.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use door_zk::script::Wire;

/// No answer takes this long, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections to one server, by their clients.
pub(crate) struct Sockets {
    address: SocketAddr,
    streams: BTreeMap<String, TcpStream>,
    chunk: Vec<u8>,
}

impl Sockets {
    pub(crate) fn new(address: SocketAddr) -> Sockets {
        Sockets { address, streams: BTreeMap::new(), chunk: vec![0; 64 << 10] }
    }

    fn stream(&mut self, who: &str) -> io::Result<&mut TcpStream> {
        self.streams.get_mut(who).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Wire for Sockets {
    fn connect(&mut self, who: &str) -> io::Result<()> {
        self.leave(who);
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.streams.insert(who.to_owned(), stream);
        Ok(())
    }

    fn leave(&mut self, who: &str) {
        self.streams.remove(who);
    }

    fn send(&mut self, who: &str, bytes: &[u8]) -> io::Result<()> {
        self.stream(who)?.write_all(bytes)
    }

    fn receive(&mut self, who: &str, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let read = self.stream(who)?.read(&mut chunk);
        let outcome = match read {
            Ok(0) => Ok(false),
            Ok(count) => {
                into.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            // A server that closes with a request unread resets.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error),
        };
        self.chunk = chunk;
        outcome
    }
}
