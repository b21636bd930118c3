//! What the waist's handles and the spine's thread share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use base::{Cause, GroupId, Mutation, Position, TableId};
use disk_engine::{Engine, tree::TreeId};
use store::Done;
use world::{Clock, World};

use crate::{
    catalog::Published,
    group::GroupShared,
    pace::{self, Pace},
    readers::Readers,
    runner::Runner,
    settings::Settings,
    spine::Event,
    upkeep::Bell,
};

/// What writes and upkeep want to know of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFacts {
    /// Its replication factor.
    pub(crate) factor: u32,
    /// For how long its deletions are kept, if it says so.
    pub(crate) deletions_kept_seconds: Option<u64>,
}

/// Records of the log after which upkeep looks whether the log can forget something.
const UPKEEP_RECORDS: u64 = 4096;

type Facts = BTreeMap<TableId, TableFacts>;

/// State with more than one reader. The spine's thread owns everything else.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) published: Published,
    pub(crate) runner: Arc<Runner>,
    pub(crate) upkeep: Bell,
    pub(crate) readers: Arc<Readers>,
    pub(crate) pace: Arc<Pace>,
    /// The position of the last record of mutations that was applied.
    pub(crate) tables_at: AtomicU64,
    /// At this position upkeep looks again.
    upkeep_at: AtomicU64,
    is_real: bool,
    memtables_max: usize,
    cache_bytes: usize,
    failed: OnceLock<Cause>,
    facts: RwLock<Arc<Facts>>,
    groups: RwLock<BTreeMap<GroupId, Arc<GroupShared>>>,
    doomed: Mutex<Vec<TreeId>>,
    in_flight_bytes: AtomicUsize,
    machines_bytes: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(settings: Settings, engine: Engine, published: Published, world: &World) -> Shared {
        Shared {
            memtables_max: settings.memtables_max(),
            cache_bytes: settings.tree_settings().cache_bytes,
            settings,
            clock: world.clock.clone(),
            engine,
            published,
            runner: Arc::new(Runner::new()),
            upkeep: Bell::default(),
            readers: Arc::default(),
            pace: Arc::new(Pace::new(world.clock.clone())),
            tables_at: AtomicU64::new(0),
            upkeep_at: AtomicU64::new(UPKEEP_RECORDS),
            is_real: world.disk.is_real(),
            failed: OnceLock::new(),
            facts: RwLock::default(),
            groups: RwLock::default(),
            doomed: Mutex::default(),
            in_flight_bytes: AtomicUsize::new(0),
            machines_bytes: AtomicUsize::new(0),
        }
    }

    /// Nothing may be written any more: what the tree is on the disk, nobody knows. The first cause counts.
    pub(crate) fn fail(&self, cause: Cause) {
        if self.is_real {
            world::process::die(&format!("the engine failed: {cause}"));
        }
        if self.failed.get().is_some() {
            return;
        }
        tracing::error!("the engine failed: {cause}");
        let _ = self.failed.set(cause);
    }

    /// Why the node is at its end, if it is.
    pub(crate) fn failure(&self) -> Option<&Cause> {
        self.failed.get()
    }

    /// Applies the record of mutations at `position`, which is durable. There is one caller, the
    /// log, so this is in the order of the log.
    pub(crate) fn apply(&self, position: Position, mutations: &[Mutation]) -> Result<(), Cause> {
        if let Err(error) = self.engine.apply(position, mutations) {
            let cause = Cause::from(error);
            self.fail(cause.clone());
            // It is in the log: a start may find it.
            return Err(Cause::uncertain(cause.message));
        }
        self.tables_at.store(position.0, Ordering::Release);
        self.wake_upkeep(position);
        Ok(())
    }

    /// Tells upkeep, if it may have something to do now that the log has reached `position`: when
    /// memtables wait, and from time to time, because the log grows by what ends in no memtable too.
    pub(crate) fn wake_upkeep(&self, position: Position) {
        let due = self.upkeep_at.load(Ordering::Relaxed);
        if position.0 >= due || self.engine.forest().debt().frozen_bytes > 0 {
            self.upkeep_at.store(position.0 + UPKEEP_RECORDS, Ordering::Relaxed);
            self.upkeep.ring();
        }
    }

    /// Answers a write, later if there is much debt.
    pub(crate) fn answer(&self, done: Done<()>, room: Admitted) {
        let delay = pace::delay(&self.engine.forest().debt(), self.memtables_max);
        self.pace.answer(done, room, delay);
    }

    /// Brings an event to the spine, and runs it if nobody does.
    pub(crate) fn post(&self, event: Event) {
        self.runner.post(event);
    }

    /// The replication factor of a table that exists.
    pub(crate) fn factor(&self, table: TableId) -> Result<u32, Cause> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        let found = facts.get(&table).map(|facts| facts.factor);
        found.ok_or_else(|| Cause::absent("the table does not exist any more"))
    }

    /// For how long deletions of a table are kept, if it says so.
    pub(crate) fn deletions_kept_seconds(&self, table: TableId) -> Option<u64> {
        let facts = self.facts.read().unwrap_or_else(PoisonError::into_inner);
        facts.get(&crate::paxos::owner(table))?.deletions_kept_seconds
    }

    /// Replaces the set of tables that exist.
    pub(crate) fn publish_tables(&self, facts: Facts) {
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
    }

    /// Forgets a dropped table, soon, on upkeep's thread: that writes to the disk. Mutations of it
    /// still on their way are void when they come.
    pub(crate) fn drop_table(&self, table: TableId) {
        self.drop_later(table);
        self.drop_later(crate::paxos::companion(table));
        self.upkeep.ring();
    }

    /// Puts a table among those to be dropped.
    pub(crate) fn drop_later(&self, table: TableId) {
        self.drop_tree_later(Engine::tree_of(table));
    }

    /// Puts a tree among those to be dropped.
    pub(crate) fn drop_tree_later(&self, tree: TreeId) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(tree);
    }

    /// The trees that are to be dropped.
    pub(crate) fn take_doomed(&self) -> Vec<TreeId> {
        std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn register_group(&self, id: GroupId, group: Arc<GroupShared>) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(id, group);
    }

    pub(crate) fn group(&self, id: GroupId) -> Result<Arc<GroupShared>, Cause> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).cloned().ok_or_else(|| Cause::absent(format!("no Machine has the id {id}")))
    }

    /// The groups here, and the generations of their trees.
    pub(crate) fn group_trees(&self) -> Vec<(GroupId, u64)> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.iter().map(|(id, group)| (*id, group.generation.load(Ordering::Acquire))).collect()
    }

    /// Adds up what Machines hold, after some applied entries.
    pub(crate) fn count_machines(&self) {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = groups.values().map(|group| group.weight_bytes.load(Ordering::Relaxed)).sum();
        self.machines_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of memory that can only be had back by writing or deleting: memtables and Machines.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.engine.forest().debt().memtable_bytes as usize + self.machines_bytes.load(Ordering::Relaxed)
    }

    /// Reserves room for a request of `bytes`, or refuses it as busy: nothing was done.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, Cause> {
        if let Some(cause) = self.failure() {
            return Err(cause.clone());
        }
        let memtables = self.engine.forest().debt().memtable_bytes as usize;
        if memtables > self.memtables_max {
            self.upkeep.ring();
            return refuse(
                "memtables",
                "what was written is not in files yet: the disk is full or too slow".into(),
            );
        }
        let stored = memtables + self.machines_bytes.load(Ordering::Relaxed);
        let admitted = self.reserve(bytes);
        let in_flight = self.in_flight_bytes.load(Ordering::Relaxed);
        let budget = self.settings.memory_budget_bytes - self.cache_bytes;
        if stored + in_flight > budget {
            return refuse(
                "memory",
                format!(
                    "memory.budget_bytes is used up: {stored} bytes are held, of {budget} beside the cache"
                ),
            );
        }
        if in_flight > self.settings.in_flight_bytes {
            return refuse("in_flight", "too many requests are in flight".into());
        }
        Ok(admitted)
    }

    /// Reserves room without asking, for what must go on when memory is short: a start, and what
    /// frees memory.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Admitted {
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        Admitted { shared: self.clone(), bytes }
    }
}

/// Room reserved for a request, given back when dropped.
pub(crate) struct Admitted {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn refuse<T>(why: &'static str, message: String) -> Result<T, Cause> {
    metrics::counter!("holdfast_refused_total", "why" => why).increment(1);
    Err(Cause::busy(message))
}
