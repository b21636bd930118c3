//! The rows of a partition, in clustering order.
//!
//! Most partitions hold one row (tables without clustering columns), for which a B-tree would
//! allocate a node of eleven. So a few rows live in a sorted vector, many in a B-tree.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    ops::Bound,
    slice,
};

use base::{Cell, ColumnId};
use bytes::Bytes;

use super::weight::{self, Meter};

/// More rows than this are kept in a B-tree.
const FEW: usize = 8;

/// A row: cells by column, each younger than every deletion that covers it. Never empty.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Ascending by column.
    pub(crate) cells: Vec<(ColumnId, Cell)>,
}

impl Row {
    /// Whether a reader at `now_seconds` sees the row.
    pub(crate) fn is_live(&self, now_seconds: u32) -> bool {
        self.cells.iter().any(|(_, cell)| cell.is_live(now_seconds))
    }

    /// Merges one cell, which no deletion shadows. The value is copied, so that a small value does
    /// not keep the network buffer it came in.
    pub(crate) fn merge(&mut self, column: ColumnId, cell: &Cell, meter: &mut Meter) {
        let owned = || Cell { value: cell.value.as_deref().map(Bytes::copy_from_slice), ..*cell };
        match self.cells.binary_search_by_key(&column, |(column, _)| *column) {
            Ok(at) => {
                let stored = &mut self.cells[at].1;
                if cell.supersedes(stored) {
                    meter.sub(weight::cell(stored));
                    meter.add(weight::cell(cell));
                    *stored = owned();
                }
            }
            Err(at) => {
                meter.add(weight::cell(cell));
                self.cells.reserve_exact(1);
                self.cells.insert(at, (column, owned()));
            }
        }
    }

    /// Frees the cells that a deletion at `timestamp` shadows.
    pub(crate) fn shadow(&mut self, timestamp: i64, meter: &mut Meter) {
        let before = self.cells.len();
        self.cells.retain(|(_, cell)| {
            let stands = cell.timestamp > timestamp;
            if !stands {
                meter.sub(weight::cell(cell));
            }
            stands
        });
        if self.cells.len() < before {
            self.cells.shrink_to_fit();
        }
    }
}

/// Rows by clustering key.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Sorted by clustering key.
    Few(Vec<(Bytes, Row)>),
    /// The same, for more of them.
    Many(BTreeMap<Bytes, Row>),
}

impl Rows {
    pub(crate) fn new() -> Rows {
        Rows::Few(Vec::new())
    }

    /// The row, made if it is not there; the caller gives it a cell.
    pub(crate) fn get_or_insert(&mut self, clustering: &Bytes, meter: &mut Meter) -> &mut Row {
        if let Rows::Few(rows) = self
            && rows.len() == FEW
            && rows.binary_search_by(|(key, _)| key.cmp(clustering)).is_err()
        {
            *self = Rows::Many(std::mem::take(rows).into_iter().collect());
        }
        let mut made = || {
            let key = Bytes::copy_from_slice(clustering);
            meter.add(weight::row(&key));
            meter.rows += 1;
            key
        };
        match self {
            Rows::Few(rows) => {
                let at = match rows.binary_search_by(|(key, _)| key.cmp(clustering)) {
                    Ok(at) => at,
                    Err(at) => {
                        rows.reserve_exact(1);
                        rows.insert(at, (made(), Row::default()));
                        at
                    }
                };
                &mut rows[at].1
            }
            // The usual case of an update finds the row without copying its key.
            Rows::Many(rows) => {
                if !rows.contains_key(clustering) {
                    rows.insert(made(), Row::default());
                }
                rows.get_mut(clustering).expect("the row was just found or made")
            }
        }
    }

    /// Applies a deletion at `timestamp` of the rows between two bounds: frees what it shadows, and
    /// the rows of which nothing is left.
    pub(crate) fn shadow(&mut self, from: &[u8], to: Option<&[u8]>, timestamp: i64, meter: &mut Meter) {
        let shadow = |key: &Bytes, row: &mut Row, meter: &mut Meter| {
            row.shadow(timestamp, meter);
            if row.cells.is_empty() {
                meter.sub(weight::row(key));
                meter.rows -= 1;
            }
            row.cells.is_empty()
        };
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        match self {
            Rows::Few(rows) => {
                rows.retain_mut(|(key, row)| {
                    let covered = key.as_ref() >= from && to.is_none_or(|to| key.as_ref() < to);
                    !(covered && shadow(key, row, meter))
                });
                rows.shrink_to_fit();
            }
            Rows::Many(rows) if from.is_empty() && to.is_none() => {
                rows.retain(|key, row| !shadow(key, row, meter));
            }
            Rows::Many(rows) => {
                let mut void = Vec::new();
                for (key, row) in rows.range_mut::<[u8], _>((Bound::Included(from), upper)) {
                    if shadow(key, row, meter) {
                        void.push(key.clone());
                    }
                }
                for key in void {
                    rows.remove(&key);
                }
            }
        }
    }

    /// The rows between two bounds, from either end; none if the bounds cross.
    pub(crate) fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range<'_> {
        if cross(lower, upper) {
            return Range::Few([].iter());
        }
        match self {
            Rows::Few(rows) => {
                let first = match lower {
                    Bound::Unbounded => 0,
                    Bound::Included(key) => rows.partition_point(|(at, _)| at.as_ref() < key),
                    Bound::Excluded(key) => rows.partition_point(|(at, _)| at.as_ref() <= key),
                };
                let end = match upper {
                    Bound::Unbounded => rows.len(),
                    Bound::Included(key) => rows.partition_point(|(at, _)| at.as_ref() <= key),
                    Bound::Excluded(key) => rows.partition_point(|(at, _)| at.as_ref() < key),
                };
                Range::Few(rows[first..end.max(first)].iter())
            }
            Rows::Many(rows) => Range::Many(rows.range::<[u8], _>((lower, upper))),
        }
    }
}

/// Whether nothing can lie between the bounds; `BTreeMap::range` panics on some of these.
fn cross(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> bool {
    let (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) =
        (lower, upper)
    else {
        return false;
    };
    match low.cmp(high) {
        Ordering::Less => false,
        Ordering::Equal => !matches!((lower, upper), (Bound::Included(_), Bound::Included(_))),
        Ordering::Greater => true,
    }
}

/// Rows of a range.
pub(crate) enum Range<'a> {
    /// Of a vector.
    Few(slice::Iter<'a, (Bytes, Row)>),
    /// Of a B-tree.
    Many(btree_map::Range<'a, Bytes, Row>),
}

impl<'a> Iterator for Range<'a> {
    type Item = (&'a Bytes, &'a Row);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Range::Few(rows) => rows.next().map(|(key, row)| (key, row)),
            Range::Many(rows) => rows.next(),
        }
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Range::Few(rows) => rows.next_back().map(|(key, row)| (key, row)),
            Range::Many(rows) => rows.next_back(),
        }
    }
}
