//! The door itself: its connections, and the end of silent sessions.

use std::{sync::Arc, time::Duration};

use base::{Cause, GroupId};
use bytes::Bytes;
use door::Shutdown;
use metrics::{Gauge, gauge};
use store::{Done, Inbox, Principal, Store};
use world::{Clock, Entropy};

use crate::{
    Settings,
    entry::{Entry, What},
    hub::Hub,
    link::Service,
    machine::TreeMachine,
    ops::OPERATIONS,
    reaper::reap_for_ever,
    session::Connection,
};

/// The door's name in metrics and log lines.
const NAME: &str = "zookeeper";

/// A ZooKeeper door and the state machine behind it, which the spine is to drive. Times are the
/// `clock`'s, passwords of sessions are drawn from `entropy`.
pub fn new(settings: Settings, clock: Clock, entropy: Entropy) -> (Box<dyn store::Machine>, Door) {
    let hub = Arc::new(Hub::new(settings, clock, entropy));
    (Box::new(TreeMachine { hub: hub.clone() }), Door { hub })
}

/// A door that can be opened, on one listener or more. Clones are the same door.
#[derive(Clone)]
pub struct Door {
    hub: Arc<Hub>,
}

impl Door {
    /// Serves clients on `listener` until `shutdown`. `group` is the Raft group through which
    /// `store` drives the machine that came with this door; it must have caught up with its log.
    pub async fn serve(
        self,
        listener: world::net::Listener,
        store: Store,
        group: GroupId,
        shutdown: Shutdown,
    ) {
        let (limits, tls) = (self.hub.settings.connections.clone(), self.hub.settings.tls.clone());
        if let Ok(address) = listener.local_addr() {
            // A door with several listeners names the first.
            let _ = self.hub.port.set(address.port());
        }
        let service = Arc::new(self.service(store, group));
        {
            let now_ms = service.hub.now_ms();
            service.hub.lock().sessions.hear_all(now_ms);
        }
        let connections = {
            let service = service.clone();
            door::serve(NAME, listener, limits, tls, shutdown, move |guest| {
                Box::new(Connection::new(guest, service.clone()))
            })
        };
        tokio::select! {
            () = connections => {}
            () = end_silent_sessions(service.clone()) => {}
            () = reap_for_ever(service) => {}
        }
    }

    pub(crate) fn service(self, store: Store, group: GroupId) -> Service {
        let counters =
            OPERATIONS.iter().map(|operation| door::request_counter(NAME, operation.name)).collect();
        Service { hub: self.hub, store, group, counters }
    }
}

/// Closes sessions that were silent for their timeout, for ever.
///
/// When this task wakes far too late, the whole process was stopped (a suspended machine, a
/// debugger) and heard nobody meanwhile: the signs of life are still in the sockets. Then every
/// session gets a full timeout again, as after a restart, instead of all of them ending at once.
/// A session may always end late, never early.
pub(crate) async fn end_silent_sessions(service: Arc<Service>) {
    let hub = service.hub.clone();
    let gauges = Gauges::new();
    loop {
        let wait_ms = expire(&service);
        gauges.set(&hub);
        let asleep_ms = hub.now_ms();
        world::time::sleep(Duration::from_millis(wait_ms)).await;
        let now_ms = hub.now_ms();
        let late_ms = now_ms.saturating_sub(asleep_ms + wait_ms);
        if late_ms > u64::from(hub.settings.tick_ms) {
            tracing::warn!(late_ms, "the process stood still; every session gets a full timeout");
            hub.lock().sessions.hear_all(now_ms);
        }
    }
}

/// Proposes to close the sessions whose time is up; gives the milliseconds until this should be
/// looked at again. No session's time can be up earlier than that: a new one lives for two ticks.
pub(crate) fn expire(service: &Arc<Service>) -> u64 {
    let hub = &service.hub;
    let now_ms = hub.now_ms();
    let (expired, next_ms) = {
        let mut state = hub.lock();
        let expired = state.sessions.expire(now_ms);
        (expired, state.sessions.next_deadline_ms())
    };
    for session in expired {
        tracing::debug!(session, "a session expires");
        let entry = Entry::plain(hub.wall_ms(), session, What::Close);
        let reaper = Arc::new(Reaper { service: service.clone() });
        service.propose(Principal::Node, &entry, Done::new(reaper, session as u64), None);
    }
    let longest_ms = u64::from(hub.settings.tick_ms).max(1);
    next_ms.map_or(longest_ms, |next_ms| next_ms.saturating_sub(now_ms).clamp(1, longest_ms))
}

/// Hears what became of closing a session.
struct Reaper {
    service: Arc<Service>,
}

impl Inbox<Bytes> for Reaper {
    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        if let Err(cause) = answer {
            let session = tag as i64;
            tracing::debug!(session, %cause, "an expired session could not be closed yet");
            let now_ms = self.service.hub.now_ms();
            self.service.hub.lock().sessions.retry(session, now_ms);
        }
    }
}

/// Sizes of the state, told once a tick.
struct Gauges {
    znodes: Gauge,
    ephemerals: Gauge,
    sessions: Gauge,
    watches: Gauge,
}

impl Gauges {
    fn new() -> Gauges {
        Gauges {
            znodes: gauge!("holdfast_zookeeper_znodes"),
            ephemerals: gauge!("holdfast_zookeeper_ephemeral_znodes"),
            sessions: gauge!("holdfast_zookeeper_sessions"),
            watches: gauge!("holdfast_zookeeper_watches"),
        }
    }

    fn set(&self, hub: &Hub) {
        let state = hub.lock();
        self.znodes.set(state.replica.tree.size().znodes as f64);
        self.ephemerals.set(state.replica.tree.ephemeral_len() as f64);
        self.sessions.set(state.sessions.len() as f64);
        self.watches.set(state.watches.len() as f64);
    }
}
