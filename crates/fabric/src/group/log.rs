//! What the log may forget of a group, and the memory: everything that files hold, behind a base that says so;
//! everything that nobody needs, or that is too much to be kept for those who lag.

use base::Position;

use super::{Completes, Group, Outgoing};
use crate::records::{Base, GroupRecord};

impl Group {
    /// Files hold the batches of the state up to `flushed`: a base has to say so.
    pub(crate) fn flushed(&mut self, flushed: Position) {
        let mut moved = false;
        while let Some(batch) = self.batches.pop_front_if(|batch| batch.position <= flushed) {
            self.base = (batch.last.index, batch.last.term);
            moved = true;
        }
        if moved {
            self.write_base();
        }
    }

    /// The log wants to forget what stands before `floor`: the base is written once more, behind it.
    pub(crate) fn raise_floor(&mut self, floor: Position) {
        if self.base_at < floor && self.base.0 > 0 {
            self.write_base();
        }
    }

    fn write_base(&mut self) {
        if std::mem::replace(&mut self.base_under_way, true) {
            return;
        }
        let record = GroupRecord::Base(self.base_of(self.base));
        self.written_base = self.base.0;
        let completes = Some(Completes::Base);
        self.outgoing.push_back(Outgoing {
            record: record.encode(),
            entry: None,
            installs: false,
            completes,
        });
    }

    /// What a record says of the state as it is after entry `index`, of `term`.
    pub(super) fn base_of(&self, (index, term): (u64, u64)) -> Base {
        Base {
            index,
            term,
            members: self.born.clone(),
            hard_state: self.core.store().hard_state.clone(),
            generation: self.state.generation(),
        }
    }

    /// The base is durable, at `position`. Returns up to where the stream may be trimmed.
    pub(crate) fn base_persisted(&mut self, position: Position) -> Position {
        self.base_under_way = false;
        self.base_at = self.base_at.max(position);
        while self.places.pop_front_if(|place| place.index <= self.written_base).is_some() {}
        let first = self.places.front().map_or(position, |place| place.position.min(position));
        if self.base.0 > self.written_base {
            // Files were made while it was on its way.
            self.write_base();
        }
        Position(first.0 - 1)
    }

    /// Lets go of applied entries in memory: those that all have, and the oldest of too many.
    pub(super) fn trim_memory(&mut self, applied_term: u64) {
        let applied = self.applied;
        if self.is_single() {
            // Nobody will ask for it.
            self.core.mut_store().compact(applied, applied_term);
            return;
        }
        if self.truncates_past_followers() {
            self.core.mut_store().forget(applied);
            return;
        }
        let raft = &self.core.raft;
        if raft.state == raft::StateRole::Leader {
            let all_have = raft.prs().iter().map(|(_, progress)| progress.matched).min().unwrap_or(applied);
            self.core.mut_store().forget(all_have.min(applied));
        }
        let keep = self.keep;
        let store = self.core.mut_store();
        while store.first() <= applied && (store.held().0 > keep.entries || store.held().1 > keep.bytes) {
            store.forget(store.first());
        }
    }

    pub(super) fn truncates_past_followers(&self) -> bool {
        self.sabotage == Some(crate::settings::Sabotage::TruncatePastFollower)
    }
}
