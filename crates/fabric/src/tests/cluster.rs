//! Three nodes and more, stepped by hand over a network of this file: votes, entries, lost nodes, restarts,
//! forwarded proposals, reads, members that change, the lead that moves, sleep, disks that were set back.

mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use base::{Cause, Class as Why, GroupId, NodeId};
use bytes::Bytes;
use node_link::{Class, Link, NotSent, Received};
use store::{
    Action, Machine, Target, Waiter,
    conformance::{Dice, TALLY_GROUP, Tally, decode_tally},
    waiter,
};
use world::{Clock, Disk, Entropy, SimDisk, World};

use super::{
    chaos::{Shown, View},
    power_cut::permit,
    tiny,
};
use crate::{Addresses, Among, GroupStatus, Identity, Members, Settings, Stepped, enter};

type Letter = (NodeId, Class, Bytes);

/// What is under way between nodes.
#[derive(Default)]
pub(super) struct Wires {
    to: Mutex<BTreeMap<NodeId, VecDeque<Letter>>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// In how many of a hundred cases a message is lost.
    loss: Mutex<(u64, Option<Dice>)>,
    sent: AtomicU64,
}

impl Wires {
    /// How many frames were sent so far.
    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The end of one node.
struct Wire {
    node: NodeId,
    wires: Arc<Wires>,
}

impl Link for Wire {
    fn send(&self, to: NodeId, class: Class, message: Bytes) -> Result<(), NotSent> {
        if self.wires.cut.lock().unwrap().contains(&(self.node, to)) {
            return Err(NotSent::Down);
        }
        self.wires.sent.fetch_add(1, Ordering::Relaxed);
        let (percent, dice) = &mut *self.wires.loss.lock().unwrap();
        if dice.as_mut().is_some_and(|dice| dice.below(100) < *percent) {
            return Ok(());
        }
        self.wires.to.lock().unwrap().entry(to).or_default().push_back((self.node, class, message));
        Ok(())
    }
}

struct Member {
    world: World,
    sim: SimDisk,
    node: Option<Stepped>,
    view: View,
}

/// Nodes that share wires. Node `n` is the `n`-th, from 1.
pub(super) struct Cluster {
    wires: Arc<Wires>,
    members: Vec<Member>,
    founders: Members,
    settings: Settings,
    seed: u64,
}

impl Cluster {
    /// `size` nodes, whose groups have these founders.
    fn of(seed: u64, size: u64, founders: Members) -> Cluster {
        Cluster::with(seed, size, founders, tiny())
    }

    /// Three voters, and node 4 learns.
    fn with_learner(seed: u64) -> Cluster {
        let founders = Members { learners: [NodeId(4)].into(), ..Members::of((1..=3).map(NodeId)) };
        Cluster::of(seed, 4, founders)
    }

    pub(super) fn with(seed: u64, size: u64, founders: Members, settings: Settings) -> Cluster {
        let mut cluster = Cluster { wires: Arc::default(), members: Vec::new(), founders, settings, seed };
        for id in 1..=size {
            let (disk, sim) = Disk::simulated(seed * 100 + id);
            let world = World {
                clock: Clock::simulated(1_700_000_000_000_000),
                entropy: Entropy::seeded(seed * 1_000 + id),
                disk,
            };
            let identity = Identity { cluster: 1, node: NodeId(id), host_uuid: u128::from(id) };
            enter(&world.disk, identity).unwrap();
            cluster.members.push(Member { world, sim, node: None, view: View::default() });
            cluster.start(id);
        }
        cluster
    }

    pub(super) fn start(&mut self, id: u64) {
        let founders = [GroupId(0), TALLY_GROUP].map(|group| (group, self.founders.clone())).into();
        let link: Arc<dyn Link> = Arc::new(Wire { node: NodeId(id), wires: self.wires.clone() });
        let among = Among { link: Some(link), founders };
        let member = &mut self.members[id as usize - 1];
        let shown = Shown { tally: Tally::default(), view: member.view.clone() };
        let machines: Vec<(GroupId, Box<dyn Machine>)> = vec![(TALLY_GROUP, Box::new(shown))];
        let node =
            Stepped::start_among(&member.world, self.settings.clone(), machines, Addresses::new(), among);
        member.node = Some(node.unwrap_or_else(|cause| panic!("seed {}, node {id}: {cause}", self.seed)));
    }

