//! One Raft group and the Machine it replicates.
//!
//! A value with inputs and effects: it never touches the log, it says what must be written and is
//! told when that is durable. The consensus core (the `raft` crate) hands out a `Ready`; its vote
//! and entries go to the log in that order, and only when the last is durable does the core hear
//! of it, commit, and let entries be applied. The log keeps order and a crash leaves a prefix, so
//! the records of one `Ready` need not be atomic.
//!
//! The log may refuse a record for want of space, at the call. Then nothing further is taken from
//! the core, proposals are refused as busy, and the same record is offered again later: nothing
//! behind it can have overtaken it.
//!
//! **The state** is in the Machine's tree (see [`crate::state`]); the log holds it only until the
//! tree's files do. When they do, a *base* record says so, and everything before it that has become
//! useless is trimmed: entries that are in files, older bases, votes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use base::{Cause, GroupId, NodeId, Position};
use bytes::Bytes;
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, Entry, EntryType},
};
use store::{Changes, Done, Machine};

use crate::{
    records::{GroupRecord, encode_entry},
    shared::Admitted,
    state::StateTree,
    storage::GroupStorage,
};

/// What the waist reads of a group without asking the spine.
#[derive(Debug, Default)]
pub(crate) struct GroupShared {
    /// The group has one voter, which leads and has applied an entry of its own term. Then
    /// nobody else can commit, whatever was acknowledged was applied before, and a read of the
    /// local state is linearizable without asking anyone.
    pub(crate) alone_and_leading: AtomicBool,
    /// The log refused a record for want of space; it is offered again, proposals are refused.
    pub(crate) stalled: AtomicBool,
    /// [`Machine::weight`] after the last entry applied.
    pub(crate) weight_bytes: AtomicUsize,
}

/// What a group was when the log was replayed.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) storage: GroupStorage,
    /// Where the entries behind the base stand in the log.
    pub(crate) places: VecDeque<Place>,
    /// Whether a base record was seen that covers what is missing.
    pub(crate) has_base: bool,
    /// Where the last base stands, or the record of the group's birth.
    pub(crate) base_at: Position,
}

/// Where an entry stands in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) position: Position,
}

/// Entries whose changes went into the tree together.
struct KeptBatch {
    /// The position of the first: what the tree needs of the log begins there.
    position: Position,
    last: Place,
}

struct Pending {
    index: u64,
    term: u64,
    done: Done<Bytes>,
    /// Held until the entry is applied.
    _room: Admitted,
}

struct Barrier {
    /// Set once the core has confirmed leadership.
    index: Option<u64>,
    id: u64,
    done: Done<()>,
}

/// What the log adds to a record, at most.
const RECORD_BYTES: usize = 20;

/// A record on its way to the log.
pub(crate) struct Outgoing {
    pub(crate) record: Vec<u8>,
    /// Index and term of the entry it is.
    entry: Option<(u64, u64)>,
    /// What its durability completes.
    pub(crate) completes: Option<Completes>,
}

/// What is complete when a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completes {
    /// The `Ready` of this number.
    Ready(u64),
    /// A base, which stands at a position the group is told with it.
    Base,
    /// Nothing yet, but the log has room again for what is behind it.
    Part,
}

/// One Raft group.
pub(crate) struct Group {
    core: RawNode<GroupStorage>,
    machine: Box<dyn Machine>,
    pub(crate) shared: Arc<GroupShared>,
    pending: VecDeque<Pending>,
    barriers: Vec<Barrier>,
    next_barrier: u64,
    /// Records the log has not accepted yet, in order.
    outgoing: VecDeque<Outgoing>,
    /// `Ready`s with records that are not durable yet.
    persisting: usize,
    /// Entries that the log cannot forget yet, ascending.
    places: VecDeque<Place>,
    /// Batches that went into the tree, of which files may not hold all.
    batches: VecDeque<KeptBatch>,
    applied: u64,
    state: StateTree,
    /// Why the state could not be read or written: the node is at its end.
    pub(crate) failed: Option<Cause>,
    /// The last entry that a base covers, and its term.
    base: (u64, u64),
    /// What the base record that is on its way, or was last, covers; and where it stands.
    written_base: u64,
    base_at: Position,
    base_under_way: bool,
}

