//! A client without a socket: requests to bytes, replies to lines of text.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use bytes::BytesMut;
use door::{Budget, Guest, Outbox, Session};

use crate::{
    session::Connection,
    testing::House,
    wire::{
        Frame, frame,
        jute::{Input, put_bool, put_buffer, put_i32, put_i64, put_str},
        request::opcode,
    },
};

/// What a client knows of its session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticket {
    pub(crate) session: i64,
    pub(crate) password: [u8; 16],
    pub(crate) last_zxid: i64,
}

/// A connection, and the client at its end.
pub(crate) struct Client {
    connection: Connection,
    pub(crate) outbox: Arc<Outbox>,
    input: BytesMut,
    xid: i32,
    /// Opcodes of the requests in flight, by xid.
    sent: BTreeMap<i32, i32>,
    connected: bool,
    closed: bool,
    pub(crate) ticket: Ticket,
}

impl Client {
    /// A connection that has said nothing.
    pub(crate) fn silent(house: &House) -> Client {
        Client::of_budget(house, 1 << 30)
    }

    fn of_budget(house: &House, budget_bytes: usize) -> Client {
        let outbox = Arc::new(Outbox::detached());
        let guest = Guest {
            peer: "127.0.0.1:1".parse().unwrap(),
            certificate: None,
            outbox: outbox.clone(),
            budget: Arc::new(Budget::new(budget_bytes)),
        };
        Client {
            connection: Connection::new(guest, house.service.clone()),
            outbox,
            input: BytesMut::new(),
            xid: 0,
            sent: BTreeMap::new(),
            connected: false,
            closed: false,
            ticket: Ticket::default(),
        }
    }

    /// A connection that has asked for a session (a new one if `ticket` is empty).
    pub(crate) fn connect(house: &House, timeout_ms: i32, ticket: Ticket) -> Client {
        Client::silent(house).ask_for_session(timeout_ms, ticket)
    }

    /// A connection with a new session, whose requests in flight may take this much.
    pub(crate) fn with_budget(house: &House, budget_bytes: usize) -> Client {
        Client::of_budget(house, budget_bytes).ask_for_session(10_000, Ticket::default())
    }

    fn ask_for_session(mut self, timeout_ms: i32, ticket: Ticket) -> Client {
        let mut out = Vec::new();
        put_i32(&mut out, 0);
        put_i64(&mut out, ticket.last_zxid);
        put_i32(&mut out, timeout_ms);
        put_i64(&mut out, ticket.session);
        put_buffer(&mut out, Some(&ticket.password));
        put_bool(&mut out, false);
        self.ticket = ticket;
        self.send_frame(&out);
        self
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.feed();
    }

    /// Feeds the connection what it has not taken.
    pub(crate) fn feed(&mut self) {
        if let Err(_close) = self.connection.feed(&mut self.input) {
            self.outbox.close();
            self.input.clear();
        }
    }

    /// Whether the connection would be fed again.
    pub(crate) fn holds_back(&self) -> bool {
        self.connection.holds_back()
    }

    pub(crate) fn send_frame(&mut self, body: &[u8]) {
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        self.send(&bytes);
    }

    /// Sends what a real client once sent: whole frames, the first of which asks for a session.
    pub(crate) fn send_recorded(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Frame::Whole(body) = frame(rest, usize::MAX) {
            let mut input = Input::new(body);
            // A connect request begins with protocol version 0, and no request has that xid.
            let (xid, code) = (input.i32().unwrap(), input.i32().unwrap());
            if xid != 0 {
                self.sent.insert(xid, code);
            }
            rest = &rest[4 + body.len()..];
        }
        assert!(rest.is_empty(), "whole frames");
        self.send(bytes);
    }

    /// Sends a request with this record.
    pub(crate) fn request(&mut self, code: i32, record: &[u8]) {
        self.xid += 1;
        let xid = match code {
            opcode::PING => -2,
            opcode::AUTH => -4,
            opcode::SET_WATCHES | opcode::SET_WATCHES2 => -8,
            _ => self.xid,
        };
        self.sent.insert(xid, code);
        let mut body = Vec::new();
        put_i32(&mut body, xid);
        put_i32(&mut body, code);
        body.extend_from_slice(record);
        self.send_frame(&body);
    }