    /// Ends a node without a word; what was not synced may be lost.
    pub(super) fn crash(&mut self, id: u64) {
        let member = &mut self.members[id as usize - 1];
        member.node = None;
        member.sim.crash();
        member.world.disk = member.sim.disk();
        self.wires.to.lock().unwrap().remove(&NodeId(id));
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Stepped {
        self.members[id as usize - 1].node.as_mut().unwrap()
    }

    fn alive(&self) -> Vec<u64> {
        (1..).zip(&self.members).filter(|(_, member)| member.node.is_some()).map(|(id, _)| id).collect()
    }

    /// Nothing passes between the node and the others, or everything again.
    pub(super) fn cut(&mut self, id: u64, cut: bool) {
        let all = self.members.len() as u64;
        let mut wires = self.wires.cut.lock().unwrap();
        for other in (1..=all).filter(|other| *other != id) {
            for pair in [(NodeId(id), NodeId(other)), (NodeId(other), NodeId(id))] {
                if cut {
                    wires.insert(pair);
                } else {
                    wires.remove(&pair);
                }
            }
        }
    }

    /// From now on so many messages of a hundred are lost.
    pub(super) fn lose(&mut self, percent: u64) {
        *self.wires.loss.lock().unwrap() = (percent, Some(Dice(self.seed)));
    }

    /// Delivers, and steps everybody, until nothing is left to do.
    fn settle(&mut self) {
        loop {
            let mut any = false;
            for id in self.alive() {
                any |= self.step(id, true);
            }
            if !any {
                return;
            }
        }
    }

    /// Delivers what is there for a node and lets it do a step; without its log if `syncs` is not set.
    pub(super) fn step(&mut self, id: u64, syncs: bool) -> bool {
        let letters = self.wires.to.lock().unwrap().remove(&NodeId(id)).unwrap_or_default();
        let any = !letters.is_empty();
        let node = self.node(id);
        let receiver = node.receiver();
        for (from, class, bytes) in letters {
            receiver.receive(from, class, Received::new(bytes));
        }
        any | node.turn_spine() | (syncs && node.step_log().unwrap()) | node.step_upkeep()
    }

    /// Lets time pass, with everything that happens in it.
    pub(super) fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.settle();
            for id in self.alive() {
                self.node(id).tick();
            }
        }
        self.settle();
    }

    pub(super) fn status(&mut self, id: u64) -> GroupStatus {
        let standing = self.node(id).standing();
        standing.groups.into_iter().find(|status| status.group == TALLY_GROUP).unwrap()
    }

    /// What a node's test Machine holds; nothing is known after a restart until it applies an entry.
    pub(super) fn view(&self, id: u64) -> View {
        self.members[id as usize - 1].view.clone()
    }

    /// The node that leads the test Machine's group, of the highest term.
    pub(super) fn leader(&mut self) -> u64 {
        let leading = self.alive().into_iter().map(|id| (self.status(id), id));
        let leader = leading.filter(|(status, _)| status.leads).max_by_key(|(status, _)| status.term);
        leader.expect("somebody leads").1
    }

    fn follower(&mut self) -> u64 {
        let leader = self.leader();
        self.alive().into_iter().find(|id| *id != leader).unwrap()
    }

    fn propose(&mut self, id: u64, number: u64) -> Waiter<Bytes> {
        let store = self.node(id).store();
        let permit = permit(store, Action::Write, Target::Machine(TALLY_GROUP));
        let (done, answer) = waiter();
        store.machines.propose(
            permit,
            TALLY_GROUP,
            Bytes::copy_from_slice(&number.to_le_bytes()).into(),
            done,
        );
        answer
    }

    fn barrier(&mut self, id: u64) -> Waiter<()> {
        let store = self.node(id).store();
        let permit = permit(store, Action::Read, Target::Machine(TALLY_GROUP));
        let (done, answer) = waiter();
        store.machines.barrier(permit, TALLY_GROUP, done);
        answer
    }

    /// What the Machine holds, as the answer of one more entry says.
    pub(super) fn tally(&mut self, id: u64, number: u64) -> Vec<u64> {
        let answer = self.propose(id, number);
        self.pass(5);
        decode_tally(&answer.now().unwrap()).unwrap()
    }
}

/// What nobody answers must not hang a test.
trait Now<T> {
    fn now(self) -> Result<T, Cause>;
}

impl<T: Send + 'static> Now<T> for Waiter<T> {
    fn now(mut self) -> Result<T, Cause> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self).poll(&mut context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it should be answered by now"),
        }
    }
}

/// A cluster of three with a leader.
fn three(seed: u64) -> Cluster {
    let mut cluster = Cluster::of(seed, 3, Members::of((1..=3).map(NodeId)));
    cluster.pass(60);
    cluster
}

