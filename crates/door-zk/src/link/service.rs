//! What the connections of a door share, and how they come to the store.

use std::sync::{Arc, PoisonError};

use base::{Cause, GroupId};
use bytes::Bytes;
use metrics::Counter;
use store::{Action, Done, Principal, Proposal, Store, Target};

use super::Link;
use crate::{entry::Entry, hub::Hub};

/// What the connections of a door share.
pub(crate) struct Service {
    pub(crate) hub: Arc<Hub>,
    pub(crate) store: Store,
    pub(crate) group: GroupId,
    /// Requests counted, by row of the table of operations.
    pub(crate) counters: Vec<Counter>,
}

impl Service {
    /// Proposes an entry, once what it needs of the tree can be had without waiting: entries are
    /// applied while everyone waits. `done` hears of a refusal too. The request `from` of a connection
    /// that has to wait for the disk keeps those behind it from being taken, so that they cannot
    /// overtake it.
    pub(crate) fn propose(
        self: &Arc<Self>,
        who: Principal,
        entry: &Entry<'_>,
        done: Done<Bytes>,
        from: Option<(&Arc<Link>, u64)>,
    ) {
        let proposal = Proposal { entry: entry.encode().into(), frees: entry.what.frees() };
        let Some(missing) = self.hub.missing(entry) else {
            return self.propose_now(&who, proposal, done);
        };
        let from = from.map(|(link, tag)| (link.clone(), tag));
        if let Some((link, tag)) = &from {
            link.send_away(*tag);
        }
        let service = self.clone();
        missing.then(move |found| {
            let link = from.as_ref().map(|(link, _)| link);
            let is_fenced = link.map(|link| link.is_fenced.lock().unwrap_or_else(PoisonError::into_inner));
            match found {
                Ok(()) if is_fenced.as_deref() == Some(&true) => {
                    done.complete(Err(Cause::busy("the session is on another connection")));
                }
                Ok(()) => service.propose_now(&who, proposal, done),
                Err(cause) => done.complete(Err(cause)),
            }
            drop(is_fenced);
            if let Some((link, tag)) = from {
                link.came_back(tag);
            }
        });
    }

    fn propose_now(&self, who: &Principal, proposal: Proposal, done: Done<Bytes>) {
        match self.store.gate.permit(who, Action::Write, Target::Machine(self.group)) {
            Ok(permit) => self.store.machines.propose(permit, self.group, proposal, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    /// Asks to be told when the state includes all that was acknowledged before.
    pub(crate) fn barrier(&self, done: Done<()>) {
        match self.store.gate.permit(&Principal::Anonymous, Action::Read, Target::Machine(self.group)) {
            Ok(permit) => self.store.machines.barrier(permit, self.group, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }
}
