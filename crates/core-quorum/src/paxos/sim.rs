//! A simulator of Paxos: acceptors with disks, proposers with clocks, a network that loses,
//! repeats and reorders, and a crash whenever the seed likes.
//!
//! Clients increment a register by compare-and-set, some only if it is odd, some just read. The
//! register is linearizable if there is one chain of increments, every answer fits it, and no
//! answer contradicts one that was given before its request began. For a counter that comes down
//! to a comparison of numbers, which needs no search ([`Sim::check`]).

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use base::{Hlc, NodeId, Writer};
use bytes::Bytes;

use super::*;
use crate::replicas::{Replicas, majority};

/// What can be planted to see whether the simulator would notice.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Bug {
    None,
    /// Replies leave before their record is on disk.
    ReplyBeforeSync,
    /// A promise does not tell what was accepted.
    HideAccepted,
    /// An acceptor forgets its promise before it looks at an accept.
    IgnorePromise,
    /// A proposer forgets that it sent a decree, and decides again.
    ForgetOwnDecree,
    /// Acceptors do not say what they know to be committed.
    HideCommitted,
}

/// The register: who wrote which number when.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct Register {
    timestamp: i64,
    number: u64,
    operation: u64,
    parent: u64,
}

impl Register {
    fn encode(self) -> Bytes {
        let mut out = Writer::new();
        out.i64(self.timestamp);
        out.u64(self.number);
        out.u64(self.operation);
        out.u64(self.parent);
        out.into_vec().into()
    }

    fn decode(bytes: &[u8]) -> Register {
        let mut reader = base::Reader::new(bytes);
        Register {
            timestamp: reader.i64("").unwrap(),
            number: reader.u64("").unwrap(),
            operation: reader.u64("").unwrap(),
            parent: reader.u64("").unwrap(),
        }
    }

    fn newest(self, other: Register) -> Register {
        if other.timestamp > self.timestamp { other } else { self }
    }
}

