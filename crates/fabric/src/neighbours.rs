//! The spine's side of the link: frames to other nodes, heartbeats, and what is done about what comes.
//!
//! Messages of one turn of the spine to one node and of one class leave as one frame. What the link does
//! not take is lost, as what it takes may be: every protocol above repeats.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::{Cause, GroupId, NodeId, Position, Writer};
use bytes::Bytes;
use disk_log::LogWriter;
use node_link::{Class, Link, Receive, Received};
use raft::eraftpb::MessageType;

use crate::{
    group::{
        Group,
        message::{self, Frame, GroupMessage, Life},
    },
    peers::{ALIVE_EVERY_TICKS, PeerStatus, Peers, Verdict},
    records,
    settings::Sabotage,
    shared::Shared,
    snapshot::SnapshotMessage,
    spine::Event,
};

/// Bytes at which a frame leaves before the turn ends.
const FRAME_BYTES: usize = 128 << 10;
/// Ticks without a sync returning although one is under way, after which a node says that its disk hangs.
const STALLED_AFTER_TICKS: u64 = 10;

/// The owner of what goes to other nodes.
pub(crate) struct Neighbours {
    link: Arc<dyn Link>,
    life: Life,
    node: NodeId,
    frames: BTreeMap<(NodeId, Class), Frames>,
    peers: Peers,
    ticks: u64,
    /// Records with completions that are not durable, when the last one became so, and where it stands.
    unsynced: usize,
    synced_at: u64,
    durable: Position,
    /// What is known of starts is not in the log as it is now.
    starts_changed: bool,
    starts_under_way: bool,
    starts_at: Position,
}

/// A frame that is being filled.
struct Frames {
    out: Writer,
    bytes: usize,
}

/// What of a frame concerns groups.
pub(crate) struct Heard {
    /// It is of another process than those before.
    pub(crate) reborn: bool,
    pub(crate) messages: Vec<(GroupId, GroupMessage)>,
}

impl Neighbours {
    /// `starts`: what the log held of other nodes' starts, and where.
    pub(crate) fn new(
        link: Arc<dyn Link>,
        life: Life,
        node: NodeId,
        starts: (Vec<(NodeId, u64)>, Position),
    ) -> Neighbours {
        let mut peers = Peers::default();
        starts.0.into_iter().for_each(|(node, start)| peers.remember(node, start));
        Neighbours {
            link,
            life,
            node,
            frames: BTreeMap::new(),
            peers,
            ticks: 0,
            unsynced: 0,
            synced_at: 0,
            durable: Position(0),
            starts_changed: false,
            starts_under_way: false,
            starts_at: starts.1,
        }
    }

    pub(crate) fn status(&self) -> Vec<PeerStatus> {
        self.peers.status()
    }

    // What goes out.

    /// Puts a message into the frame for its receiver.
    pub(crate) fn post(&mut self, to: NodeId, group: GroupId, message: &GroupMessage) {
        let key = (to, class_of(message));
        let life = self.life;
        let frames = self.frames.entry(key).or_insert_with(|| Frames { out: life.begin_groups(), bytes: 0 });
        frames.bytes += message::put_message(&mut frames.out, group, message);
        if frames.bytes >= FRAME_BYTES
            && let Some(frames) = self.frames.remove(&key)
        {
            self.put(key, frames.out.into_vec().into());
        }
    }

    /// Sends what is in frames.
    pub(crate) fn flush(&mut self) {
        while let Some((key, frames)) = self.frames.pop_first() {
            self.put(key, frames.out.into_vec().into());
        }
    }

    fn put(&self, (to, class): (NodeId, Class), frame: Bytes) {
        if self.link.send(to, class, frame).is_err() {
            metrics::counter!("holdfast_node_messages_lost_total").increment(1);
        }
    }

    /// Says to a node that this one lives.
    pub(crate) fn greet(&self, to: NodeId) {
        let stalled = self.unsynced > 0 && self.ticks - self.synced_at >= STALLED_AFTER_TICKS;
        let frame = self.life.frame(&Frame::Alive { durable: self.durable.0, stalled });
        self.put((to, Class::Control), frame);
    }

    /// A tick has passed. Returns the nodes that count as down since now.
    pub(crate) fn tick(
        &mut self,
        shared: &Arc<Shared>,
        log: &LogWriter,
        groups: &BTreeMap<GroupId, Group>,
    ) -> Vec<NodeId> {
        self.ticks += 1;
        if self.ticks.is_multiple_of(ALIVE_EVERY_TICKS) {
            let mut all: BTreeSet<NodeId> = groups.values().flat_map(Group::others).collect();
            all.extend(self.peers.starts().map(|(node, _)| node));
            all.remove(&self.node);
            all.into_iter().for_each(|node| self.greet(node));
        }
        if self.starts_changed && !self.starts_under_way {
            self.write_starts(shared, log);
        }
        self.peers.tick(self.ticks)
    }

