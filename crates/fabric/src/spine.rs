//! The spine: one owner of all Raft groups and Paxos rounds, one event at a time.
//!
//! Events come from doors (proposals, conditional writes), from the log (something is durable), from other
//! nodes and from the clock. A turn takes all that are waiting, hands each to the group or round it is for,
//! and then brings what these want written to the log. No lock is held, nothing is awaited: what
//! a turn starts comes back as another event. (An earlier shape with a task a group and a mutex
//! a group is what most Raft embeddings start with; it costs a wake-up a step and an order that
//! nobody can name.)
//!
//! On a node whoever brings an event runs the spine (see [`crate::runner`]); a test calls
//! [`Spine::turn`] by hand, between steps of the log, and so decides what happens before what.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use base::{Cause, GroupId, Hlc, NodeId, Position, StreamId};
use bytes::Bytes;
use core_quorum::paxos::Acceptor;
use disk_log::{Durable, LogWriter, Refused};
use node_link::Received;
use store::{Cas, CasOutcome, Done, Page, Read};

use crate::{
    errands,
    group::{
        Completes, Group, GroupStatus, Outgoing,
        catch_up::Part,
        members::Members,
        message::{Frame, Life},
    },
    neighbours::Neighbours,
    paxos::{self, Paxos},
    peers::PeerStatus,
    records,
    shared::{Admitted, Shared},
    snapshot::Chunk,
};

/// What groups count time in.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// A node that slept, or was not given the processor, does not make up for more ticks than this: it would
/// take its own absence for that of others.
const TICKS_AT_ONCE: u32 = 2;

/// What the spine reacts to.
pub(crate) enum Event {
    /// A proposal to a Machine.
    Propose { group: GroupId, entry: Bytes, done: Done<Bytes>, room: Admitted },
    /// A linearizable read of a Machine wants to begin.
    Barrier { group: GroupId, done: Done<()> },
    /// Records of a group are durable, the last one at `position`.
    GroupDurable { group: GroupId, completes: Completes, position: Position },
    /// Files hold a Machine's state as it is after its entries up to `up_to`.
    Flushed { group: GroupId, up_to: Position },
    /// The log wants to forget what stands before `floor`.
    RaiseFloor { floor: Position },
    /// A piece of a state was read, for another replica.
    ChunkRead { group: GroupId, to: NodeId, chunk: Result<Chunk, Cause> },
    /// A piece of another replica's state is in a file, or cannot be.
    Staged { group: GroupId, part: Part, outcome: Result<(), Cause> },
    /// A conditional write.
    Cas { cas: Cas, done: Done<CasOutcome>, room: Admitted },
    /// A read that must be linearizable with conditional writes.
    SerialRead { read: Read, done: Done<Page>, room: Admitted },
    /// The acceptor of a partition was read.
    PaxosLoaded { key: paxos::Key, acceptor: Result<Acceptor, Cause> },
    /// Rows that the round of a partition asked for were read.
    PaxosRows { key: paxos::Key, number: u64, page: Result<Page, Cause> },
    /// A record of a Paxos round is durable.
    PaxosDurable { token: u64 },
    /// An upper bound of the clock is durable.
    ClockBoundDurable { bound: Hlc, position: Position },
    /// A frame from another node. The room that it takes is given back when it was handled.
    Frame { from: NodeId, life: Life, frame: Frame, received: Received },
    /// Messages reach this node from now on.
    Connected { node: NodeId },
    /// Messages may have been lost, and none reach this node now.
    Disconnected { node: NodeId },
    /// What is known of the starts of other nodes is durable.
    StartsDurable { position: Position },
    /// A group should have these members.
    Change { group: GroupId, members: Members, done: Done<()> },
    /// A group should be led by this node.
    Transfer { group: GroupId, to: NodeId, done: Done<()> },
    /// How are the groups, and the other nodes?
    Inspect { done: Done<Standing> },
}

/// How a node's groups are, and what it knows of other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The groups, by their id.
    pub groups: Vec<GroupStatus>,
    /// The other nodes, by their id.
    pub peers: Vec<PeerStatus>,
}

/// The owner.
pub(crate) struct Spine {
    shared: Arc<Shared>,
    log: LogWriter,
    groups: BTreeMap<GroupId, Group>,
    paxos: Paxos,
    inbox: Vec<Event>,
    /// `None` on a node alone, for which no time passes.
    neighbours: Option<Neighbours>,
    ticked_at: Duration,
}

