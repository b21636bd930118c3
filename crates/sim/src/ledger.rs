//! What all replicas together have applied, watched while it happens.
//!
//! The first replica that applies an entry fixes what that entry is; every other, and every later
//! life of the same one, must apply the same there and come to the same state. This is the State
//! Machine Safety of the Raft paper (section 5.4.3), checked at each entry and not only at the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The ledger of a run. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// By index: the operation that was applied, and the digest of the state after it.
    entries: BTreeMap<u64, (u64, u64)>,
    violation: Option<String>,
    /// By node: the last index it applied, in any life.
    reached: BTreeMap<u64, u64>,
    restored: u64,
    again: u64,
}

impl Ledger {
    /// `node` applied operation `op` as the entry at `index`, and has that state now.
    pub(crate) fn applied(&self, node: u64, index: u64, op: u64, digest: u64) {
        let mut book = self.lock();
        let reached = book.reached.entry(node).or_default();
        let again = index <= *reached;
        *reached = (*reached).max(index);
        book.again += u64::from(again);
        match book.entries.get(&index) {
            None => {
                book.entries.insert(index, (op, digest));
            }
            Some(known) if *known == (op, digest) => {}
            Some((known, _)) => {
                let story = if *known == op { "came to another state" } else { "applied another entry" };
                let told = format!(
                    "node {node} {story} at index {index} (operation {op}) than was applied there first (operation {known})"
                );
                book.violation.get_or_insert(told);
            }
        }
    }

    /// `node` starts from this state.
    pub(crate) fn restored(&self, node: u64, index: u64, digest: u64) {
        let mut book = self.lock();
        if index == 0 {
            return;
        }
        book.restored += 1;
        if book.entries.get(&index).is_none_or(|(_, known)| *known != digest) {
            let told = format!("node {node} restored a state of entry {index} that nobody ever had");
            book.violation.get_or_insert(told);
        }
    }

    /// Something that must not be.
    pub(crate) fn violated(&self, told: String) {
        self.lock().violation.get_or_insert(told);
    }

    /// The first thing that must not be.
    pub(crate) fn first_violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// The last index that anybody applied.
    pub(crate) fn last(&self) -> u64 {
        self.lock().entries.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// How often a state was restored that was not empty, and an entry applied again by a node that had
    /// applied it in another life.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let book = self.lock();
        (book.restored, book.again)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_goes_its_own_way_is_told() {
        let ledger = Ledger::default();
        ledger.applied(1, 5, 10, 100);
        ledger.applied(2, 5, 10, 100);
        ledger.applied(2, 5, 10, 100);
        ledger.restored(2, 5, 100);
        assert_eq!((ledger.first_violation(), ledger.counts(), ledger.last()), (None, (1, 1), 5));
        for spoil in [
            |ledger: &Ledger| ledger.applied(3, 5, 11, 100),
            |ledger: &Ledger| ledger.applied(3, 5, 10, 101),
            |ledger: &Ledger| ledger.restored(3, 4, 100),
        ] {
            let ledger = Ledger::default();
            ledger.applied(1, 5, 10, 100);
            spoil(&ledger);
            assert!(ledger.first_violation().is_some_and(|told| told.contains("node 3")));
        }
    }
}
