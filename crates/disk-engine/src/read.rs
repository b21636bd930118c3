//! What a read asks of an engine; what it finds is a [`base::Page`], or all that is known.

use base::{ColumnId, Mutation, Place, Selection, Slice, TableId};
use bytes::Bytes;

/// A read.
#[derive(Clone, Debug)]
pub struct ReadSpec {
    /// The table.
    pub table: TableId,
    /// Which rows.
    pub selection: Selection,
    /// Where the page before this one ended. Only its position counts: it need not name a row or
    /// partition that is (still) there, nor one within the selection.
    pub after: Option<Place>,
    /// Columns to return; `None` is all. Whether a row exists does not depend on it.
    pub columns: Option<Vec<ColumnId>>,
    /// At most this many rows are returned; 0 counts as 1, so that every page gets on.
    pub limit_rows: usize,
    /// No further row is added once the rows returned hold this many bytes (keys and values, and
    /// 16 a cell); the first row is returned whatever its size.
    pub limit_bytes: usize,
    /// The page ends once this many rows, dead or alive, were looked at (a partition without rows
    /// counts as one); 0 counts as 1. This bounds how long a shard stays locked.
    pub scan_rows: u64,
    /// Seconds since 1970, against which expiry is judged.
    pub now_seconds: u32,
}

impl ReadSpec {
    /// All of one partition at `now_seconds`, without limits.
    pub fn partition(table: TableId, key: Bytes, now_seconds: u32) -> ReadSpec {
        ReadSpec {
            table,
            selection: Selection::Partition { key, slices: vec![Slice::all()], reversed: false },
            after: None,
            columns: None,
            limit_rows: usize::MAX,
            limit_bytes: usize::MAX,
            scan_rows: u64::MAX,
            now_seconds,
        }
    }
}

/// Everything known of the rows a read selects (see [`crate::MemoryEngine::read_raw`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFound {
    /// One mutation for each partition of which anything is known, in ring order.
    pub mutations: Vec<Mutation>,
    /// Where to go on; `None` when no live row is left.
    pub more: Option<Place>,
    /// Rows looked at, dead ones included.
    pub scanned_rows: u64,
    /// Bytes looked at.
    pub scanned_bytes: u64,
}