    /// All that has arrived since, one line a message.
    pub(crate) fn receive(&mut self) -> Vec<String> {
        let bytes = self.outbox.drain();
        let mut rest = &bytes[..];
        let mut lines = Vec::new();
        while let Frame::Whole(body) = frame(rest, usize::MAX) {
            lines.push(self.message(body));
            rest = &rest[4 + body.len()..];
        }
        assert!(rest.is_empty() || !self.connected, "bytes behind the last message: {rest:?}");
        if !rest.is_empty() {
            lines.push(format!("{:?}", String::from_utf8_lossy(rest)));
        }
        if self.outbox.is_closed() && !self.closed {
            self.closed = true;
            lines.push("connection closed".to_owned());
        }
        lines
    }

    fn message(&mut self, body: &[u8]) -> String {
        let mut input = Input::new(body);
        if !self.connected {
            self.connected = true;
            return self.connected(&mut input);
        }
        let xid = input.i32().unwrap();
        let zxid = input.i64().unwrap();
        let error = input.i32().unwrap();
        if xid == -1 {
            let kind = ["", "created", "deleted", "changed", "children"][input.i32().unwrap() as usize];
            assert_eq!(input.i32().unwrap(), 3);
            return format!("event {kind} {} zxid={zxid}", input.text().unwrap());
        }
        assert!(zxid >= self.ticket.last_zxid || zxid <= 0, "zxid {zxid} went back");
        self.ticket.last_zxid = self.ticket.last_zxid.max(zxid);
        let code = self.sent.remove(&xid).expect("an answer to a request in flight");
        let mut line = format!("{xid}: ");
        if error != 0 {
            assert!(input.rest().is_empty(), "an error has no record");
            write!(line, "error {error}").unwrap();
        } else {
            record(&mut input, code, &mut line);
            assert!(input.rest().is_empty(), "bytes behind the record of {code}");
        }
        write!(line, " zxid={zxid}").unwrap();
        line
    }

    fn connected(&mut self, input: &mut Input<'_>) -> String {
        assert_eq!(input.i32().unwrap(), 0);
        let timeout_ms = input.i32().unwrap();
        let session = input.i64().unwrap();
        let password = input.buffer().unwrap().unwrap().try_into().unwrap();
        let _read_only = input.bool();
        if timeout_ms == 0 {
            assert_eq!((session, password), (0, [0; 16]));
            return "session expired".to_owned();
        }
        self.ticket.session = session;
        self.ticket.password = password;
        format!("connected timeout={timeout_ms}")
    }
}

/// The record of a reply as text.
fn record(input: &mut Input<'_>, code: i32, line: &mut String) {
    match code {
        opcode::CREATE | opcode::SYNC => line.push_str(input.text().unwrap()),
        opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
            line.push_str(input.text().unwrap());
            stat(input, line);
        }
        opcode::EXISTS | opcode::SET_DATA | opcode::SET_ACL => stat(input, line),
        opcode::GET_ACL => {
            let count = input.count(12).unwrap();
            let entry = |_| {
                let perms = input.i32().unwrap();
                format!("{perms}/{}/{}", input.text().unwrap(), input.text().unwrap())
            };
            let entries: Vec<_> = (0..count).map(entry).collect();
            line.push_str(&entries.join(","));
            stat(input, line);
        }
        opcode::WHO_AM_I => {
            let count = input.count(8).unwrap();
            let id = |_| format!("{}/{}", input.text().unwrap(), input.text().unwrap());
            let mut ids: Vec<_> = (0..count).map(id).collect();
            ids.sort();
            line.push_str(&ids.join(","));
        }
        opcode::GET_DATA => {
            match input.buffer().unwrap() {
                None => line.push_str("null"),
                Some(data) => write!(line, "{:?}", String::from_utf8_lossy(data)).unwrap(),
            }
            stat(input, line);
        }
        opcode::GET_CHILDREN | opcode::GET_CHILDREN2 | opcode::GET_EPHEMERALS => {
            let count = input.count(4).unwrap();
            let names: Vec<_> = (0..count).map(|_| input.text().unwrap()).collect();
            write!(line, "[{}]", names.join(" ")).unwrap();
            if code == opcode::GET_CHILDREN2 {
                stat(input, line);
            }
        }
        opcode::SASL => {
            assert_eq!(input.buffer().unwrap(), None, "a token");
            line.push_str("null");
        }
        opcode::ADD_WATCH => write!(line, "code {}", input.i32().unwrap()).unwrap(),
        opcode::MULTI | opcode::MULTI_READ => multi(input, line),
        opcode::GET_ALL_CHILDREN_NUMBER => write!(line, "{}", input.i32().unwrap()).unwrap(),
        _ => line.push_str("ok"),
    }
}

