//! A queue with one reader at a time, which takes everything when it looks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Many writers; whoever holds the spine reads.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox { queue: Mutex::new(Vec::new()) }
    }

    pub(crate) fn push(&self, item: T) {
        self.lock().push(item);
    }

    /// Takes everything there is into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
