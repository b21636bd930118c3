//! Rows, and which of them to read: the shapes that the waist and the engine share, so that an
//! answer goes from one to the other as it is.

use bytes::Bytes;

use crate::{Bound, Cell, ColumnId, Token};

/// A range of clustering keys, `from <= clustering < to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// First, inclusive; empty begins at the first row (or the static row).
    pub from: Bytes,
    /// End, exclusive.
    pub to: Bound,
}

impl Slice {
    /// Every row.
    pub fn all() -> Slice {
        Slice { from: Bytes::new(), to: None }
    }

    /// The one row with this clustering key.
    pub fn row(clustering: Bytes) -> Slice {
        let mut to = clustering.to_vec();
        to.push(0);
        Slice { from: clustering, to: Some(to.into()) }
    }

    /// Whether `clustering` is within.
    pub fn contains(&self, clustering: &[u8]) -> bool {
        self.from.as_ref() <= clustering && self.to.as_ref().is_none_or(|to| clustering < to.as_ref())
    }
}

/// Which rows to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Rows of one partition.
    Partition {
        /// The serialized partition key.
        key: Bytes,
        /// Ascending, not overlapping.
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

/// A place between two rows: reading goes on strictly after (or, reversed, before) this row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The serialized partition key of the last row seen.
    pub key: Bytes,
    /// Its clustering key; `None` when the whole partition is done.
    pub clustering: Option<Bytes>,
}

/// A row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Clustering key; empty where the table has none, and for the static row.
    pub clustering: Bytes,
    /// Live cells, ascending by column, of the columns asked for; [`ColumnId::ROW`] is included
    /// when the row marker lives and all columns, or it, were asked for.
    pub cells: Vec<(ColumnId, Cell)>,
}

/// Rows of one partition, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRows {
    /// The serialized partition key.
    pub key: Bytes,
    /// Never empty.
    pub rows: Vec<Row>,
}

/// What a read found. Rows of one partition may go on in the next page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Partitions in the order asked for.
    pub partitions: Vec<PartitionRows>,
    /// Where to go on; `None` when nothing is left. A page may be empty and still have more:
    /// a bound on rows *looked at* ends a page too, so that long stretches of deleted rows do not
    /// hold up others.
    pub more: Option<Place>,
    /// Rows looked at, dead ones included.
    pub scanned_rows: u64,
    /// Bytes looked at.
    pub scanned_bytes: u64,
}
