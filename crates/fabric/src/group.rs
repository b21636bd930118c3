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
//! **Snapshots.** When enough log has gathered, the Machine's state is written to the stream in
//! chunks, one under way at a time so that others' writes go in between, and closed by an end record;
//! from then on it counts, and the stream is trimmed up to the entry it covers. A crash in the
//! middle leaves chunks without an end: replay ignores them.

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
use store::{Done, Machine};

use crate::{
    Settings,
    records::{GroupRecord, encode_entry},
    runner::Pace,
    shared::Admitted,
    storage::GroupStorage,
};

/// Most bytes of a snapshot in one record, so that others' writes go in between.
const CHUNK_BYTES_MAX: usize = 1 << 20;

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
    /// Where the entries after the snapshot stand in the log.
    pub(crate) positions: VecDeque<(u64, Position)>,
    /// The last complete snapshot.
    pub(crate) snapshot: Option<Vec<u8>>,
    /// Bytes of records since it was begun, its own left out.
    pub(crate) bytes_since_snapshot: u64,
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

struct SnapshotInProgress {
    index: u64,
    term: u64,
    /// Records before the end that have not been handed out, in order.
    records: VecDeque<Vec<u8>>,
    length: u64,
    /// Whether one was handed out and is not durable yet.
    under_way: bool,
    /// Whether the end was handed out.
    ended: bool,
}

/// A record on its way to the log.
pub(crate) struct Outgoing {
    pub(crate) record: Vec<u8>,
    /// The index of the entry it is.
    entry: Option<u64>,
    /// What its durability completes.
    pub(crate) completes: Option<Completes>,
}

/// What is complete when a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completes {
    /// The `Ready` of this number.
    Ready(u64),
    /// The step of a snapshot.
    Snapshot,
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
    positions: VecDeque<(u64, Position)>,
    applied: u64,
    snapshot: Option<SnapshotInProgress>,
    snapshot_after_bytes: u64,
    chunk_bytes: usize,
    last_snapshot_bytes: u64,
    bytes_since_snapshot: u64,
}

