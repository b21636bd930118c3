//! The spine of a node: implements the waist ([`store`]) over one log, the engine, Raft groups and
//! Paxos rounds.
//!
//! ```text
//!            Tables                      Machines, Catalog
//!   write      read    compare_and_set     propose   barrier
//!     |          |            |               |         |
//!  quorum     quorum      +---v---------------v---------v---+
//!  round      round       |  spine: Raft groups, Paxos      |   one owner, one event at a time
//!     |          |        +---|---------------|-------------+
//!     v          |            v               v
//!  +--------------------------------------------------+
//!  |  log: one writer, one fdatasync for all           |   disk-log's thread
//!  +--------------------------------------------------+
//!     |          |
//!     v          v
//!  +--------------------+
//!  |  engine (memtable)  |      read inline by whoever asks
//!  +--------------------+
//! ```
//!
//! A table's write never meets the spine: it goes into the log from the caller's thread, and when
//! it is durable the log's thread applies it to the engine (one applier, in log order) and answers.
//!
//! At start the log is replayed, every group campaigns, and [`Fabric::start`] returns when each
//! leads and has applied what it held. A node is one replica of everything so far; the rounds,
//! groups and counts are those that several nodes will use.

mod catalog;
mod consistency;
mod group;
mod identity;
mod machines;
mod mailbox;
mod paxos;
mod records;
mod replay;
mod runner;
mod settings;
mod shared;
mod spine;
mod storage;
mod tables;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use base::{Cause, Class, GroupId, Token};
use disk_engine::MemoryEngine;
use disk_log::{Log, LogWriter, Stepper};
use store::{Gate, Machine, Node, Store};
use world::World;

pub use identity::DISK_FORMAT;
pub use settings::Settings;
pub use verify::{Finding, Verified, verify};

use crate::{
    catalog::{CATALOG_GROUP, CatalogHandle, CatalogMachine, Command, Published},
    group::Group,
    identity::Identity,
    machines::MachinesHandle,
    paxos::Paxos,
    replay::Recovered,
    runner::Pace,
    shared::Shared,
    spine::{Event, Spine},
    tables::TablesHandle,
};

/// Where clients reach each door, by the door's name.
pub type Addresses = BTreeMap<String, (IpAddr, u16)>;

/// Tokens a node owns. Cassandra's default: enough that a second node takes an even share.
const TOKENS_PER_NODE: usize = 16;

/// A running node's spine.
pub struct Fabric {
    parts: Parts,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What both ways of running share.
struct Parts {
    store: Store,
    shared: Arc<Shared>,
    catalog: Arc<CatalogHandle>,
    log: LogWriter,
}

impl Fabric {
    /// Recovers what the disk holds and begins to serve; blocks until everything acknowledged
    /// before is readable again. The caller holds the disk's lock. `machines` are driven through
    /// one Raft group each; group 0 is the catalog's.
    pub fn start(
        world: &World,
        settings: Settings,
        machines: Vec<(GroupId, Box<dyn Machine>)>,
        addresses: Addresses,
    ) -> Result<Fabric, Cause> {
        let (parts, spine, identity, ()) =
            assemble(world, settings, machines, |log| Ok((LogWriter::start(log, world.clock.clone())?, ())))?;
        let groups = spine.groups();
        let thread = runner::start(&parts.shared, spine)
            .map_err(|error| Cause::busy(format!("cannot start the spine's thread: {error}")))?;
        let fabric = Fabric { parts, thread: Mutex::new(Some(thread)) };
        // A barrier is answered by a leader that has applied everything committed before.
        for group in groups {
            let (done, ready) = store::waiter();
            fabric.parts.shared.post(Event::Barrier { group, done });
            ready.wait()?;
        }
        fabric.parts.drop_orphans();
        // The group may have filled the log's queue itself, with a snapshot: that passes.
        while let Err(cause) = fabric.parts.register(identity, world, addresses.clone()).wait() {
            if cause.class != Class::Busy || !fabric.parts.log.stats().has_reserve {
                return Err(cause);
            }
            std::thread::yield_now();
        }
        Ok(fabric)
    }

    /// The waist.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Sets the gauges that are only worth computing when somebody looks.
    pub fn observe(&self) {
        let stats = self.parts.log.stats();
        metrics::gauge!("holdfast_memory_budget_bytes")
            .set(self.parts.shared.settings.memory_budget_bytes as f64);
        metrics::gauge!("holdfast_memory_tables_bytes").set(self.parts.shared.engine.weight_bytes() as f64);
        metrics::gauge!("holdfast_memory_stored_bytes").set(self.parts.shared.memory_bytes() as f64);
        metrics::gauge!("holdfast_log_segments").set(stats.segments as f64);
    }

    /// Ends the spine, then the log with a seal. What was acknowledged is durable; requests in
    /// flight are answered as uncertain. A second call does nothing.
    pub fn stop(&self) -> Result<(), Cause> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        self.parts.shared.runner.stop();
        thread.join().map_err(|_| Cause::bug("the spine's thread panicked"))?;
        self.parts.log.stop()
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if let Err(cause) = self.stop() {
            tracing::error!("{cause}");
        }
    }
}

