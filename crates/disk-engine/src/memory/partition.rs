//! One partition: its deletions, its rows, and how a change is merged into them.

use base::{Bound, Change, NO_TIMESTAMP};
use bytes::Bytes;

use super::{
    rows::Rows,
    steps::Steps,
    weight::{self, Meter},
};

/// A partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// The serialized partition key.
    pub(crate) key: Bytes,
    /// Deletes everything at or before it; [`NO_TIMESTAMP`] if the partition was never deleted.
    pub(crate) deleted_at: i64,
    /// Deletions of rows and ranges of rows, each step above `deleted_at`. Rare, hence boxed.
    pub(crate) ranges: Option<Box<Steps>>,
    /// Rows that have cells.
    pub(crate) rows: Rows,
    /// The next partition with the same token, by key. Two keys with one 64-bit token are rarer
    /// than rare, but they exist.
    pub(crate) next: Option<Box<Partition>>,
}

impl Partition {
    pub(crate) fn new(key: &[u8]) -> Partition {
        Partition {
            key: Bytes::copy_from_slice(key),
            deleted_at: NO_TIMESTAMP,
            ranges: None,
            rows: Rows::new(),
            next: None,
        }
    }

    /// What it costs without rows and deletions.
    pub(crate) fn weight(&self) -> usize {
        weight::tree_entry(size_of::<(i64, Partition)>()) + weight::owned_bytes(self.key.len())
    }

    /// The latest deletion that covers `clustering`.
    fn floor(&self, clustering: &[u8]) -> i64 {
        self.ranges.as_ref().map_or(NO_TIMESTAMP, |ranges| ranges.at(clustering)).max(self.deleted_at)
    }

    /// Merges one change.
    pub(crate) fn apply(&mut self, change: &Change, meter: &mut Meter) {
        match change {
            Change::Row { clustering, cells } => {
                let floor = self.floor(clustering);
                let mut standing = cells.iter().filter(|(_, cell)| cell.timestamp > floor).peekable();
                if standing.peek().is_none() {
                    return;
                }
                let row = self.rows.get_or_insert(clustering, meter);
                if row.cells.is_empty() {
                    row.cells.reserve_exact(cells.len());
                }
                for (column, cell) in standing {
                    row.merge(*column, cell, meter);
                }
            }
            Change::DeleteRows { from, to, timestamp } => self.delete_rows(from, to, *timestamp, meter),
            Change::DeletePartition { timestamp } => {
                if *timestamp <= self.deleted_at {
                    return;
                }
                self.deleted_at = *timestamp;
                if let Some(ranges) = &mut self.ranges {
                    ranges.prune(*timestamp, meter);
                    self.drop_empty_ranges();
                }
                self.rows.shadow(&[], None, *timestamp, meter);
            }
        }
    }

    fn delete_rows(&mut self, from: &Bytes, to: &Bound, timestamp: i64, meter: &mut Meter) {
        let empty = to.as_ref().is_some_and(|to| to <= from);
        if empty || timestamp <= self.deleted_at {
            return;
        }
        self.ranges.get_or_insert_default().raise(from, to.as_deref(), timestamp, meter);
        self.rows.shadow(from, to.as_deref(), timestamp, meter);
    }

    fn drop_empty_ranges(&mut self) {
        if self.ranges.as_ref().is_some_and(|ranges| ranges.is_empty()) {
            self.ranges = None;
        }
    }
}
