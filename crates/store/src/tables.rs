//! Tables: wide rows of timestamped cells, spread over the ring by token.
//!
//! Promise: a write acknowledged at consistency W and a read at R see each other when their
//! replica sets must overlap; cells merge by last write wins ([`base::Cell::supersedes`]).
//! Conditional writes are linearizable per partition, through Paxos.

use base::{Cause, ColumnId, Mutation, Page, Place, Selection, Slice, TableId};
use bytes::Bytes;

use crate::{Done, Permit};

/// How many replicas must confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// One replica, or a hint (writes only).
    Any,
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all replicas.
    Quorum,
    /// Every replica.
    All,
    /// A majority in the coordinator's datacenter.
    LocalQuorum,
    /// A majority in each datacenter.
    EachQuorum,
    /// One replica in the coordinator's datacenter.
    LocalOne,
    /// Linearizable with conditional writes (reads, and the Paxos phase of conditional writes).
    Serial,
    /// As `Serial`, within the coordinator's datacenter.
    LocalSerial,
}

/// An unconditional write. Answered when `consistency` is durable.
#[derive(Clone, Debug)]
pub struct Write {
    /// What changes.
    pub mutation: Mutation,
    /// How many replicas must have it on disk.
    pub consistency: Consistency,
}

/// A read. Answered with a [`Page`] as soon as one of the limits is reached or nothing is left.
#[derive(Clone, Debug)]
pub struct Read {
    /// The table.
    pub table: TableId,
    /// Which rows.
    pub selection: Selection,
    /// Where the page before this one ended.
    pub after: Option<Place>,
    /// Columns to return; `None` is all. Rows exist or not regardless of this.
    pub columns: Option<Vec<ColumnId>>,
    /// At most this many rows are returned.
    pub limit_rows: usize,
    /// No further row is added once the rows returned hold this many bytes.
    pub limit_bytes: usize,
    /// Seconds since 1970, against which expiry is judged.
    pub now_seconds: u32,
    /// How many replicas must answer.
    pub consistency: Consistency,
}

/// Decides a conditional write from the rows as they stand: `Ok(Some)` is what to write,
/// stamped with the given timestamp (microseconds, above every earlier conditional write's of the
/// partition), `Ok(None)` is "condition not met". May be called more than once.
pub type Decide = Box<dyn FnMut(i64, &Page) -> Result<Option<Mutation>, Cause> + Send>;

/// A conditional write.
pub struct Cas {
    /// The table; the mutation must be of it.
    pub table: TableId,
    /// The serialized partition key; the mutation must be of it.
    pub key: Bytes,
    /// Rows the condition looks at.
    pub slices: Vec<Slice>,
    /// Seconds since 1970, against which expiry is judged.
    pub now_seconds: u32,
    /// The condition.
    pub decide: Decide,
    /// `Serial` or `LocalSerial`.
    pub serial: Consistency,
    /// How many replicas must have committed before the answer.
    pub commit: Consistency,
}

/// What became of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CasOutcome {
    /// Whether the condition was met and the write made.
    pub applied: bool,
    /// The rows the decision was made from.
    pub page: Page,
}

/// The primitive. Answers may come before the call returns.
pub trait Tables: Send + Sync {
    /// Writes. Needs `Write` on the table.
    fn write(&self, permit: Permit, write: Write, done: Done<()>);
    /// Reads. Needs `Read` on the table.
    fn read(&self, permit: Permit, read: Read, done: Done<Page>);
    /// Writes if a condition holds. Needs `Write` on the table.
    fn compare_and_set(&self, permit: Permit, cas: Cas, done: Done<CasOutcome>);
}
