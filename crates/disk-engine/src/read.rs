//! What a read asks for and what it found. The shapes mirror the waist's, field by field, so that
//! the spine converts by moving vectors.

use base::{Bound, Cell, ColumnId, TableId, Token};
use bytes::Bytes;

/// A range of clustering keys, `from <= clustering < to`. Empty if `to <= from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First, inclusive; empty begins at the first row.
    pub from: Bytes,
    /// End, exclusive.
    pub to: Bound,
}

impl Slice {
    /// Every row.
    pub fn all() -> Slice {
        Slice { from: Bytes::new(), to: None }
    }
}

/// Which rows to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Rows of one partition.
    Partition {
        /// The serialized partition key.
        key: Bytes,
        /// Ascending, not overlapping (rows in an overlap would be found twice).
        slices: Vec<Slice>,
        /// Last rows first.
        reversed: bool,
    },
    /// Whole partitions whose token is in `first..=last`, in ring order (token, then key).
    Tokens {
        /// First token, inclusive.
        first: Token,
        /// Last token, inclusive.
        last: Token,
    },
}

/// A place between two rows of a selection: reading goes on strictly behind this row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The serialized partition key of the last row seen.
    pub key: Bytes,
    /// Its clustering key; `None` when the whole partition is done.
    pub clustering: Option<Bytes>,
}

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

/// A row as it stands. A row exists if any of its cells lives, the marker ([`ColumnId::ROW`])
/// included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRow {
    /// Clustering key; empty where the table has none, and for the static row.
    pub clustering: Bytes,
    /// Live cells, ascending by column, of the columns asked for.
    pub cells: Vec<(ColumnId, Cell)>,
}

/// Rows of one partition, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPartition {
    /// The serialized partition key.
    pub key: Bytes,
    /// Never empty.
    pub rows: Vec<FoundRow>,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Partitions in the order asked for.
    pub partitions: Vec<FoundPartition>,
    /// Where to go on. `None` when no live row is left. A page that ended at `scan_rows` may be
    /// empty and may have only dead rows behind it.
    pub more: Option<Place>,
    /// Rows looked at, dead ones included.
    pub scanned_rows: u64,
    /// Bytes looked at, counted as `limit_bytes` counts.
    pub scanned_bytes: u64,
}