impl Group {
    /// Takes up a group where its log and its tree left it. A new group's only member is `node`; the
    /// record that says so goes out first.
    pub(crate) fn new(
        id: GroupId,
        node: NodeId,
        mut machine: Box<dyn Machine>,
        replayed: Replayed,
        state: StateTree,
    ) -> Result<Group, Cause> {
        let Replayed { mut storage, places, base_at, .. } = replayed;
        let mut outgoing = VecDeque::new();
        if storage.conf_state == ConfState::default() {
            let voters = vec![node.0];
            storage.conf_state = crate::records::conf_state(&voters);
            let record = GroupRecord::Born { voters }.encode();
            outgoing.push_back(Outgoing { record, entry: None, completes: None });
        }
        let base = (storage.snapshot_index, storage.snapshot_term);
        let applied = state.applied()?;
        if applied < base.0 || applied > storage.last() {
            return Err(Cause::corrupt(format!(
                "the state of Raft group {id} is that of entry {applied}, but its log holds entries {} to {}",
                base.0 + 1,
                storage.last()
            )));
        }
        // It came from files.
        let in_files = places.iter().find(|place| place.index == applied).copied();
        let batches = in_files.map(|last| KeptBatch { position: Position(0), last }).into_iter().collect();
        // The commit index on disk may lag (a change of it alone is not worth a write of its
        // own), but never behind the state, which holds committed entries only.
        storage.hard_state.commit = storage.hard_state.commit.max(applied).min(storage.last());
        machine.restore(Arc::new(state.clone()))?;
        let config = Config {
            id: node.0,
            applied,
            election_tick: 10,
            heartbeat_tick: 3,
            check_quorum: true,
            pre_vote: true,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_committed_size_per_ready: 4 << 20,
            ..Config::default()
        };
        let logger = raft_logger();
        let core = RawNode::new(&config, storage, &logger)
            .map_err(|error| Cause::corrupt(format!("Raft group {id} cannot start: {error}")))?;
        let shared = Arc::new(GroupShared::default());
        shared.weight_bytes.store(machine.weight(), Ordering::Relaxed);
        Ok(Group {
            core,
            machine,
            shared,
            pending: VecDeque::new(),
            barriers: Vec::new(),
            next_barrier: 0,
            outgoing,
            persisting: 0,
            places,
            batches,
            applied,
            state,
            failed: None,
            base,
            written_base: base.0,
            base_at,
            base_under_way: false,
        })
    }

