//! One Raft group and the Machine it replicates.
//!
//! A value with inputs and effects: it never touches the log, it says what must be written and is
//! told when that is durable. The consensus core (the `raft` crate) hands out a `Ready`; its vote
//! and entries go to the log in that order, and only when the last is durable does the core hear
//! of it, commit, and let entries be applied. The log keeps order and a crash leaves a prefix, so
//! the records of one `Ready` need not be atomic. What a replica says to others waits as well until what
//! it says is durable; only a leader's messages leave at once, so that its followers write while it does,
//! and even those wait for the vote that made it leader.
//!
//! [`message`] is what replicas say to each other, [`requests`] how a follower's proposals come to the
//! leader and are applied once, [`reads`] linearizable reads, [`members`] who takes part, [`lead`] what
//! is asked of a leader and of time, [`log`] what may be forgotten, [`catch_up`] how the state of
//! another replica is taken over. A group of one voter pays for none
//! of it.
//!
//! The log may refuse a record for want of space, at the call. Then nothing further is taken from
//! the core, proposals are refused as busy, and the same record is offered again later: nothing
//! behind it can have overtaken it.
//!
//! **The state** is in the Machine's tree (see [`crate::state`]); the log holds it only until the
//! tree's files do. When they do, a *base* record says so, and everything before it that has become
//! useless is trimmed: entries that are in files, older bases, votes.

pub(crate) mod catch_up;
mod lead;
mod log;
pub(crate) mod members;
pub(crate) mod message;
pub(crate) mod reads;
pub(crate) mod requests;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use base::{Cause, Class, GroupId, NodeId, Position, Reader, Writer};
use bytes::Bytes;
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{ConfState, Entry, EntryType, HardState, Message, MessageType},
};
use store::{Changes, Done, Machine};

use self::{
    catch_up::CatchUp,
    lead::{Time, Wish},
    members::Members,
    message::GroupMessage,
    reads::Reads,
    requests::{RequestId, Requests, Turn, Windows},
};
use crate::{
    records::{BORN_INDEX, BORN_TERM, GroupRecord, born_hard_state, encode_entry, put_members, take_members},
    settings::{GroupSettings, Sabotage},
    shared::Admitted,
    state::{GROUPS, StateTree},
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
    /// Which tree holds the state.
    pub(crate) generation: AtomicU64,
}

/// What a group was when the log was replayed.
#[derive(Default)]
pub(crate) struct Replayed {
    pub(crate) storage: GroupStorage,
    /// The members the group was born with; none if it was not born here.
    pub(crate) born: ConfState,
    /// Where the entries behind the base stand in the log.
    pub(crate) places: VecDeque<Place>,
    /// Whether a base record was seen that covers what is missing.
    pub(crate) has_base: bool,
    /// Where the last base stands, or the record of the group's birth.
    pub(crate) base_at: Position,
    /// Which tree holds the state.
    pub(crate) generation: u64,
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

/// Which replica a group is, and how it is to behave.
pub(crate) struct Replica {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    /// How often the node has started, for the ids of requests.
    pub(crate) start: u64,
    /// The first members, if the group may be born here. If not, and nothing is known of it, it waits to
    /// be told by a leader.
    pub(crate) born: Option<Members>,
    /// For its election timeouts.
    pub(crate) seed: u64,
    pub(crate) settings: GroupSettings,
    pub(crate) sabotage: Option<Sabotage>,
}

/// How a replica is, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Its term of election.
    pub term: u64,
    /// Who leads, as far as this replica knows.
    pub leader: Option<NodeId>,
    /// Whether this replica leads.
    pub leads: bool,
    /// The last entry in this replica's log.
    pub last: u64,
    /// The last entry it knows to be committed.
    pub committed: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// The members, as of the last entry applied; while they change, those they will be.
    pub members: Members,
    /// The voters they were, while they change.
    pub leaving: Vec<NodeId>,
    /// Whether time does not count for it, because it has nothing to do.
    pub asleep: bool,
    /// What the leader knows that each member has, itself included; empty elsewhere.
    pub matched: Vec<(NodeId, u64)>,
}

/// What applied entries are kept for followers.
#[derive(Clone, Copy)]
struct Keep {
    entries: usize,
    bytes: usize,
}

/// What the log adds to a record, at most.
const RECORD_BYTES: usize = 20;

