//! How a replica takes over the state of another one, and gives its own: what [`crate::snapshot`] decides,
//! done.
//!
//! Files are read and written elsewhere: the group says so in [`Errand`]s, and is told how they went. A message of
//! the core that stands for a state is held back until that state is durable here. Then the core may take
//! it, or have gone on meanwhile and not want it: only what it takes is installed.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use base::{Cause, Class, NodeId, Position};
use bytes::Bytes;
use disk_engine::tree::Stage;
use raft::{
    ProgressState, SnapshotStatus, StateRole,
    eraftpb::{Message, Snapshot, SnapshotMetadata},
};

use super::{Group, MEMBERS_KEY, Outgoing, Windows, message::GroupMessage, requests};
use crate::{
    records::GroupRecord,
    settings::{GroupSettings, Sabotage},
    snapshot::{Chunk, CutTree, Cuts, Offer, Pull, Puller, SnapshotMessage, Want},
    state::StateTree,
};

/// What is to be done with files.
pub(crate) enum Errand {
    /// Read a piece of a cut, for `to`.
    Read { to: NodeId, cut: CutTree, pull: Pull, bytes: usize },
    /// Put a piece into the stage of a tree; if it is the `last`, make the tree.
    Stage { part: Part, entries: Vec<(Bytes, Bytes)>, last: bool },
    /// Drop this tree, if there is one.
    Drop { generation: u64 },
}

/// A stage on its way from the group to who writes its files, and back.
pub(crate) struct Part {
    /// The fetch that it is for.
    ticket: u64,
    generation: u64,
    /// The stage; `None` when it has become a tree, or could not.
    pub(crate) stage: Option<Box<Stage>>,
}

/// A tree that is being made.
struct Staging {
    ticket: u64,
    generation: u64,
    /// `None` while it is elsewhere.
    stage: Option<Box<Stage>>,
}

/// A state that is in use, and counts for a start as soon as the record that says so is durable.
struct Installs {
    /// The `Ready` that the record is of.
    number: u64,
    /// The last entry that is in the state.
    index: u64,
    /// The generation of the state that it took the place of.
    replaced: u64,
}

/// What a replica knows of states that pass from one to another.
pub(super) struct CatchUp {
    cuts: Cuts,
    puller: Puller,
    staging: Option<Staging>,
    /// What the core has taken, until its `Ready` comes.
    taken: Option<StateTree>,
    /// What is installed as soon as a `Ready` is durable.
    installs: VecDeque<Installs>,
    /// The log may forget what stands up to here.
    trims: Option<Position>,
    next_generation: u64,
    chunk_bytes: usize,
    errands: Vec<Errand>,
}

impl CatchUp {
    pub(super) fn new(seed: u64, settings: &GroupSettings, next_generation: u64) -> CatchUp {
        CatchUp {
            cuts: Cuts::new(seed),
            puller: Puller::new(settings.snapshot_tick_bytes),
            staging: None,
            taken: None,
            installs: VecDeque::new(),
            trims: None,
            next_generation,
            chunk_bytes: settings.snapshot_chunk_bytes,
            errands: Vec::new(),
        }
    }
}

