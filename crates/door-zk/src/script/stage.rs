//! Plays a script on a server and writes down what every client was told, so that two servers, or
//! one and what another was once heard to say, can be compared line by line.
//!
//! A script is a list of blocks. In a block of one part, one client sends its commands without
//! waiting, and then hears all the answers; what others did before reaches it first. In a block of several
//! parts all of them send before any is heard, so the server works on them at once, in an order
//! that it chooses. Such parts touch no znode of each other's, so all that they are told is certain,
//! but for one thing: how the zxids of their writes mix. There a write is called by the zxid that
//! it would have if the parts were played one after another, the zxids of the block must be exactly
//! those behind the last block's, and the header of a read may show any zxid between the client's
//! last own write and the end of the block.
//!
//! Times are told as 0 when every Stat says the same of the same zxid, session ids by the number
//! of the session, lists that a server may keep in a hash table in order, and so are the events of
//! one closed session.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    io,
};

use super::{
    replies::Names,
    requests::request,
    talk::{Heard, Kind, Talk, Ticket},
};
use crate::wire::{Frame, LENGTH_BYTES, frame, request::opcode};

/// Commands of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The client's name.
    pub who: String,
    /// `connects TIMEOUT [as CLIENT [wrong-password|from-the-future]]` or `vanishes` alone, or requests (see [`super::requests`]);
    /// `zxid=seen` stands for the highest zxid that the client has seen, and `ends` at the end means
    /// that the server is to close the connection behind its answers.
    pub commands: Vec<String>,
}

/// What is sent before anything is heard.
pub type Block = Vec<Part>;

/// A block, and what its clients were told, each line behind the client's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// What was sent.
    pub block: Block,
    /// What was heard: `c0< 1: /a zxid=3`.
    pub told: Vec<String>,
}

/// How clients reach the server.
pub trait Wire {
    /// Gives `who` a new connection; one that it had is closed.
    ///
    /// # Errors
    /// When there is no connection to be had.
    fn connect(&mut self, who: &str) -> io::Result<()>;
    /// Closes the connection of `who`.
    fn leave(&mut self, who: &str);
    /// Sends on the connection of `who`.
    ///
    /// # Errors
    /// When it can't be sent to any more.
    fn send(&mut self, who: &str, bytes: &[u8]) -> io::Result<()>;
    /// Waits until `who` gets bytes, and appends them; false when the server has closed.
    ///
    /// # Errors
    /// When neither happens.
    fn receive(&mut self, who: &str, into: &mut Vec<u8>) -> io::Result<bool>;
}

/// A longer message is taken for a broken one.
const MESSAGE_BYTES: usize = 16 << 20;

/// A server under a script.
pub struct Stage<W> {
    wire: W,
    clients: BTreeMap<String, Client>,
    called: Called,
}

#[derive(Default)]
struct Client {
    talk: Talk,
    /// Bytes of a message that has not come whole.
    input: Vec<u8>,
    open: bool,
    /// The server is to close the connection.
    ends: bool,
    /// The server has closed, and nobody was told yet.
    untold_end: bool,
}

/// What the numbers of one run are called.
#[derive(Default)]
struct Called {
    /// The zxid of the last transaction.
    last: i64,
    /// Zxids that have another name, by themselves.
    renamed: BTreeMap<i64, i64>,
    /// When a transaction was, by its zxid.
    times_ms: BTreeMap<i64, i64>,
    /// Numbers of sessions by their ids.
    sessions: BTreeMap<i64, usize>,
    /// Zxids that closed a session.
    closes: BTreeSet<i64>,
}

/// The ephemeralOwner of a container.
const CONTAINER: i64 = i64::MIN;
/// The top byte of the ephemeralOwner of a znode with a time to live, which is in the others.
const TTL_TOP: u8 = 0xff;

impl Names for Called {
    fn zxid(&self, zxid: i64) -> i64 {
        self.renamed.get(&zxid).copied().unwrap_or(zxid)
    }

    fn time(&mut self, zxid: i64, time_ms: i64) -> i64 {
        time_ms - *self.times_ms.entry(zxid).or_insert(time_ms)
    }

    fn owner(&self, owner: i64) -> String {
        match (owner, self.sessions.get(&owner)) {
            (0, _) => "false".to_owned(),
            (_, Some(number)) => format!("s{number}"),
            (CONTAINER, _) => "container".to_owned(),
            _ if owner.to_be_bytes()[0] == TTL_TOP => format!("ttl:{}", owner & 0xff_ffff_ffff),
            _ => format!("unknown:{owner:x}"),
        }
    }

    fn sorts(&self) -> bool {
        true
    }
}

