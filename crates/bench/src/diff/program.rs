//! Random programs of eight clients, each made from its seed alone.
//!
//! Most blocks let one client send up to twelve requests into the tree that all share, where their
//! requests, watches and access control lists meet. In the others all clients work at once, each
//! in a subtree of its own, so that what they are told is certain whichever way a server mixes
//! them (see `door_zk::script`). Between them sessions end, and move to new connections with their
//! watches.
//!
//! One program in six has quotas, and there one request is in flight at a time: ZooKeeper judges a
//! change by what it has counted of those that are applied, which in a pipeline is a matter of time.
//!
//! Paths come from few names, so that requests hit what others have made; one request in forty
//! is invalid in its path, mode, list, or bytes.

use door_zk::script::{Block, Part};

use crate::load::Random;

/// Clients of a program.
pub const CLIENTS: usize = 8;
/// The client that makes and sweeps what a program needs; no access control list holds it up.
pub const ADMIN: &str = "admin";

const NAMES: [&str; 5] = ["a", "b", "c", "a-b", "n-"];
/// What sequential creates of those names may have made.
const MADE: [&str; 4] = ["a0000000001", "n-0000000000", "n-0000000003", "a-b0000000002"];
const SYSTEM: [&str; 5] = ["/", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
const INVALID: [&str; 12] = [
    "''",
    "a",
    "//",
    "/a/",
    "/a//b",
    "/a/./b",
    "/a/../b",
    "/a/..",
    "/.",
    "/a\u{1}b",
    "/a\u{e000}",
    "/\u{fff0}",
];
const DATA: [&str; 5] = ["", " data=", " data=x", " data=yyyyyyyy", " data=zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"];
/// pat's password is `pass`.
const LISTS: [&str; 20] = [
    "31",
    "31",
    "1",
    "3",
    "5",
    "15",
    "23",
    "none",
    "31/auth/",
    "15/auth/,1/world/anyone",
    "31/digest/pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=",
    "31/digest/pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=,1/world/anyone",
    "24/world/anyone,7/digest/pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=",
    "31/ip/127.0.0.1",
    "5/ip/127.0.0.0/8,16/world/anyone",
    "31/ip/10.0.0.1",
    "31/ip/300.1.1.1",
    "31/sasl/x",
    "31/world/x",
    "31/digest/u:h,31/world/anyone,31/world/anyone",
];
const CREDENTIALS: [&str; 5] =
    ["digest pat:pass", "digest pat:pass", "digest bob:x", "digest pat:wrong", "ip x"];
const MODES: [&str; 10] = [
    "",
    "",
    "",
    "",
    " mode=ephemeral",
    " mode=ephemeral",
    " mode=sequential",
    " mode=ephemeral-sequential",
    " mode=container",
    " ttl=1000000",
];
const STRANGE_MODES: [&str; 8] = [
    " mode=7",
    " mode=-1",
    " mode=100",
    " mode=5",
    " ttl=0",
    " ttl=-1",
    " ttl=99999999999999",
    " ttl=1000000 mode=sequential",
];
/// Requests that have a connection to themselves, and what is behind them. `ends`: the server
/// closes; whether it answers what was sent behind them before it does, is a race in ZooKeeper.
const RISKY: [[&str; 2]; 8] = [
    ["auth none x", "ends"],
    ["13", "ends"],
    ["999", "ends"],
    ["20", "ping"],
    ["auth digest", "ping"],
    ["auth super x", "ping"],
    ["sasl", "ping"],
    ["reconfig", "ping"],
];

/// Znodes with quotas, where there are some.
const LIMITED: [&str; 3] = ["/a", "/b", "/a/b"];
const LIMITS: [&str; 6] = [
    "count=3,bytes=20",
    "count=-1,bytes=-1=;byteHardLimit=40;countHardLimit=6",
    "count=2,bytes=10=;byteHardLimit=24;countHardLimit=-1",
    "count=2,bytes=10=;byteHardLimit=-1;countHardLimit=4",
    "countHardLimit=2",
    "byteHardLimit=0",
];

/// A program in the making.
struct Maker {
    random: Random,
    /// What shared paths begin with.
    top: &'static str,
    blocks: Vec<Block>,
    operations: usize,
    clients: [Client; CLIENTS],
    /// Whether there are blocks in which all work at once.
    together: bool,
    quotas: bool,
}

/// What a client believes.
#[derive(Clone, Default)]
struct Client {
    /// The watches that it has asked for, as the words of setWatches2.
    watches: Vec<(&'static str, String)>,
}

/// The program of `seed` with about `operations` requests.
pub fn program(seed: u64, operations: usize) -> Vec<Block> {
    let mut random = Random::new(seed);
    let top = if random.next().is_multiple_of(2) { "" } else { "/t" };
    let quotas = random.next().is_multiple_of(6);
    let together = !quotas && !random.next().is_multiple_of(4);
    let top = if quotas { "" } else { top };
    let (blocks, clients) = (Vec::new(), Default::default());
    let mut maker = Maker { random, top, blocks, operations: 0, clients, together, quotas };
    maker.begin();
    while maker.operations < operations {
        maker.step();
    }
    maker.end();
    maker.blocks
}

/// The commands of a program.
pub fn count(program: &[Block]) -> usize {
    program.iter().flatten().map(|part| part.commands.len()).sum()
}

/// A block of one part.
pub(crate) fn alone(who: &str, commands: &[impl ToString]) -> Block {
    vec![Part { who: who.to_owned(), commands: commands.iter().map(ToString::to_string).collect() }]
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        (self.random.next() >> 16) as usize % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// True once in `times`.
    fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn push(&mut self, block: Block) {
        self.operations += count(std::slice::from_ref(&block));
        self.blocks.push(block);
    }

    fn begin(&mut self) {
        self.push(alone(ADMIN, &["connects 40000"]));
        self.push(alone(ADMIN, &["auth digest super:secret"]));
        let mut roots = vec![];
        if !self.top.is_empty() {
            roots.push(format!("create {}", self.top));
        }
        if self.together {
            roots.extend((0..CLIENTS).map(|client| format!("create /p{client}")));
        }
        if self.quotas {
            for path in LIMITED {
                let quota = format!("/zookeeper/quota{path}");
                let limits = self.one(&LIMITS);
                roots.push(format!("create {quota}"));
                roots.push(format!("create {quota}/zookeeper_limits data={limits}"));
                roots.push(format!("create {quota}/zookeeper_stats"));
            }
        }
        if !roots.is_empty() {
            self.push(alone(ADMIN, &roots));
        }
        for client in 0..CLIENTS {
            self.push(alone(&name(client), &["connects 30000"]));
        }
    }

    /// Every session ends, those that have lost their connection too.
    fn end(&mut self) {
        for client in 0..CLIENTS {
            self.push(alone(&name(client), &["ping"]));
        }
        for client in 0..CLIENTS {
            self.push(alone(&name(client), &[format!("connects 30000 as {}", name(client))]));
            self.push(alone(&name(client), &["close"]));
        }
    }

    fn step(&mut self) {
        let client = self.below(CLIENTS);
        match self.below(100) {
            0..60 => self.shared(client),
            60..85 if self.together => self.at_once(),
            60..90 => self.shared(client),
            90..93 => self.moves(client),
            93..95 => self.closes(client),
            95..97 => {
                let credentials = self.one(&CREDENTIALS);
                self.push(alone(&name(client), &[format!("auth {credentials}")]));
            }
            97 => {
                let risky = self.one(&RISKY);
                self.push(alone(&name(client), &risky));
                self.comes_back(client, false);
            }
            _ => {
                let commands = ["whoami".to_owned(), "ephemerals /".to_owned(), "ping".to_owned()];
                self.push(alone(&name(client), &commands));
            }
        }
    }

    /// One client in the tree of all.
    fn shared(&mut self, client: usize) {
        let length = if self.quotas { 1 } else { 1 + self.below(12) };
        let commands = self.requests(length, client, None);
        self.push(alone(&name(client), &commands));
    }

    /// All clients, each in its own subtree.
    fn at_once(&mut self) {
        let mut block = Block::new();
        for client in 0..CLIENTS {
            if self.rarely(5) {
                continue;
            }
            let length = 1 + self.below(16);
            let own = format!("/p{client}");
            let commands = self.requests(length, client, Some(&own));
            block.push(Part { who: name(client), commands });
        }
        if block.len() > 1 {
            self.push(block);
        }
    }

    /// The session goes on over a new connection, with its watches or without.
    fn moves(&mut self, client: usize) {
        let who = name(client);
        if self.rarely(4) {
            // Two connections: the session is the newer one's, and the server closes the other.
            let other = format!("x{client}");
            for (newer, older) in [(&other, &who), (&who, &other)] {
                self.push(alone(newer, &[format!("connects 30000 as {older}")]));
                self.push(alone(older, &["ends"]));
                self.push(alone(newer, &["create2 /a mode=ephemeral-sequential", "ephemerals /", "whoami"]));
            }
        }
        if self.rarely(6) {
            // A stranger. With a wrong password it costs the owner of the session its connection in
            // ZooKeeper, and not here: so the owner comes back at once.
            let stranger = self.one(&["wrong-password", "from-the-future"]);
            self.push(alone("y", &[format!("connects 30000 as {who} {stranger}")]));
        } else if self.rarely(2) {
            self.push(alone(&who, &["vanishes"]));
            for _ in 0..self.below(3) {
                let other = self.below(CLIENTS);
                if other != client {
                    self.shared(other);
                }
            }
        }
        let sets = !self.rarely(4);
        self.comes_back(client, sets);
    }

    fn comes_back(&mut self, client: usize, sets_watches: bool) {
        let who = name(client);
        let timeout_ms = self.one(&[30_000, 35_000, 100_000]);
        self.push(alone(&who, &[format!("connects {timeout_ms} as {who}")]));
        let watches = std::mem::take(&mut self.clients[client].watches);
        if sets_watches && !watches.is_empty() {
            let older = self.rarely(3);
            let list = |kind: &str| {
                let paths: Vec<&str> =
                    watches.iter().filter(|(of, _)| *of == kind).map(|(_, path)| path.as_str()).collect();
                if paths.is_empty() { String::new() } else { format!(" {kind}={}", paths.join(",")) }
            };
            let seen = if self.rarely(8) { "0" } else { "seen" };
            let mut command = if older { "setwatches" } else { "setwatches2" }.to_owned();
            command.push_str(&format!(" zxid={seen}"));
            let kinds = ["data", "exist", "children", "persistent", "recursive"];
            kinds.iter().for_each(|kind| command.push_str(&list(kind)));
            self.push(alone(&who, &[command]));
            self.clients[client].watches = watches;
        }
    }

    fn closes(&mut self, client: usize) {
        let who = name(client);
        self.push(alone(&who, &["close"]));
        self.clients[client] = Client::default();
        if self.rarely(3) {
            // It is no more, and cannot be moved.
            self.push(alone(&who, &[format!("connects 30000 as {who}")]));
        }
        self.push(alone(&who, &["connects 30000"]));
    }

    /// A path in the tree of all, or below `own`.
    fn path(&mut self, own: Option<&str>) -> String {
        let (mut path, mut depth) = match own {
            // Not `own` itself, whose parent is everybody's.
            Some(own) => (own.to_owned(), 1 + self.below(2)),
            None => match self.below(40) {
                0 => return self.one(&INVALID).to_owned(),
                1 | 2 => return self.one(&SYSTEM).to_owned(),
                _ => (self.top.to_owned(), 1 + self.one(&[0, 0, 0, 1, 1, 2])),
            },
        };
        while depth > 0 {
            let made = self.rarely(12);
            let name = if made { self.one(&MADE) } else { self.one(&NAMES) };
            path.push('/');
            path.push_str(name);
            depth -= 1;
        }
        path
    }

    /// A path to read, which may be `own` itself.
    fn seen(&mut self, own: Option<&str>) -> String {
        match own {
            Some(own) if self.rarely(4) => own.to_owned(),
            _ => self.path(own),
        }
    }

    fn version(&mut self) -> &'static str {
        self.one(&["", "", "", "", " version=0", " version=1", " version=2", " version=7", " version=-2"])
    }

    fn list(&mut self, times: usize) -> String {
        if self.rarely(times) { format!(" acl={}", self.one(&LISTS)) } else { String::new() }
    }

    fn create(&mut self, own: Option<&str>) -> String {
        let verb = self.one(&["create", "create", "create2"]);
        let mut path = self.path(own);
        while path.starts_with("/zookeeper") {
            // Where quotas are is decided above.
            path = self.path(own);
        }
        let strange = self.rarely(40);
        let mode = if strange { self.one(&STRANGE_MODES) } else { self.one(&MODES) };
        format!("{verb} {path}{}{}{mode}", self.one(&DATA), self.list(6))
    }

    fn write(&mut self, own: Option<&str>) -> String {
        match self.below(10) {
            0..5 => self.create(own),
            5..7 => format!("delete {}{}", self.path(own), self.version()),
            _ => format!("set {}{}{}", self.path(own), self.one(&DATA), self.version()),
        }
    }

    /// Requests about quotas themselves.
    fn quota(&mut self) -> String {
        let quota = format!("/zookeeper/quota{}", self.one(&LIMITED));
        match self.below(12) {
            0 => format!("delete {quota}/zookeeper_limits"),
            1 => format!("delete {quota}/zookeeper_stats"),
            2 => format!("set {quota}/zookeeper_stats data=count=1,bytes=3"),
            3..6 => {
                let verb = self.one(&["set", "create"]);
                format!("{verb} {quota}/zookeeper_limits data={}", self.one(&LIMITS))
            }
            6 => format!("create {quota}/zookeeper_stats"),
            _ => format!("get {quota}/zookeeper_stats"),
        }
    }

    fn multi(&mut self, own: Option<&str>) -> String {
        // ZooKeeper judges all of a multi by what was counted before it.
        let length = if self.quotas { 1 } else { 1 + self.below(5) };
        let parts: Vec<String> = (0..length)
            .map(|_| match self.below(5) {
                0 => format!("check {}{}", self.path(own), self.one(&["", " version=0", " version=1"])),
                _ => self.write(own),
            })
            .collect();
        format!("multi {}", parts.join("; "))
    }

    fn multi_read(&mut self, own: Option<&str>) -> String {
        let length = 1 + self.below(4);
        let parts: Vec<String> =
            (0..length).map(|_| format!("{} {}", self.one(&["get", "children"]), self.seen(own))).collect();
        format!("multiread {}", parts.join("; "))
    }

    /// A read that may set a watch.
    fn look(&mut self, client: usize, own: Option<&str>) -> String {
        let verb = self.one(&["exists", "get", "get", "children", "children2"]);
        let path = self.seen(own);
        if !self.rarely(3) {
            return format!("{verb} {path}");
        }
        let kind = match verb {
            "exists" => "exist",
            "get" => "data",
            _ => "children",
        };
        self.remember(client, kind, &path);
        format!("{verb} {path} watch")
    }

    fn add_watch(&mut self, client: usize, own: Option<&str>) -> String {
        let kind = self.one(&["persistent", "recursive"]);
        let mut path = self.path(own);
        if self.together && path == "/" {
            // It would see how a server mixes what is done at once.
            path = format!("{}/a", self.top);
        }
        self.remember(client, kind, &path);
        format!("addwatch {path} mode={kind}")
    }

    fn remember(&mut self, client: usize, kind: &'static str, path: &str) {
        let watches = &mut self.clients[client].watches;
        // An invalid path would spoil the list.
        if !INVALID.contains(&path) && watches.len() < 12 {
            watches.push((kind, path.to_owned()));
        }
    }

    /// At most `length` requests that are in flight together. A setACL is the last: ZooKeeper judges
    /// what comes behind one that it has not applied yet by the list that was, or by the new one, as
    /// its threads happen to run.
    fn requests(&mut self, length: usize, client: usize, own: Option<&str>) -> Vec<String> {
        let mut commands: Vec<String> = Vec::with_capacity(length);
        while commands.len() < length && !commands.last().is_some_and(|last| last.starts_with("setacl")) {
            commands.push(self.request(client, own));
        }
        commands
    }

    fn request(&mut self, client: usize, own: Option<&str>) -> String {
        if self.quotas && self.rarely(4) {
            return self.quota();
        }
        match self.below(100) {
            0..38 => self.write(own),
            38..48 => self.multi(own),
            48..70 => self.look(client, own),
            70..74 => self.add_watch(client, own),
            74..78 => {
                let verb = self.one(&["checkwatches", "removewatches"]);
                let kind = self.one(&["children", "data", "any", "persistent", "recursive", "9"]);
                format!("{verb} {} type={kind}", self.path(own))
            }
            78..82 => format!("setacl {}{}{}", self.path(own), self.list(1), self.version()),
            82..86 => format!("getacl {}", self.seen(own)),
            86..90 => self.multi_read(own),
            90..92 => format!("count {}", self.seen(own)),
            92..94 => format!("ephemerals {}", self.seen(own)),
            94 => format!("sync {}", self.path(own)),
            95 => "ping".to_owned(),
            96 => "whoami".to_owned(),
            97 if own.is_none() => {
                format!("garbled {}", self.one(&[1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 22, 104, 106]))
            }
            _ => format!("get {}", self.path(own)),
        }
    }
}

/// A client's name.
fn name(client: usize) -> String {
    format!("c{client}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_program_and_another_gives_another() {
        assert_eq!(program(7, 500), program(7, 500));
        assert_ne!(program(7, 500), program(8, 500));
    }

    #[test]
    fn those_who_work_at_once_stay_in_their_own_subtrees() {
        for seed in 0..20 {
            for block in program(seed, 1000).iter().filter(|block| block.len() > 1) {
                for part in block {
                    let own = part.who.replace('c', "/p");
                    for path in part.commands.iter().flat_map(|command| command.split([' ', ';'])) {
                        assert!(!path.starts_with('/') || path.starts_with(&own), "{part:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_kind_of_request_is_made() {
        let text = format!("{:?}", (0..20).map(|seed| program(seed, 1000)).collect::<Vec<_>>());
        let words = "create create2 delete set get exists children children2 multi multiread check setacl getacl \
                     addwatch checkwatches removewatches setwatches setwatches2 count ephemerals sync ping whoami \
                     garbled auth sasl reconfig close vanishes connects";
        for word in words.split_whitespace() {
            assert!(text.contains(&format!("{word} ")) || text.contains(&format!("\"{word}\"")), "{word}");
        }
    }
}