/// A record on its way to the log.
pub(crate) struct Outgoing {
    pub(crate) record: Vec<u8>,
    /// Index and term of the entry it is.
    entry: Option<(u64, u64)>,
    /// Whether it says that another replica's state counts here.
    installs: bool,
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

/// The key under which the members are kept in the Machine's tree.
const MEMBERS_KEY: [u8; 2] = [GROUPS, 1];

/// One Raft group.
pub(crate) struct Group {
    core: RawNode<GroupStorage>,
    machine: Box<dyn Machine>,
    pub(crate) shared: Arc<GroupShared>,
    id: GroupId,
    node: NodeId,
    start: u64,
    /// The members it was born with.
    born: ConfState,
    pending: VecDeque<Pending>,
    requests: Requests,
    reads: Reads,
    wishes: Vec<Wish>,
    time: Time,
    /// The last requests applied.
    windows: Windows,
    /// The last requests proposed here in this term, while this replica leads.
    proposed: Windows,
    /// What is kept of members and windows with the next batch.
    of_group: Vec<(Bytes, Bytes)>,
    /// Messages that may leave now.
    mail: Vec<(NodeId, GroupMessage)>,
    /// Messages that may leave when everything up to the `Ready` of this number is durable.
    held: VecDeque<(u64, Message)>,
    /// The `Ready` with a vote or term that is not durable yet.
    vote_in: Option<u64>,
    last_ready: u64,
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
    keep: Keep,
    lag_entries: u64,
    catch_up: CatchUp,
    sabotage: Option<Sabotage>,
}

impl Group {
    /// Takes up a replica where its log and its tree left it. If it is born here, the record that says so
    /// goes out first.
    pub(crate) fn new(
        replica: Replica,
        mut machine: Box<dyn Machine>,
        replayed: Replayed,
        state: StateTree,
    ) -> Result<Group, Cause> {
        let Replica { group: id, node, start, settings, .. } = replica;
        let Replayed { mut storage, mut born, places, base_at, .. } = replayed;
        let mut outgoing = VecDeque::new();
        let is_new = storage.last() == 0 && storage.hard_state == HardState::default();
        if let Some(members) = replica.born.filter(|_| is_new) {
            born = members.to_conf();
            storage.hard_state = born_hard_state();
            storage.compact(BORN_INDEX, BORN_TERM);
            let record = GroupRecord::Born { members: born.clone() }.encode();
            outgoing.push_back(Outgoing { record, entry: None, installs: false, completes: None });
        }
        let base = (storage.snapshot_index, storage.snapshot_term);
        // The state of a group that was born has nothing to say of its birth.
        let applied = state.applied()?.max(base.0.min(BORN_INDEX));
        if applied < base.0 || applied > storage.last() {
            return Err(Cause::corrupt(format!(
                "the state of Raft group {id} is that of entry {applied}, but its log holds entries {} to {}",
                base.0 + 1,
                storage.last()
            )));
        }
        storage.conf_state = match state.of_group(&MEMBERS_KEY)? {
            Some(members) => take_members(&mut Reader::new(&members))?,
            None => born.clone(),
        };
        let windows = Windows::load(state.all_of_group(&requests::WINDOW_KEYS)?)?;
        // It came from files.
        let in_files = places.iter().find(|place| place.index == applied).copied();
        let batches = in_files.map(|last| KeptBatch { position: Position(0), last }).into_iter().collect();
        // The commit index on disk may lag (a change of it alone is not worth a write of its
        // own), but never behind the state, which holds committed entries only.
        storage.hard_state.commit = storage.hard_state.commit.max(applied).min(storage.last());
        machine.restore(Arc::new(state.clone()))?;
        let core = RawNode::new(&config(node, applied, &settings), storage, &raft_logger())
            .map_err(|error| Cause::corrupt(format!("Raft group {id} cannot start: {error}")))?;
        let next_generation = state.next_generation();
        let shared = Arc::new(GroupShared::default());
        shared.generation.store(state.generation(), Ordering::Release);
        shared.weight_bytes.store(machine.weight(), Ordering::Relaxed);
        let mut group = Group {
            core,
            machine,
            shared,
            id,
            node,
            start,
            born,
            pending: VecDeque::new(),
            requests: Requests::new(node, start),
            reads: Reads::default(),
            wishes: Vec::new(),
            time: Time::new(replica.seed),
            windows,
            proposed: Windows::default(),
            of_group: Vec::new(),
            mail: Vec::new(),
            held: VecDeque::new(),
            vote_in: None,
            last_ready: 0,
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
            keep: Keep { entries: settings.kept_entries, bytes: settings.kept_bytes },
            lag_entries: settings.lag_entries,
            catch_up: CatchUp::new(replica.seed, &settings, next_generation),
            sabotage: replica.sabotage,
        };
        // The first batch has to say it, because later nothing else does.
        group.keep_members();
        group.set_timeout();
        Ok(group)
    }