impl Group {
    /// What is to be done with files now.
    pub(crate) fn take_errands(&mut self) -> std::vec::Drain<'_, Errand> {
        self.catch_up.errands.drain(..)
    }

    /// Up to where the log may forget what stands of the group, if there is news of that.
    pub(crate) fn take_trim(&mut self) -> Option<Position> {
        self.catch_up.trims.take()
    }

    // Giving.

    /// If the core asked for a state that it can send, and there was none: makes one of the state as it is. The
    /// core asks again.
    pub(super) fn offer_cut(&mut self) {
        if self.truncates_past_followers() {
            return;
        }
        if !self.core.store().wants_offer.take() || self.core.raft.state != StateRole::Leader {
            return;
        }
        let first = self.core.store().first();
        let offer = match self.catch_up.cuts.fit(first, &self.core.store().conf_state) {
            Some(offer) => offer.clone(),
            None => match self.hold_cut() {
                Ok(Some(offer)) => offer,
                Ok(None) => return,
                Err(cause) => {
                    self.failed = Some(cause);
                    return;
                }
            },
        };
        self.core.mut_store().offer = Some(message_of(&offer));
    }

    /// Holds the state as it is now; `None` if nothing is in it yet.
    fn hold_cut(&mut self) -> Result<Option<Offer>, Cause> {
        let applied = self.applied;
        let Ok(term) = self.core.raft.raft_log.term(applied) else { return Ok(None) };
        let cut = self.state.cut();
        if self.state.applied()? != applied {
            return Ok(None);
        }
        let members = self.core.store().conf_state.clone();
        Ok(Some(self.catch_up.cuts.hold(cut, applied, term, members)))
    }

    /// Another replica says something about a cut.
    pub(super) fn step_snapshot(&mut self, from: NodeId, message: SnapshotMessage) {
        self.wake();
        match message {
            SnapshotMessage::Pull(pull) => match self.catch_up.cuts.pulled(from, pull.cut) {
                Some(cut) => {
                    let bytes = self.catch_up.chunk_bytes;
                    self.catch_up.errands.push(Errand::Read { to: from, cut, pull, bytes });
                }
                None => self.say(from, SnapshotMessage::Gone { cut: pull.cut }),
            },
            SnapshotMessage::Chunk(chunk) => {
                let wants = self.catch_up.puller.chunk(from, &chunk);
                self.fulfil(wants);
            }
            SnapshotMessage::Gone { cut } => {
                let wants = self.catch_up.puller.gone(from, cut);
                self.fulfil(wants);
            }
        }
    }

    /// A piece was read. One that was not is asked for again.
    pub(crate) fn chunk_read(&mut self, to: NodeId, chunk: Result<Chunk, Cause>) {
        match chunk {
            Ok(chunk) => self.say(to, SnapshotMessage::Chunk(chunk)),
            Err(cause) => tracing::warn!("a snapshot of Raft group {} cannot be read: {cause}", self.id),
        }
    }

    fn say(&mut self, to: NodeId, message: SnapshotMessage) {
        self.mail.push((to, GroupMessage::Snapshot(message)));
    }

    // Time.

    /// A tick has passed.
    pub(super) fn tick_catch_up(&mut self) {
        let wants = self.catch_up.puller.tick();
        self.fulfil(wants);
        let behind: Vec<NodeId> = {
            let leads = self.core.raft.state == StateRole::Leader;
            let all = self.core.raft.prs().iter().filter(|_| leads);
            let waits = all.filter(|(_, progress)| progress.state == ProgressState::Snapshot);
            waits.map(|(id, _)| NodeId(*id)).collect()
        };
        for silent in self.catch_up.cuts.tick(behind.into_iter()) {
            // It is probed, and if it still lags offered a cut.
            self.core.report_snapshot(silent.0, SnapshotStatus::Failure);
        }
        let first = self.core.store().first();
        if self.catch_up.cuts.fit(first, &self.core.store().conf_state).is_none() {
            self.core.mut_store().offer = None;
        }
    }

    /// Nobody lacks anything: nothing is given or taken any more.
    pub(super) fn end_catch_up(&mut self) {
        self.catch_up.cuts.end();
        self.core.mut_store().offer = None;
        let wants = self.catch_up.puller.give_up();
        self.fulfil(wants);
    }

    // Taking.

    /// Whether a snapshot of the core is news, so that its state has to be fetched first.
    pub(super) fn holds_back(&self, from: NodeId, message: &Message) -> bool {
        let raft = &self.core.raft;
        let metadata = message.get_snapshot().get_metadata();
        let stale =
            metadata.index <= raft.raft_log.committed && self.sabotage != Some(Sabotage::StaleSnapshot);
        let fits = raft.raft_log.match_term(metadata.index, metadata.term);
        from != self.node && message.term >= raft.term && !stale && !fits
    }

    /// `from`, which leads, offers a state.
    pub(super) fn offered(&mut self, from: NodeId, message: Message) {
        let snapshot = message.get_snapshot();
        let Ok(cut) = <[u8; 8]>::try_from(&*snapshot.data).map(u64::from_le_bytes) else { return };
        // The core takes for granted that a group has voters.
        if snapshot.get_metadata().get_conf_state().voters.is_empty() {
            return;
        }
        // It is from a leader, as a heartbeat is, and may be the first that is heard of it.
        let mut heartbeat =
            Message { msg_type: raft::eraftpb::MessageType::MsgHeartbeat, ..Message::default() };
        (heartbeat.from, heartbeat.to, heartbeat.term) = (message.from, message.to, message.term);
        let _ = self.core.step(heartbeat);
        self.set_timeout();
        let wants = self.catch_up.puller.offered(from, cut, Box::new(message));
        self.fulfil(wants);
    }

    /// A piece is in its file, or cannot be put there.
    pub(crate) fn staged(&mut self, part: Part, outcome: Result<(), Cause>) {
        let Part { ticket, generation, stage } = part;
        if let Err(cause) = &outcome {
            if matches!(cause.class, Class::Uncertain { .. }) {
                self.failed = Some(cause.clone());
            }
            tracing::warn!("a snapshot of Raft group {} cannot be kept: {cause}", self.id);
        }
        match self.catch_up.staging.as_mut().filter(|staging| staging.ticket == ticket) {
            Some(staging) => staging.stage = stage,
            // Given up meanwhile.
            None => self.catch_up.errands.push(Errand::Drop { generation }),
        }
        let wants = self.catch_up.puller.staged(ticket, outcome.is_ok());
        self.fulfil(wants);
    }

    fn fulfil(&mut self, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Ask { of, pull } => self.say(of, SnapshotMessage::Pull(pull)),
                Want::Stage { ticket, entries, last } => self.stage(ticket, entries, last),
                Want::Drop { ticket } => {
                    if let Some(staging) = self.catch_up.staging.take_if(|staging| staging.ticket == ticket) {
                        self.catch_up.errands.push(Errand::Drop { generation: staging.generation });
                    }
                }
                Want::Install(message) => {
                    if let Some(staging) = self.catch_up.staging.take()
                        && let Err(cause) = self.complete(staging.generation, *message)
                    {
                        self.failed = Some(cause);
                    }
                }
            }
        }
    }

    fn stage(&mut self, ticket: u64, entries: Vec<(Bytes, Bytes)>, last: bool) {
        let catch_up = &mut self.catch_up;
        let staging = match &mut catch_up.staging {
            Some(staging) if staging.ticket == ticket => staging,
            other => {
                let generation = catch_up.next_generation;
                catch_up.next_generation += 1;
                let stage = Some(Box::new(self.state.stage(generation)));
                other.insert(Staging { ticket, generation, stage })
            }
        };
        let part = Part { ticket, generation: staging.generation, stage: staging.stage.take() };
        catch_up.errands.push(Errand::Stage { part, entries, last });
    }

    /// A state is here, durable, in the tree of `generation`: the core may take it.
    fn complete(&mut self, generation: u64, message: Message) -> Result<(), Cause> {
        let index = message.get_snapshot().get_metadata().index;
        let state = self.state.of_generation(generation);
        let is_it = state.applied()? == index && state.of_group(&MEMBERS_KEY)?.is_some();
        if is_it {
            let _ = self.core.step(message);
            self.set_timeout();
        } else {
            tracing::warn!("a snapshot of Raft group {} is not that of entry {index}", self.id);
        }
        let takes = self.core.raft.snap().is_some_and(|snapshot| snapshot.get_metadata().index == index);
        if is_it && takes {
            // The core has taken another one since, before it said anything of the first.
            if let Some(first) = self.catch_up.taken.replace(state) {
                self.catch_up.errands.push(Errand::Drop { generation: first.generation() });
            }
        } else if is_it && self.sabotage == Some(Sabotage::StaleSnapshot) {
            self.adopt(state)?;
        } else {
            self.catch_up.errands.push(Errand::Drop { generation });
        }
        Ok(())
    }

    /// The core begins anew behind a state that it took, and its storage has: so does everything else here. The
    /// record that says so goes out.
    pub(super) fn install(&mut self, metadata: &SnapshotMetadata, number: u64) {
        let state = self.catch_up.taken.take().expect("the core hears of a state that is here");
        let replaced = self.state.generation();
        let (index, term) = (metadata.index, metadata.term);
        let store = self.core.mut_store();
        store.conf_state = metadata.get_conf_state().clone();
        self.places.clear();
        self.batches.clear();
        self.of_group.clear();
        self.applied = index;
        self.base = (index, term);
        self.written_base = index;
        if let Err(cause) = self.adopt(state) {
            self.failed = Some(cause);
            return;
        }
        let record = GroupRecord::Installed(self.base_of(self.base)).encode();
        self.outgoing.push_back(Outgoing { record, entry: None, installs: true, completes: None });
        self.catch_up.installs.push_back(Installs { number, index, replaced });
    }

    /// Whether a state is in use that does not count for a start yet. Then this replica asks for no votes: the core
    /// looks into the entries it has not applied first, and those behind the state before are gone.
    pub(super) fn is_installing(&self) -> bool {
        !self.catch_up.installs.is_empty()
    }

    /// Goes on with another state.
    fn adopt(&mut self, state: StateTree) -> Result<(), Cause> {
        std::mem::replace(&mut self.state, state).retire();
        self.shared.generation.store(self.state.generation(), Ordering::Release);
        self.windows = Windows::load(self.state.all_of_group(&requests::WINDOW_KEYS)?)?;
        self.machine.restore(Arc::new(self.state.clone()))?;
        self.shared.weight_bytes.store(self.machine.weight(), Ordering::Relaxed);
        Ok(())
    }

    /// Everything up to `Ready` number `number` is durable: perhaps the record that installs a state.
    pub(super) fn installed(&mut self, number: u64) {
        let installs = &mut self.catch_up.installs;
        let mut last = None;
        while let Some(Installs { index, replaced, .. }) = installs.pop_front_if(|next| next.number <= number)
        {
            self.catch_up.errands.push(Errand::Drop { generation: replaced });
            last = Some(index);
        }
        let Some(index) = last else { return };
        self.core.advance_apply_to(index);
        self.catch_up.trims = Some(Position(self.base_at.0 - 1));
        // What was applied elsewhere was not answered here.
        self.requests.overtaken(&self.windows);
        self.reads.applied(index);
        self.ask_reads();
        self.send_requests();
        self.grant_wishes();
    }

    /// What is in the state, after which entry, and in which generation of the tree.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (u64, u64, Vec<(Bytes, Bytes)>) {
        let applied = self.state.applied().unwrap_or_else(|cause| panic!("{cause}"));
        (self.state.generation(), applied, self.state.all())
    }
}

fn message_of(offer: &Offer) -> Snapshot {
    let mut metadata =
        SnapshotMetadata { index: offer.index, term: offer.term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(offer.members.clone());
    let data = Bytes::copy_from_slice(&offer.cut.to_le_bytes());
    let mut snapshot = Snapshot { data, ..Snapshot::default() };
    snapshot.set_metadata(metadata);
    snapshot
}
