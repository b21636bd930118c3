//! A queue with one reader that sleeps when it is empty and takes everything when it wakes.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Many writers, one reader.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    wake: Condvar,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox { queue: Mutex::new(Vec::new()), wake: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) {
        let mut queue = self.lock();
        queue.push(item);
        if queue.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Takes everything there is into `into`, which must be empty, without waiting.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// As [`Mailbox::take`], after waiting until there is something or `limit` has passed.
    pub(crate) fn wait(&self, into: &mut Vec<T>, limit: Option<Duration>) {
        let queue = self.lock();
        let mut queue = match limit {
            None => {
                self.wake.wait_while(queue, |queue| queue.is_empty()).unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let waited = self.wake.wait_timeout_while(queue, limit, |queue| queue.is_empty());
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        std::mem::swap(&mut *queue, into);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