    /// Whether nobody else takes part.
    pub(crate) fn is_single(&self) -> bool {
        let ConfState { learners, learners_next, .. } = &self.core.store().conf_state;
        self.is_sole_voter() && learners.is_empty() && learners_next.is_empty()
    }

    /// The other members.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> {
        members::others(&self.core.store().conf_state, self.node.0).into_iter().map(NodeId)
    }

    /// Whether this replica decides alone.
    fn is_sole_voter(&self) -> bool {
        let ConfState { voters, voters_outgoing, .. } = &self.core.store().conf_state;
        voters_outgoing.is_empty() && voters[..] == [self.node.0]
    }

    /// How it is.
    pub(crate) fn status(&self) -> GroupStatus {
        let raft = &self.core.raft;
        let conf = &self.core.store().conf_state;
        let leads = raft.state == StateRole::Leader;
        let progress = raft.prs().iter().filter(|_| leads);
        let mut matched: Vec<_> = progress.map(|(id, progress)| (NodeId(*id), progress.matched)).collect();
        matched.sort_unstable();
        GroupStatus {
            group: self.id,
            term: raft.term,
            leader: (raft.leader_id != raft::INVALID_ID).then_some(NodeId(raft.leader_id)),
            leads,
            last: raft.raft_log.last_index(),
            committed: raft.raft_log.committed,
            applied: self.applied,
            members: Members::of_conf(conf),
            leaving: conf.voters_outgoing.iter().copied().map(NodeId).collect(),
            asleep: self.time.asleep,
            matched,
        }
    }

