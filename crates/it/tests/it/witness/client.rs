//! A client that does random things on a few znodes, one at a time, and keeps what it was told. When
//! its connection is lost it comes back with its session.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use door_zk::script::requests;

use super::history::{Answer, Asked, Change, Detail, Op, Sight};
use crate::harness::{
    Numbers,
    zookeeper::{Conn, connect_as, opcode, read, request},
};

/// An ephemeral of the session that is left.
pub(crate) const LEFT: &str = "/w/left";
/// Znodes that all fight for.
const NODES: u64 = 5;
/// Ephemerals that all fight for.
const EPHEMERALS: u64 = 3;
/// Parents of sequential znodes: lasting ones, and ephemeral ones.
const LINES: [&str; 2] = ["/q", "/m"];

/// Sequential znodes that a client keeps, so that long runs do not fill the lines.
const MINE_MAX: usize = 20;

const ERROR: i32 = -1;

const NO_NODE: i32 = -101;

/// Where the tree is, and the clock of the history.
pub(crate) struct Tree {
    address: SocketAddr,
    began: Instant,
}

impl Tree {
    pub(crate) fn new(address: SocketAddr, began: Instant) -> Tree {
        Tree { address, began }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Makes what everything is below.
    pub(crate) fn plant(&self) {
        let mut conn = Conn::open(self.address);
        for (xid, path) in ["/w", "/q", "/m"].iter().enumerate() {
            let record = requests::create(path, None, &requests::EVERYONE, 0);
            assert_eq!(conn.call(xid as i32 + 1, opcode::CREATE2, &record).unwrap().0, 0);
        }
    }
}

pub(crate) struct Client {
    tree: Arc<Tree>,
    timeout: Duration,
    stream: Option<TcpStream>,
    session: i64,
    password: [u8; 16],
    xid: i32,
    random: Numbers,
    /// Values are numbered; no two clients count alike.
    value: u64,
    /// Sequential znodes that it has made.
    mine: Vec<String>,
    /// The version of each common znode when it was last seen.
    versions: [i32; NODES as usize],
    pub(crate) ops: Vec<Op>,
}

impl Client {
    pub(crate) fn new(tree: Arc<Tree>, seed: u64, timeout: Duration) -> Client {
        Client {
            tree,
            timeout,
            stream: None,
            session: 0,
            password: [0; 16],
            xid: 0,
            random: Numbers(seed),
            value: (seed + 1) << 32,
            mine: Vec::new(),
            versions: [0; NODES as usize],
            ops: Vec::new(),
        }
    }

    fn new_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }

    /// Does one thing.
    pub(crate) fn step(&mut self) {
        if self.mine.len() > MINE_MAX {
            let path = self.mine.remove(0);
            return self.write(vec![Change::Delete { path }]);
        }
        let node = self.random.below(NODES);
        let path = format!("/w/n{node}");
        let ephemeral = format!("/w/e{}", self.random.below(EPHEMERALS));
        match self.random.below(100) {
            0..28 => {
                let set = self.set(node);
                self.write(vec![set]);
            }
            28..35 => {
                let value = self.new_value();
                self.write(vec![Change::Create { path, value, ephemeral: false, sequential: false }]);
            }
            // The others are never deleted.
            35..38 if node >= 3 => self.write(vec![Change::Delete { path }]),
            35..60 => self.read(&path),
            60..67 => {
                let value = self.new_value();
                self.write(vec![Change::Create {
                    path: ephemeral,
                    value,
                    ephemeral: true,
                    sequential: false,
                }]);
            }
            67..70 => self.write(vec![Change::Delete { path: ephemeral }]),
            70..76 => {
                let of_left = self.random.below(4) == 0;
                self.read(if of_left { LEFT } else { &ephemeral });
            }
            76..82 => {
                let line = self.random.below(2) as usize;
                let create = self.sequential(line);
                self.write(vec![create]);
            }
            82..86 if !self.mine.is_empty() => {
                let path = self.mine.remove(0);
                self.write(vec![Change::Delete { path }]);
            }
            82..86 => self.list(LINES[0]),
            86..89 => {
                let line = self.random.below(2) as usize;
                self.list(LINES[line]);
            }
            89..99 => {
                let other = (node + 1) % NODES;
                let changes = vec![self.set(node), self.sequential(0), self.set(other)];
                self.write(changes);
            }
            _ => self.close(),
        }
    }

