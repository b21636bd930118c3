//! Machines: small deterministic state machines, each with one total order.
//!
//! A door implements [`Machine`] for its protocol's state; the binary hands it to the spine, which
//! drives it through a Raft group without knowing what it is.

use std::sync::Arc;

use base::{Cause, GroupId, Writer};
use bytes::Bytes;

use crate::{Done, Permit};

/// A replicated state machine. `apply` is a pure function of the state and the entry: the time,
/// random numbers and limits of the moment travel inside the entry, put there by the proposer.
///
/// Its durable state is a tree of keys and values of its own ([`MachineState`]). What it keeps in
/// memory is up to it: everything, or a part.
pub trait Machine: Send {
    /// Applies the entry at `index` and returns its result, which the proposer gets; says in
    /// `changes` what that changes of the durable state. The spine writes this together with the
    /// index, so the two never part.
    ///
    /// Entries come in order, each once; after a restart, those behind the index that is durable
    /// with the state come again, to the restored state. An entry that cannot be carried out is a
    /// result, not a failure: every replica must agree that it could not.
    ///
    /// # Errors
    /// When what it needs of the durable state cannot be read. Then nothing is applied any more, and
    /// the node ends.
    fn apply(&mut self, index: u64, entry: &[u8], changes: &mut Changes) -> Result<Bytes, Cause>;

    /// Says what else the entries applied since the last call have changed. It is called after the
    /// last of the entries whose changes are written together, so what many of them change, such as
    /// a counter, need be said only once. When it is called again, the changes said before are in
    /// the durable state.
    fn settle(&mut self, changes: &mut Changes) {
        let _ = changes;
    }

    /// Takes up the durable state, before the first entry, and again whenever another replica's later
    /// state has taken its place: nothing of what was before counts then. It may be kept, to be read later;
    /// one whose place was taken fails such reads.
    fn restore(&mut self, state: Arc<dyn MachineState>) -> Result<(), Cause>;

    /// Bytes of memory the state takes, roughly: what the memory budget counts.
    fn weight(&self) -> usize;
}

/// A Machine's durable state: what the entries have changed whose changes were written.
pub trait MachineState: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8], patience: Patience) -> Result<Option<Bytes>, Unread>;

    /// The keys with `from <= key < to` (`None`: to the end) and their values, ascending, as they
    /// are now, whatever is written meanwhile. After an error it ends.
    fn scan(&self, from: &[u8], to: Option<&[u8]>, patience: Patience) -> Result<Records, Unread>;

    /// Has `job` done soon, on a thread that may wait for the disk, or tells it why not. Where there
    /// are no such threads it is done before this returns.
    fn defer(&self, job: Job);
}

/// Keys and values of a [`MachineState`].
pub type Records = Box<dyn Iterator<Item = Result<(Bytes, Bytes), Unread>> + Send>;

/// Work that is told to go on, or why it cannot.
pub type Job = Box<dyn FnOnce(Result<(), Cause>) + Send>;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// It takes what is in memory, or fails: for threads that many others wait for.
    #[default]
    Now,
    /// It waits.
    Wait,
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It would have to wait for the disk.
    NotNow,
    /// It cannot be read.
    Failed(Cause),
}

impl From<Unread> for Cause {
    fn from(unread: Unread) -> Cause {
        match unread {
            Unread::NotNow => Cause::busy("a read would have to wait for the disk"),
            Unread::Failed(cause) => cause,
        }
    }
}

/// What entries change of a Machine's durable state. Of two changes of one key the later counts.
///
/// Keys are bounded at 64 KiB and values at 8 MiB; a Machine refuses entries that would pass them.
///
/// Each key and each value is kept behind a byte of its own, [`Changes::MARK`], for whoever stores
/// them among other things: what comes to megabytes is then copied once on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<(Bytes, Option<Bytes>)>);

impl Changes {
    /// Bytes of the longest key.
    pub const MAX_KEY_BYTES: usize = 64 << 10;
    /// Bytes of the longest value.
    pub const MAX_VALUE_BYTES: usize = 8 << 20;
    /// What stands before each key and value.
    pub const MARK: u8 = 1;

    /// A key behind its mark.
    pub fn marked(key: &[u8]) -> Bytes {
        [&[Changes::MARK], key].concat().into()
    }

    /// No changes.
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Gives `key` this value.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.put_with(key, value.len(), |out| out.raw(value));
    }

    /// Gives `key` the value that `write` appends, of about so many bytes.
    pub fn put_with(&mut self, key: impl AsRef<[u8]>, bytes: usize, write: impl FnOnce(&mut Writer)) {
        let mut out = Writer::with_capacity(1 + bytes);
        out.u8(Changes::MARK);
        write(&mut out);
        self.0.push((Changes::marked(key.as_ref()), Some(out.into_vec().into())));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.0.push((Changes::marked(key.as_ref()), None));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes in the order in which they were made; `None` removes the key. None are left.
    pub fn drain(&mut self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        self.drain_marked().map(|(key, value)| (key.slice(1..), value.map(|value| value.slice(1..))))
    }

    /// [`Changes::drain`], with the mark before each key and value.
    pub fn drain_marked(&mut self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        self.0.drain(..)
    }
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