#[derive(Default)]
struct Node {
    acceptor: Acceptor,
    /// Records not on disk, oldest first.
    unsynced: Vec<(u64, Record)>,
    /// Replies that wait for a sync, each with its client and operation.
    held: Vec<(usize, u64, Held)>,
    disk: Option<Vec<u8>>,
    register: Register,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Wish {
    Increment,
    IncrementIfOdd,
    Read,
}

struct Client {
    clock: Hlc,
    /// How far this clock runs ahead.
    skew: u64,
    running: Option<Running>,
}

struct Running {
    proposer: Proposer<Register>,
    operation: u64,
    wish: Wish,
    began: u64,
    read_by: BTreeSet<usize>,
    read: Register,
}

#[derive(Clone)]
enum Packet {
    Request { client: usize, operation: u64, node: usize, request: Request },
    Reply { client: usize, operation: u64, node: usize, reply: Reply },
    Read { client: usize, operation: u64, ballot: Ballot, node: usize },
    Wake { client: usize, operation: u64, above: Ballot },
}

/// One operation that was answered.
#[derive(Debug)]
struct Answered {
    operation: u64,
    began: u64,
    ended: u64,
    outcome: Outcome<Register>,
}

struct Sim {
    seed: u64,
    bug: Bug,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    wire: Vec<Packet>,
    now: u64,
    operations: u64,
    answered: Vec<Answered>,
    /// Who wrote each number, on top of whom and with which timestamp, as any replica applied it.
    chain: BTreeMap<u64, (u64, u64, i64)>,
    calm: bool,
}

impl Sim {
    fn new(seed: u64, nodes: usize, bug: Bug) -> Sim {
        let mut sim = Sim {
            seed,
            bug,
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            clients: Vec::new(),
            wire: Vec::new(),
            now: 1,
            operations: 0,
            answered: Vec::new(),
            chain: BTreeMap::new(),
            calm: false,
        };
        for _ in 0..3 {
            let skew = sim.random(40);
            sim.clients.push(Client { clock: Hlc(0), skew, running: None });
        }
        sim
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.seed >> 33) * below) >> 31
    }

    fn run(&mut self, steps: u64) -> Result<(), String> {
        for _ in 0..steps {
            self.step()?;
        }
        self.heal()?;
        self.check()
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += 1;
        let node = self.random(self.nodes.len() as u64) as usize;
        let client = self.random(self.clients.len() as u64) as usize;
        match self.random(1000) {
            0..650 => self.deliver(),
            650..850 => self.sync(node),
            850..960 => {
                self.start(client, None);
                Ok(())
            }
            960..970 if !self.calm => {
                self.crash(node);
                Ok(())
            }
            970..974 if !self.calm => {
                self.kill(client);
                Ok(())
            }
            974..980 if !self.calm => {
                self.input(client, Input::Timeout);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Lets everything end, and reads once more with a network that works.
    fn heal(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            self.kill(client);
        }
        self.calm = true;
        self.wire.clear();
        let before = self.answered.len();
        self.start(0, Some(Wish::Read));
        for _ in 0..20_000 {
            self.now += 1;
            if self.clients[0].running.is_none() {
                break;
            }
            let node = self.random(self.nodes.len() as u64) as usize;
            if self.random(2) == 0 { self.deliver()? } else { self.sync(node)? }
        }
        match self.answered.get(before).map(|answered| &answered.outcome) {
            Some(Outcome::Read { rows }) if rows.number == self.chain.len() as u64 => Ok(()),
            other => Err(format!("the last read found {other:?}, but {} were written", self.chain.len())),
        }
    }

    fn start(&mut self, client: usize, wish: Option<Wish>) {
        if self.clients[client].running.is_some() {
            return;
        }
        let wish = wish.unwrap_or(match self.random(4) {
            0 => Wish::Read,
            1 => Wish::IncrementIfOdd,
            _ => Wish::Increment,
        });
        self.operations += 1;
        let members = (0..self.nodes.len()).map(|node| (NodeId(node as u64), true));
        let plan = Plan {
            electorate: Replicas::new(members).unwrap(),
            epoch: 1,
            kind: if wish == Wish::Read { Kind::Read } else { Kind::Write },
            commit_required: 1 + self.random(majority(self.nodes.len()) as u64) as u32,
            attempts: 12,
            seed: self.seed,
        };
        let ballot = self.ballot(client, Ballot::ZERO);
        let (proposer, effects) = Proposer::begin(plan, ballot).unwrap();
        let (read_by, read) = (BTreeSet::new(), Register::default());
        let (operation, began) = (self.operations, self.now);
        self.clients[client].running = Some(Running { proposer, operation, wish, began, read_by, read });
        self.effects(client, effects);
    }

    fn ballot(&mut self, client: usize, floor: Ballot) -> Ballot {
        let now = self.now;
        let owner = &mut self.clients[client];
        let ballot = Ballot::above(floor, owner.clock.next(now + owner.skew), NodeId(client as u64));
        owner.clock = ballot.time;
        ballot
    }

    fn input(&mut self, client: usize, input: Input<Register>) {
        if let Some(running) = &mut self.clients[client].running {
            if self.bug == Bug::ForgetOwnDecree && matches!(input, Input::Wake(_)) {
                running.proposer.sent.clear();
            }
            let effects = running.proposer.step(input);
            self.effects(client, effects);
        }
    }

    fn effects(&mut self, client: usize, effects: Vec<Effect<Register>>) {
        for effect in effects {
            let running = self.clients[client].running.as_mut().unwrap();
            let operation = running.operation;
            match effect {
                Effect::Send { to, request } => {
                    self.wire.push(Packet::Request { client, operation, node: to.0 as usize, request });
                }
                Effect::Read => {
                    (running.read_by, running.read) = (BTreeSet::new(), Register::default());
                    let ballot = Ballot { time: self.clients[client].clock, node: NodeId(client as u64) };
                    for node in 0..self.nodes.len() {
                        self.wire.push(Packet::Read { client, operation, ballot, node });
                    }
                }
                Effect::Decide { timestamp, rows } => {
                    let met = running.wish == Wish::Increment || rows.number % 2 == 1;
                    let next =
                        Register { timestamp, number: rows.number + 1, operation, parent: rows.operation };
                    let verdict = Ok(met.then(|| next.encode()));
                    self.input(client, Input::Decided { rows, verdict });
                }
                Effect::WakeAt { above, .. } => self.wire.push(Packet::Wake { client, operation, above }),
                Effect::Finish(outcome) => {
                    let running = self.clients[client].running.take().unwrap();
                    assert!(running.proposer.is_over());
                    let (began, ended) = (running.began, self.now);
                    self.answered.push(Answered { operation, began, ended, outcome });
                }
            }
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        if self.wire.is_empty() {
            return Ok(());
        }
        let which = self.random(self.wire.len() as u64) as usize;
        let packet = self.wire.swap_remove(which);
        let fate = if self.calm { 99 } else { self.random(100) };
        let wake = matches!(packet, Packet::Wake { .. });
        if fate < 4 && !wake {
            return Ok(());
        }
        if fate < 12 {
            self.wire.push(packet.clone());
        }
        // A link that breaks tells the sender, who can't know whether the message got through.
        if let Packet::Request { client, operation, node, request } = &packet
            && (12..15).contains(&fate)
        {
            let (client, operation, from) = (*client, *operation, NodeId(*node as u64));
            let lost = Input::Lost { from, ballot: request.ballot() };
            if self.is_running(client, operation) {
                self.input(client, lost);
            }
            if fate == 12 {
                return Ok(());
            }
        }
        match packet {
            Packet::Request { client, operation, node, request } => {
                self.handle(client, operation, node, request);
            }
            Packet::Reply { client, operation, node, mut reply } => {
                if let Verdict::Promised { accepted, committed } = &mut reply.verdict {
                    match self.bug {
                        Bug::HideAccepted => *accepted = None,
                        Bug::HideCommitted => *committed = None,
                        _ => {}
                    }
                }
                if self.is_running(client, operation) {
                    self.input(client, Input::Reply { from: NodeId(node as u64), reply });
                }
            }
            Packet::Read { client, operation, ballot, node } => {
                let current = Ballot { time: self.clients[client].clock, node: NodeId(client as u64) };
                if self.is_running(client, operation) && ballot == current {
                    let (register, quorum) = (self.nodes[node].register, majority(self.nodes.len()));
                    let running = self.clients[client].running.as_mut().unwrap();
                    running.read = running.read.newest(register);
                    if running.read_by.insert(node) && running.read_by.len() == quorum {
                        let rows = running.read;
                        self.input(client, Input::Rows(rows));
                    }
                }
            }
            Packet::Wake { client, operation, above } => {
                if self.is_running(client, operation) {
                    let ballot = self.ballot(client, above);
                    self.input(client, Input::Wake(ballot));
                }
            }
        }
        Ok(())
    }

    fn is_running(&self, client: usize, operation: u64) -> bool {
        self.clients[client].running.as_ref().is_some_and(|running| running.operation == operation)
    }

    fn handle(&mut self, client: usize, operation: u64, node: usize, request: Request) {
        let at = &mut self.nodes[node];
        if self.bug == Bug::IgnorePromise && matches!(request, Request::Accept { .. }) {
            at.acceptor.promised = Ballot::ZERO;
        }
        match at.acceptor.handle(request, 1) {
            Answer::Now(reply) => self.wire.push(Packet::Reply { client, operation, node, reply }),
            Answer::Held(held) => {
                at.unsynced.push((held.version(), held.record().clone()));
                if self.bug == Bug::ReplyBeforeSync && held.record().apply.is_none() {
                    let proof = at.acceptor.clone().synced(held.version());
                    let reply = held.release(proof);
                    self.wire.push(Packet::Reply { client, operation, node, reply });
                } else {
                    at.held.push((client, operation, held));
                }
            }
        }
    }

    fn sync(&mut self, node: usize) -> Result<(), String> {
        let at = &mut self.nodes[node];
        let Some(version) = at.unsynced.last().map(|(version, _)| *version) else { return Ok(()) };
        for (_, record) in at.unsynced.drain(..) {
            at.disk = Some(record.state);
            if let Some(mutation) = record.apply {
                let written = Register::decode(&mutation);
                at.register = at.register.newest(written);
                let entry = (written.operation, written.parent, written.timestamp);
                let known = self.chain.entry(written.number).or_insert(entry);
                if *known != entry {
                    return Err(format!("{} was written by {known:?} and {entry:?}", written.number));
                }
            }
        }
        let proof = at.acceptor.synced(version);
        for (client, operation, held) in at.held.drain(..) {
            let reply = held.release(proof);
            self.wire.push(Packet::Reply { client, operation, node, reply });
        }
        Ok(())
    }

    /// A proposer dies. Its client hears nothing, which is as good as uncertain.
    fn kill(&mut self, client: usize) {
        if let Some(running) = self.clients[client].running.take() {
            let outcome = Outcome::Uncertain { received: 0, required: 0 };
            let (operation, began, ended) = (running.operation, running.began, self.now);
            self.answered.push(Answered { operation, began, ended, outcome });
        }
    }

    /// A node loses what is not on disk and comes back.
    fn crash(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        at.unsynced.clear();
        at.held.clear();
        at.acceptor = at.disk.as_ref().map_or_else(Acceptor::new, |disk| Acceptor::decode(disk).unwrap());
    }

    fn check(&self) -> Result<(), String> {
        let (mut parent, mut newest) = (0, 0);
        let mut written = BTreeMap::new();
        for (number, (operation, upon, timestamp)) in &self.chain {
            if *upon != parent {
                return Err(format!("{number} stands on operation {upon}, not on {parent}"));
            }
            if let Some(before) = written.insert(*operation, *number) {
                return Err(format!("operation {operation} wrote {before} and {number}"));
            }
            if *timestamp <= newest {
                return Err(format!("{number} has timestamp {timestamp}, the one before {newest}"));
            }
            (parent, newest) = (*operation, *timestamp);
        }
        // What is known of the register once an operation has ended, and what those that were
        // answered say. An uncertain write takes effect before the next operation that begins, or
        // never: that is why reads propose an empty decree.
        let (mut known, mut said) = (Vec::new(), Vec::new());
        for answered in &self.answered {
            let number = written.get(&answered.operation);
            let says = match answered.outcome {
                Outcome::Applied { rows } if number == Some(&(rows.number + 1)) => (rows.number + 1, true),
                Outcome::NotMet { rows } | Outcome::Read { rows } if number.is_none() => (rows.number, false),
                Outcome::Uncertain { .. } => {
                    known.extend(number.map(|number| (answered, *number)));
                    continue;
                }
                Outcome::Contended | Outcome::Unanswered { .. } if number.is_none() => continue,
                _ => return Err(format!("{answered:?}, but it wrote {number:?}")),
            };
            known.push((answered, says.0));
            said.push((answered, says));
        }
        for (early, before) in &known {
            for (late, (after, wrote)) in &said {
                if early.ended < late.began && (after < before || (*wrote && after == before)) {
                    return Err(format!("{late:?} began after {early:?} ended at {before}"));
                }
            }
        }
        Ok(())
    }
}

/// Long enough for chains of ten and more.
const STEPS: u64 = 1500;

fn first_failure(nodes: usize, bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| {
        let mut sim = Sim::new(seed * 7919 + nodes as u64, nodes, bug);
        sim.run(STEPS).err().map(|error| (seed, error))
    })
}

#[test]
fn one_acceptor_is_linearizable() {
    assert_eq!(first_failure(1, Bug::None, 1000), None);
}

#[test]
fn three_acceptors_are_linearizable() {
    assert_eq!(first_failure(3, Bug::None, 3000), None);
}

#[test]
fn five_acceptors_are_linearizable() {
    assert_eq!(first_failure(5, Bug::None, 1000), None);
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [
        Bug::ReplyBeforeSync,
        Bug::HideAccepted,
        Bug::IgnorePromise,
        Bug::ForgetOwnDecree,
        Bug::HideCommitted,
    ];
    for bug in bugs {
        let found = first_failure(3, bug, 3000);
        assert!(found.is_some(), "{bug:?} went unnoticed");
    }
}

/// The simulator must not be calm water: all outcomes occur, and rounds of others are finished.
#[test]
fn the_simulator_reaches_what_it_is_for() {
    let (mut applied, mut not_met, mut uncertain, mut contended, mut longest) = (0, 0, 0, 0, 0);
    for seed in 0..200 {
        let mut sim = Sim::new(seed, 3, Bug::None);
        sim.run(STEPS).unwrap();
        longest = longest.max(sim.chain.len());
        for answered in &sim.answered {
            match answered.outcome {
                Outcome::Applied { .. } => applied += 1,
                Outcome::NotMet { .. } => not_met += 1,
                Outcome::Uncertain { .. } => uncertain += 1,
                Outcome::Contended | Outcome::Unanswered { .. } => contended += 1,
                _ => {}
            }
        }
    }
    println!(
        "{applied} applied, {not_met} not met, {uncertain} uncertain, {contended} not done, longest chain {longest}"
    );
    assert!(applied > 1000 && not_met > 200 && uncertain > 200 && contended > 200 && longest > 10);
}
