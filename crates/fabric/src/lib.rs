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
//!  +--------------------------------------------------+
//!  |  engine: a merge tree for each table and Machine  |   read by whoever asks
//!  +--------------------------------------------------+
//!     memtables -> files, and then the log forgets         upkeep's thread
//! ```
//!
//! A table's write never meets the spine: it goes into the log from the caller's thread, and when
//! it is durable the log's thread applies it to the engine (one applier, in log order) and answers.
//!
//! At start the log is replayed, every group campaigns, and [`Fabric::start`] returns when each
//! leads and has applied what it held. A node is one replica of everything so far; the rounds,
//! groups and counts are those that several nodes will use.

mod among;
mod catalog;
mod cluster;
mod consistency;
mod errands;
#[cfg(any(test, feature = "sabotage"))]
mod explain;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod identity;
mod machines;
mod mailbox;
mod neighbours;
mod pace;
mod paxos;
mod peers;
mod readers;
mod records;
mod replay;
mod runner;
mod settings;
mod shared;
mod snapshot;
mod spine;
mod starts;
mod state;
mod storage;
mod tables;
#[cfg(test)]
mod tests;
mod upkeep;
mod verify;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use base::{Cause, Class, GroupId, Token};
use disk_engine::Engine;
use disk_log::{Log, LogWriter, Stepper};
use store::{Gate, Machine, Node, NodeState, Store};
use world::World;

pub use among::{Among, Standing};
pub use catalog::join::{Ask, Told};
pub use disk_engine::tree::{Compression, FOLDER as TREE_FOLDER, TreeSettings};
pub use disk_log::FOLDER as LOG_FOLDER;
#[cfg(any(test, feature = "sabotage"))]
pub use explain::{explain, gives_vote};
pub use group::{GroupStatus, members::Members};
pub use identity::{DISK_FORMAT, Identity, ask_as, enter};
pub use peers::PeerStatus;
pub use settings::{GroupSettings, Sabotage, Settings};
pub use verify::{Finding, Verified, verify};

use crate::{
    catalog::{CATALOG_GROUP, CatalogHandle, CatalogMachine, Command, Published},
    group::{Group, Replica, message::Life},
    machines::MachinesHandle,
    neighbours::Neighbours,
    paxos::Paxos,
    replay::Recovered,
    shared::Shared,
    spine::{Event, Spine},
    state::StateTree,
    tables::TablesHandle,
    upkeep::{Turn, Upkeep},
};

/// Where clients reach each door, by the door's name.
pub type Addresses = BTreeMap<String, (IpAddr, u16)>;

/// Tokens a node owns. Cassandra's default: enough that a second node takes an even share.
const TOKENS_PER_NODE: usize = 16;

/// A running node's spine.
pub struct Fabric {
    parts: Parts,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What both ways of running share.
struct Parts {
    store: Store,
    shared: Arc<Shared>,
    catalog: Arc<CatalogHandle>,
    log: LogWriter,
    identity: Identity,
    start: u64,
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
        Fabric::start_among(world, settings, machines, addresses, Among::default())
    }