    /// A setData, with the version that was last seen or any.
    fn set(&mut self, node: u64) -> Change {
        let version = (self.random.below(2) == 0).then_some(self.versions[node as usize]);
        Change::Set { path: format!("/w/n{node}"), value: self.new_value(), version }
    }

    fn sequential(&mut self, line: usize) -> Change {
        let (path, value) = (format!("{}/s-", LINES[line]), self.new_value());
        Change::Create { path, value, ephemeral: line == 1, sequential: true }
    }

    /// What the session owns that will be left.
    pub(crate) fn make_what_is_left(&mut self) {
        let value = self.new_value();
        self.write(vec![Change::Create { path: LEFT.to_owned(), value, ephemeral: true, sequential: false }]);
        let create = self.sequential(1);
        self.write(vec![create]);
    }

    /// Reads every znode and lists both lines.
    pub(crate) fn look_at_everything(&mut self) {
        for node in 0..NODES {
            self.read(&format!("/w/n{node}"));
        }
        for ephemeral in 0..EPHEMERALS {
            self.read(&format!("/w/e{ephemeral}"));
        }
        self.read(LEFT);
        LINES.iter().for_each(|line| self.list(line));
    }

    pub(crate) fn read(&mut self, path: &str) {
        let answer = |told: &mut Told<'_>, error: i32| match error {
            NO_NODE => Some(vec![(path.to_owned(), Sight::Absent)]),
            0 => {
                let value = told.value();
                Some(vec![(path.to_owned(), told.stat(value))])
            }
            _ => None,
        };
        self.ask(Asked::Read(path.to_owned()), opcode::GET_DATA, &requests::look(path, false), answer);
        let Some(Op { answer: Answer::Done { saw, .. }, .. }) = self.ops.last() else { return };
        if let (Some(node), Sight::There(detail)) = (path.strip_prefix("/w/n"), saw[0].1) {
            self.versions[node.parse::<usize>().expect("a number")] = detail.version;
        }
    }

    fn list(&mut self, parent: &str) {
        let answer = |told: &mut Told<'_>, error: i32| {
            assert_eq!(error, 0, "{parent} is always there");
            let count = told.i32();
            Some((0..count).map(|_| (format!("{parent}/{}", told.text()), Sight::Named)).collect())
        };
        self.ask(
            Asked::List(parent.to_owned()),
            opcode::GET_CHILDREN,
            &requests::look(parent, false),
            answer,
        );
    }

    fn write(&mut self, changes: Vec<Change>) {
        let requests: Vec<_> = changes.iter().map(encode).collect();
        let is_multi = changes.len() > 1;
        let (code, record) = match &requests[..] {
            [(code, record)] => (*code, record.clone()),
            _ => (opcode::MULTI, requests::transaction(&requests)),
        };
        let asked = changes.clone();
        let answer = |told: &mut Told<'_>, error: i32| {
            if error != 0 {
                return None;
            }
            let mut saw = Vec::new();
            for change in &asked {
                if is_multi {
                    let (code, _done, _error) = (told.i32(), told.byte(), told.i32());
                    if code == ERROR {
                        return None;
                    }
                }
                saw.push(told.change(change));
            }
            Some(saw)
        };
        self.ask(Asked::Write(changes), code, &record, answer);
        let Some(Op { asked: Asked::Write(changes), answer: Answer::Done { saw, .. }, .. }) = self.ops.last()
        else {
            return;
        };
        for (change, (path, _)) in changes.iter().zip(saw) {
            if matches!(change, Change::Create { sequential: true, .. }) {
                self.mine.push(path.clone());
            }
        }
    }

    /// Ends the session; the next request makes a new one.
    fn close(&mut self) {
        self.ask(Asked::Close, opcode::CLOSE, &[], |_, _| Some(vec![]));
        self.stream = None;
        self.session = 0;
        self.password = [0; 16];
        self.mine.retain(|path| path.starts_with(LINES[0]));
    }

    /// Sends a request, waits, and keeps what was asked and what came.
    fn ask(
        &mut self,
        asked: Asked,
        code: i32,
        record: &[u8],
        answer: impl FnOnce(&mut Told<'_>, i32) -> Option<Vec<(String, Sight)>>,
    ) {
        while self.stream.is_none() {
            self.connect().unwrap_or_else(|_| std::thread::sleep(Duration::from_millis(10)));
        }
        self.xid += 1;
        let (xid, began_us) = (self.xid, self.tree.now_us());
        let stream = self.stream.as_mut().expect("connected");
        let came = stream.write_all(&request(xid, code, record)).and_then(|()| read(stream));
        let ended_us = self.tree.now_us();
        let answer = match came {
            Err(_) => {
                self.stream = None;
                Answer::Unknown
            }
            Ok(body) => {
                let mut told = Told(&body);
                assert_eq!(told.i32(), xid, "answers are in order");
                let (zxid, error) = (told.i64(), told.i32());
                answer(&mut told, error)
                    .map_or(Answer::Refused { zxid, error }, |saw| Answer::Done { zxid, saw })
            }
        };
        self.ops.push(Op { session: self.session, began_us, ended_us, asked, answer });
    }

    fn connect(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.tree.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(&connect_as(self.timeout.as_millis() as i32, self.session, &self.password))?;
        let greeting = read(&mut stream)?;
        let mut told = Told(&greeting[4..]);
        let (timeout_ms, session) = (told.i32(), told.i64());
        assert!(timeout_ms > 0, "the session {:x} was lost while it lived", self.session);
        assert!(self.session == 0 || self.session == session);
        self.session = session;
        self.password = told.buffer().try_into().expect("16 bytes");
        self.stream = Some(stream);
        Ok(())
    }
}

