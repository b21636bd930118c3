//! A store that stands still: two nodes, one table, and everything else too busy.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base::{Cause, ColumnId, GroupId, NodeId, SpaceId, TableId};
use bytes::Bytes;
use store::{
    Cas, CasOutcome, Catalog, Cluster, Column, ColumnKind, Done, Gate, Machines, Node, Page, Permit, Read,
    Schema, SchemaChange, SchemaEvent, Space, Store, Table, Tables, Write,
};
use tokio::sync::broadcast;

/// What the store says of a broken file.
pub(crate) const DAMAGE: &str = "tree/12.tree, tree 1, offset 4096: the checksum does not match";

/// The store, and a way to let it tell of schema changes.
pub(crate) struct Still {
    schema: Arc<Schema>,
    cluster: Arc<Cluster>,
    events: broadcast::Sender<SchemaEvent>,
    /// Whether reads meet damage instead of overload.
    damaged: AtomicBool,
}

impl Still {
    /// A still store whose table `sample.t` has `options`.
    pub(crate) fn with(options: &[(&str, &str)]) -> Arc<Still> {
        let table = Table { options: map_of(options), ..sample() };
        let space = Space {
            id: SpaceId(1),
            name: "sample".to_owned(),
            replication: map_of(&[("class", "SimpleStrategy"), ("replication_factor", "1")]),
            durable_writes: true,
            tables: [("t".to_owned(), Arc::new(table))].into(),
        };
        let spaces = [("sample".to_owned(), Arc::new(space))].into();
        let nodes = vec![node(1, "127.0.0.1", &[-5, 300]), node(2, "127.0.0.2", &[7])];
        Arc::new(Still {
            schema: Arc::new(Schema { epoch: 1, version: 0xfeed, spaces }),
            cluster: Arc::new(Cluster {
                name: "test".to_owned(),
                local: NodeId(1),
                nodes,
                ..Cluster::default()
            }),
            events: broadcast::channel(16).0,
            damaged: AtomicBool::new(false),
        })
    }

    /// Reads find the file broken from now on.
    pub(crate) fn damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn store(self: &Arc<Still>) -> Store {
        let (catalog, tables, machines) = (self.clone(), self.clone(), self.clone());
        Store { gate: Arc::new(Gate::open()), catalog, tables, machines }
    }

    /// Tells of a change that did not happen.
    pub(crate) fn tell(&self, change: SchemaChange) {
        let event = SchemaEvent { change, schema: self.schema.clone() };
        self.events.send(event).expect("somebody listens");
    }
}

fn busy() -> Cause {
    Cause::busy("this store stands still")
}

impl Catalog for Still {
    fn schema(&self) -> Arc<Schema> {
        self.schema.clone()
    }
    fn cluster(&self) -> Arc<Cluster> {
        self.cluster.clone()
    }
    fn change(&self, _permit: Permit, _change: SchemaChange, done: Done<Arc<Schema>>) {
        done.complete(Err(busy()));
    }
    fn events(&self) -> broadcast::Receiver<SchemaEvent> {
        self.events.subscribe()
    }
}

impl Tables for Still {
    fn write(&self, _permit: Permit, _write: Write, done: Done<()>) {
        done.complete(Err(busy()));
    }
    fn read(&self, _permit: Permit, _read: Read, done: Done<Page>) {
        let damaged = self.damaged.load(Ordering::Relaxed);
        done.complete(Err(if damaged { Cause::corrupt(DAMAGE) } else { busy() }));
    }
    fn compare_and_set(&self, _permit: Permit, _cas: Cas, done: Done<CasOutcome>) {
        done.complete(Err(busy()));
    }
}

impl Machines for Still {
    fn propose(&self, _permit: Permit, _group: GroupId, _proposal: store::Proposal, done: Done<Bytes>) {
        done.complete(Err(busy()));
    }
    fn barrier(&self, _permit: Permit, _group: GroupId, done: Done<()>) {
        done.complete(Err(busy()));
    }
}

fn map_of(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn node(id: u64, address: &str, tokens: &[i64]) -> Node {
    let address: IpAddr = address.parse().expect("an address");
    Node {
        id: NodeId(id),
        host_uuid: 0x1000 + u128::from(id),
        locality: store::Locality::default(),
        state: store::NodeState::Member,
        versions: store::Versions::BUILD,
        tokens: tokens.to_vec(),
        addresses: [("cql".to_owned(), (address, 9042))].into(),
    }
}

/// The table `sample.t` that the facts of the peer were recorded with, without its collections.
fn sample() -> Table {
    let column = |id, name: &str, kind, type_name: &str| Column {
        id: ColumnId(id),
        name: name.to_owned(),
        kind,
        type_name: type_name.to_owned(),
    };
    Table {
        id: TableId(1),
        uuid: 7,
        space: "sample".to_owned(),
        name: "t".to_owned(),
        columns: vec![
            column(1, "a", ColumnKind::PartitionKey, "int"),
            column(2, "b", ColumnKind::PartitionKey, "text"),
            column(3, "c", ColumnKind::Clustering { descending: true }, "timeuuid"),
            column(4, "d", ColumnKind::Regular, "inet"),
            column(5, "s", ColumnKind::Static, "int"),
        ],
        options: BTreeMap::new(),
    }
}
