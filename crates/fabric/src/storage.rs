//! What the Raft core reads back: entries that may still be asked for, in memory.
//!
//! The log on disk is the truth and is only read at start. What every member has, and what is too much to
//! be kept for those who lag behind, is let go of (see [`crate::group`]); to the core that looks like
//! entries under a snapshot.

use std::{cell::Cell, collections::VecDeque};

use raft::{
    GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot},
};

/// One group's Raft state.
#[derive(Debug, Default)]
pub(crate) struct GroupStorage {
    pub(crate) hard_state: HardState,
    pub(crate) conf_state: ConfState,
    /// Index and term of the last entry that was let go of; zeros before the first.
    pub(crate) snapshot_index: u64,
    pub(crate) snapshot_term: u64,
    /// Dense, from `snapshot_index + 1`.
    entries: VecDeque<Entry>,
    /// Bytes of the entries, roughly.
    bytes: usize,
    /// What the core may send to those who lag behind the entries: the id of a cut (see
    /// [`crate::snapshot`]).
    pub(crate) offer: Option<Snapshot>,
    /// The core asked for one that was not there.
    pub(crate) wants_offer: Cell<bool>,
}

impl GroupStorage {
    /// Adds entries, replacing those from the first new index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.snapshot_index,
            "an entry that was let go of is committed and cannot change"
        );
        assert!(first.index <= self.last() + 1, "entries are dense");
        while self.last() >= first.index
            && let Some(replaced) = self.entries.pop_back()
        {
            self.bytes -= weight(&replaced);
        }
        self.bytes += entries.iter().map(weight).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets entries up to `index`, which is of `term`.
    pub(crate) fn compact(&mut self, index: u64, term: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= index) {
            self.bytes -= weight(&entry);
        }
        self.snapshot_index = index;
        self.snapshot_term = term;
    }

    /// Forgets entries up to `index`, if it has them.
    pub(crate) fn forget(&mut self, index: u64) {
        if let Some(term) = self.get(index).map(|entry| entry.term) {
            self.compact(index, term);
        }
    }

    /// Forgets everything; the next entry is the one behind `index`, which is of `term`.
    pub(crate) fn restart_at(&mut self, index: u64, term: u64) {
        self.entries.clear();
        self.bytes = 0;
        self.compact(index, term);
    }

    /// Whether one of the entries `from` to `to` changes members.
    pub(crate) fn changes_members(&self, from: u64, to: u64) -> bool {
        (from..=to)
            .filter_map(|index| self.get(index))
            .any(|entry| entry.entry_type != EntryType::EntryNormal)
    }

    /// How many entries it has, and about how many bytes they are.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// The index of the first entry it has, or of the next one.
    pub(crate) fn first(&self) -> u64 {
        self.snapshot_index + 1
    }

    /// The index of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.snapshot_index + self.entries.len() as u64
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.snapshot_index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

/// Bytes that an entry takes, roughly.
fn weight(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + size_of::<Entry>()
}

impl Storage for GroupStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.snapshot_index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let within = (low..high).map_while(|index| self.get(index)).take_while(|entry| {
            let first = size == 0;
            size += entry.data.len() as u64 + 16;
            first || size <= limit
        });
        Ok(within.cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.snapshot_index {
            return Ok(self.snapshot_term);
        }
        if index < self.snapshot_index {
            return Err(StorageError::Compacted.into());
        }
        self.get(index).map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.snapshot_index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Asked for by a leader whose follower lags behind the log. The core treats an error as "later".
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let fits = |offer: &&Snapshot| {
            let index = offer.get_metadata().index;
            index >= request_index && index >= self.snapshot_index
        };
        match self.offer.as_ref().filter(fits) {
            Some(offer) => Ok(offer.clone()),
            None => {
                self.wants_offer.set(true);
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, ..Entry::default() }
    }

    #[test]
    fn appending_replaces_a_conflicting_tail_and_compaction_keeps_the_term() {
        let mut storage = GroupStorage::default();
        storage.append(&[entry(1, 1), entry(2, 1), entry(3, 1)]);
        storage.append(&[entry(2, 2)]);
        assert_eq!(storage.last(), 2);
        assert_eq!(storage.term(2), Ok(2));
        storage.compact(2, 2);
        assert_eq!((storage.first_index(), storage.last_index()), (Ok(3), Ok(2)));
        assert_eq!(storage.term(2), Ok(2));
        assert!(storage.term(1).is_err());
        storage.append(&[entry(3, 2)]);
        let read = storage.entries(3, 4, None, GetEntriesContext::empty(false)).expect("present");
        assert_eq!(read, [entry(3, 2)]);
    }
}
