//! What the tests of this crate work with: a store whose only Machine applies entries in place
//! (or when told to), and clients that speak the protocol through sessions without sockets.
#![allow(clippy::unwrap_used)]

pub(crate) mod client;
#[cfg(test)]
mod cold;
#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod garbage;
pub(crate) mod line;
#[cfg(test)]
mod replay;
mod shelf;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod stories;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use base::{Cause, GroupId};
use bytes::Bytes;
use store::{
    Action, Cas, CasOutcome, Catalog, Changes, Cluster, Done, Gate, Machine, Machines, Page, Permit,
    Proposal, Read, Schema, SchemaChange, SchemaEvent, Store, Tables, Target, Write, waiter,
};
use world::{Clock, Entropy};

#[cfg(test)]
pub(crate) use shelf::Broken;
pub(crate) use shelf::Durable;

use crate::{Settings, hub::Hub, link::Service};

pub(crate) const GROUP: GroupId = GroupId(7);

/// A Machine without a log. Entries are applied when they are proposed, or held until released.
pub(crate) struct OneMachine {
    state: Mutex<Inner>,
}

struct Inner {
    machine: Box<dyn Machine>,
    state: Durable,
    index: u64,
    held: Option<VecDeque<(Bytes, Done<Bytes>)>>,
    refuse: Option<Cause>,
    log: Vec<Bytes>,
    /// How often an entry had to wait for the disk while it was applied.
    waits: u64,
}

impl OneMachine {
    /// `machine`, which has taken up `state`.
    fn over(mut machine: Box<dyn Machine>, state: Durable) -> Arc<OneMachine> {
        machine.restore(state.handle()).unwrap();
        let (held, refuse) = (None, None);
        let inner = Inner { machine, state, index: 0, held, refuse, log: Vec::new(), waits: 0 };
        Arc::new(OneMachine { state: Mutex::new(inner) })
    }

    /// A store in which there is nothing else.
    fn store(self: &Arc<Self>) -> Store {
        Store {
            gate: Arc::new(Gate::open()),
            catalog: Arc::new(Nothing),
            tables: Arc::new(Nothing),
            machines: self.clone(),
        }
    }

    /// From now on, entries wait.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().held = Some(VecDeque::new());
    }

    /// Applies the oldest entry that waits.
    pub(crate) fn release_one(&self) {
        let mut inner = self.state.lock().unwrap();
        let next = inner.held.as_mut().and_then(VecDeque::pop_front);
        if let Some((entry, done)) = next {
            inner.apply(entry, done);
        }
    }

    /// Applies all that waits, and what comes at once.
    pub(crate) fn release(&self) {
        let mut inner = self.state.lock().unwrap();
        for (entry, done) in inner.held.take().unwrap_or_default() {
            inner.apply(entry, done);
        }
    }

    /// Refuses everything, or nothing.
    pub(crate) fn refuse(&self, cause: Option<Cause>) {
        self.state.lock().unwrap().refuse = cause;
    }

    /// Every entry applied so far.
    pub(crate) fn log(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().log.clone()
    }

    /// How often an entry had to wait for the disk while it was applied.
    #[cfg(test)]
    pub(crate) fn waits(&self) -> u64 {
        self.state.lock().unwrap().waits
    }

    /// The durable state.
    pub(crate) fn state(&self) -> Durable {
        self.state.lock().unwrap().state.clone()
    }
}

impl Inner {
    fn apply(&mut self, entry: Bytes, done: Done<Bytes>) {
        self.index += 1;
        self.log.push(entry.clone());
        let mut changes = Changes::new();
        let waits = self.state.waits();
        let result = self.machine.apply(self.index, &entry, &mut changes).unwrap();
        self.waits += self.state.waits() - waits;
        self.machine.settle(&mut changes);
        self.state.take(&mut changes);
        done.complete(Ok(result));
    }
}

impl Machines for OneMachine {
    fn propose(&self, permit: Permit, group: GroupId, proposal: Proposal, done: Done<Bytes>) {
        let entry = proposal.entry;
        permit.check(Action::Write, Target::Machine(group)).unwrap();
        let mut inner = self.state.lock().unwrap();
        if let Some(cause) = inner.refuse.clone() {
            drop(inner);
            return done.complete(Err(cause));
        }
        match &mut inner.held {
            Some(held) => held.push_back((entry, done)),
            None => inner.apply(entry, done),
        }
    }

    fn barrier(&self, permit: Permit, group: GroupId, done: Done<()>) {
        permit.check(Action::Read, Target::Machine(group)).unwrap();
        done.complete(Ok(()));
    }
}

/// There are no tables and no catalog here.
struct Nothing;

impl Tables for Nothing {
    fn write(&self, _: Permit, _: Write, done: Done<()>) {
        done.complete(Err(Cause::unsupported("no tables")));
    }

    fn read(&self, _: Permit, _: Read, done: Done<Page>) {
        done.complete(Err(Cause::unsupported("no tables")));
    }

    fn compare_and_set(&self, _: Permit, _: Cas, done: Done<CasOutcome>) {
        done.complete(Err(Cause::unsupported("no tables")));
    }
}

impl Catalog for Nothing {
    fn schema(&self) -> Arc<Schema> {
        Arc::new(Schema::default())
    }

    fn cluster(&self) -> Arc<Cluster> {
        Arc::new(Cluster { local: base::NodeId(1), ..Cluster::default() })
    }

    fn change(&self, _: Permit, _: SchemaChange, done: Done<Arc<Schema>>) {
        done.complete(Err(Cause::unsupported("no catalog")));
    }

    fn events(&self) -> tokio::sync::broadcast::Receiver<SchemaEvent> {
        tokio::sync::broadcast::channel(1).1
    }
}

/// A door with a simulated clock and everything behind it.
pub(crate) struct House {
    pub(crate) clock: Clock,
    pub(crate) machine: Arc<OneMachine>,
    pub(crate) service: Arc<Service>,
}

impl House {
    pub(crate) fn new(settings: Settings) -> House {
        House::after(settings, Durable::default(), &[])
    }

    /// A door after a restart: the durable state, and entries since.
    pub(crate) fn after(settings: Settings, state: Durable, log: &[Bytes]) -> House {
        let clock = Clock::simulated(1_700_000_000_000_000);
        let (machine, door) = crate::new(settings, clock.clone(), Entropy::seeded(1));
        let machine = OneMachine::over(machine, state);
        log.iter().for_each(|entry| machine.state.lock().unwrap().apply(entry.clone(), waiter().0));
        let store = machine.store();
        let service = Arc::new(door.service(store, GROUP));
        House { clock, machine, service }
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.service.hub
    }
}
