//! A cut goes over a bad line into a tree of the next generation: whole, or not at all.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, sync::Arc};

use base::{GroupId, NodeId, Position};
use bytes::Bytes;
use disk_engine::{
    Engine,
    tree::{Batch, Stage, TreeId, encode_latest},
};
use raft::eraftpb::{ConfState, Message, Snapshot, SnapshotMetadata};
use store::conformance::Dice;
use world::Disk;

use super::{Puller, SnapshotMessage, Want, codec::Chunk, cuts::*};

const LEADER: NodeId = NodeId(1);
const GROUP: GroupId = GroupId(5);

fn engine(disk: Disk) -> Engine {
    let settings = crate::tests::tiny().tree;
    Engine::open(disk, settings).unwrap()
}

fn write(engine: &Engine, position: u64, key: u64, value: Option<u64>) {
    let mut batch = Batch::new();
    let tree = Engine::machine_tree(GROUP, 0);
    let value = value.map(|value| vec![value as u8; 40]);
    batch.put(tree, key.to_be_bytes().to_vec(), encode_latest(value.as_deref()));
    engine.forest().apply(Position(position), batch).unwrap();
}

fn all(engine: &Engine, tree: TreeId) -> BTreeMap<Bytes, Bytes> {
    let tombstone = encode_latest(None);
    let scan = engine.forest().scan(tree, Bytes::new(), None, false).unwrap().map(Result::unwrap);
    scan.filter(|(_, value)| *value != tombstone).collect()
}

fn cut_of(engine: &Engine) -> CutTree {
    CutTree { snapshot: Arc::new(engine.forest().snapshot()), tree: Engine::machine_tree(GROUP, 0) }
}

fn offer(term: u64, index: u64) -> Box<Message> {
    let mut snapshot = Snapshot::default();
    snapshot.set_metadata(SnapshotMetadata { index, term, ..SnapshotMetadata::default() });
    let mut message = Message { term, ..Message::default() };
    message.set_snapshot(snapshot);
    Box::new(message)
}

/// A leader that is written to, a follower, and what is on the way between them.
struct Line {
    dice: Dice,
    leader: Engine,
    cuts: Cuts,
    follower: Engine,
    puller: Puller,
    stage: Option<(u64, Stage)>,
    /// To the leader, and to the follower.
    pulls: Vec<SnapshotMessage>,
    answers: Vec<SnapshotMessage>,
    installed: Option<u64>,
    asked: u64,
}

impl Line {
    fn new(seed: u64) -> Line {
        let leader = engine(Disk::in_memory());
        let mut dice = Dice(seed);
        for position in 1..200 {
            write(&leader, position, dice.below(100), (dice.below(4) > 0).then_some(position));
        }
        Line {
            dice,
            leader,
            cuts: Cuts::new(seed),
            follower: engine(Disk::in_memory()),
            puller: Puller::new(700),
            stage: None,
            pulls: Vec::new(),
            answers: Vec::new(),
            installed: None,
            asked: 0,
        }
    }

    fn target(&self) -> TreeId {
        Engine::machine_tree(GROUP, 1)
    }

