//! The acceptor: the memory of one replica for one partition.
//!
//! Its whole state is three things, and each request changes them by a rule of a few lines. What
//! makes it hard is the disk: a reply must not leave before the state it tells of is durable.
//! [`Acceptor::handle`] therefore gives the reply out in a [`Held`] box together with the
//! [`Record`] to write; only [`Acceptor::synced`] makes the [`Synced`] token that opens it.

use bytes::Bytes;

use crate::paxos::{Ballot, Reply, Request, Verdict, Vote};

/// One replica's state of one partition's Paxos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptor {
    /// The highest ballot promised.
    pub(super) promised: Ballot,
    /// The decree accepted under the highest ballot, if that is above `committed`.
    pub(super) accepted: Option<Vote>,
    /// The newest commit known.
    pub(super) committed: Option<Vote>,
    /// Counts changes.
    version: u64,
    /// The newest version known to be on disk.
    synced: u64,
}

/// What must be on disk, in one atomic write, before a reply may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The acceptor's state ([`Acceptor::decode`] reads it), replacing the one before.
    pub state: Vec<u8>,
    /// The mutation of a commit, to be applied to the table. It may have been applied before.
    pub apply: Option<Bytes>,
}

/// A reply, free or held.
#[derive(Debug)]
pub enum Answer {
    /// It tells of nothing that is not on disk.
    Now(Reply),
    /// To be sent when its record is on disk. Records of one acceptor are to be written in order.
    Held(Held),
}

/// A reply that waits for the disk.
#[derive(Debug)]
pub struct Held {
    reply: Reply,
    version: u64,
    record: Record,
}

impl Held {
    /// What to write.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The version of the state in the record, for [`Acceptor::synced`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The reply, against the proof that its record is on disk.
    pub fn release(self, proof: Synced) -> Reply {
        assert!(proof.0 >= self.version, "a reply was released against the proof of an older record");
        self.reply
    }
}

/// Proof that an acceptor's state up to a version is on disk.
#[derive(Clone, Copy, Debug)]
pub struct Synced(u64);

impl Acceptor {
    /// An acceptor that never heard of the partition.
    pub fn new() -> Acceptor {
        Acceptor::default()
    }

    /// An acceptor as it was read from disk.
    pub(super) fn restored(promised: Ballot, accepted: Option<Vote>, committed: Option<Vote>) -> Acceptor {
        Acceptor { promised, accepted, committed, version: 0, synced: 0 }
    }

    /// The newest commit known.
    pub fn committed(&self) -> Option<&Vote> {
        self.committed.as_ref()
    }

    /// The decree accepted and not known to be committed.
    pub fn in_progress(&self) -> Option<&Vote> {
        self.accepted.as_ref()
    }

    /// Declares that the record of `version` (and so every earlier one) is on disk. To be called by
    /// whoever heard it from the log, and by nobody else.
    pub fn synced(&mut self, version: u64) -> Synced {
        self.synced = self.synced.max(version);
        Synced(self.synced)
    }

    /// Answers a request, as a member of the electorate numbered `epoch`.
    pub fn handle(&mut self, request: Request, epoch: u64) -> Answer {
        let ballot = request.ballot();
        let (verdict, apply, changed) = match request {
            Request::Prepare { epoch: asked, .. } | Request::Accept { epoch: asked, .. }
                if asked != epoch =>
            {
                (Verdict::Moved { epoch }, None, false)
            }
            Request::Prepare { .. } => self.prepare(ballot),
            Request::Accept { vote, .. } => self.accept(vote),
            Request::Commit { vote, keep } => self.commit(vote, keep),
        };
        self.version += u64::from(changed);
        let reply = Reply { ballot, verdict };
        // Even a refusal tells of the promise that it refuses by, so it waits for that as well.
        if self.version == self.synced && apply.is_none() {
            return Answer::Now(reply);
        }
        Answer::Held(Held { reply, version: self.version, record: Record { state: self.encode(), apply } })
    }

    fn committed_at(&self) -> Ballot {
        self.committed.as_ref().map_or(Ballot::ZERO, |vote| vote.ballot)
    }

    fn reject(&self) -> (Verdict, Option<Bytes>, bool) {
        let accepted = self.accepted.as_ref().map_or(Ballot::ZERO, |vote| vote.ballot);
        let committed = self.committed_at();
        let (promised, seen) = (self.promised.max(committed), accepted.max(committed));
        (Verdict::Rejected { promised, seen }, None, false)
    }

    /// Phase 1. The same ballot again is the same promise again, so a repeated message does no harm.
    fn prepare(&mut self, ballot: Ballot) -> (Verdict, Option<Bytes>, bool) {
        if ballot < self.promised || ballot <= self.committed_at() {
            return self.reject();
        }
        let changed = ballot > self.promised;
        self.promised = ballot;
        let verdict =
            Verdict::Promised { accepted: self.accepted.clone(), committed: self.committed.clone() };
        (verdict, None, changed)
    }

    /// Phase 2. A commit above the ballot bars it as a promise would: the chain has gone on.
    fn accept(&mut self, vote: Vote) -> (Verdict, Option<Bytes>, bool) {
        let committed = self.committed_at();
        if vote.ballot == committed || self.accepted.as_ref().is_some_and(|had| had.ballot == vote.ballot) {
            return (Verdict::Accepted, None, false);
        }
        if vote.ballot < self.promised || vote.ballot < committed {
            return self.reject();
        }
        self.promised = vote.ballot;
        self.accepted = Some(vote);
        (Verdict::Accepted, None, true)
    }

    /// A commit older than the newest known is applied all the same: it may have been overtaken,
    /// and it may be of other columns.
    fn commit(&mut self, vote: Vote, keep: bool) -> (Verdict, Option<Bytes>, bool) {
        let known = self.committed_at();
        if vote.ballot == known {
            return (Verdict::Committed, None, false);
        }
        let apply = (!vote.decree.is_empty()).then(|| vote.decree.value.clone());
        let newer = vote.ballot > known;
        if newer {
            if self.accepted.as_ref().is_some_and(|accepted| accepted.ballot <= vote.ballot) {
                self.accepted = None;
            }
            let mut vote = vote;
            if !keep {
                vote.decree.value = Bytes::new();
            }
            self.committed = Some(vote);
        }
        (Verdict::Committed, apply, newer)
    }
}
