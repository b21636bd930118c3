//! The catalog: nodes, spaces, tables. It is a Machine like any other, in the first Raft group.
//!
//! [`state`] and [`members`] are what it knows and its rules, [`durable`] how that is kept, [`codec`] the
//! bytes of its commands, [`machine`] puts them together; [`placement`] and [`reconcile`] decide what is
//! proposed to it. This file is what others see of it: a [`CatalogHandle`] with the definitions last applied here, published as immutable values so
//! that a reader takes one reference and no lock is held while it works.

mod backup;
mod codec;
mod durable;
pub(crate) mod join;
mod machine;
mod members;
mod placement;
pub(crate) mod reconcile;
mod state;

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use base::{Cause, GroupId, NodeId};
use store::{Action, Cluster, Done, Inbox, Permit, Proposal, Schema, SchemaChange, SchemaEvent, Target};
use tokio::sync::broadcast;

pub(crate) use codec::Command;
pub(crate) use machine::CatalogMachine;

use crate::{machines::MachinesHandle, shared::Shared};

/// The catalog's Raft group.
pub(crate) const CATALOG_GROUP: GroupId = GroupId(0);

/// Events a slow subscriber may fall behind before it misses some.
const EVENTS_KEPT: usize = 256;

/// Definitions as last applied on this node.
pub(crate) struct Published {
    local: NodeId,
    schema: RwLock<Arc<Schema>>,
    cluster: RwLock<Arc<Cluster>>,
    events: broadcast::Sender<SchemaEvent>,
    /// Whether there are more nodes than this one.
    has_others: AtomicBool,
}

impl Published {
    pub(crate) fn new(local: NodeId, cluster_name: &str) -> Published {
        let cluster = Cluster { name: cluster_name.to_owned(), local, ..Cluster::default() };
        Published {
            local,
            schema: RwLock::new(Arc::new(Schema::default())),
            cluster: RwLock::new(Arc::new(cluster)),
            events: broadcast::channel(EVENTS_KEPT).0,
            has_others: AtomicBool::new(false),
        }
    }

    pub(crate) fn schema(&self) -> Arc<Schema> {
        self.schema.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish_schema(&self, schema: Arc<Schema>) {
        *self.schema.write().unwrap_or_else(PoisonError::into_inner) = schema;
    }

    /// Whether there are more nodes than this one; asked for each request.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others.load(Ordering::Relaxed)
    }

    fn publish_cluster(&self, cluster: Cluster) {
        let others = cluster.present().filter(|node| node.id != self.local).count();
        self.has_others.store(others > 0, Ordering::Relaxed);
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(cluster);
    }

    fn announce(&self, event: SchemaEvent) {
        // Nobody listening is fine.
        let _ = self.events.send(event);
    }
}

/// The waist's view of the catalog.
pub(crate) struct CatalogHandle {
    shared: Arc<Shared>,
    machines: Arc<MachinesHandle>,
}

impl CatalogHandle {
    pub(crate) fn new(shared: Arc<Shared>, machines: Arc<MachinesHandle>) -> CatalogHandle {
        CatalogHandle { shared, machines }
    }

    /// Proposes a command; answered once applied, with the id that it gave, or 0.
    pub(crate) fn command(&self, command: &Command, done: Done<u64>) {
        self.propose(command, Answer::Number(done));
    }

    fn propose(&self, command: &Command, answer: Answer) {
        let answer =
            Arc::new(CommandAnswer { shared: self.shared.clone(), answer: Mutex::new(Some(answer)) });
        let proposal = Proposal { entry: command.encode().into(), frees: !command.grows() };
        self.machines.propose_unchecked(CATALOG_GROUP, proposal, Done::new(answer, 0));
    }
}

/// The catalog as a file.
pub(crate) fn backup(published: &Published) -> Vec<u8> {
    backup::write(&published.schema(), &published.cluster())
}

/// The command that takes such a file up.
pub(crate) fn restoring(file: &[u8]) -> Result<Command, Cause> {
    backup::read(file).map(Command::Restore)
}

impl store::Catalog for CatalogHandle {
    fn schema(&self) -> Arc<Schema> {
        self.shared.published.schema()
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.shared.published.cluster()
    }

    fn change(&self, permit: Permit, change: SchemaChange, done: Done<Arc<Schema>>) {
        match permit.check(Action::Define, Target::Cluster) {
            Ok(()) => self.propose(&Command::Change(change), Answer::Schema(done)),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn events(&self) -> broadcast::Receiver<SchemaEvent> {
        self.shared.published.events.subscribe()
    }
}

/// Who is answered, and with what.
enum Answer {
    /// With the definitions after the command.
    Schema(Done<Arc<Schema>>),
    /// With the id that the command gave, or 0.
    Number(Done<u64>),
}

/// Turns the Machine's result bytes into the answer.
struct CommandAnswer {
    shared: Arc<Shared>,
    answer: Mutex<Option<Answer>>,
}

impl Inbox<bytes::Bytes> for CommandAnswer {
    fn deliver(&self, _tag: u64, answer: Result<bytes::Bytes, Cause>) {
        let outcome = answer.and_then(|bytes| codec::decode_result(&bytes)?);
        match self.answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Answer::Schema(done)) => done.complete(outcome.map(|_| self.shared.published.schema())),
            Some(Answer::Number(done)) => done.complete(outcome),
            None => {}
        }
    }
}
