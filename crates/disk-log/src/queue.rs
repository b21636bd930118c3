//! [`Queue`]: what waits for the log, between those who append and the one who writes.

use std::{
    collections::BTreeMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
};

use base::{Cause, Position, StreamId};

use crate::{Durable, LogStats};

/// What callers and the owner of the log share.
pub(crate) struct Shared {
    pub(crate) queue: Mutex<Queue>,
    /// Rung when the thread sleeps and there is something to do.
    pub(crate) bell: Condvar,
    /// Appends waiting: what the thread can look at without the lock.
    pub(crate) waiting: AtomicUsize,
}

pub(crate) struct Queue {
    /// Records, as they will stand in the log.
    pub(crate) body: Vec<u8>,
    pub(crate) appends: Vec<Append>,
    pub(crate) trims: BTreeMap<StreamId, Position>,
    /// The position of the next record accepted.
    pub(crate) next: Position,
    /// Bytes accepted and not yet written, including the batch in the writer's hands.
    pub(crate) unwritten: u64,
    /// Bytes the log has room for, as of its last batch.
    pub(crate) room: u64,
    pub(crate) stats: LogStats,
    /// How many appends the thread sleeps for, 0 for anything to do; `None` while it is awake.
    pub(crate) asleep: Option<usize>,
    pub(crate) closing: bool,
    /// Why nothing is accepted any more.
    pub(crate) ended: Option<Cause>,
}

/// The records of one call: they stay in one batch.
pub(crate) struct Append {
    pub(crate) bytes: usize,
    pub(crate) records: u32,
    pub(crate) done: Box<dyn Durable>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Wakes the thread if it sleeps and has what it sleeps for.
    pub(crate) fn ring(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.asleep.is_some_and(|wanted| queue.appends.len() >= wanted || queue.closing) {
            queue.asleep = None;
            drop(queue);
            self.bell.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closing = true;
        self.ring(queue);
    }
}

/// Plain values are behind these locks, whole between any two statements that could panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