/// A change as a request; what is written is a number in decimal.
fn encode(change: &Change) -> requests::Request {
    match change {
        Change::Create { path, value, ephemeral, sequential } => {
            let mode = i32::from(*ephemeral) + 2 * i32::from(*sequential);
            (
                opcode::CREATE2,
                requests::create(path, Some(value.to_string().as_bytes()), &requests::EVERYONE, mode),
            )
        }
        Change::Set { path, value, version } => {
            let data = value.to_string();
            (opcode::SET_DATA, requests::set_data(path, Some(data.as_bytes()), version.unwrap_or(-1)))
        }
        Change::Delete { path } => (opcode::DELETE, requests::versioned(path, -1)),
    }
}

/// What is left to read of an answer. The server is trusted to send whole records; if it does not,
/// the test fails.
struct Told<'a>(&'a [u8]);

impl<'a> Told<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().expect("a whole record");
        self.0 = rest;
        *head
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    fn buffer(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.i32()).expect("not null");
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }

    fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.buffer()).unwrap()
    }

    fn value(&mut self) -> u64 {
        self.text().parse().expect("a number was written")
    }

    /// A Stat, of a znode that holds `value`.
    fn stat(&mut self, value: u64) -> Sight {
        let (czxid, mzxid, _ctime, _mtime) = (self.i64(), self.i64(), self.i64(), self.i64());
        let (version, _cversion, _aversion) = (self.i32(), self.i32(), self.i32());
        let owner = self.i64();
        let (_length, _children, _pzxid) = (self.i32(), self.i32(), self.i64());
        Sight::There(Detail { czxid, mzxid, version, owner, value })
    }

    /// What a change that was done has made.
    fn change(&mut self, change: &Change) -> (String, Sight) {
        match change {
            Change::Create { value, .. } => {
                let path = self.text().to_owned();
                (path, self.stat(*value))
            }
            Change::Set { path, value, .. } => (path.clone(), self.stat(*value)),
            Change::Delete { path } => (path.clone(), Sight::Absent),
        }
    }
}