impl Spine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: LogWriter,
        paxos: Paxos,
        neighbours: Option<Neighbours>,
    ) -> Spine {
        let inbox = Vec::new();
        Spine { shared, log, groups: BTreeMap::new(), paxos, inbox, neighbours, ticked_at: Duration::ZERO }
    }

    /// Takes on a group.
    pub(crate) fn add_group(&mut self, id: GroupId, mut group: Group) {
        self.shared.register_group(id, group.shared.clone());
        group.campaign_if_sole();
        self.groups.insert(id, group);
        self.shared.count_machines();
        self.pump(id);
    }

    /// Whether every group leads here and has caught up.
    pub(crate) fn is_ready(&self) -> bool {
        self.groups.values().all(Group::is_leading)
    }

    /// Whether no group has members elsewhere.
    pub(crate) fn is_alone(&self) -> bool {
        self.groups.values().all(Group::is_single)
    }

    /// How groups and neighbours are.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            groups: self.groups.values().map(Group::status).collect(),
            peers: self.neighbours.as_ref().map(Neighbours::status).unwrap_or_default(),
        }
    }

    /// The groups here.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    #[cfg(test)]
    pub(crate) fn group(&self, id: GroupId) -> &Group {
        &self.groups[&id]
    }

    /// Handles what is waiting now; says whether there was anything.
    pub(crate) fn turn(&mut self) -> bool {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.shared.runner.events.take(&mut inbox);
        let any = !inbox.is_empty();
        let mut touched = Vec::new();
        for event in inbox.drain(..) {
            if let Some(group) = self.react(event)
                && !touched.contains(&group)
            {
                touched.push(group);
            }
        }
        self.inbox = inbox;
        if !touched.is_empty() {
            touched.into_iter().for_each(|group| self.pump(group));
            self.shared.count_machines();
        }
        self.paxos.turn(&self.shared, &self.log);
        self.send();
        any
    }

    /// Whether something waits for time to pass.
    pub(crate) fn needs_own_thread(&self) -> bool {
        self.neighbours.is_some() || self.paxos.has_timers() || self.groups.values().any(Group::is_stalled)
    }

    /// Time has passed: as much as the clock shows.
    pub(crate) fn time_passed(&mut self) {
        if self.neighbours.is_none() {
            return;
        }
        let now = self.shared.clock.boot();
        for _ in 0..TICKS_AT_ONCE {
            if now.saturating_sub(self.ticked_at) < TICK {
                return;
            }
            self.ticked_at += TICK;
            self.tick();
        }
        self.ticked_at = now;
    }

    /// 50 ms have passed.
    pub(crate) fn tick(&mut self) {
        let Some(neighbours) = &mut self.neighbours else { return };
        let lost = neighbours.tick(&self.shared, &self.log, &self.groups);
        for node in lost {
            self.groups.values_mut().for_each(|group| group.lost(node));
        }
        let mut awake = Vec::new();
        for (id, group) in &mut self.groups {
            if group.tick() {
                awake.push(*id);
            }
        }
        awake.into_iter().for_each(|group| self.pump(group));
        self.send();
    }

    /// Sends what groups have for other nodes.
    fn send(&mut self) {
        if let Some(neighbours) = &mut self.neighbours {
            neighbours.flush();
        }
    }

    /// Offers the log again what it refused.
    pub(crate) fn retry(&mut self) {
        let stalled: Vec<_> =
            self.groups.iter().filter(|(_, group)| group.is_stalled()).map(|(id, _)| *id).collect();
        for group in stalled {
            self.pump(group);
        }
    }

    /// Hands the event to whom it is for; returns the group that may have work now.
    fn react(&mut self, event: Event) -> Option<GroupId> {
        match event {
            Event::Propose { group, entry, done, room } => {
                match self.groups.get_mut(&group) {
                    Some(state) => state.propose(entry, done, room),
                    None => done.complete(Err(Cause::absent(format!("no Machine has the id {group}")))),
                }
                Some(group)
            }
            Event::Barrier { group, done } => {
                match self.groups.get_mut(&group) {
                    Some(state) => state.barrier(done),
                    None => done.complete(Err(Cause::absent(format!("no Machine has the id {group}")))),
                }
                Some(group)
            }
            Event::GroupDurable { group, completes, position } => {
                if let Some(neighbours) = &mut self.neighbours {
                    neighbours.durable(position);
                }
                let state = self.groups.get_mut(&group)?;
                match completes {
                    Completes::Ready(number) => state.persisted(number),
                    Completes::Base => {
                        let up_to = state.base_persisted(position);
                        self.log.trim(records::stream_of(group), up_to);
                    }
                    Completes::Part => {}
                }
                Some(group)
            }
            Event::ChunkRead { group, to, chunk } => {
                self.groups.get_mut(&group)?.chunk_read(to, chunk);
                Some(group)
            }
            Event::Staged { group, part, outcome } => {
                self.groups.get_mut(&group)?.staged(part, outcome);
                Some(group)
            }
            Event::Flushed { group, up_to } => {
                self.groups.get_mut(&group)?.flushed(up_to);
                Some(group)
            }
            Event::RaiseFloor { floor } => {
                self.paxos.raise_floor(&self.shared, &self.log, floor);
                if let Some(neighbours) = &mut self.neighbours {
                    neighbours.raise_floor(floor);
                }
                self.groups.values_mut().for_each(|group| group.raise_floor(floor));
                let all: Vec<GroupId> = self.groups.keys().copied().collect();
                all.into_iter().for_each(|group| self.pump(group));
                None
            }
            Event::Frame { from, life, frame, received } => {
                self.frame(from, life, frame);
                drop(received);
                None
            }
            Event::Connected { node } => {
                self.neighbours.as_mut()?.greet(node);
                None
            }
            Event::Disconnected { node } => {
                self.groups.values_mut().for_each(|group| group.unreachable(node));
                None
            }
            Event::StartsDurable { position } => {
                self.neighbours.as_mut()?.starts_durable(&self.log, position);
                None
            }
            Event::Change { group, members, done } => {
                match self.groups.get_mut(&group) {
                    Some(state) => state.change(&members, done),
                    None => done.complete(Err(Cause::absent(format!("no Machine has the id {group}")))),
                }
                Some(group)
            }
            Event::Transfer { group, to, done } => {
                match self.groups.get_mut(&group) {
                    Some(state) => state.transfer(to, done),
                    None => done.complete(Err(Cause::absent(format!("no Machine has the id {group}")))),
                }
                Some(group)
            }
            Event::Inspect { done } => {
                done.complete(Ok(self.standing()));
                None
            }
            Event::PaxosLoaded { key, acceptor } => {
                self.paxos.loaded(key, acceptor);
                None
            }
            Event::PaxosRows { key, number, page } => {
                self.paxos.rows_read(&self.shared, key, number, page);
                None
            }
            Event::Cas { cas, done, room } => {
                self.paxos.begin_cas(&self.shared, cas, done, room);
                None
            }
            Event::SerialRead { read, done, room } => {
                self.paxos.begin_read(&self.shared, read, done, room);
                None
            }
            Event::PaxosDurable { token } => {
                self.paxos.durable(token);
                None
            }
            Event::ClockBoundDurable { bound, position } => {
                self.paxos.clock_bound_durable(&self.log, bound, position);
                None
            }
        }
    }

    /// A frame has come from another node.
    fn frame(&mut self, from: NodeId, life: Life, frame: Frame) {
        let Some(neighbours) = &mut self.neighbours else { return };
        let Some(heard) = neighbours.hear(&self.shared, from, life, frame) else { return };
        if heard.reborn {
            self.groups.values_mut().for_each(|group| group.lost(from));
        }
        let mut touched = BTreeSet::new();
        for (id, message) in heard.messages {
            // Of a group that is not here: whoever sends it will hear of the members soon.
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.step(from, message);
            touched.insert(id);
        }
        touched.into_iter().for_each(|group| self.pump(group));
        self.shared.count_machines();
    }

    /// Lets a group work and brings what it wants written to the log.
    fn pump(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut last = None;
        loop {
            let lent: Vec<&Outgoing> = group.turn(self.log.longest_append()).collect();
            let mut count = lent.len();
            if count == 0 {
                break;
            }
            let mut offered = offer(&self.log, &self.shared, id, &lent);
            if offered.is_err() && count > 1 {
                // Where there is no room for all, there may be some for one.
                count = 1;
                offered = offer(&self.log, &self.shared, id, &lent[..1]);
            }
            match offered {
                Ok(position) => {
                    last = Some(last_of(position, count));
                    group.accepted(position, count);
                    if let Some(neighbours) = &mut self.neighbours {
                        neighbours.appended();
                    }
                }
                Err(refused) => {
                    group.refused(&refused.cause, !self.log.stats().has_reserve);
                    break;
                }
            }
        }
        if let Some(neighbours) = &mut self.neighbours {
            group.take_mail().for_each(|(to, message)| neighbours.post(to, id, &message));
        }
        for errand in group.take_errands() {
            errands::run(&self.shared, id, errand);
        }
        if let Some(up_to) = group.take_trim() {
            self.log.trim(records::stream_of(id), up_to);
        }
        if let Some(cause) = &group.failed {
            self.shared.fail(cause.clone());
        }
        if let Some(position) = last {
            self.shared.wake_upkeep(position);
        }
    }
}

/// Brings records of a group to the log, of which only the last may complete something. Gives the
/// position of the first.
fn offer(
    log: &LogWriter,
    shared: &Arc<Shared>,
    group: GroupId,
    run: &[&Outgoing],
) -> Result<Position, Refused> {
    let stream = records::stream_of(group);
    let records: Vec<(StreamId, &[u8])> = run.iter().map(|outgoing| (stream, &*outgoing.record)).collect();
    let count = records.len();
    let completes = run.last().and_then(|last| last.completes).unwrap_or(Completes::Part);
    let shared = shared.clone();
    // An error ends the log, and with it the node.
    let done: Box<dyn Durable> = Box::new(move |outcome: Result<Position, Cause>| {
        if let Ok(first) = outcome {
            shared.post(Event::GroupDurable { group, completes, position: last_of(first, count) });
        }
    });
    log.append_many(&records, done)
}

/// The position of the last of `count` records.
fn last_of(first: Position, count: usize) -> Position {
    Position(first.0 + count as u64 - 1)
}

impl Drop for Spine {
    /// Requests that nobody took up, and those that come after, hear that their outcome is unknown.
    fn drop(&mut self) {
        self.shared.runner.events.close();
    }
}