    /// As [`Fabric::start`], for a node among others. If a group has members elsewhere, this does not wait:
    /// reads and writes of it do, until it has a leader.
    pub fn start_among(
        world: &World,
        settings: Settings,
        machines: Vec<(GroupId, Box<dyn Machine>)>,
        addresses: Addresses,
        among: Among,
    ) -> Result<Fabric, Cause> {
        let run_log = |log| Ok((LogWriter::start(log, world.clock.clone())?, ()));
        let (parts, spine, ()) = assemble(world, settings, machines, among, run_log)?;
        let (groups, is_alone) = (spine.groups(), spine.is_alone());
        let threads = start_threads(world, &parts, spine)
            .map_err(|error| Cause::busy(format!("cannot start a thread: {error}")))?;
        let fabric = Fabric { parts, threads: Mutex::new(threads) };
        if !is_alone {
            // Answered to nobody; whoever runs the cluster sees it in the catalog.
            drop(fabric.parts.register(world, addresses));
            return Ok(fabric);
        }
        // A barrier is answered by a leader that has applied everything committed before.
        for group in groups {
            let (done, ready) = store::waiter();
            fabric.parts.shared.post(Event::Barrier { group, done });
            ready.wait()?;
        }
        fabric.parts.drop_orphans();
        // The group may have filled the log's queue itself, with a snapshot: that passes.
        while let Err(cause) = fabric.parts.register(world, addresses.clone()).wait() {
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

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.parts.identity
    }

    /// The number of this start, from 1: no two starts on one disk have the same.
    pub fn start_number(&self) -> u64 {
        self.parts.start
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.parts.shared
    }

    /// The catalog as last applied here, as the bytes of a file ([`restore_catalog`]).
    pub fn backup_catalog(&self) -> Vec<u8> {
        catalog::backup(&self.parts.shared.published)
    }

    /// Sets the gauges that are only worth computing when somebody looks.
    pub fn observe(&self) {
        let shared = &self.parts.shared;
        let forest = shared.engine.forest();
        let debt = forest.debt();
        let gauges = [
            ("holdfast_memory_budget_bytes", shared.settings.memory_budget_bytes as f64),
            ("holdfast_memory_memtables_bytes", debt.memtable_bytes as f64),
            ("holdfast_memory_cache_bytes", forest.cache_bytes() as f64),
            ("holdfast_memory_stored_bytes", shared.memory_bytes() as f64),
            ("holdfast_engine_frozen_bytes", debt.frozen_bytes as f64),
            ("holdfast_engine_level0_runs", debt.level0_runs as f64),
            ("holdfast_engine_pending_compaction_bytes", debt.pending_compaction_bytes as f64),
            ("holdfast_log_segments", self.parts.log.stats().segments as f64),
        ];
        for (name, value) in gauges {
            metrics::gauge!(name).set(value);
        }
    }

    /// Ends the spine, then the log with a seal. What was acknowledged is durable; requests in
    /// flight are answered as uncertain. A second call does nothing.
    pub fn stop(&self) -> Result<(), Cause> {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.is_empty() {
            return Ok(());
        }
        let shared = &self.parts.shared;
        shared.readers.stop();
        shared.runner.stop();
        shared.upkeep.stop();
        for thread in threads {
            thread.join().map_err(|_| Cause::bug("a thread of the spine panicked"))?;
        }
        let sealed = self.parts.log.stop();
        // Last: what the log has just made durable may be held back.
        shared.pace.stop();
        sealed
    }
}

/// Starts everything that has a thread but the log.
fn start_threads(world: &World, parts: &Parts, spine: Spine) -> std::io::Result<Vec<JoinHandle<()>>> {
    let shared = &parts.shared;
    shared.readers.start()?;
    shared.pace.start()?;
    let upkeep = Upkeep::new(shared.clone(), parts.log.clone(), world.clock.clone());
    Ok(vec![upkeep::start(upkeep)?, runner::start(shared, spine)?])
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
    upkeep: Upkeep,
}

impl Stepped {
    /// As [`Fabric::start`].
    pub fn start(
        world: &World,
        settings: Settings,
        machines: Vec<(GroupId, Box<dyn Machine>)>,
        addresses: Addresses,
    ) -> Result<Stepped, Cause> {
        Stepped::start_among(world, settings, machines, addresses, Among::default())
    }

    /// As [`Fabric::start_among`].
    pub fn start_among(
        world: &World,
        settings: Settings,
        machines: Vec<(GroupId, Box<dyn Machine>)>,
        addresses: Addresses,
        among: Among,
    ) -> Result<Stepped, Cause> {
        let (parts, spine, log) =
            assemble(world, settings, machines, among, |log| Ok(LogWriter::stepped(log)))?;
        let upkeep = Upkeep::new(parts.shared.clone(), parts.log.clone(), world.clock.clone());
        let mut node = Stepped { parts, spine, log, upkeep };
        if !node.spine.is_alone() {
            drop(node.parts.register(world, addresses));
            return Ok(node);
        }
        node.settle()?;
        if !node.spine.is_ready() {
            return Err(Cause::busy("the log takes no writes"));
        }
        node.parts.drop_orphans();
        let registered = node.parts.register(world, addresses);
        node.settle()?;
        registered.wait()?;
        Ok(node)
    }

    /// The waist.
    pub fn store(&self) -> &Store {
        &self.parts.store
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.parts.identity
    }

    /// The number of this start, from 1: no two starts on one disk have the same.
    pub fn start_number(&self) -> u64 {
        self.parts.start
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.parts.shared
    }

    fn spine(&mut self) -> &mut Spine {
        &mut self.spine
    }

    /// Lets the spine handle what waits; says whether there was anything.
    pub fn turn_spine(&mut self) -> bool {
        self.spine.turn()
    }

    /// Lets the log write and sync one batch; says whether there was anything.
    pub fn step_log(&mut self) -> Result<bool, Cause> {
        Ok(self.log.step()? > 0)
    }

    /// Lets upkeep do a step; says whether there may be more.
    pub fn step_upkeep(&mut self) -> bool {
        self.upkeep.turn() == Turn::More
    }

    /// Offers the log again what it refused for want of room, as the spine's own thread does from
    /// time to time.
    pub fn retry(&mut self) {
        if self.spine.needs_own_thread() {
            self.spine.retry();
        }
    }

    /// Why the node is at its end, if it is.
    pub fn failure(&self) -> Option<Cause> {
        self.parts.shared.failure().cloned()
    }

    /// Steps until nothing is left to do.
    ///
    /// # Errors
    /// When the disk has failed, under the log or under the engine.
    pub fn settle(&mut self) -> Result<(), Cause> {
        while self.turn_spine() | self.step_log()? | self.step_upkeep() {}
        self.parts.shared.failure().map_or(Ok(()), |cause| Err(cause.clone()))
    }

