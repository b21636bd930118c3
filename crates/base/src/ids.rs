//! Identifiers. Each is a number that is never reused, so a record on disk that outlives the thing
//! it names can be recognised as stale instead of being given to a namesake.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A node of the cluster. A node whose disk was lost comes back under a new one.
    NodeId,
    u64
);
id!(
    /// A space: the unit at which a user chooses consistency (a keyspace, a tree).
    SpaceId,
    u64
);
id!(
    /// A table. A table dropped and made again under its old name gets a new one.
    TableId,
    u64
);
id!(
    /// A column of one table, never reused within it. [`ColumnId::ROW`] is the row marker.
    ColumnId,
    u32
);
id!(
    /// A Raft group, which is one replicated Machine.
    GroupId,
    u64
);
id!(
    /// A stream of records within a disk's log.
    StreamId,
    u64
);
id!(
    /// The number of a record in a disk's log; the first record is 1.
    Position,
    u64
);

impl ColumnId {
    /// The row marker: a cell without a value that says "this row was inserted", so that a row
    /// whose other columns are all null still exists.
    pub const ROW: ColumnId = ColumnId(0);
}