fn multi(input: &mut Input<'_>, line: &mut String) {
    loop {
        let (code, done, error) = (input.i32().unwrap(), input.bool().unwrap(), input.i32().unwrap());
        if done {
            assert_eq!((code, error), (-1, -1));
            return;
        }
        if code == opcode::ERROR {
            assert_eq!(input.i32().unwrap(), error);
            write!(line, "[error {error}]").unwrap();
            continue;
        }
        assert_eq!(error, 0);
        line.push('[');
        record(input, code, line);
        line.push(']');
    }
}

fn stat(input: &mut Input<'_>, line: &mut String) {
    let mut long = || input.i64().unwrap();
    let (czxid, mzxid, ctime, mtime) = (long(), long(), long(), long());
    let mut int = || input.i32().unwrap();
    let (version, cversion, aversion) = (int(), int(), int());
    let owner = input.i64().unwrap();
    let (length, children) = (input.i32().unwrap(), input.i32().unwrap());
    let pzxid = input.i64().unwrap();
    let second = |time_ms: i64| time_ms - 1_700_000_000_000;
    write!(
        line,
        " (c{czxid} m{mzxid} p{pzxid} ctime={} mtime={} version={version} cversion={cversion} \
         aversion={aversion} ephemeral={} length={length} children={children})",
        if ctime == 0 { 0 } else { second(ctime) },
        if mtime == 0 { 0 } else { second(mtime) },
        owner != 0,
    )
    .unwrap();
}

/// Encodes the record of create.
pub(crate) fn create(path: &str, data: Option<&[u8]>, acl: &[(i32, &str, &str)], mode: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    put_buffer(&mut out, data);
    put_acl(&mut out, acl);
    put_i32(&mut out, mode);
    out
}

/// Encodes the record of delete and of check.
pub(crate) fn versioned(path: &str, version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    put_i32(&mut out, version);
    out
}

/// Encodes a record that is a path.
pub(crate) fn text(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    out
}

/// Encodes the record of setWatches: lists of paths, with commas between them.
pub(crate) fn set_watches(zxid: i64, lists: &[String]) -> Vec<u8> {
    let mut out = zxid.to_be_bytes().to_vec();
    for list in lists {
        let paths: Vec<&str> = list.split(',').filter(|path| !path.is_empty()).collect();
        put_i32(&mut out, paths.len() as i32);
        paths.iter().for_each(|path| put_str(&mut out, path));
    }
    out
}

/// Encodes the record of setACL.
pub(crate) fn set_acl(path: &str, acl: &[(i32, &str, &str)], version: i32) -> Vec<u8> {
    let mut out = text(path);
    put_acl(&mut out, acl);
    put_i32(&mut out, version);
    out
}

/// Encodes the record of auth; without credentials they are null.
pub(crate) fn auth(scheme: &str, credentials: Option<&&str>) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_str(&mut out, scheme);
    put_buffer(&mut out, credentials.map(|text| text.as_bytes()));
    out
}

fn put_acl(out: &mut Vec<u8>, acl: &[(i32, &str, &str)]) {
    put_i32(out, acl.len() as i32);
    for (perms, scheme, id) in acl {
        put_i32(out, *perms);
        put_str(out, scheme);
        put_str(out, id);
    }
}

/// Encodes the record of setData.
pub(crate) fn set_data(path: &str, data: Option<&[u8]>, version: i32) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    put_buffer(&mut out, data);
    put_i32(&mut out, version);
    out
}

/// Encodes the record of the reads.
pub(crate) fn look(path: &str, watch: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_str(&mut out, path);
    put_bool(&mut out, watch);
    out
}

/// Encodes the record of multi.
pub(crate) fn transaction(operations: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (code, record) in operations {
        put_i32(&mut out, *code);
        put_bool(&mut out, false);
        put_i32(&mut out, -1);
        out.extend_from_slice(record);
    }
    put_i32(&mut out, -1);
    put_bool(&mut out, true);
    put_i32(&mut out, -1);
    out
}
