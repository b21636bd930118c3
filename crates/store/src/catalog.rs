//! The catalog: what exists, as every node sees it. It is a Machine itself.
//!
//! Definitions carry types as text in the language of the door that made them: the store needs to
//! know which columns make the key, not what an `inet` is.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use base::{ColumnId, GroupId, NodeId, SpaceId, TableId, Token};
use tokio::sync::broadcast;

use crate::{Done, Permit};

/// A column's part in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Component of the partition key.
    PartitionKey,
    /// Component of the clustering key.
    Clustering {
        /// Whether larger values come first.
        descending: bool,
    },
    /// One value a partition.
    Static,
    /// One value a row.
    Regular,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its id, unique within the table.
    pub id: ColumnId,
    /// Its name, in the case it is stored in.
    pub name: String,
    /// Its part.
    pub kind: ColumnKind,
    /// Its type in the words of the door (CQL: `int`, `frozen<list<text>>`).
    pub type_name: String,
}

/// A table to be made. Columns stand in the order partition key, clustering, others by name;
/// ids are given by the catalog in that order, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDraft {
    /// The space it will be in.
    pub space: String,
    /// Its name.
    pub name: String,
    /// Its columns; the ids are ignored.
    pub columns: Vec<Column>,
    /// The door's own settings, by name.
    pub options: BTreeMap<String, String>,
    /// A random id shown to clients (a UUID).
    pub uuid: u128,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The id of its data: what reads and writes name. Truncating gives it another.
    pub id: TableId,
    /// The id shown to clients, for life.
    pub uuid: u128,
    /// The name of its space.
    pub space: String,
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the draft.
    pub columns: Vec<Column>,
    /// The door's own settings.
    pub options: BTreeMap<String, String>,
}

/// A space of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its id.
    pub id: SpaceId,
    /// Its name.
    pub name: String,
    /// How it is replicated, in Cassandra's words: `class` (short name) and its options.
    pub replication: BTreeMap<String, String>,
    /// Whether writes go through the log. Holdfast always logs; kept because clients read it back.
    pub durable_writes: bool,
    /// Its tables by name.
    pub tables: BTreeMap<String, Arc<Table>>,
}

impl Space {
    /// The number of replicas asked for: the sum over datacenters, at least 1.
    pub fn replication_factor(&self) -> u32 {
        let factors = self.replication.iter().filter(|(name, _)| *name != "class");
        factors.filter_map(|(_, value)| value.parse::<u32>().ok()).sum::<u32>().max(1)
    }
}

/// All definitions at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Rises with every change.
    pub epoch: u64,
    /// The same on every node with the same definitions; shown to clients as a UUID.
    pub version: u128,
    /// Spaces by name.
    pub spaces: BTreeMap<String, Arc<Space>>,
}

impl Schema {
    /// The table `name` of the space `space`.
    pub fn table(&self, space: &str, name: &str) -> Option<&Arc<Table>> {
        self.spaces.get(space)?.tables.get(name)
    }
}

/// A change of definitions. Answered with `Exists` or `Absent` when it does not fit; whether that
/// is an error is the door's business (`IF NOT EXISTS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// Makes a space. Needs `Define` on the cluster.
    CreateSpace {
        /// Its name.
        name: String,
        /// Its replication.
        replication: BTreeMap<String, String>,
        /// See [`Space::durable_writes`].
        durable_writes: bool,
    },
    /// Removes a space and its tables. Needs `Define` on the cluster.
    DropSpace {
        /// Its name.
        name: String,
    },
    /// Makes a table. Needs `Define` on the cluster.
    CreateTable(TableDraft),
    /// Removes a table and its data. Needs `Define` on the cluster.
    DropTable {
        /// Its space.
        space: String,
        /// Its name.
        name: String,
    },
    /// Removes a table's data: the table stays and gets a new [`Table::id`]. What names the old one
    /// is answered with `Absent`, or discarded if it was on its way. Needs `Define` on the cluster.
    TruncateTable {
        /// Its space.
        space: String,
        /// Its name.
        name: String,
    },
}

/// What others are told about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaEvent {
    /// The change that was made.
    pub change: SchemaChange,
    /// Definitions after it.
    pub schema: Arc<Schema>,
}

/// Where a node stands: what is likely to fail together has one name here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locality {
    /// Far apart from others: Cassandra's datacenter.
    pub region: String,
    /// What fails together within a region: Cassandra's rack.
    pub zone: String,
}

impl Default for Locality {
    /// Cassandra's names for what was not said.
    fn default() -> Locality {
        Locality { region: "datacenter1".to_owned(), zone: "rack1".to_owned() }
    }
}

/// What a node is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It was given its id, and has not started with it yet.
    Joining,
    /// It takes part.
    Member,
    /// What it holds is to be moved to others.
    Leaving,
    /// Its id is not used any more, and never again.
    Gone,
}

impl NodeState {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Joining => "joining",
            NodeState::Member => "member",
            NodeState::Leaving => "leaving",
            NodeState::Gone => "gone",
        }
    }
}

/// Versions of the cluster that a build can work with. What came with a version is used when the
/// cluster has that version ([`Cluster::version`]), which it has when every node can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

impl Versions {
    /// Those of this build.
    pub const BUILD: Versions = Versions { min: 1, max: 1 };

    /// Whether a build can work in a cluster of this version.
    pub fn can(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// The id shown to clients (a UUID), drawn with its disk.
    pub host_uuid: u128,
    /// Where it stands.
    pub locality: Locality,
    /// What it is to the cluster.
    pub state: NodeState,
    /// Versions of the cluster that it can work with.
    pub versions: Versions,
    /// The tokens it owns, ascending.
    pub tokens: Vec<Token>,
    /// The address at which each door is reached, by the door's name, and the port. That of `node` is
    /// for the other nodes.
    pub addresses: BTreeMap<String, (IpAddr, u16)>,
}

/// The replicas of a group, ascending. Learners have the state and no vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// A majority of them decides.
    pub voters: Vec<NodeId>,
    /// They follow.
    pub learners: Vec<NodeId>,
}

/// A Raft group, as the catalog wants it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// What its Machine is, in a word.
    pub name: String,
    /// Where its replicas should be. Its members get there one step at a time.
    pub wanted: Replicas,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its id (a UUID).
    pub id: u128,
    /// Its name; equal on all nodes.
    pub name: String,
    /// What all its nodes can work with; 0 before the first has started.
    pub version: u32,
    /// This node.
    pub local: NodeId,
    /// All nodes, this one included, and those that are gone.
    pub nodes: Vec<Node>,
    /// All groups.
    pub groups: Vec<Group>,
}

impl Cluster {
    /// This node.
    pub fn local_node(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == self.local)
    }

    /// Nodes that are not gone.
    pub fn present(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state != NodeState::Gone)
    }
}

/// The catalog.
pub trait Catalog: Send + Sync {
    /// Definitions as last known here.
    fn schema(&self) -> Arc<Schema>;
    /// The cluster as last known here.
    fn cluster(&self) -> Arc<Cluster>;
    /// Changes definitions; answered when every live node has them.
    fn change(&self, permit: Permit, change: SchemaChange, done: Done<Arc<Schema>>);
    /// Changes from now on, for doors that tell their clients.
    fn events(&self) -> broadcast::Receiver<SchemaEvent>;
}