impl Group {
    /// Takes up a group where its log left it. A new group's only member is `node`; the record
    /// that says so goes out first.
    pub(crate) fn new(
        id: GroupId,
        node: NodeId,
        mut machine: Box<dyn Machine>,
        replayed: Replayed,
        settings: &Settings,
    ) -> Result<Group, Cause> {
        let Replayed { mut storage, positions, snapshot, bytes_since_snapshot } = replayed;
        let mut outgoing = VecDeque::new();
        if storage.conf_state == ConfState::default() {
            let voters = vec![node.0];
            storage.conf_state = crate::records::conf_state(&voters);
            let record = GroupRecord::Born { voters }.encode();
            outgoing.push_back(Outgoing { record, entry: None, completes: None });
        }
        // The commit index on disk may lag (a change of it alone is not worth a write of its
        // own), but never behind a snapshot, which holds committed entries only.
        let commit = storage.hard_state.commit.max(storage.snapshot_index).min(storage.last());
        storage.hard_state.commit = commit;
        let applied = storage.snapshot_index;
        let last_snapshot_bytes = snapshot.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if let Some(snapshot) = snapshot {
            machine.restore(&snapshot)?;
        }
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
            positions,
            applied,
            snapshot: None,
            snapshot_after_bytes: settings.snapshot_after_bytes,
            chunk_bytes: (settings.log.max_record_bytes as usize - 1).min(CHUNK_BYTES_MAX),
            last_snapshot_bytes,
            bytes_since_snapshot,
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

    /// Works until a record must be brought to the log, and lends it. The caller offers it there,
    /// and says [`Group::accepted`] or [`Group::refused`].
    pub(crate) fn turn(&mut self, pace: Pace) -> Option<&Outgoing> {
        while self.outgoing.is_empty() && self.core.has_ready() {
            self.take_ready();
        }
        if self.outgoing.is_empty() {
            self.next_snapshot_record(pace);
        }
        self.outgoing.front()
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
            entry: Some(entry.index),
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

    /// The log has taken the record lent last, at `position`.
    pub(crate) fn accepted(&mut self, position: Position) {
        self.shared.stalled.store(false, Ordering::Release);
        let Some(outgoing) = self.outgoing.pop_front() else { return };
        if outgoing.completes != Some(Completes::Snapshot) {
            self.bytes_since_snapshot += outgoing.record.len() as u64;
        }
        self.positions.extend(outgoing.entry.map(|index| (index, position)));
    }

    /// The log has no room for the record lent last; soon, or not until the disk has.
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
        let Some((last, term)) = committed.last().map(|entry| (entry.index, entry.term)) else { return };
        for entry in committed {
            self.apply_one(&entry);
        }
        self.core.advance_apply_to(last);
        self.shared.weight_bytes.store(self.machine.weight(), Ordering::Relaxed);
        let raft = &self.core.raft;
        let alone = self.core.store().conf_state.voters.len() == 1;
        let leading = alone && raft.state == StateRole::Leader && raft.term == term;
        self.shared.alone_and_leading.store(leading, Ordering::Release);
        self.ask_read_index();
        self.answer_barriers();
    }

    fn apply_one(&mut self, entry: &Entry) {
        self.applied = entry.index;
        // The leader's first entry of a term is empty; changes of membership are none of the
        // Machine's business.
        let result = match entry.entry_type {
            EntryType::EntryNormal if !entry.data.is_empty() => self.machine.apply(entry.index, &entry.data),
            _ => return,
        };
        while let Some(pending) = self.pending.front() {
            if pending.index > entry.index {
                break;
            }
            let Some(pending) = self.pending.pop_front() else { break };
            if pending.index == entry.index && pending.term == entry.term {
                pending.done.complete(Ok(result));
                return;
            }
            let lost = "another leader's entry took its place in the log";
            pending.done.complete(Err(Cause::new(base::Class::Conflict, lost)));
        }
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

    // Snapshots.

    /// Whether a snapshot is due, which takes as long as the state is large.
    pub(crate) fn wants_snapshot(&self) -> bool {
        let due = self.snapshot_after_bytes.max(self.last_snapshot_bytes);
        self.snapshot.is_none() && self.bytes_since_snapshot > due
    }

    fn next_snapshot_record(&mut self, pace: Pace) {
        if pace == Pace::Own && self.wants_snapshot() {
            self.begin_snapshot();
        }
        let Some(snapshot) = self.snapshot.as_mut().filter(|snapshot| !snapshot.under_way) else { return };
        let record = snapshot.records.pop_front().unwrap_or_else(|| {
            snapshot.ended = true;
            // As they are now, not as they were when it began: replay takes them for the newest.
            let storage = self.core.store();
            let end = GroupRecord::SnapshotEnd {
                index: snapshot.index,
                term: snapshot.term,
                voters: storage.conf_state.voters.clone(),
                hard_state: storage.hard_state.clone(),
                length: snapshot.length,
            };
            end.encode()
        });
        snapshot.under_way = true;
        self.outgoing.push_back(Outgoing { record, entry: None, completes: Some(Completes::Snapshot) });
    }

    fn begin_snapshot(&mut self) {
        let index = self.applied;
        self.bytes_since_snapshot = 0;
        let Ok(term) = raft::Storage::term(self.core.store(), index) else { return };
        if index == self.core.store().snapshot_index {
            return;
        }
        let mut records = VecDeque::from([GroupRecord::SnapshotBegin { index }.encode()]);
        let mut length = 0;
        self.machine.snapshot(&mut |chunk| {
            length += chunk.len() as u64;
            let pieces = chunk.chunks(self.chunk_bytes);
            records.extend(pieces.map(|piece| GroupRecord::SnapshotChunk(piece).encode()));
        });
        self.snapshot =
            Some(SnapshotInProgress { index, term, records, length, under_way: false, ended: false });
    }

    /// A snapshot's record is durable. When it was the last, returns up to where the stream may be
    /// trimmed.
    pub(crate) fn snapshot_persisted(&mut self) -> Option<Position> {
        let snapshot = self.snapshot.as_mut()?;
        snapshot.under_way = false;
        if !snapshot.ended {
            return None;
        }
        let snapshot = self.snapshot.take()?;
        self.last_snapshot_bytes = snapshot.length;
        self.core.mut_store().compact(snapshot.index, snapshot.term);
        let mut trim = None;
        while let Some((_, position)) = self.positions.pop_front_if(|(index, _)| *index <= snapshot.index) {
            trim = Some(position);
        }
        trim
    }
}

/// The core logs every change of role through slog; ours is told by metrics and the state itself.
fn raft_logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}