    /// The term and vote that must never be forgotten.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> (u64, u64) {
        (self.core.raft.term, self.core.raft.vote)
    }

    /// Asks to lead. A group of one voter then leads after its vote is durable.
    pub(crate) fn campaign(&mut self) {
        // Fails only for a node that may not campaign, which a lone voter always may.
        if let Err(error) = self.core.campaign() {
            tracing::warn!("cannot campaign: {error}");
        }
    }

    /// Whether it leads and has applied everything that was committed before it did.
    pub(crate) fn is_leading(&self) -> bool {
        self.shared.alone_and_leading.load(Ordering::Acquire)
    }

    /// Proposes an entry.
    pub(crate) fn propose(&mut self, entry: Bytes, done: Done<Bytes>, room: Admitted) {
        if let Err(error) = self.core.propose(Vec::new(), Vec::from(entry)) {
            done.complete(Err(Cause::new(base::Class::Moved, format!("this node does not lead: {error}"))));
            return;
        }
        let raft = &self.core.raft;
        self.pending.push_back(Pending {
            index: raft.raft_log.last_index(),
            term: raft.term,
            done,
            _room: room,
        });
    }

    /// Answers `done` once the state includes everything acknowledged until now.
    pub(crate) fn barrier(&mut self, done: Done<()>) {
        let id = self.next_barrier;
        self.next_barrier += 1;
        self.barriers.push(Barrier { index: None, id, done });
        self.ask_read_index();
    }

    /// The core drops read requests until it has committed in its own term, so they are asked
    /// again after each entry applied; a request is told by its context.
    fn ask_read_index(&mut self) {
        if self.core.raft.state != StateRole::Leader || !self.core.raft.commit_to_current_term() {
            return;
        }
        for barrier in self.barriers.iter().filter(|barrier| barrier.index.is_none()) {
            self.core.read_index(barrier.id.to_le_bytes().to_vec());
        }
    }

    /// Works until records must be brought to the log, and lends those that may go there in one call:
    /// from the first on, about `bytes` of them, and none behind one that completes something. The
    /// caller offers them there, all or the first, and says [`Group::accepted`] or [`Group::refused`].
    pub(crate) fn turn(&mut self, bytes: usize) -> impl ExactSizeIterator<Item = &Outgoing> {
        while self.outgoing.is_empty() && self.core.has_ready() {
            self.take_ready();
        }
        let (mut count, mut sum) = (0, 0);
        for outgoing in &self.outgoing {
            sum += outgoing.record.len() + RECORD_BYTES;
            if count > 0 && sum > bytes {
                break;
            }
            count += 1;
            if outgoing.completes.is_some() {
                break;
            }
        }
        self.outgoing.range(..count)
    }

    fn take_ready(&mut self) {
        let mut ready = self.core.ready();
        for state in ready.take_read_states() {
            self.read_confirmed(&state.request_ctx, state.index);
        }
        let committed = ready.take_committed_entries();
        // A group of one voter has nobody to send to; when there are more, messages leave here: a
        // leader's at once, others' when the records below are durable.
        let entries = ready.take_entries();
        if let Some(hard_state) = ready.hs() {
            self.core.mut_store().hard_state = hard_state.clone();
            // A commit index alone is not worth a write: it is found again from the votes.
            if ready.must_sync() {
                let record = GroupRecord::HardState(hard_state.clone()).encode();
                self.outgoing.push_back(Outgoing { record, entry: None, completes: None });
            }
        }
        self.outgoing.extend(entries.iter().map(|entry| Outgoing {
            record: encode_entry(entry),
            entry: Some((entry.index, entry.term)),
            completes: None,
        }));
        self.core.mut_store().append(&entries);
        let number = ready.number();
        self.core.advance_append_async(ready);
        self.apply(committed);
        if let Some(last) = self.outgoing.back_mut() {
            last.completes = Some(Completes::Ready(number));
            self.persisting += 1;
        } else if self.persisting == 0 {
            self.core.on_persist_ready(number);
        }
        // Otherwise an earlier one is still under way, and the core wants them in order; hearing of
        // the next with records covers this one.
    }

    /// The log has taken the first `count` of the records lent last, the first of them at `position`.
    pub(crate) fn accepted(&mut self, position: Position, count: usize) {
        self.shared.stalled.store(false, Ordering::Release);
        for nth in 0..count as u64 {
            self.note_place(Position(position.0 + nth));
        }
    }

    /// The first record on its way out stands at `position`.
    fn note_place(&mut self, position: Position) {
        let Some(outgoing) = self.outgoing.pop_front() else { return };
        let Some((index, term)) = outgoing.entry else { return };
        // An entry replaces those from its index on.
        while self.places.pop_back_if(|place| place.index >= index).is_some() {}
        self.places.push_back(Place { index, term, position });
    }

    /// The log has no room for the first of the records lent last; soon, or not until the disk has.
    pub(crate) fn refused(&mut self, cause: &Cause, disk_is_full: bool) {
        if !self.shared.stalled.swap(true, Ordering::AcqRel) {
            tracing::warn!("the log refused a record of a Raft group: {cause}");
        }
        // They wait for an entry of this term, which must wait as well: a start on a full disk
        // must not wait in silence.
        let hopeless = if disk_is_full { self.barriers.len() } else { 0 };
        for barrier in self.barriers.drain(..hopeless) {
            barrier.done.complete(Err(cause.clone()));
        }
    }

    /// Whether a record was refused and should be offered again after a while.
    pub(crate) fn is_stalled(&self) -> bool {
        self.shared.stalled.load(Ordering::Acquire)
    }

    /// Every record of `Ready` number `number` is durable.
    pub(crate) fn persisted(&mut self, number: u64) {
        self.persisting -= 1;
        self.core.on_persist_ready(number);
    }

    fn apply(&mut self, committed: Vec<Entry>) {
        if self.failed.is_some() {
            // What is in the log is applied by the next start.
            return;
        }
        let (Some(first), Some(last)) = (committed.first(), committed.last()) else { return };
        let (first, last, term) = (first.index, last.index, last.term);
        let mut changes = Changes::new();
        for entry in committed {
            if let Err(cause) = self.apply_one(&entry, &mut changes) {
                self.failed = Some(cause);
                return;
            }
        }
        self.machine.settle(&mut changes);
        self.keep(first, last, &mut changes);
        self.core.advance_apply_to(last);
        self.shared.weight_bytes.store(self.machine.weight(), Ordering::Relaxed);
        let raft = &self.core.raft;
        let alone = self.core.store().conf_state.voters.len() == 1;
        let leading = alone && raft.state == StateRole::Leader && raft.term == term;
        if alone {
            // Nobody will ask for it.
            self.core.mut_store().compact(last, term);
        }
        self.shared.alone_and_leading.store(leading, Ordering::Release);
        self.ask_read_index();
        self.answer_barriers();
    }

    /// Brings what the entries from `first` to `last` have changed into the tree. Their answers may be
    /// out by now, and are true: they are in the log.
    fn keep(&mut self, first: u64, last: u64, changes: &mut Changes) {
        let place = |index| {
            let nth = self.places.partition_point(|place| place.index < index);
            let place = self.places.get(nth).filter(|place| place.index == index);
            *place.expect("an entry that is applied and in no base has its place")
        };
        let batch = KeptBatch { position: place(first).position, last: place(last) };
        if let Err(cause) = self.state.write(batch.position, last, changes) {
            self.failed = Some(cause);
        }
        self.batches.push_back(batch);
    }

    fn apply_one(&mut self, entry: &Entry, changes: &mut Changes) -> Result<(), Cause> {
        self.applied = entry.index;
        // The leader's first entry of a term is empty; changes of membership are none of the
        // Machine's business.
        let result = match entry.entry_type {
            EntryType::EntryNormal if !entry.data.is_empty() => {
                self.machine.apply(entry.index, &entry.data, changes)?
            }
            _ => return Ok(()),
        };
        while let Some(pending) = self.pending.front() {
            if pending.index > entry.index {
                break;
            }
            let Some(pending) = self.pending.pop_front() else { break };
            if pending.index == entry.index && pending.term == entry.term {
                pending.done.complete(Ok(result));
                return Ok(());
            }
            let lost = "another leader's entry took its place in the log";
            pending.done.complete(Err(Cause::new(base::Class::Conflict, lost)));
        }
        Ok(())
    }

    fn read_confirmed(&mut self, context: &[u8], index: u64) {
        let Ok(id) = <[u8; 8]>::try_from(context).map(u64::from_le_bytes) else { return };
        for barrier in self.barriers.iter_mut().filter(|barrier| barrier.id == id) {
            barrier.index = Some(index);
        }
        self.answer_barriers();
    }

    fn answer_barriers(&mut self) {
        let applied = self.applied;
        for barrier in self.barriers.extract_if(.., |barrier| barrier.index.is_some_and(|i| i <= applied)) {
            barrier.done.complete(Ok(()));
        }
    }

    // What the log may forget.

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
        if self.base_at < floor {
            self.write_base();
        }
    }

    fn write_base(&mut self) {
        if std::mem::replace(&mut self.base_under_way, true) {
            return;
        }
        let storage = self.core.store();
        let record = GroupRecord::Base {
            index: self.base.0,
            term: self.base.1,
            voters: storage.conf_state.voters.clone(),
            hard_state: storage.hard_state.clone(),
        };
        self.written_base = self.base.0;
        let completes = Some(Completes::Base);
        self.outgoing.push_back(Outgoing { record: record.encode(), entry: None, completes });
    }

    /// The base is durable, at `position`. Returns up to where the stream may be trimmed.
    pub(crate) fn base_persisted(&mut self, position: Position) -> Position {
        self.base_under_way = false;
        self.base_at = position;
        while self.places.pop_front_if(|place| place.index <= self.written_base).is_some() {}
        let first = self.places.front().map_or(position, |place| place.position.min(position));
        if self.base.0 > self.written_base {
            // Files were made while it was on its way.
            self.write_base();
        }
        Position(first.0 - 1)
    }
}

/// The core logs every change of role through slog; ours is told by metrics and the state itself.
fn raft_logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}
