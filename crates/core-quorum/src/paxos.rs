//! Paxos for one partition: a chain of conditional writes, each decided by a majority of replicas.
//!
//! **The idea** (Lamport, "Paxos Made Simple", 2001, sections 2.2 and 2.3). A proposer takes a
//! [`Ballot`] nobody has used and asks the replicas, here *acceptors*, to promise that they will
//! accept nothing with a lower one (*prepare*, phase 1). With a promise comes the newest decree
//! the acceptor has accepted. If a majority promised, the proposer asks them to accept a decree
//! (*accept*, phase 2): the newest they told of, since that may have been chosen already, or one of
//! its own if they told of none. A decree accepted by a majority under one ballot is *chosen*. As
//! any two majorities share an acceptor, whoever prepares later sees it and can only choose it again.
//!
//! **A chain instead of one decree** (Cassandra's lightweight transactions, CEP-14 "Paxos
//! Improvements", known as Paxos v2). When a decree is chosen its mutation is *committed*: applied to
//! the table and told to every replica together with its ballot. An acceptor forgets accepted
//! decrees at or below the newest commit it knows, which frees the way for the next. One conditional
//! write is, see [`Proposer`]:
//!
//! ```text
//! prepare --> finish the newest accepted decree of somebody else, if one is uncommitted; prepare anew
//!         --> make the newest commit known to a majority, if it is not
//!         --> read the rows at quorum --> decide --> accept --> commit --> answer
//! ```
//!
//! A read that must be linearizable is the same with an empty decree (or none, see [`Kind::Read`]).
//!
//! **Persist before send** (section 2.5 of the paper: an acceptor that forgets a promise breaks the
//! argument). An [`Acceptor`] answers with [`Answer::Held`]: a reply that comes out only against a
//! token that says its record is on disk.
//!
//! **The electorate may change.** Who the replicas are is numbered by an epoch that prepare and
//! accept carry; an acceptor of another epoch refuses, so that two majorities of different sets
//! never decide one ballot each.
//!
//! **Truth about outcomes.** Once an accept was sent, a proposer that stops can't know whether
//! somebody else will finish its decree. [`Outcome`] says *uncertain* then, unless there is proof;
//! a decree carries its `origin` (the ballot it was decided under, kept when others finish it) and
//! its `base` (the commit it was decided upon), which is what the proofs in `proposer.rs` live on.
//!
//! Left out, and what it would save: the read travelling with the prepare (one round trip, CEP-14
//! section "combined prepare and read"); linearizable reads in one round trip when a majority agrees
//! on the newest commit (read promises); a leader that skips prepare (Multi-Paxos); the background
//! repair that finishes rounds before the ring changes and lets old states be dropped.

mod acceptor;
mod codec;
mod orders;
mod proposer;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod story;

use base::{Hlc, NodeId};
use bytes::Bytes;

pub use acceptor::{Acceptor, Answer, Held, Record, Synced};
pub use orders::{Effect, Input, Kind, Outcome, Plan};
pub use proposer::Proposer;

/// A proposal number: totally ordered, and used by one proposer once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ballot {
    /// Orders first.
    pub time: Hlc,
    /// Whose it is; orders second.
    pub node: NodeId,
}

impl Ballot {
    /// Below every ballot that is used.
    pub const ZERO: Ballot = Ballot { time: Hlc(0), node: NodeId(0) };

    /// Its time in microseconds since 1970: the timestamp of the cells it writes.
    pub fn micros(self) -> i64 {
        self.time.0 as i64
    }

    /// A ballot of `node` at `now`, or as soon after it as is needed to be later than `floor` (not
    /// just above it by the node's number): so ordered ballots write ordered timestamps. `now` must
    /// be a value that the node's clock never gave before; if the result is later, the clock must
    /// be advanced to it.
    pub fn above(floor: Ballot, now: Hlc, node: NodeId) -> Ballot {
        Ballot { time: now.max(Hlc(floor.time.0 + 1)), node }
    }
}

/// What is decided: the bytes of a mutation, or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decree {
    /// The ballot it was decided under first. Whoever finishes it under another keeps this.
    pub origin: Ballot,
    /// The newest commit its proposer had seen: what it was decided upon.
    pub base: Ballot,
    /// The mutation; empty decides nothing, it only bars older decrees.
    pub value: Bytes,
}

impl Decree {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// A decree under a ballot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The ballot.
    pub ballot: Ballot,
    /// The decree.
    pub decree: Decree,
}

/// What a proposer asks of an acceptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Promise to accept nothing below this ballot.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// The electorate's epoch.
        epoch: u64,
    },
    /// Accept this decree, unless a higher ballot was promised.
    Accept {
        /// The decree and its ballot.
        vote: Vote,
        /// The electorate's epoch.
        epoch: u64,
    },
    /// This was chosen: apply it.
    Commit {
        /// The decree and its ballot.
        vote: Vote,
        /// Whether to keep the mutation's bytes to pass them on. Not needed where there is no other
        /// acceptor who might lack it.
        keep: bool,
    },
}

impl Request {
    /// The ballot it is about, which its reply names.
    pub fn ballot(&self) -> Ballot {
        match self {
            Request::Prepare { ballot, .. } => *ballot,
            Request::Accept { vote, .. } | Request::Commit { vote, .. } => vote.ballot,
        }
    }
}

/// An acceptor's answer to the request with the same ballot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The request's ballot.
    pub ballot: Ballot,
    /// The answer.
    pub verdict: Verdict,
}

/// What an acceptor answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Promised.
    Promised {
        /// What it accepted last, unless a commit at or above that is known.
        accepted: Option<Vote>,
        /// The newest commit it knows.
        committed: Option<Vote>,
    },
    /// Accepted.
    Accepted,
    /// Applied, and on disk.
    Committed,
    /// A higher ballot was promised or committed.
    Rejected {
        /// That ballot.
        promised: Ballot,
        /// The highest ballot under which it ever accepted or committed anything: if that is below
        /// the request's, it never accepted the request and never will.
        seen: Ballot,
    },
    /// The electorate is another by now.
    Moved {
        /// The epoch here.
        epoch: u64,
    },
}
