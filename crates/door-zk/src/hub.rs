//! The hub: the one place where state machine and connections meet.
//!
//! One lock holds the tree, the watches and the table of sessions. The state machine applies an
//! entry and finds out who is to be told under it; a connection reads, sets a watch and puts the
//! answer into its outbox under it. So it never misses a change between reading and watching.
//! Entries hold the lock for microseconds, and readers less.
//!
//! Those who are to be told are told behind the lock, before the next entry is applied. Who is
//! still to be told of a change waits for that before it looks at the state ([`Hub::lock_for`]), so
//! it is told of the change before it can see it. Nobody else waits, be they ten thousand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use base::Cause;
use bytes::Bytes;
use store::{Changes, Job, MachineState, Patience, Records, Unread};
use world::{Clock, Entropy};

use crate::{
    Settings,
    entry::Entry,
    faults::Code,
    link::Link,
    replica::{Effects, Replica},
    sessions::Sessions,
    traffic::Traffic,
    tree::Missing,
    watches::{LinkId, Listener, Owed, Watches},
    wire::reply,
    words::TRACE_MASK,
};

/// What the lock holds.
pub(crate) struct State {
    /// What all nodes agree on.
    pub(crate) replica: Replica,
    /// Who of this node's clients is to be told of what.
    pub(crate) watches: Watches,
    /// Who of the sessions is alive.
    pub(crate) sessions: Sessions,
}

/// Shared by the state machine and all connections of the door.
pub(crate) struct Hub {
    state: Mutex<State>,
    /// See [`Hub::telling`].
    telling: Mutex<()>,
    /// Whether every znode was in memory a moment ago: then no entry has to wait for any.
    is_whole: AtomicBool,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) traffic: Traffic,
    /// What `gtmk` tells and `stmk` sets.
    pub(crate) trace_mask: AtomicI64,
    /// The last transaction of the durable state that was taken up.
    pub(crate) restored_zxid: AtomicI64,
    /// When the door was made, in milliseconds of the boot clock.
    pub(crate) since_ms: u64,
    /// The port of the first listener.
    pub(crate) port: OnceLock<u16>,
    last_link: AtomicU64,
    /// All connections, for the words that list them.
    links: Mutex<BTreeMap<LinkId, Weak<Link>>>,
}

impl Hub {
    pub(crate) fn new(settings: Settings, clock: Clock, entropy: Entropy) -> Hub {
        let state = State {
            // Until the machine gets what it really has.
            replica: Replica::new(Arc::new(Nowhere), settings.cache_bytes),
            watches: Watches::new(settings.watch_bytes),
            sessions: Sessions::default(),
        };
        Hub {
            state: Mutex::new(state),
            telling: Mutex::default(),
            is_whole: AtomicBool::new(true),
            settings,
            since_ms: millis(clock.boot()),
            clock,
            entropy,
            traffic: Traffic::default(),
            trace_mask: AtomicI64::new(TRACE_MASK),
            restored_zxid: AtomicI64::new(0),
            port: OnceLock::new(),
            last_link: AtomicU64::new(0),
            links: Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps those waiting who are owed an event. Taken before the state.
    pub(crate) fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, when `listener` was told of everything that it shows.
    pub(crate) fn lock_for(&self, listener: &Listener) -> MutexGuard<'_, State> {
        loop {
            let state = self.lock();
            if !listener.is_owed() {
                return state;
            }
            drop(state);
            drop(self.telling());
        }
    }

    /// A number for a new connection.
    pub(crate) fn new_link(&self) -> LinkId {
        self.last_link.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection has come.
    pub(crate) fn add_link(&self, link: &Arc<Link>) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(link.id, Arc::downgrade(link));
    }

    /// It has gone.
    pub(crate) fn remove_link(&self, id: LinkId) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// A connection that is still there.
    pub(crate) fn link(&self, id: LinkId) -> Option<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }

    /// The connections that are there, oldest first.
    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().filter_map(Weak::upgrade).collect()
    }

    /// Milliseconds of the boot clock.
    pub(crate) fn now_ms(&self) -> u64 {
        millis(self.clock.boot())
    }

    /// Milliseconds since 1970, for the times that znodes carry.
    pub(crate) fn wall_ms(&self) -> i64 {
        (self.clock.wall_micros() / 1000) as i64
    }

    /// What an entry needs of the tree and would have to wait for, if there is something.
    pub(crate) fn missing(&self, entry: &Entry<'_>) -> Option<Missing> {
        if self.is_whole.load(Ordering::Relaxed) {
            return None;
        }
        self.lock().replica.tree.missing(&entry.what, entry.session)
    }

    /// Says what entries have changed.
    pub(crate) fn settle(&self, changes: &mut Changes) {
        let mut state = self.lock();
        state.replica.settle(changes);
        self.is_whole.store(state.replica.tree.is_whole(), Ordering::Relaxed);
    }

    /// Applies an entry, tells watchers, and notes sessions that came and went.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(crate) fn apply(&self, bytes: &[u8]) -> Result<Vec<u8>, Cause> {
        let telling = self.telling();
        let mut locked = self.lock();
        let state = &mut *locked;
        let entry = match Entry::decode(bytes) {
            Ok(entry) => entry,
            Err(error) => {
                // All nodes fail alike, so they stay equal; the proposer's client is told.
                tracing::error!(%error, "an entry of the log cannot be read");
                let mut result = Vec::new();
                reply::tail(&mut result, state.replica.zxid, Code::SYSTEM_ERROR);
                return Ok(result);
            }
        };
        let mut effects = Effects::default();
        effects.trace.is_unwatched = state.watches.len() == 0;
        let result = state.replica.apply(&entry, &mut effects)?;
        for event in &effects.trace.events {
            state.watches.fire(event, state.replica.zxid);
        }
        if let Some(id) = effects.opened {
            let timeout_ms = state.replica.sessions.get(&id).map_or(0, |session| session.timeout_ms);
            state.sessions.open(id, timeout_ms, self.now_ms());
        }
        let owed = state.watches.take_owed();
        drop(locked);
        owed.into_iter().for_each(Owed::pay);
        drop(telling);
        if let Some(id) = effects.closed {
            // Only now, for its last events go to a connection that this closes.
            self.lock().sessions.close(id);
        }
        Ok(result)
    }

    /// Takes up the durable state.
    pub(crate) fn restore(&self, state: Arc<dyn MachineState>) -> Result<(), Cause> {
        let replica = Replica::restore(state, self.settings.cache_bytes)?;
        let now_ms = self.now_ms();
        let mut state = self.lock();
        state.sessions = Sessions::default();
        for (id, session) in &replica.sessions {
            state.sessions.open(*id, session.timeout_ms, now_ms);
        }
        self.is_whole.store(replica.tree.is_whole(), Ordering::Relaxed);
        self.restored_zxid.store(replica.zxid, Ordering::Relaxed);
        state.replica = replica;
        Ok(())
    }
}

/// The durable state of a machine that has none.
struct Nowhere;

impl MachineState for Nowhere {
    fn get(&self, _: &[u8], _: Patience) -> Result<Option<Bytes>, Unread> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: Patience) -> Result<Records, Unread> {
        Ok(Box::new(std::iter::empty()))
    }

    fn defer(&self, job: Job) {
        job(Ok(()));
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
