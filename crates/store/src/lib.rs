//! The waist: what a door may ask for.
//!
//! Doors above and the spine below meet here and nowhere else. Two primitives so far:
//! [`Tables`] (wide rows of timestamped cells, quorum-replicated, Paxos for conditional writes) and
//! [`Machines`] (small deterministic state machines, each with one total order, Raft-replicated),
//! and the [`Catalog`] that says what exists.
//!
//! Every request carries a [`Permit`], which only the [`Gate`] can make: forgetting authorization
//! does not compile. Every answer goes to a [`Done`], which is a slot in an inbox of the asker's,
//! so a request costs no task and no boxed future (`docs/adr/0002-the-waist.md`).

mod catalog;
#[cfg(feature = "conformance")]
pub mod conformance;
mod done;
mod gate;
mod machines;
mod tables;

pub use base::{Page, PartitionRows, Place, Row, Selection, Slice};
pub use catalog::{
    Catalog, Cluster, Column, ColumnKind, Group, Locality, Node, NodeState, Replicas, Schema, SchemaChange,
    SchemaEvent, Space, Table, TableDraft, Versions,
};
pub use done::{Done, Inbox, Waiter, waiter};
pub use gate::{Action, Gate, Permit, Principal, Target};
pub use machines::{Changes, Job, Machine, MachineState, Machines, Patience, Proposal, Records, Unread};
pub use tables::{Cas, CasOutcome, Consistency, Decide, Read, Tables, Write};

use std::sync::Arc;

/// The whole store as a door sees it.
#[derive(Clone)]
pub struct Store {
    /// Who may do what.
    pub gate: Arc<Gate>,
    /// What exists.
    pub catalog: Arc<dyn Catalog>,
    /// Wide rows.
    pub tables: Arc<dyn Tables>,
    /// Replicated state machines.
    pub machines: Arc<dyn Machines>,
}