    // What comes.

    /// Judges a frame; `None` if it concerns no group.
    pub(crate) fn hear(&mut self, shared: &Shared, from: NodeId, life: Life, frame: Frame) -> Option<Heard> {
        let verdict = match self.peers.judge(from, life, self.ticks) {
            Verdict::Refused if shared.settings.planted() == Some(Sabotage::BelieveAnyLife) => {
                Verdict::Counts
            }
            verdict => verdict,
        };
        if verdict == Verdict::Refused {
            let refusal = self.life.frame(&Frame::Refused { start: life.start, life: life.life });
            self.put((from, Class::Control), refusal);
            return None;
        }
        self.starts_changed |= self.peers.take_changed();
        let messages = match frame {
            Frame::Groups(mut messages) => {
                // It leads nobody: others are to be elected, who do not hear that it does.
                if self.peers.is_stalled(from) {
                    messages.retain(|(_, message)| !is_of_leader(message));
                }
                messages
            }
            Frame::Alive { durable, stalled } => {
                self.peers.alive(from, durable, stalled, self.ticks);
                Vec::new()
            }
            Frame::Refused { start, life } => {
                if (start, life) == (self.life.start, self.life.life) {
                    shared.fail(Cause::corrupt(format!(
                        "node {from} has heard later things of this node than its disk holds: the disk was set back"
                    )));
                }
                Vec::new()
            }
        };
        Some(Heard { reborn: verdict == Verdict::Reborn, messages })
    }

    // What the disk says.

    /// A record was given to the log.
    pub(crate) fn appended(&mut self) {
        if self.unsynced == 0 {
            self.synced_at = self.ticks;
        }
        self.unsynced += 1;
    }

    /// A record is durable.
    pub(crate) fn durable(&mut self, position: Position) {
        self.unsynced = self.unsynced.saturating_sub(1);
        self.synced_at = self.ticks;
        self.durable = self.durable.max(position);
    }

    fn write_starts(&mut self, shared: &Arc<Shared>, log: &LogWriter) {
        let record = records::encode_starts(self.peers.starts());
        let shared = shared.clone();
        let done = move |outcome: Result<Position, Cause>| {
            if let Ok(position) = outcome {
                shared.post(Event::StartsDurable { position });
            }
        };
        // Refused, it is tried again at the next tick.
        if log.append(records::STARTS, &record, Box::new(done)).is_ok() {
            (self.starts_changed, self.starts_under_way) = (false, true);
        }
    }

    /// The record of starts is durable: those before it are not needed.
    pub(crate) fn starts_durable(&mut self, log: &LogWriter, position: Position) {
        self.starts_under_way = false;
        self.starts_at = position;
        log.trim(records::STARTS, Position(position.0 - 1));
    }

    /// The log wants to forget what stands before `floor`.
    pub(crate) fn raise_floor(&mut self, floor: Position) {
        self.starts_changed |= self.starts_at < floor && self.peers.starts().next().is_some();
    }
}

fn is_of_leader(message: &GroupMessage) -> bool {
    match message {
        GroupMessage::Raft(message) => {
            matches!(message.msg_type, MessageType::MsgAppend | MessageType::MsgHeartbeat)
        }
        GroupMessage::Sleep { .. } => true,
        GroupMessage::Propose { .. } | GroupMessage::Change { .. } | GroupMessage::Snapshot(_) => false,
    }
}

/// Votes and heartbeats do not wait behind entries.
fn class_of(message: &GroupMessage) -> Class {
    match message {
        GroupMessage::Raft(message) => match message.msg_type {
            MessageType::MsgAppend | MessageType::MsgAppendResponse | MessageType::MsgSnapshot => Class::Log,
            _ => Class::Control,
        },
        GroupMessage::Propose { .. } => Class::Log,
        GroupMessage::Snapshot(SnapshotMessage::Chunk(_)) => Class::Bulk,
        GroupMessage::Snapshot(_) => Class::Log,
        GroupMessage::Change { .. } | GroupMessage::Sleep { .. } => Class::Control,
    }
}

/// Takes what comes from other nodes, for the link.
pub(crate) struct Receiver {
    pub(crate) shared: Arc<Shared>,
}

impl Receive for Receiver {
    fn receive(&self, from: NodeId, _class: Class, received: Received) {
        match message::decode(&received) {
            Ok((life, frame)) => self.shared.post(Event::Frame { from, life, frame, received }),
            Err(malformed) => tracing::warn!("node {from} sent what cannot be read: {malformed}"),
        }
    }

    fn connected(&self, node: NodeId, _start: u64) {
        self.shared.post(Event::Connected { node });
    }

    fn disconnected(&self, node: NodeId) {
        self.shared.post(Event::Disconnected { node });
    }
}
