//! A bare ZooKeeper connection, for what a client would never do. Every packet is a length and that
//! many bytes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// ZooKeeper's numbers of its operations.
pub(crate) mod opcode {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const COUNT: i32 = 104;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const CLOSE: i32 = -11;
}

/// A connection with a session.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
}

impl Conn {
    /// Connects, without a word.
    pub(crate) fn silent(address: SocketAddr) -> TcpStream {
        let limit = Duration::from_secs(10);
        let stream = TcpStream::connect_timeout(&address, limit).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.set_write_timeout(Some(limit)).unwrap();
        stream
    }

    /// Connects and makes a session.
    pub(crate) fn open(address: SocketAddr) -> Conn {
        let mut stream = Conn::silent(address);
        stream.write_all(&connect(30_000)).unwrap();
        let answer = read(&mut stream).unwrap();
        assert_ne!(answer[8..16], [0; 8], "a session was refused");
        Conn { stream }
    }

    /// Sends a request and gives its reply's error code and body.
    pub(crate) fn call(&mut self, xid: i32, opcode: i32, body: &[u8]) -> io::Result<(i32, Vec<u8>)> {
        self.stream.write_all(&request(xid, opcode, body))?;
        let answer = read(&mut self.stream)?;
        assert_eq!(answer[..4], xid.to_be_bytes(), "replies are in order");
        Ok((i32::from_be_bytes(answer[12..16].try_into().unwrap()), answer[16..].to_vec()))
    }
}

/// One packet's body.
pub(crate) fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn packet(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// ConnectRequest of a new session: protocol version, last zxid, timeout, session, password, and
/// the read-only flag that newer clients send.
pub(crate) fn connect(timeout_ms: i32) -> Vec<u8> {
    connect_as(timeout_ms, 0, &[0; 16])
}

/// ConnectRequest of a session that goes on.
pub(crate) fn connect_as(timeout_ms: i32, session: i64, password: &[u8; 16]) -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend(timeout_ms.to_be_bytes());
    body.extend(session.to_be_bytes());
    body.extend(16_i32.to_be_bytes());
    body.extend(password);
    body.push(0);
    packet(&body)
}

/// A request: header and body.
pub(crate) fn request(xid: i32, opcode: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = xid.to_be_bytes().to_vec();
    bytes.extend(opcode.to_be_bytes());
    bytes.extend(body);
    packet(&bytes)
}