    /// Ends as [`Fabric::stop`] does.
    pub fn stop(mut self) -> Result<(), Cause> {
        self.settle()?;
        Ok(self.log.seal()?)
    }
}

/// Founds a cluster in an empty directory with the definitions of a backup. `settings` are those of the starts to
/// come. The caller holds the disk's lock.
///
/// # Errors
/// The directory is not empty, the file is damaged or no backup, or what the disk says. A directory in which this
/// was cut short holds nothing of the backup, and is to be emptied.
pub fn restore_catalog(world: &World, settings: Settings, file: &[u8]) -> Result<(), Cause> {
    let command = catalog::restoring(file)?;
    if Identity::load(&world.disk)?.is_some() {
        return Err(Cause::exists(format!("{} is a node's directory already", world.disk.describe())));
    }
    let mut node = Stepped::start(world, settings, Vec::new(), Addresses::new())?;
    let (done, taken) = store::waiter();
    node.parts.catalog.command(&command, done);
    node.settle()?;
    taken.wait()?;
    node.stop()
}

impl Parts {
    /// Drops tables that are on the disk but that the catalog does not know any more.
    fn drop_orphans(&self) {
        for table in self.shared.engine.tables() {
            if self.shared.factor(paxos::owner(table)).is_err() {
                self.shared.drop_later(table);
            }
        }
        self.shared.upkeep.ring();
    }

    fn register(&self, world: &World, addresses: Addresses) -> store::Waiter<u64> {
        let mut tokens: Vec<Token> = (0..TOKENS_PER_NODE).map(|_| world.entropy.u64() as Token).collect();
        tokens.sort_unstable();
        let node = Node {
            id: self.identity.node,
            host_uuid: self.identity.host_uuid,
            locality: self.shared.settings.locality.clone(),
            state: NodeState::Member,
            versions: self.shared.settings.versions,
            tokens,
            addresses,
        };
        let (done, waiter) = store::waiter();
        let cluster_name = self.shared.settings.cluster_name.clone();
        self.catalog
            .command(&Command::RegisterNode { cluster: self.identity.cluster, cluster_name, node }, done);
        waiter
    }
}

/// Opens the disk, replays the log and puts the parts together; groups that a node decides for alone have
/// begun to campaign.
fn assemble<L>(
    world: &World,
    settings: Settings,
    machines: Vec<(GroupId, Box<dyn Machine>)>,
    among: Among,
    run_log: impl FnOnce(Log) -> Result<(LogWriter, L), Cause>,
) -> Result<(Parts, Spine, L), Cause> {
    let identity = Identity::load_or_create(&world.disk, &world.entropy)?;
    let start = starts::begin(&world.disk)?;
    let engine = Engine::open(world.disk.clone(), settings.tree_settings())?;
    let mut recovered = Recovered::default();
    let log = Log::open(
        world.disk.clone(),
        settings.log.clone(),
        &world.entropy,
        &mut |position, stream, payload| recovered.visit(&engine, position, stream, payload),
    )?;
    let found_at = log.next_position().0 - 1;
    let (log, running) = run_log(log)?;
    let published = Published::new(identity.node, &settings.cluster_name);
    let shared = Arc::new(Shared::new(settings, engine, published, world));
    shared.tables_at.store(recovered.tables_at.0, std::sync::atomic::Ordering::Release);

    let paxos = Paxos::new(identity.node, world, recovered.clock_bound, recovered.clock_bound_at);
    let Among { link, mut founders } = among;
    let is_alone = link.is_none();
    let life = Life { start, life: world.entropy.u64(), found: found_at };
    let neighbours =
        link.map(|link| Neighbours::new(link, life, identity.node, std::mem::take(&mut recovered.starts)));
    let mut spine = Spine::new(shared.clone(), log.clone(), paxos, neighbours);
    let catalog: (GroupId, Box<dyn Machine>) = (CATALOG_GROUP, Box::new(CatalogMachine::new(shared.clone())));
    for (id, machine) in std::iter::once(catalog).chain(machines) {
        let replayed = recovered.take_group(id)?;
        let state = {
            let forest = shared.engine.forest().clone();
            StateTree::new(forest, id, replayed.generation, shared.readers.clone())
        };
        // States that were on their way here when the node stopped, and those that were replaced.
        state.orphans().into_iter().for_each(|tree| shared.drop_tree_later(tree));
        let sabotage = shared.settings.planted();
        let state = state.sabotaged(sabotage);
        let replica = Replica {
            group: id,
            node: identity.node,
            start,
            born: if is_alone { Some(Members::of([identity.node])) } else { founders.remove(&id) },
            seed: world.entropy.u64(),
            settings: shared.settings.groups,
            sabotage,
        };
        let group = Group::new(replica, machine, replayed, state)?;
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
    Ok((Parts { store, shared, catalog, log, identity, start }, spine, running))
}