#[test]
fn three_elect_replicate_lose_one_and_go_on() {
    for seed in 0..20 {
        let mut cluster = three(seed);
        let leader = cluster.leader();
        assert_eq!(cluster.tally(leader, 1), [1]);
        cluster.crash(leader);
        cluster.pass(80);
        let next = cluster.leader();
        assert_ne!(next, leader);
        assert_eq!(cluster.tally(next, 2), [1, 2]);
        cluster.start(leader);
        cluster.pass(40);
        let applied = [1, 2, 3].map(|id| cluster.status(id).applied);
        assert_eq!(applied, [applied[0]; 3], "seed {seed}");
        for id in 1..=3 {
            cluster.crash(id);
        }
        (1..=3).for_each(|id| cluster.start(id));
        cluster.pass(60);
        let leader = cluster.leader();
        assert_eq!(cluster.tally(leader, 3), [1, 2, 3]);
    }
}

#[test]
fn a_minority_decides_nothing() {
    let mut cluster = three(1);
    let leader = cluster.leader();
    cluster.cut(leader, true);
    let lost = cluster.propose(leader, 7);
    let read = cluster.barrier(leader);
    cluster.pass(60);
    assert!(matches!(lost.now(), Err(Cause { class: Why::Uncertain { .. }, .. })));
    let next =
        (1..=3).find(|id| *id != leader && cluster.status(*id).leads).expect("the others have elected");
    assert_eq!(cluster.tally(next, 1), [1]);
    cluster.cut(leader, false);
    cluster.pass(60);
    assert_eq!(read.now(), Ok(()), "asked again at the new leader");
    assert_eq!(cluster.tally(leader, 2), [1, 2], "the lost entry is gone, and the old leader follows");
}

#[test]
fn a_follower_asks_its_leader_whatever_is_lost_and_in_order() {
    for seed in 0..10 {
        let mut cluster = three(seed);
        let follower = cluster.follower();
        cluster.lose(20);
        let mut answers = Vec::new();
        for number in 1..=30 {
            answers.push(cluster.propose(follower, number));
            cluster.pass(1);
            if number == 15 {
                let leader = cluster.leader();
                cluster.crash(leader);
                cluster.start(leader);
            }
        }
        cluster.pass(40);
        cluster.lose(0);
        cluster.pass(60);
        for (number, answer) in (1..).zip(answers) {
            let had = decode_tally(&answer.now().unwrap()).unwrap();
            assert!(had.iter().copied().eq(1..=number), "seed {seed}: {had:?} at {number}");
        }
    }
}

