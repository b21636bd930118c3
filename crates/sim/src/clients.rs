//! Clients: each asks one thing at a time, writes down what it was told, and gives up when it waits
//! too long.

use std::sync::{Arc, Mutex, PoisonError};

use base::{Cause, Class};
use bytes::Bytes;
use store::{Done, Inbox};

use crate::{
    history::{Ask, Op, OpId, Outcome},
    node::Node,
    probes::Probe,
    register::{View, decode_told, entry_of},
    run::{Event, Part, Run},
};

/// How long a request or an answer is under way between a client and its node, at most.
const WAY_US: u64 = 1_000;
/// How long a client that was refused waits before it asks again, at least.
const REFUSED_PAUSE_US: u64 = 50_000;

/// One client.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// The host it asks, until that disappoints.
    host: usize,
    /// What it waits for.
    current: Option<OpId>,
    /// The last version it saw of some register.
    version: u64,
}

/// Where nodes put answers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<Vec<Answer>>>);

/// What a node has answered.
type Answer = (OpId, Result<Outcome, Cause>);

impl Answers {
    fn put(&self, op: OpId, answer: Result<Outcome, Cause>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((op, answer));
    }

    fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inbox<Bytes> for Answers {
    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        self.put(tag, answer.and_then(|bytes| Ok(Outcome::Told(decode_told(&bytes)?))));
    }
}

/// Where a barrier is answered: then the state is read, at once.
struct Reader {
    answers: Answers,
    view: View,
    key: u8,
}

impl Inbox<()> for Reader {
    fn deliver(&self, tag: u64, answer: Result<(), Cause>) {
        self.answers.put(tag, answer.map(|()| Outcome::Told(self.view.lock().read(self.key))));
    }
}

impl<N: Node> Run<N> {
    /// A client asks the next thing.
    pub(crate) fn ask(&mut self, client: usize) {
        if !matches!(self.part, Part::Storm | Part::Quorum { .. }) || self.clients[client].current.is_some() {
            return;
        }
        let id = self.history.len() as OpId + 1;
        let version = self.clients[client].version;
        let ask = match self.entropy.below(20) {
            0..9 => Ask::Write,
            9..13 => Ask::Swap { expected: version },
            _ => Ask::Read,
        };
        let op = Op {
            id,
            client: client as u32,
            key: self.entropy.below(self.plan.registers.into()) as u8,
            ask,
            asked: self.moment,
            answered: u64::MAX,
            outcome: Outcome::Unknown,
        };
        let host = self.clients[client].host;
        self.trace.note(self.now_us, "ask", &[id, op.key.into(), host as u64], || {
            let what = match ask {
                Ask::Write => format!("to write {id} to register {}", op.key),
                Ask::Swap { expected } => {
                    format!("to write {id} to register {} if it is at version {expected}", op.key)
                }
                Ask::Read => format!("to read register {}", op.key),
            };
            format!("client {client} asks node {} {what}", host + 1)
        });
        self.history.push(op);
        self.asked_of.push(host);
        self.clients[client].current = Some(id);
        self.within(WAY_US, Event::Request { host, op: id });
        self.after(self.plan.patience_us, Event::GiveUp { op: id });
    }

    /// A request arrives at a host.
    pub(crate) fn request(&mut self, host: usize, op: OpId) {
        if self.is_paused(host) {
            let delay_us = self.hosts[host].paused_until_us - self.now_us;
            self.after(delay_us, Event::Request { host, op });
            return;
        }
        self.touch(host);
        let asked = self.history[op as usize - 1];
        let answers = self.answers.clone();
        let view = self.hosts[host].view.clone();
        let Some(node) = &mut self.hosts[host].node else {
            // Nobody listens there.
            self.within(WAY_US, Event::Answer { op, outcome: Outcome::Refused });
            return;
        };
        match asked.ask {
            Ask::Write | Ask::Swap { .. } => node.propose(entry_of(&asked), Done::new(Arc::new(answers), op)),
            Ask::Read => node.barrier(Done::new(Arc::new(Reader { answers, view, key: asked.key }), op)),
        }
        self.poke(host);
    }

    /// Sends the answers that nodes have given to their clients.
    pub(crate) fn take_answers(&mut self) {
        for (op, answer) in self.answers.take() {
            let host = self.asked_of[op as usize - 1];
            let is_busy = answer.as_ref().is_err_and(|cause| cause.class == Class::Busy);
            self.probes.sometimes(Probe::DiskFull, is_busy && self.hosts[host].is_full);
            let outcome = answer.unwrap_or_else(|cause| match cause.class {
                Class::Busy | Class::Unavailable { .. } | Class::Moved | Class::Conflict => Outcome::Refused,
                Class::Uncertain { .. } => Outcome::Unknown,
                _ => {
                    self.violated(format!(
                        "operation {op} was answered with an error that nobody caused: {cause}"
                    ));
                    Outcome::Unknown
                }
            });
            self.within(WAY_US, Event::Answer { op, outcome });
        }
    }

    /// A client learns the outcome of an operation, or gives up waiting for it.
    pub(crate) fn answered(&mut self, op: OpId, outcome: Outcome) {
        let asked = &mut self.history[op as usize - 1];
        let client = asked.client as usize;
        if self.clients[client].current != Some(op) {
            return;
        }
        (asked.answered, asked.outcome) = (self.moment, outcome);
        let asked = *asked;
        self.clients[client].current = None;
        let host = self.asked_of[op as usize - 1];
        let numbers = match outcome {
            Outcome::Told(told) => [op, 0, told.index, told.version],
            Outcome::Refused => [op, 1, 0, 0],
            Outcome::Unknown => [op, 2, 0, 0],
        };
        self.trace.note(self.now_us, "answer", &numbers, || match outcome {
            Outcome::Told(told) => format!(
                "client {client} hears of node {}: operation {op} {} version {}, value {} (entry {})",
                host + 1,
                if told.wrote { "made" } else { "found" },
                told.version,
                told.value,
                told.index
            ),
            Outcome::Refused => format!("client {client} was refused operation {op} by node {}", host + 1),
            Outcome::Unknown => format!("client {client} does not know what became of operation {op}"),
        });
        match outcome {
            Outcome::Told(told) => {
                self.clients[client].version = told.version;
                self.probes.sometimes(Probe::WriteAnswered, told.wrote);
                self.probes.sometimes(Probe::ReadAnswered, asked.ask == Ask::Read);
                self.probes.sometimes(Probe::SwapLost, !told.wrote && asked.ask != Ask::Read);
            }
            Outcome::Refused | Outcome::Unknown => {
                self.probes.sometimes(Probe::Refused, outcome == Outcome::Refused);
                self.probes.sometimes(Probe::OutcomeUnknown, outcome == Outcome::Unknown);
            }
        }
        if !matches!(outcome, Outcome::Told(_)) || self.entropy.below(8) == 0 {
            let there = self.live();
            if !there.is_empty() {
                self.clients[client].host = there[self.entropy.below(there.len() as u64) as usize];
            }
        }
        // Who is refused does not come back at once.
        let pause_us = if outcome == Outcome::Refused { REFUSED_PAUSE_US } else { 0 };
        let think_us = 1 + self.entropy.below(self.plan.think_us);
        self.after(pause_us + think_us, Event::Ask { client });
    }
}
