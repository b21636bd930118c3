//! [`Budget`]: bytes that all connections of a door may hold together.
//!
//! One counter for unfinished messages, requests in flight and unsent answers. Requests ask first
//! and are refused; answers are only counted, because what was promised has to be told, and each
//! connection's share of those is bounded by its outbox. When answers take more than there is, those
//! end who do not read and hold more than an equal share: as long as it is too much, there are some.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes to share.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    /// Connections.
    sharers: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes, all free.
    pub fn new(limit: usize) -> Budget {
        Budget { used: AtomicUsize::new(0), sharers: AtomicUsize::new(0), limit }
    }

    /// Takes `bytes` if that many are free. Whoever took gives back ([`Budget::give_back`]).
    pub fn try_take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.checked_add(bytes).is_some_and(|after| after <= self.limit);
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Counts `bytes` that exist already, free or not.
    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was taken.
    pub fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether this many bytes more would be free.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.used().checked_add(bytes).is_some_and(|after| after <= self.limit)
    }

    /// A connection has come.
    pub(crate) fn join(&self) {
        self.sharers.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has gone.
    pub(crate) fn leave(&self) {
        self.sharers.fetch_sub(1, Ordering::Relaxed);
    }

    /// An equal share of it all.
    pub(crate) fn share(&self) -> usize {
        self.limit / self.sharers.load(Ordering::Relaxed).max(1)
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether more is in use than there should be.
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let budget = Budget::new(10);
        assert!(budget.try_take(7));
        assert!(!budget.try_take(4));
        assert!(!budget.try_take(usize::MAX));
        assert_eq!(budget.used(), 7);
        budget.take(4);
        assert!(budget.is_over());
        budget.give_back(11);
        assert!(budget.try_take(10));
    }
}
