//! [`store::Machines`]: proposals and barriers, handed to the spine.

use std::sync::{Arc, atomic::Ordering};

use base::{Cause, GroupId};
use bytes::Bytes;
use store::{Action, Done, Permit, Proposal, Target};

use crate::{
    shared::{Admitted, Shared},
    spine::Event,
};

/// The waist's view of the Machines.
pub(crate) struct MachinesHandle {
    shared: Arc<Shared>,
}

impl MachinesHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> MachinesHandle {
        MachinesHandle { shared }
    }

    /// Proposes what the spine has checked the permit of.
    pub(crate) fn propose_unchecked(&self, group: GroupId, proposal: Proposal, done: Done<Bytes>) {
        let Proposal { entry, frees } = proposal;
        match self.admit(group, entry.len(), frees) {
            Ok(room) => self.shared.post(Event::Propose { group, entry, done, room }),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn admit(&self, group: GroupId, bytes: usize, frees: bool) -> Result<Admitted, Cause> {
        if self.shared.group(group)?.stalled.load(Ordering::Acquire) {
            return Err(Cause::busy("the log has no room now"));
        }
        let limit = self.shared.settings.log.max_record_bytes as usize;
        // The record adds a kind, an index, a term and a type, and who asked.
        if bytes + 96 > limit {
            return Err(Cause::invalid(format!("an entry of {bytes} bytes is over the limit of {limit}")));
        }
        if frees { Ok(self.shared.reserve(bytes)) } else { self.shared.admit(bytes) }
    }
}

impl store::Machines for MachinesHandle {
    fn propose(&self, permit: Permit, group: GroupId, proposal: Proposal, done: Done<Bytes>) {
        match permit.check(Action::Write, Target::Machine(group)) {
            Ok(()) => self.propose_unchecked(group, proposal, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn barrier(&self, permit: Permit, group: GroupId, done: Done<()>) {
        let shared =
            permit.check(Action::Read, Target::Machine(group)).and_then(|()| self.shared.group(group));
        match shared {
            Err(cause) => done.complete(Err(cause)),
            Ok(shared) if shared.alone_and_leading.load(Ordering::Acquire) => done.complete(Ok(())),
            Ok(_) => self.shared.post(Event::Barrier { group, done }),
        }
    }
}