#[test]
fn a_read_at_a_follower_sees_what_was_acknowledged_anywhere() {
    let mut cluster = three(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    for number in 1..=5 {
        let written = cluster.propose(leader, number);
        while cluster.step(leader, true) | cluster.step(6 - leader - follower, true) {}
        written.now().unwrap();
        let read = cluster.barrier(follower);
        cluster.settle();
        assert_eq!(read.now(), Ok(()));
        let (there, here) = (cluster.status(leader).applied, cluster.status(follower).applied);
        assert_eq!(there, here);
    }
    // Asked while the leader is away, it is answered by the next one.
    cluster.cut(leader, true);
    let read = cluster.barrier(follower);
    cluster.pass(60);
    assert_eq!(read.now(), Ok(()));
}

#[test]
fn the_lead_moves_when_asked_and_nothing_is_lost() {
    let mut cluster = three(4);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let moved = cluster.node(leader).transfer(TALLY_GROUP, NodeId(follower));
    let meanwhile = cluster.propose(leader, 1);
    cluster.pass(40);
    assert_eq!(moved.now(), Ok(()));
    assert_eq!(cluster.leader(), follower);
    assert_eq!(decode_tally(&meanwhile.now().unwrap()).unwrap(), [1]);
    // A follower may take it for itself, and nobody else.
    let taken = cluster.node(leader).transfer(TALLY_GROUP, NodeId(leader));
    let other = 6 - leader - follower;
    let refused = cluster.node(other).transfer(TALLY_GROUP, NodeId(leader));
    cluster.pass(10);
    assert_eq!(taken.now(), Ok(()));
    assert_eq!(refused.now().map_err(|cause| cause.class), Err(Why::Moved));
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn members_change_by_both_majorities() {
    let mut cluster = Cluster::with_learner(5);
    cluster.pass(60);
    let leader = cluster.leader();
    assert_eq!(cluster.tally(4, 1), [1], "a learner asks like any follower");
    let (gone, stay) = (cluster.follower(), 6 - leader - cluster.follower());
    let wanted = Members::of([leader, stay, 4].map(NodeId));
    let changed = cluster.node(leader).change(TALLY_GROUP, wanted.clone());
    let second = cluster.node(leader).change(TALLY_GROUP, Members::of([NodeId(leader)]));
    cluster.pass(5);
    assert_eq!(changed.now(), Ok(()));
    assert_eq!(second.now().map_err(|cause| cause.class), Err(Why::Busy));
    assert_eq!(cluster.status(4).members, wanted);
    cluster.crash(gone);
    // Asked of a follower, whose leader does not hear it at first.
    cluster.cut(stay, true);
    let again = cluster.node(stay).change(TALLY_GROUP, Members::of([leader, stay, 4].map(NodeId)));
    cluster.settle();
    cluster.cut(stay, false);
    cluster.pass(30);
    assert_eq!(again.now(), Ok(()));
    cluster.crash(stay);
    assert_eq!(cluster.tally(4, 2), [1, 2], "the learner has become a voter, and one may be away");
    // Who they are is known after a restart of all.
    for id in [leader, 4] {
        cluster.crash(id);
        cluster.start(id);
    }
    cluster.pass(60);
    let lead = cluster.leader();
    assert_eq!(cluster.tally(lead, 3), [1, 2, 3]);
    assert_eq!(cluster.status(lead).members, wanted);
}

#[test]
fn a_leader_that_is_no_member_any_more_stops_to_lead() {
    let mut cluster = three(6);
    let leader = cluster.leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let changed = cluster.node(leader).change(TALLY_GROUP, Members::of(others.iter().copied().map(NodeId)));
    cluster.pass(60);
    assert_eq!(changed.now(), Ok(()));
    let next = cluster.leader();
    assert!(others.contains(&next));
    assert_eq!(cluster.tally(next, 1), [1]);
}

#[test]
fn idle_groups_sleep_and_wake_when_their_leader_is_gone() {
    let mut cluster = three(7);
    cluster.pass(60);
    assert!((1..=3).all(|id| cluster.status(id).asleep));
    let term = cluster.status(1).term;
    let before = cluster.wires.sent();
    cluster.pass(100);
    // A heartbeat between any two nodes twice a second, and nothing for any group.
    assert_eq!(cluster.wires.sent() - before, 10 * 3 * 2);
    let follower = cluster.follower();
    assert_eq!(cluster.tally(follower, 1), [1]);
    assert_eq!(cluster.status(1).term, term, "it woke without an election");
    cluster.pass(60);
    assert!((1..=3).all(|id| cluster.status(id).asleep));
    let leader = cluster.leader();
    cluster.crash(leader);
    cluster.pass(90);
    let next = cluster.leader();
    assert_eq!(cluster.tally(next, 2), [1, 2]);
    cluster.pass(60);
    cluster.start(leader);
    cluster.pass(60);
    assert_eq!(cluster.status(leader).applied, cluster.status(next).applied);
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    let mut cluster = three(8);
    let leader = cluster.leader();
    let stuck = cluster.propose(leader, 1);
    for _ in 0..80 {
        for id in 1..=3 {
            while cluster.step(id, id != leader) {}
        }
        (1..=3).for_each(|id| cluster.node(id).tick());
    }
    let next = cluster.leader();
    assert_ne!(next, leader, "its heartbeats came all the time");
    let alive = cluster.node(next).standing().peers;
    assert!(alive.iter().all(|peer| peer.alive == (peer.node != NodeId(leader))), "{alive:?}");
    cluster.pass(60);
    assert!(matches!(stuck.now(), Err(Cause { class: Why::Uncertain { .. }, .. }) | Ok(_)));
    assert!(cluster.node(next).standing().peers.iter().all(|peer| peer.alive));
}

#[test]
fn a_disk_that_was_set_back_takes_no_part() {
    let mut cluster = three(9);
    let old = {
        let member = &cluster.members[0];
        member.sim.record_boundaries();
        member.sim.take_boundaries().pop().unwrap()
    };
    let leader = cluster.leader();
    assert_eq!(cluster.tally(leader, 1), [1]);
    cluster.pass(20);
    cluster.crash(1);
    let (disk, sim) = old.crash(1);
    cluster.members[0].world.disk = disk;
    cluster.members[0].sim = sim;
    cluster.start(1);
    cluster.pass(30);
    let failed = cluster.members[0].node.as_mut().unwrap().settle();
    // Its peers say so, or its leader has heard of more than there is.
    assert_eq!(failed.unwrap_err().class, Why::Corrupt);
    cluster.crash(1);
    cluster.pass(60);
    let leader = cluster.leader();
    assert_eq!(cluster.tally(leader, 2), [1, 2], "the two others go on");
}

#[test]
fn a_lone_voter_tells_its_learner_nothing_before_its_vote_is_durable() {
    let mut cluster =
        Cluster::of(10, 2, Members { learners: [NodeId(2)].into(), ..Members::of([NodeId(1)]) });
    // It leads already, and its vote is in the log's queue.
    while cluster.step(1, false) {}
    assert!(cluster.status(1).leads);
    assert_eq!(cluster.wires.sent(), 0);
    cluster.pass(5);
    assert_eq!(cluster.tally(2, 1), [1]);
}
