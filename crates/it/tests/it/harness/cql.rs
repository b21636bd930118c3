//! A bare CQL connection, for what a driver would never do. Protocol v4:
//! `version flags stream(2) opcode length(4) body`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub(crate) const ERROR: u8 = 0x00;
pub(crate) const STARTUP: u8 = 0x01;
pub(crate) const READY: u8 = 0x02;
pub(crate) const OPTIONS: u8 = 0x05;
pub(crate) const SUPPORTED: u8 = 0x06;
pub(crate) const QUERY: u8 = 0x07;
pub(crate) const RESULT: u8 = 0x08;

pub(crate) const PROTOCOL_ERROR: i32 = 0x000a;

/// An answer.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) stream: i16,
    pub(crate) opcode: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Code and text of an ERROR.
    pub(crate) fn error(&self) -> Option<(i32, String)> {
        if self.opcode != ERROR {
            return None;
        }
        let code = i32::from_be_bytes(self.body[..4].try_into().unwrap());
        let length = u16::from_be_bytes(self.body[4..6].try_into().unwrap()) as usize;
        Some((code, String::from_utf8_lossy(&self.body[6..6 + length]).into_owned()))
    }

    /// How many rows a RESULT of rows holds, if its metadata was skipped or is small enough to be
    /// known: the count stands after the metadata, so only a one-column result of text is read.
    pub(crate) fn is_result(&self) -> bool {
        self.opcode == RESULT
    }
}

/// A connection.
pub(crate) struct Conn(pub(crate) TcpStream);

impl Conn {
    /// Connects, without a word.
    pub(crate) fn silent(address: SocketAddr) -> Conn {
        let limit = Duration::from_secs(10);
        let stream = TcpStream::connect_timeout(&address, limit).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(limit)).unwrap();
        stream.set_write_timeout(Some(limit)).unwrap();
        Conn(stream)
    }

    /// Connects and starts up.
    pub(crate) fn open(address: SocketAddr) -> Conn {
        let mut conn = Conn::silent(address);
        conn.0.write_all(&startup()).unwrap();
        assert_eq!(conn.recv().unwrap().opcode, READY);
        conn
    }

    /// The next answer.
    pub(crate) fn recv(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let mut body = vec![0; u32::from_be_bytes(head[5..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body)?;
        Ok(Frame { stream: i16::from_be_bytes([head[2], head[3]]), opcode: head[4], body })
    }

    /// Runs a statement at consistency ONE.
    pub(crate) fn query(&mut self, text: &str) -> io::Result<Frame> {
        self.0.write_all(&query(1, text))?;
        self.recv()
    }

    /// Runs a statement that must succeed.
    pub(crate) fn must(&mut self, text: &str) -> Frame {
        let answer = self.query(text).unwrap();
        assert!(answer.is_result(), "{text}: {:?}", answer.error());
        answer
    }
}

/// A request.
pub(crate) fn frame(stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![4, 0];
    bytes.extend(stream.to_be_bytes());
    bytes.push(opcode);
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// STARTUP with the one option that must be there.
pub(crate) fn startup() -> Vec<u8> {
    let mut body = vec![0, 1];
    for text in ["CQL_VERSION", "3.0.0"] {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    frame(0, STARTUP, &body)
}

/// QUERY at consistency ONE, without values.
pub(crate) fn query(stream: i16, text: &str) -> Vec<u8> {
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend([0, 1, 0]);
    frame(stream, QUERY, &body)
}