    /// The term and vote that must never be forgotten.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> (u64, u64) {
        (self.core.raft.term, self.core.raft.vote)
    }

    /// Asks to lead, if nobody else could. It then leads after its vote is durable.
    pub(crate) fn campaign_if_sole(&mut self) {
        if !self.is_sole_voter() {
            return;
        }
        // Fails only for a node that may not campaign, which a lone voter always may.
        if let Err(error) = self.core.campaign() {
            tracing::warn!("cannot campaign: {error}");
        }
        self.set_timeout();
    }

    /// Whether it leads alone and has applied everything that was committed before it did.
    pub(crate) fn is_leading(&self) -> bool {
        self.shared.alone_and_leading.load(Ordering::Acquire)
    }

    /// Proposes an entry, here or at whoever leads.
    pub(crate) fn propose(&mut self, entry: Bytes, done: Done<Bytes>, room: Admitted) {
        let raft = &self.core.raft;
        if !self.is_sole_voter() || !self.requests.is_empty() {
            self.wake();
            let raft = &self.core.raft;
            let takes = raft.state == StateRole::Leader && raft.lead_transferee.is_none();
            // What was asked before comes first.
            if !takes || !self.requests.is_empty() {
                self.requests.push(entry, done, room);
                return self.send_requests();
            }
            if self.lags() {
                return done.complete(Err(Cause::busy("the group's entries are applied too slowly")));
            }
        } else if raft.state != StateRole::Leader {
            return done.complete(Err(Cause::new(Class::Moved, "this node does not lead yet")));
        }
        if let Err(error) = self.core.propose(Vec::new(), Vec::from(entry)) {
            return done.complete(Err(Cause::busy(format!("the group takes no proposals now: {error}"))));
        }
        let raft = &self.core.raft;
        self.pending.push_back(Pending {
            index: raft.raft_log.last_index(),
            term: raft.term,
            done,
            _room: room,
        });
    }

    /// Whether too much is in the log that is not applied.
    fn lags(&self) -> bool {
        self.core.raft.raft_log.last_index() - self.applied > self.lag_entries
    }

    /// Sends requests to whoever leads, as many as may be under way.
    fn send_requests(&mut self) {
        let raft = &self.core.raft;
        let leads = raft.state == StateRole::Leader;
        let leader = NodeId(raft.leader_id);
        if leader.0 == raft::INVALID_ID {
            return;
        }
        while let Some((id, entry)) = self.requests.send() {
            if leads {
                self.propose_request(id, entry);
            } else {
                self.mail.push((leader, GroupMessage::Propose { id, entry }));
            }
        }
    }

    /// As the leader: proposes what a follower, or this replica when it was one, asks for. It is asked
    /// again if that fails.
    fn propose_request(&mut self, id: RequestId, entry: Bytes) {
        let busy = self.core.raft.state != StateRole::Leader || self.lags();
        if busy || (self.sabotage != Some(Sabotage::ApplyTwice) && self.proposed.take_turn(&id) != Turn::Next)
        {
            return;
        }
        if self.core.propose(id.context(), Vec::from(entry)).is_err() {
            self.proposed.clear();
        }
    }

    /// Answers `done` once the state includes everything acknowledged until now.
    pub(crate) fn barrier(&mut self, done: Done<()>) {
        self.wake();
        self.reads.push(done);
        self.ask_reads();
    }

    /// The core drops read requests while there is no leader, and a leader does until it has committed in
    /// its own term, so they are asked again later.
    fn ask_reads(&mut self) {
        let Some(number) = self.reads.to_ask() else { return };
        let raft = &self.core.raft;
        let leads = raft.state == StateRole::Leader;
        let early = leads && !raft.commit_to_current_term();
        if early && self.sabotage == Some(Sabotage::ReadBeforeOwnTerm) {
            let committed = raft.raft_log.committed;
            self.reads.answered(number, committed);
            return self.reads.applied(self.applied);
        }
        if early || raft.leader_id == raft::INVALID_ID || self.leads_as_stranger() {
            return;
        }
        // Other nodes' reads are with the same leader.
        let mut context = Writer::with_capacity(24);
        [self.node.0, self.start, number].into_iter().for_each(|part| context.u64(part));
        self.core.read_index(context.into_vec());
        self.reads.asked();
    }

    /// Whether this replica leads and is no voter any more. The core would then take a lone voter for this
    /// replica itself, and confirm reads without asking it.
    fn leads_as_stranger(&self) -> bool {
        self.core.raft.state == StateRole::Leader && !self.core.raft.promotable()
    }

    /// A message has come from another replica.
    pub(crate) fn step(&mut self, from: NodeId, message: GroupMessage) {
        match message {
            GroupMessage::Raft(message) => self.step_raft(from, *message),
            GroupMessage::Propose { id, entry } => {
                self.wake();
                // Who asks is told by the link; nobody asks in the name of others.
                if id.origin == from {
                    self.propose_request(id, entry);
                }
            }
            GroupMessage::Change { members } => {
                self.wake();
                let members = Members::of_conf(&members);
                if members.is_valid() && self.core.raft.state == StateRole::Leader {
                    // Who asks finds out from its own replica.
                    let _ = self.propose_change(&members);
                }
            }
            GroupMessage::Sleep { term, index } => self.told_to_sleep(from, term, index),
            GroupMessage::Snapshot(message) => self.step_snapshot(from, message),
        }
    }

    fn step_raft(&mut self, from: NodeId, mut message: Message) {
        // It answers what was sent before this leader fell asleep.
        if !self.time.asleep || message.msg_type != MessageType::MsgHeartbeatResponse {
            self.wake();
        }
        message.from = from.0;
        message.to = self.node.0;
        let raft = &self.core.raft;
        let last = raft.raft_log.last_index();
        // What a leader says is committed here, it has heard that this replica had.
        if message.msg_type == MessageType::MsgHeartbeat && message.term >= raft.term && message.commit > last
        {
            self.failed = Some(Cause::corrupt(format!(
                "the log of Raft group {} ends at entry {last}, but had entry {} before",
                self.id, message.commit
            )));
            return;
        }
        if message.msg_type == MessageType::MsgSnapshot && self.holds_back(from, &message) {
            return self.offered(from, message);
        }
        if message.msg_type == MessageType::MsgReadIndex && self.leads_as_stranger() {
            return;
        }
        if message.msg_type == MessageType::MsgTimeoutNow && self.is_installing() {
            return;
        }
        // What the core does not want, it drops: a message that is late, or of a stranger.
        let _ = self.core.step(message);
        self.set_timeout();
        self.leave_when_known();
    }

    /// Messages that may leave now.
    pub(crate) fn take_mail(&mut self) -> std::vec::Drain<'_, (NodeId, GroupMessage)> {
        self.mail.drain(..)
    }

    /// Works until records must be brought to the log, and lends those that may go there in one call:
    /// from the first on, about `bytes` of them, and none behind one that completes something. The
    /// caller offers them there, all or the first, and says [`Group::accepted`] or [`Group::refused`].
    pub(crate) fn turn(&mut self, bytes: usize) -> impl ExactSizeIterator<Item = &Outgoing> {
        self.offer_cut();
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
        let number = ready.number();
        for state in ready.take_read_states() {
            self.read_confirmed(&state.request_ctx, state.index);
        }
        let committed = ready.take_committed_entries();
        let entries = ready.take_entries();
        if !ready.snapshot().is_empty() {
            // The entries stand behind it.
            let metadata = ready.snapshot().get_metadata();
            self.core.mut_store().restart_at(metadata.index, metadata.term);
        }
        self.core.mut_store().append(&entries);
        if let Some(hard_state) = ready.hs() {
            self.keep_hard_state(hard_state.clone(), number, ready.must_sync());
        }
        if !ready.snapshot().is_empty() {
            self.install(ready.snapshot().get_metadata(), number);
        }
        self.outgoing.extend(entries.iter().map(|entry| Outgoing {
            record: encode_entry(entry),
            entry: Some((entry.index, entry.term)),
            installs: false,
            completes: None,
        }));
        let (now, later) = (ready.take_messages(), ready.take_persisted_messages());
        let moved = ready.ss().is_some();
        self.core.advance_append_async(ready);
        self.last_ready = number;
        self.send_or_hold(number, now, later);
        if moved {
            self.lead_moved();
        }
        self.apply(committed);
        if let Some(last) = self.outgoing.back_mut() {
            last.completes = Some(Completes::Ready(number));
            self.persisting += 1;
            if self.sabotage == Some(Sabotage::LeaderCountsEarly) {
                self.core.on_persist_ready(number);
            }
        } else if self.persisting == 0 {
            self.durable(number);
        }
        // Otherwise an earlier one is still under way, and the core wants them in order; hearing of
        // that covers this one.
    }

    fn keep_hard_state(&mut self, hard_state: HardState, number: u64, must_sync: bool) {
        let before = std::mem::replace(&mut self.core.mut_store().hard_state, hard_state.clone());
        // A commit index alone is not worth a write: it is found again from the votes. But votes are asked
        // for by members, and who they are, a restart must not forget: whoever has the next change in its log
        // must know of this one. A leader knows whether a change may be among them.
        let (from, to) = (before.commit + 1, hard_state.commit);
        let raft = &self.core.raft;
        let maybe = raft.state != StateRole::Leader || raft.pending_conf_index >= from;
        let must_sync = must_sync || (maybe && self.core.store().changes_members(from, to));
        if !must_sync || self.sabotage == Some(Sabotage::VoteNotPersisted) {
            return;
        }
        if (before.term, before.vote) != (hard_state.term, hard_state.vote) {
            self.vote_in = Some(number);
        }
        let record = GroupRecord::HardState(hard_state).encode();
        self.outgoing.push_back(Outgoing { record, entry: None, installs: false, completes: None });
    }

    /// A leader's messages leave at once, unless its own vote is still under way: a lone voter leads
    /// before that, and might forget that it did and tell its learners something else in the same term.
    fn send_or_hold(&mut self, number: u64, now: Vec<Message>, later: Vec<Message>) {
        if now.is_empty() && later.is_empty() {
            return;
        }
        let hold_all = self.vote_in.is_some();
        for message in now {
            if hold_all {
                self.held.push_back((number, message));
            } else {
                self.post(message);
            }
        }
        for message in later {
            let early = self.sabotage == Some(Sabotage::AckBeforeFsync)
                && message.msg_type == MessageType::MsgAppendResponse;
            if early {
                self.post(message);
            } else {
                self.held.push_back((number, message));
            }
        }
    }

    fn post(&mut self, message: Message) {
        self.mail.push((NodeId(message.to), GroupMessage::Raft(Box::new(message))));
    }

    /// Everything up to `Ready` number `number` is durable.
    fn durable(&mut self, number: u64) {
        self.core.on_persist_ready(number);
        self.installed(number);
        self.vote_in.take_if(|vote_in| *vote_in <= number);
        while let Some((_, message)) = self.held.pop_front_if(|(held, _)| *held <= number) {
            self.post(message);
        }
    }

    /// Somebody else leads, or nobody, or this replica does.
    fn lead_moved(&mut self) {
        if self.core.raft.state != StateRole::Leader {
            // They may be committed by the next leader, or not.
            for pending in self.pending.drain(..) {
                pending.done.complete(Err(Cause::uncertain("the lead of the group was lost meanwhile")));
            }
        }
        if self.is_single() && self.requests.is_empty() {
            return;
        }
        self.proposed.clear();
        self.requests.send_again();
        self.send_requests();
        self.reads.ask_again();
        self.ask_reads();
        self.grant_wishes();
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
        if outgoing.installs {
            self.base_at = position;
        }
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
        if disk_is_full {
            self.reads.fail(cause);
        }
    }

    /// Whether a record was refused and should be offered again after a while.
    pub(crate) fn is_stalled(&self) -> bool {
        self.shared.stalled.load(Ordering::Acquire)
    }

    /// Every record of `Ready` number `number` is durable.
    pub(crate) fn persisted(&mut self, number: u64) {
        self.persisting -= 1;
        // Those behind the last one with records have none.
        self.durable(if self.persisting == 0 { self.last_ready } else { number });
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
        let leading = self.is_sole_voter() && raft.state == StateRole::Leader && raft.term == term;
        self.shared.alone_and_leading.store(leading, Ordering::Release);
        self.leave_when_known();
        self.trim_memory(term);
        self.reads.applied(last);
        self.ask_reads();
        self.send_requests();
        self.grant_wishes();
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
        self.windows.take_changed(&mut self.of_group);
        if let Err(cause) = self.state.write(batch.position, last, changes, &mut self.of_group) {
            self.failed = Some(cause);
        }
        self.batches.push_back(batch);
    }

    /// Puts the members into the next batch.
    fn keep_members(&mut self) {
        let mut out = Writer::new();
        put_members(&mut out, &self.core.store().conf_state);
        self.of_group.push((Bytes::from_static(&MEMBERS_KEY), out.into_vec().into()));
    }

    fn apply_one(&mut self, entry: &Entry, changes: &mut Changes) -> Result<(), Cause> {
        self.applied = entry.index;
        match entry.entry_type {
            // The leader's first entry of a term is empty.
            EntryType::EntryNormal if entry.data.is_empty() => Ok(()),
            EntryType::EntryNormal if entry.context.is_empty() => {
                let result = self.machine.apply(entry.index, &entry.data, changes)?;
                self.answer(entry, result);
                Ok(())
            }
            EntryType::EntryNormal => self.apply_request(entry, changes),
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => self.apply_change(&entry.context),
        }
    }

    /// Answers what was proposed here as this entry.
    fn answer(&mut self, entry: &Entry, result: Bytes) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.index <= entry.index) {
            if pending.index == entry.index && pending.term == entry.term {
                return pending.done.complete(Ok(result));
            }
            let lost = "another leader's entry took its place in the log";
            pending.done.complete(Err(Cause::new(Class::Conflict, lost)));
        }
    }

    /// An entry that somebody asked its leader for.
    fn apply_request(&mut self, entry: &Entry, changes: &mut Changes) -> Result<(), Cause> {
        let id = RequestId::of_context(&entry.context)?;
        let own = self.requests.is_own(&id);
        let turn = match self.windows.take_turn(&id) {
            Turn::Repeated if self.sabotage == Some(Sabotage::ApplyTwice) => Turn::Next,
            turn => turn,
        };
        match turn {
            Turn::Next => {
                let result = self.machine.apply(entry.index, &entry.data, changes)?;
                if own {
                    self.requests.applied(id.number, result);
                }
            }
            Turn::Gap if own => self.requests.send_again(),
            Turn::Repeated if own => self.requests.overtaken(&self.windows),
            Turn::Gap | Turn::Repeated => {}
        }
        Ok(())
    }

    fn read_confirmed(&mut self, context: &[u8], index: u64) {
        let mut context = Reader::new(context);
        let mut part = || context.u64("read");
        let (Ok(node), Ok(start), Ok(number)) = (part(), part(), part()) else { return };
        if (node, start) == (self.node.0, self.start) {
            self.reads.answered(number, index);
            self.reads.applied(self.applied);
            self.ask_reads();
        }
    }
}

fn config(node: NodeId, applied: u64, settings: &GroupSettings) -> Config {
    Config {
        id: node.0,
        applied,
        election_tick: lead::ELECTION_TICKS.start,
        min_election_tick: lead::ELECTION_TICKS.start,
        max_election_tick: lead::ELECTION_TICKS.end,
        heartbeat_tick: 2,
        check_quorum: true,
        pre_vote: true,
        max_size_per_msg: settings.message_bytes,
        max_inflight_msgs: settings.messages_in_flight,
        max_uncommitted_size: settings.uncommitted_bytes,
        max_committed_size_per_ready: 4 << 20,
        ..Config::default()
    }
}

/// The core logs every change of role through slog; ours is told by metrics and the state itself.
fn raft_logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}