impl Called {
    /// Takes note of what the messages behind a block's requests say of zxids. The answer is what
    /// is wrong about them.
    fn note(&mut self, heard: &[(&Client, Vec<Vec<u8>>)], together: bool) -> Option<String> {
        let (base, mut next, mut found) = (self.last, self.last, Vec::new());
        for (client, messages) in heard.iter().filter(|(client, _)| client.talk.is_greeted()) {
            let headers = messages.iter().filter_map(|body| Talk::header(body).ok());
            let replies = headers.filter(|(xid, _)| *xid != EVENT);
            for (code, (_, zxid)) in client.talk.in_flight().zip(replies) {
                if code == opcode::CLOSE_SESSION {
                    self.closes.insert(zxid);
                }
                if !together {
                    self.last = self.last.max(zxid);
                } else if is_transaction(code) {
                    next += 1;
                    found.push(zxid);
                    if zxid != next {
                        self.renamed.insert(zxid, next);
                    }
                }
            }
        }
        if !together {
            return None;
        }
        self.last = next;
        found.sort_unstable();
        let is_whole = found.iter().copied().eq(base + 1..=next);
        (!is_whole).then(|| format!("the zxids behind {base} are {found:?}"))
    }
}

const EVENT: i32 = -1;

/// Requests that take a zxid, also when they fail.
fn is_transaction(code: i32) -> bool {
    matches!(
        code,
        opcode::CREATE
            | opcode::CREATE2
            | opcode::CREATE_CONTAINER
            | opcode::CREATE_TTL
            | opcode::DELETE
            | opcode::SET_DATA
            | opcode::SET_ACL
            | opcode::MULTI
            | opcode::CLOSE_SESSION
    )
}

impl<W: Wire> Stage<W> {
    /// A stage on a fresh server: no session was made, no zxid given.
    pub fn new(wire: W) -> Stage<W> {
        Stage { wire, clients: BTreeMap::new(), called: Called::default() }
    }

