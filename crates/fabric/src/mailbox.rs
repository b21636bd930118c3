//! A queue with one reader at a time, which takes everything when it looks. When there will be no
//! reader any more, what is put in is dropped: that is how its sender hears of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Many writers; whoever holds the spine reads.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    items: Vec<T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox { queue: Mutex::new(Queue { items: Vec::new(), closed: false }) }
    }

    pub(crate) fn push(&self, item: T) {
        let mut queue = self.lock();
        if queue.closed {
            // Not under the lock: a drop answers somebody, who may ask again.
            drop(queue);
            drop(item);
        } else {
            queue.items.push(item);
        }
    }

    /// Nobody will read: drops what waits, and what comes.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let left = std::mem::take(&mut queue.items);
        drop(queue);
        drop(left);
    }

    /// Takes everything there is into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut self.lock().items, into);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
