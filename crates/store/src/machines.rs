//! Machines: small deterministic state machines, each with one total order.
//!
//! A door implements [`Machine`] for its protocol's state; the binary hands it to the spine, which
//! drives it through a Raft group without knowing what it is.

use base::{Cause, GroupId};
use bytes::Bytes;

use crate::{Done, Permit};

/// A replicated state machine. `apply` is a pure function of the state and the entry: the time,
/// random numbers and limits of the moment travel inside the entry, put there by the proposer.
pub trait Machine: Send {
    /// Applies the entry at `index` and returns its result, which the proposer gets.
    ///
    /// Entries come in order, each once; after a restart, those since the last snapshot come
    /// again, to the restored state. An entry that cannot be carried out is a result, not a
    /// failure: every replica must agree that it could not.
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes;

    /// Writes the whole state, in chunks of at most 1 MiB.
    fn snapshot(&self, out: &mut dyn FnMut(&[u8]));

    /// Replaces the state by what [`Machine::snapshot`] wrote, given as one slice.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Cause>;

    /// Bytes of memory the state takes, roughly: what the memory budget counts.
    fn weight(&self) -> usize;
}

/// An entry on its way to a Machine.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// What [`Machine::apply`] will get.
    pub entry: Bytes,
    /// Whether it leaves the state no larger than it is. Such an entry is admitted when memory is
    /// used up: it is the way out of that, and the locks of the dead must pass on.
    pub frees: bool,
}

impl From<Bytes> for Proposal {
    /// An entry that may make the state larger.
    fn from(entry: Bytes) -> Proposal {
        Proposal { entry, frees: false }
    }
}

/// The primitive.
pub trait Machines: Send + Sync {
    /// Proposes an entry; answered with the result of [`Machine::apply`] once it is durable and
    /// applied. Needs `Write` on the Machine.
    ///
    /// Proposals of one thread are applied in the order of the calls. The answer of each entry is
    /// delivered *before the next entry is applied*, on the thread that applied it, so a door that
    /// turns results and side effects into bytes in these two places has them in log order.
    ///
    /// Refused with `Busy` when too much is in flight or memory is short: then nothing was done.
    fn propose(&self, permit: Permit, group: GroupId, proposal: Proposal, done: Done<Bytes>);

    /// Answers when the local state includes every entry acknowledged before the call: reads of
    /// it after that are linearizable. Needs `Read` on the Machine.
    fn barrier(&self, permit: Permit, group: GroupId, done: Done<()>);
}