    /// How clients reach the server.
    pub fn wire(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Plays a block, and gives what its clients were told. A client without a connection says
    /// and hears nothing.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not answer.
    pub fn play(&mut self, block: &[Part]) -> io::Result<Vec<String>> {
        for part in block {
            self.say(part).map_err(|error| named(&part.who, &error))?;
        }
        let mut taken = Vec::new();
        for part in block {
            if let Some(client) = self.clients.get_mut(&part.who) {
                let messages = listen(&mut self.wire, &part.who, client);
                taken.push((part.who.as_str(), messages.map_err(|error| named(&part.who, &error))?));
            }
        }
        Ok(self.tell(taken, block.len() > 1))
    }

    /// Sends what a part says.
    fn say(&mut self, part: &Part) -> io::Result<()> {
        let who = part.who.as_str();
        let words: Vec<&str> = part.commands.first().map_or("", |first| first).split(' ').collect();
        match words[..] {
            ["vanishes"] => {
                self.wire.leave(who);
                if let Some(client) = self.clients.get_mut(who) {
                    client.open = false;
                }
                Ok(())
            }
            ["connects", timeout_ms, ref rest @ ..] => {
                let other = rest.get(1).and_then(|other| self.clients.get(*other));
                let mut ticket = other.map_or(Ticket::default(), |other| other.talk.ticket);
                match rest.last() {
                    Some(&"wrong-password") => ticket.password = [1; 16],
                    Some(&"from-the-future") => ticket.last_zxid = i64::MAX,
                    _ => {}
                }
                let talk = Talk::new(ticket);
                self.wire.connect(who)?;
                self.wire.send(who, &talk.hello(timeout_ms.parse().map_err(io::Error::other)?))?;
                self.clients.insert(who.to_owned(), Client { talk, open: true, ..Client::default() });
                Ok(())
            }
            _ => {
                let Some(client) = self.clients.get_mut(who).filter(|client| client.open) else {
                    return Ok(());
                };
                let mut bytes = Vec::new();
                client.ends = part.commands.last().is_some_and(|last| last == "ends" || last == "close");
                for command in part.commands.iter().filter(|command| *command != "ends") {
                    let seen = format!("zxid={}", client.talk.ticket.last_zxid);
                    let (code, record) = request(&command.replace("zxid=seen", &seen));
                    bytes.extend_from_slice(&client.talk.request(code, &record));
                }
                self.wire.send(who, &bytes)
            }
        }
    }

    /// Lines from messages.
    fn tell(&mut self, taken: Vec<(&str, Vec<Vec<u8>>)>, together: bool) -> Vec<String> {
        let clients = &self.clients;
        let heard: Vec<_> = taken.iter().map(|(who, messages)| (&clients[*who], messages.clone())).collect();
        let base = self.called.last;
        let mut told: Vec<String> = self.called.note(&heard, together).into_iter().collect();
        for (who, messages) in taken {
            let client = self.clients.get_mut(who).expect("it was listened to");
            // The last own write: as it is, and as it is called.
            let mut own = (client.talk.ticket.last_zxid.max(base), base);
            let mut lines: Vec<(Option<i64>, String)> = Vec::new();
            for body in messages {
                let is_new = client.talk.ticket.session == 0;
                let heard = match client.talk.hear(&body, &mut self.called) {
                    Ok(heard) => heard,
                    Err(why) => {
                        lines.push((None, format!("not understood, {}: {body:02x?}", why.0)));
                        continue;
                    }
                };
                if heard.kind == Kind::Greeting && is_new && client.talk.ticket.session != 0 {
                    let number = self.called.sessions.len();
                    self.called.sessions.insert(client.talk.ticket.session, number);
                    self.called.last += 1;
                }
                let event = (heard.kind == Kind::Event).then_some(heard.zxid);
                lines.push((event, line(&self.called, &mut own, &heard, together)));
            }
            for run in lines.chunk_by_mut(|a, b| a.0.is_some() && a.0 == b.0) {
                if run[0].0.is_some_and(|zxid| self.called.closes.contains(&zxid)) {
                    run.sort();
                }
            }
            if std::mem::take(&mut client.untold_end) {
                lines.push((None, "connection closed".to_owned()));
            }
            told.extend(lines.into_iter().map(|(_, line)| format!("{who}< {line}")));
        }
        told
    }
}

/// A message as a line; see the module for zxids of what was done together.
fn line(called: &Called, own: &mut (i64, i64), heard: &Heard, together: bool) -> String {
    let text = &heard.text;
    match heard.kind {
        Kind::Greeting => text.clone(),
        Kind::Reply(code) if together && !is_transaction(code) => {
            let is_between = (own.0..=called.last).contains(&heard.zxid);
            let strange = if is_between { "" } else { "?" };
            format!("{text} zxid>={}{strange}", own.1)
        }
        // What was done together is over: the last zxid is the same on every server.
        Kind::Reply(_) if !together => format!("{text} zxid={}", heard.zxid),
        _ => {
            let name = called.zxid(heard.zxid);
            if matches!(heard.kind, Kind::Reply(_)) {
                *own = (heard.zxid, name);
            }
            format!("{text} zxid={name}")
        }
    }
}

/// Takes messages until there is none to come, or the server has closed.
fn listen<W: Wire>(wire: &mut W, who: &str, client: &mut Client) -> io::Result<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    let mut missing = if client.open { client.talk.waits_for() } else { 0 };
    let mut ends = client.ends && missing == 0;
    let mut greets = !client.talk.is_greeted();
    while client.open && (missing > 0 || ends) {
        client.open = wire.receive(who, &mut client.input)?;
        client.untold_end = !client.open;
        let mut at = 0;
        loop {
            match frame(&client.input[at..], MESSAGE_BYTES) {
                Frame::Whole(body) => {
                    at += LENGTH_BYTES + body.len();
                    let is_event = !greets && body.starts_with(&EVENT.to_be_bytes());
                    missing = missing.saturating_sub(usize::from(!is_event));
                    // A greeting without time is of a session that is no more, and the server closes
                    // behind it, ...
                    ends |= greets && body.get(4..8) == Some(&[0; 4]);
                    greets = false;
                    messages.push(body.to_vec());
                }
                Frame::Unfinished => break,
                Frame::Unreasonable => return Err(io::Error::other("a message of unreasonable length")),
            }
        }
        client.input.drain(..at);
        // ... and where the script says so.
        ends |= client.ends && missing == 0;
    }
    Ok(messages)
}

fn named(who: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{who}: {error}"))
}

/// Scenes as text: `c0> command` for what was sent, `c0< line` for what was heard, an empty line
/// behind each scene.
pub fn print(scenes: &[Scene]) -> String {
    let mut text = String::new();
    for scene in scenes {
        for part in &scene.block {
            for command in &part.commands {
                writeln!(text, "{}> {command}", part.who).expect("a String takes everything");
            }
        }
        for line in &scene.told {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// Scenes from text; lines that begin with `#` are for the reader.
pub fn parse(text: &str) -> Vec<Scene> {
    let mut scenes = Vec::new();
    let mut scene = Scene { block: Vec::new(), told: Vec::new() };
    for line in text.lines().filter(|line| !line.starts_with('#')).chain([""]) {
        if line.is_empty() {
            if !scene.block.is_empty() {
                scenes.push(std::mem::replace(&mut scene, Scene { block: Vec::new(), told: Vec::new() }));
            }
        } else if let Some((who, command)) = line.split_once("> ").filter(|(who, _)| !who.contains(' ')) {
            match scene.block.last_mut().filter(|part| part.who == who) {
                Some(part) => part.commands.push(command.to_owned()),
                None => scene.block.push(Part { who: who.to_owned(), commands: vec![command.to_owned()] }),
            }
        } else {
            scene.told.push(line.to_owned());
        }
    }
    scenes
}