    fn fulfil(&mut self, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Ask { of, pull } => {
                    assert_eq!(of, LEADER);
                    self.asked += 1;
                    self.pulls.push(SnapshotMessage::Pull(pull));
                }
                Want::Stage { ticket, entries, last } => {
                    let stage = self.stage.take().filter(|stage| stage.0 == ticket).map(|stage| stage.1);
                    let mut stage = stage.unwrap_or_else(|| self.follower.forest().stage(self.target()));
                    stage.add(entries).unwrap();
                    if last {
                        stage.install().unwrap();
                    } else {
                        self.stage = Some((ticket, stage));
                    }
                    let wants = self.puller.staged(ticket, true);
                    self.fulfil(wants);
                }
                Want::Install(message) => {
                    self.installed = Some(message.get_snapshot().get_metadata().index);
                }
                Want::Drop { ticket } => self.stage = self.stage.take().filter(|stage| stage.0 != ticket),
            }
        }
    }

    /// A message of those on the way, which may be lost, come twice, late, or damaged.
    fn deliver(&mut self, to_leader: bool) {
        let queue = if to_leader { &mut self.pulls } else { &mut self.answers };
        if queue.is_empty() {
            return;
        }
        let nth = self.dice.below(queue.len() as u64) as usize;
        let message = if self.dice.below(4) == 0 { queue[nth].clone() } else { queue.remove(nth) };
        match message {
            _ if self.dice.below(8) == 0 => {}
            SnapshotMessage::Pull(pull) => {
                let answer = match self.cuts.pulled(NodeId(2), pull.cut) {
                    Some(tree) => SnapshotMessage::Chunk(read_chunk(&tree, &pull, 300).unwrap()),
                    None => SnapshotMessage::Gone { cut: pull.cut },
                };
                self.answers.push(answer);
            }
            SnapshotMessage::Chunk(mut chunk) => {
                if self.dice.below(8) == 0 && !chunk.records.is_empty() {
                    let mut bytes = chunk.records.to_vec();
                    let at = self.dice.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 4;
                    chunk = Chunk { records: bytes.into(), ..chunk };
                }
                let wants = self.puller.chunk(LEADER, &chunk);
                self.fulfil(wants);
            }
            SnapshotMessage::Gone { cut } => {
                let wants = self.puller.gone(LEADER, cut);
                self.fulfil(wants);
            }
        }
    }
}

#[test]
fn over_a_bad_line_the_state_that_was_cut_arrives_whole() {
    let (mut anew, mut asked) = (0, 0);
    for seed in 0..100 {
        let mut line = Line::new(seed);
        let (mut index, mut expected, mut current) = (0, BTreeMap::new(), None);
        for step in 0..100_000u64 {
            if line.installed.is_some() {
                break;
            }
            match line.dice.below(100) {
                0..40 => line.deliver(true),
                40..80 => line.deliver(false),
                80..95 => {
                    let wants = line.puller.tick();
                    line.fulfil(wants);
                }
                // The leader goes on.
                95..98 => write(&line.leader, 1_000 + step, line.dice.below(100), Some(step)),
                _ if !line.puller.is_busy() || line.dice.below(4) == 0 => {
                    // The follower, or its leader, knows nothing of the cut before.
                    index += 1;
                    anew += 1;
                    expected = all(&line.leader, Engine::machine_tree(GROUP, 0));
                    let cut = line.cuts.hold(cut_of(&line.leader), index, 1, ConfState::default());
                    current = Some(index);
                    let wants = line.puller.offered(LEADER, cut.cut, offer(1, index));
                    line.fulfil(wants);
                }
                _ => {}
            }
            let there = !all(&line.follower, line.target()).is_empty();
            assert_eq!(there, line.installed.is_some(), "seed {seed}: there before it is whole");
        }
        assert_eq!((line.installed, seed), (current, seed));
        assert_eq!(all(&line.follower, line.target()), expected, "seed {seed}");
        asked += line.asked;
    }
    assert!(anew > 150 && asked > 1_500, "{anew} cuts, {asked} pulls");
}

#[test]
fn a_follower_asks_for_no_more_than_it_may() {
    let mut line = Line::new(1);
    let cut = line.cuts.hold(cut_of(&line.leader), 1, 1, ConfState::default());
    let wants = line.puller.offered(LEADER, cut.cut, offer(1, 1));
    line.fulfil(wants);
    let (mut ticks, mut bytes) = (0, 0);
    while line.installed.is_none() {
        while let Some(SnapshotMessage::Pull(pull)) = line.pulls.pop() {
            let chunk = read_chunk(&line.cuts.pulled(NodeId(2), pull.cut).unwrap(), &pull, 300).unwrap();
            bytes += chunk.records.len();
            let wants = line.puller.chunk(LEADER, &chunk);
            line.fulfil(wants);
        }
        ticks += 1;
        // What four ticks allow may be had at once, and the last piece is longer than what was left.
        assert!(bytes <= 700 * (ticks + 4) + 400, "{bytes} bytes in {ticks} ticks");
        let wants = line.puller.tick();
        line.fulfil(wants);
    }
    assert!(bytes > 3_000 && ticks < 10, "{bytes} bytes in {ticks} ticks");
}

