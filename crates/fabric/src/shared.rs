//! What the waist's handles and the spine's thread share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use base::{Cause, GroupId, TableId};
use disk_engine::{Dropped, MemoryEngine};

use crate::{
    catalog::Published, group::GroupShared, mailbox::Mailbox, runner::Runner, settings::Settings,
    spine::Event,
};

/// Replication factor by table.
type Factors = BTreeMap<TableId, u32>;

/// State with more than one reader. The spine's thread owns everything else.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) engine: MemoryEngine,
    pub(crate) published: Published,
    pub(crate) events: Mailbox<Event>,
    pub(crate) runner: Runner,
    factors: RwLock<Arc<Factors>>,
    groups: RwLock<BTreeMap<GroupId, Arc<GroupShared>>>,
    trash: Mutex<Vec<Dropped>>,
    in_flight_bytes: AtomicUsize,
    machines_bytes: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(settings: Settings, engine: MemoryEngine, published: Published) -> Shared {
        Shared {
            settings,
            engine,
            published,
            events: Mailbox::new(),
            runner: Runner::default(),
            factors: RwLock::default(),
            groups: RwLock::default(),
            trash: Mutex::default(),
            in_flight_bytes: AtomicUsize::new(0),
            machines_bytes: AtomicUsize::new(0),
        }
    }

    /// Brings an event to the spine, and runs it if nobody does.
    pub(crate) fn post(&self, event: Event) {
        self.events.push(event);
        self.runner.run(self);
    }

    /// The replication factor of a table that exists.
    pub(crate) fn factor(&self, table: TableId) -> Result<u32, Cause> {
        let factors = self.factors.read().unwrap_or_else(PoisonError::into_inner);
        factors.get(&table).copied().ok_or_else(|| Cause::absent("the table does not exist any more"))
    }

    /// Replaces the set of tables that exist.
    pub(crate) fn publish_tables(&self, factors: Factors) {
        *self.factors.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(factors);
    }

    /// Forgets a dropped table. Mutations of it still on their way are discarded when they come;
    /// its memory is freed by [`Shared::empty_trash`].
    pub(crate) fn drop_table(&self, table: TableId) {
        let dropped = [table, crate::paxos::companion(table)].map(|table| self.engine.drop_table(table));
        self.trash.lock().unwrap_or_else(PoisonError::into_inner).extend(dropped);
    }

    /// Whether dropped tables wait to be freed.
    pub(crate) fn has_trash(&self) -> bool {
        !self.trash.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Frees dropped tables, which may take long.
    pub(crate) fn empty_trash(&self) {
        let trash = std::mem::take(&mut *self.trash.lock().unwrap_or_else(PoisonError::into_inner));
        drop(trash);
    }

    pub(crate) fn register_group(&self, id: GroupId, group: Arc<GroupShared>) {
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(id, group);
    }

    pub(crate) fn group(&self, id: GroupId) -> Result<Arc<GroupShared>, Cause> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(&id).cloned().ok_or_else(|| Cause::absent(format!("no Machine has the id {id}")))
    }

    /// Adds up what Machines hold, after some applied entries.
    pub(crate) fn count_machines(&self) {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = groups.values().map(|group| group.weight_bytes.load(Ordering::Relaxed)).sum();
        self.machines_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of stored data in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.engine.weight_bytes() as usize + self.machines_bytes.load(Ordering::Relaxed)
    }

    /// Reserves room for a request of `bytes`, or refuses it as busy: nothing was done.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, Cause> {
        let stored = self.memory_bytes();
        let admitted = self.reserve(bytes);
        let in_flight = self.in_flight_bytes.load(Ordering::Relaxed);
        if stored + in_flight > self.settings.memory_budget_bytes {
            metrics::counter!("holdfast_refused_total", "why" => "memory").increment(1);
            return Err(Cause::busy(format!(
                "memory.budget_bytes is used up: {stored} of {} bytes are stored",
                self.settings.memory_budget_bytes
            )));
        }
        if in_flight > self.settings.in_flight_bytes {
            metrics::counter!("holdfast_refused_total", "why" => "in_flight").increment(1);
            return Err(Cause::busy("too many requests are in flight"));
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