/// A node without threads, for tests: nothing happens between two steps.
pub struct Stepped {
    parts: Parts,
    spine: Spine,
    log: Stepper,
}

impl Stepped {
    /// As [`Fabric::start`].
    pub fn start(
        world: &World,
        settings: Settings,
        machines: Vec<(GroupId, Box<dyn Machine>)>,
        addresses: Addresses,
    ) -> Result<Stepped, Cause> {
        let (parts, spine, identity, log) =
            assemble(world, settings, machines, |log| Ok(LogWriter::stepped(log)))?;
        let mut node = Stepped { parts, spine, log };
        node.settle()?;
        if !node.spine.is_ready() {
            return Err(Cause::busy("the log takes no writes"));
        }
        node.parts.drop_orphans();
        let registered = node.parts.register(identity, world, addresses);
        node.settle()?;
        registered.wait()?;
        Ok(node)
    }

    /// The waist.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Lets the spine handle what waits; says whether there was anything.
    pub fn turn_spine(&mut self) -> bool {
        self.spine.turn(Pace::Own)
    }

    /// Lets the log write and sync one batch; says whether there was anything.
    pub fn step_log(&mut self) -> Result<bool, Cause> {
        Ok(self.log.step()? > 0)
    }

    /// Steps until nothing is left to do.
    pub fn settle(&mut self) -> Result<(), Cause> {
        while self.turn_spine() | self.step_log()? {}
        self.parts.shared.empty_trash();
        Ok(())
    }

    /// Ends as [`Fabric::stop`] does.
    pub fn stop(mut self) -> Result<(), Cause> {
        self.settle()?;
        Ok(self.log.seal()?)
    }
}

impl Parts {
    /// Frees tables that the log still has mutations of but the catalog does not know any more.
    fn drop_orphans(&self) {
        for (table, _) in self.shared.engine.tables() {
            if self.shared.factor(paxos::owner(table)).is_err() {
                self.shared.drop_table(table);
            }
        }
        self.shared.empty_trash();
    }

    fn register(
        &self,
        identity: Identity,
        world: &World,
        addresses: Addresses,
    ) -> store::Waiter<Arc<store::Schema>> {
        let mut tokens: Vec<Token> = (0..TOKENS_PER_NODE).map(|_| world.entropy.u64() as Token).collect();
        tokens.sort_unstable();
        let node = Node {
            id: identity.node,
            host_uuid: identity.host_uuid,
            datacenter: "datacenter1".to_owned(),
            rack: "rack1".to_owned(),
            tokens,
            addresses,
        };
        let (done, waiter) = store::waiter();
        let cluster_name = self.shared.settings.cluster_name.clone();
        self.catalog.command(&Command::RegisterNode { cluster_name, node }, done);
        waiter
    }
}

/// Opens the disk, replays the log and puts the parts together; groups have begun to campaign.
fn assemble<L>(
    world: &World,
    settings: Settings,
    machines: Vec<(GroupId, Box<dyn Machine>)>,
    run_log: impl FnOnce(Log) -> Result<(LogWriter, L), Cause>,
) -> Result<(Parts, Spine, Identity, L), Cause> {
    let identity = Identity::load_or_create(&world.disk, &world.entropy)?;
    let engine = MemoryEngine::new();
    let mut recovered = Recovered::default();
    let log = Log::open(
        world.disk.clone(),
        settings.log.clone(),
        &world.entropy,
        &mut |position, stream, payload| recovered.visit(&engine, position, stream, payload),
    )?;
    let (log, running) = run_log(log)?;
    let published = Published::new(identity.node, &settings.cluster_name);
    let shared = Arc::new(Shared::new(settings, engine, published));

    let paxos = Paxos::new(identity.node, world, recovered.clock_bound);
    let mut spine = Spine::new(shared.clone(), log.clone(), paxos);
    let catalog: (GroupId, Box<dyn Machine>) = (CATALOG_GROUP, Box::new(CatalogMachine::new(shared.clone())));
    for (id, machine) in std::iter::once(catalog).chain(machines) {
        let replayed = recovered.take_group(id)?;
        let group = Group::new(id, identity.node, machine, replayed, &shared.settings)?;
        spine.add_group(id, group);
    }
    if let Some(group) = recovered.unclaimed() {
        return Err(Cause::corrupt(format!(
            "the log holds Raft group {group}, which this build does not know"
        )));
    }

    let machines = Arc::new(MachinesHandle::new(shared.clone()));
    let catalog = Arc::new(CatalogHandle::new(shared.clone(), machines.clone()));
    let store = Store {
        gate: Arc::new(Gate::open()),
        catalog: catalog.clone(),
        tables: Arc::new(TablesHandle::new(shared.clone(), log.clone(), identity.node)),
        machines,
    };
    Ok((Parts { store, shared, catalog, log }, spine, identity, running))
}