#[test]
fn a_pull_is_repeated_and_at_last_given_up() {
    let mut puller = Puller::new(1 << 20);
    let asked = puller.offered(LEADER, 7, offer(1, 1));
    let repeated: Vec<Want> = (0..10).flat_map(|_| puller.tick()).collect();
    assert_eq!(repeated, asked);
    let all: Vec<Want> = (0..300).flat_map(|_| puller.tick()).collect();
    assert_eq!(all.last(), Some(&Want::Drop { ticket: 1 }));
    assert!(all.len() > 20 && !puller.is_busy());
}

#[test]
fn an_older_offer_does_not_take_the_place_of_a_newer_one() {
    let mut puller = Puller::new(1 << 20);
    puller.offered(LEADER, 7, offer(3, 10));
    assert_eq!(puller.offered(NodeId(2), 8, offer(2, 20)), []);
    assert_eq!(puller.offered(LEADER, 6, offer(3, 9)), []);
    assert_eq!(puller.offered(LEADER, 7, offer(4, 10)), [], "said once more");
    let wants = puller.offered(NodeId(2), 9, offer(5, 4));
    assert!(matches!(wants[..], [Want::Drop { ticket: 1 }, Want::Ask { of: NodeId(2), .. }]), "{wants:?}");
    // What was on its way into a file of the first one.
    assert_eq!(puller.staged(1, true), [Want::Drop { ticket: 1 }]);
    assert_eq!(puller.gone(NodeId(2), 9), [Want::Drop { ticket: 2 }]);
}

#[test]
fn cuts_are_few_and_end() {
    let engine = engine(Disk::in_memory());
    write(&engine, 1, 1, Some(1));
    let mut cuts = Cuts::new(u64::MAX);
    let hold = |cuts: &mut Cuts, index| cuts.hold(cut_of(&engine), index, 1, ConfState::default());
    let (first, second) = (hold(&mut cuts, 10), hold(&mut cuts, 20));
    let nobody = ConfState::default();
    assert_eq!(cuts.fit(11, &nobody), Some(&second));
    assert_eq!((cuts.fit(21, &nobody), cuts.fit(22, &nobody)), (Some(&second), None));
    // A learner that came later would not take a state of a group without it.
    let joined = ConfState { learners: vec![3], ..ConfState::default() };
    assert_eq!(cuts.fit(11, &joined), None);
    hold(&mut cuts, 30);
    assert!(cuts.pulled(NodeId(2), first.cut).is_none(), "the oldest made room");
    // Who pulls keeps its cut; the other one goes.
    for _ in 0..300 {
        assert!(cuts.pulled(NodeId(2), second.cut).is_some());
        cuts.tick(std::iter::empty());
    }
    assert_eq!(cuts.len(), 1);
    let lived = (0..).take_while(|_| {
        cuts.tick(std::iter::empty());
        cuts.pulled(NodeId(2), second.cut).is_some()
    });
    assert_eq!(lived.count(), 11_699, "even if it is pulled for ever");
    assert_eq!(cuts.len(), 0);
}

#[test]
fn a_follower_that_is_silent_is_told_of() {
    let engine = engine(Disk::in_memory());
    let mut cuts = Cuts::new(0);
    let cut = cuts.hold(cut_of(&engine), 1, 1, ConfState::default());
    let mut told = Vec::new();
    for tick in 0..100 {
        if tick < 30 {
            cuts.pulled(NodeId(2), cut.cut);
        }
        told.extend(cuts.tick([NodeId(2)].into_iter()).into_iter().map(|node| (tick, node)));
    }
    assert_eq!(told, [(68, NodeId(2))]);
}
