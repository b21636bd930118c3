//! What a proposer is told, what it asks for, and what comes of it.

use base::{Cause, NodeId};
use bytes::Bytes;

use crate::{
    paxos::{Ballot, Reply, Request},
    replicas::Replicas,
};

/// What a proposer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A conditional write.
    Write,
    /// A linearizable read.
    Read,
}

/// A proposer's orders.
#[derive(Clone, Debug)]
pub struct Plan {
    /// All acceptors of the partition, and which are alive.
    pub electorate: Replicas,
    /// The number of this electorate.
    pub epoch: u64,
    /// Write or read.
    pub kind: Kind,
    /// Acceptors that must have applied the write before it is answered; 0 does not wait.
    pub commit_required: u32,
    /// Ballots to try before giving up, at least 1.
    pub attempts: u32,
    /// Seed of the jitter between attempts.
    pub seed: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Input<R> {
    /// An acceptor answered.
    Reply {
        /// The acceptor.
        from: NodeId,
        /// Its answer.
        reply: Reply,
    },
    /// An acceptor will not answer the request with this ballot; whether it got it is unknown.
    Lost {
        /// The acceptor.
        from: NodeId,
        /// The request's ballot.
        ballot: Ballot,
    },
    /// The rows asked for by [`Effect::Read`].
    Rows(R),
    /// The rows could not be read.
    ReadFailed(Cause),
    /// The answer to [`Effect::Decide`]: the mutation to propose, or `None` if the condition is not
    /// met (an empty mutation counts as none).
    Decided {
        /// The rows it was made from.
        rows: R,
        /// The decision.
        verdict: Result<Option<Bytes>, Cause>,
    },
    /// The time asked for by [`Effect::WakeAt`] has come; here is the next ballot.
    Wake(Ballot),
    /// Time is up for the whole operation.
    Timeout,
}

/// What to do.
#[derive(Debug)]
pub enum Effect<R> {
    /// Send to an acceptor.
    Send {
        /// The acceptor.
        to: NodeId,
        /// What it is asked.
        request: Request,
    },
    /// Read the rows that the condition looks at from a majority, and input them.
    Read,
    /// Decide from the rows, and input the decision.
    Decide {
        /// The timestamp of the mutation, in microseconds: above those of all earlier ones. (If a
        /// higher ballot has overtaken this one, the rows may hold a later one; the proposal will
        /// be refused then.)
        timestamp: i64,
        /// The rows as they stand.
        rows: R,
    },
    /// Input a ballot above `above` ([`Ballot::above`]) after a while.
    WakeAt {
        /// How long to wait, in microseconds; may be 0.
        delay_us: u64,
        /// What the next ballot must exceed.
        above: Ballot,
    },
    /// Answer. The last effect.
    Finish(Outcome<R>),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// The write is chosen, and applied at as many acceptors as were required.
    Applied {
        /// The rows it was decided from.
        rows: R,
    },
    /// The condition was not met; nothing was or will be written.
    NotMet {
        /// The rows it was decided from.
        rows: R,
    },
    /// The rows of a read.
    Read {
        /// The rows.
        rows: R,
    },
    /// The write may or may not have happened, and may still happen.
    Uncertain {
        /// Acceptors that confirmed the last step.
        received: u32,
        /// Acceptors it needed.
        required: u32,
    },
    /// Others kept coming between; nothing was done.
    Contended,
    /// Too few acceptors answered; nothing was done.
    Unanswered {
        /// Acceptors that confirmed the last step.
        received: u32,
        /// Acceptors it needed.
        required: u32,
    },
    /// The electorate is another by now; nothing was done.
    Moved,
    /// The rows could not be read, or the decision failed; nothing was done.
    Refused(Cause),
}
