//! What the rest of the door says to the engine and hears from it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Consistency, SchemaChange};

pub(crate) use crate::settings::Filtering;
use crate::{
    bind::{CqlError, TableView},
    types::CqlType,
};

/// What a SELECT under [`Filtering::Bounded`] may read in all. The bounds are what a node can read
/// from memory without others noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Rows looked at. Default 100,000.
    pub(crate) rows: u64,
    /// Bytes looked at. Default 64 MiB.
    pub(crate) bytes: u64,
    /// Time. Default 1 s.
    pub(crate) time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { rows: 100_000, bytes: 64 << 20, time: Duration::from_secs(1) }
    }
}

/// Settings of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSettings {
    /// See [`Filtering`]. Default `Bounded`.
    pub(crate) filtering: Filtering,
    /// See [`Budget`].
    pub(crate) budget: Budget,
    /// Time for one answer of a read within partitions.
    pub(crate) read_limit: Duration,
    /// Time for one answer of a read over a stretch of the ring.
    pub(crate) range_read_limit: Duration,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        crate::Settings::default().engine()
    }
}

/// A value bound to a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BoundValue {
    /// Null: deletes.
    Null,
    /// Not set: leaves as it is.
    Unset,
    /// A serialized value.
    Value(Bytes),
}

/// Values bound to the markers of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BoundValues {
    /// In the order of the markers.
    Positional(Vec<BoundValue>),
    /// By the names of the markers (QUERY with names).
    Named(BTreeMap<String, BoundValue>),
}

/// What a request says beside the statement.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) values: BoundValues,
    pub(crate) consistency: Consistency,
    /// For conditional writes; `None` is `Serial`.
    pub(crate) serial_consistency: Option<Consistency>,
    /// At most this many rows a page; `None` is everything at once.
    pub(crate) page_size: Option<u32>,
    /// Where the page before ended, as the engine told.
    pub(crate) paging_state: Option<Bytes>,
    /// The client's timestamp, in microseconds since 1970.
    pub(crate) timestamp_micros: Option<i64>,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            values: BoundValues::Positional(Vec::new()),
            consistency: Consistency::One,
            serial_consistency: None,
            page_size: None,
            paging_state: None,
            timestamp_micros: None,
        }
    }
}

/// A column of a result, or a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnSpec {
    pub(crate) name: Arc<str>,
    pub(crate) ty: CqlType,
}

/// Columns of a result. They are all of one table (the global table spec of the protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResultMetadata {
    pub(crate) keyspace: Arc<str>,
    pub(crate) table: Arc<str>,
    pub(crate) columns: Vec<ColumnSpec>,
}

/// The markers of a prepared statement. They are all of one table; a statement of none has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MarkerMetadata {
    pub(crate) keyspace: Arc<str>,
    pub(crate) table: Arc<str>,
    pub(crate) markers: Vec<ColumnSpec>,
    /// For each component of the partition key the marker that gives it; empty unless all are
    /// given by markers. Drivers route by it.
    pub(crate) partition_key_markers: Vec<u16>,
}

/// Rows of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) metadata: Arc<ResultMetadata>,
    /// How many.
    pub(crate) count: u32,
    /// Their cells in the protocol's form, row by row: length as i32 (-1 null), bytes.
    pub(crate) cells: Vec<u8>,
    /// To be given back for the next page; `None` after the last.
    pub(crate) paging_state: Option<Bytes>,
}

/// What a definition statement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaChanged {
    /// Made, or removed.
    pub(crate) created: bool,
    pub(crate) keyspace: String,
    /// The table; `None` when the keyspace itself was made or removed.
    pub(crate) table: Option<String>,
}

impl SchemaChanged {
    /// What clients are told of a change; nothing of one that leaves the definitions as they are.
    pub(crate) fn of(change: &SchemaChange) -> Option<SchemaChanged> {
        let (created, keyspace, table) = match change {
            SchemaChange::CreateSpace { name, .. } => (true, name, None),
            SchemaChange::DropSpace { name } => (false, name, None),
            SchemaChange::CreateTable(draft) => (true, &draft.space, Some(&draft.name)),
            SchemaChange::DropTable { space, name } => (false, space, Some(name)),
            SchemaChange::TruncateTable { .. } => return None,
        };
        Some(SchemaChanged { created, keyspace: keyspace.clone(), table: table.cloned() })
    }
}

/// The result of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Void,
    Rows(Rows),
    /// The session's keyspace from now on.
    SetKeyspace(String),
    SchemaChange(SchemaChanged),
}

/// The result of a statement, and what the client should be warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) warnings: Vec<String>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Answered {
        Answered { answer, warnings: Vec::new() }
    }
}

/// What becomes of a statement.
pub(crate) type Outcome = Result<Answered, CqlError>;

/// The tables whose rows are computed: `system`, `system_schema` and the like.
pub(crate) trait VirtualTables: Send + Sync {
    /// Whether such a keyspace exists.
    fn has_keyspace(&self, keyspace: &str) -> bool;
    /// The definition of a table.
    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<TableView>>;
    /// The rows of a table as they are now, in any order; each has one serialized value (or null)
    /// for every column of `table`, in its order.
    fn rows(&self, table: &TableView) -> Vec<Vec<Option<Bytes>>>;
}
