//! Replicas that lag behind the log, or have nothing, take over the state of another one: while messages
//! are lost, nodes die, and the power is cut wherever it can be.

use std::panic::catch_unwind;

use disk_engine::Engine;
use raft::eraftpb::MessageType;
use world::task::cores;

use super::*;
use crate::{
    group::message::{self, Frame, GroupMessage},
    settings::Sabotage,
    verify,
};

/// Nodes that keep hardly any entries for each other, and give their states in small pieces.
fn forgetful(seed: u64, size: u64, founders: u64, sabotage: Option<Sabotage>) -> Cluster {
    let mut settings = Settings { sabotage, ..tiny() };
    settings.groups.kept_entries = 3;
    settings.groups.snapshot_chunk_bytes = 120;
    settings.groups.snapshot_tick_bytes = 300;
    settings.groups.message_bytes = 200;
    let mut cluster = Cluster::with(seed, size, Members::of((1..=founders).map(NodeId)), settings);
    cluster.pass(60);
    cluster
}

/// What a Machine has put.
type Contents = Vec<(Bytes, Bytes)>;

impl Cluster {
    /// Generation, applied index and contents of a node's Machine.
    fn kept(&mut self, id: u64) -> (u64, u64, Contents) {
        self.node(id).spine().group(TALLY_GROUP).kept()
    }

    /// Proposes numbers at whoever leads, each when the one before is answered.
    fn count(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let leader = self.leader();
            let answer = self.propose(leader, number);
            self.pass(1);
            answer.wait().unwrap();
        }
    }

    /// Proposes `number`, and notes what the leader holds then.
    fn note(&mut self, number: u64, history: &mut BTreeMap<u64, Contents>) {
        self.count(number..number + 1);
        let leader = self.leader();
        let (_, applied, contents) = self.kept(leader);
        history.insert(applied, contents);
    }

    fn disk(&self, id: u64) -> &Disk {
        &self.members[id as usize - 1].world.disk
    }
}

/// The generations of the Machine's trees on a node.
fn trees(node: &Stepped) -> Vec<u64> {
    let forest = node.shared().engine.forest();
    let all = forest.trees().into_iter().chain(forest.dropped()).filter_map(Engine::machine_of);
    all.filter(|(group, _)| *group == TALLY_GROUP).map(|(_, generation)| generation).collect()
}

#[test]
fn the_log_is_truncated_though_one_lags_and_the_one_catches_up() {
    for seed in 0..5 {
        let mut cluster = forgetful(seed, 3, 3, None);
        cluster.count(0..5);
        let lagging = cluster.follower();
        cluster.crash(lagging);
        cluster.count(5..200);
        let leader = cluster.leader();
        let segments = cluster.disk(leader).list("log").unwrap().len();
        assert!(segments <= 6, "seed {seed}: {segments} segments");
        cluster.start(lagging);
        cluster.pass(150);
        let (expected, got) = (cluster.kept(leader), cluster.kept(lagging));
        assert_eq!((expected.0, got.0), (0, 1), "seed {seed}: it took the state over");
        assert_eq!((got.1, got.2), (expected.1, expected.2), "seed {seed}");
        assert_eq!(trees(cluster.node(lagging)), [1], "seed {seed}: what it had before is gone");
        // It goes on from there, through restarts and as a leader.
        cluster.count(200..210);
        cluster.crash(lagging);
        cluster.start(lagging);
        cluster.pass(60);
        let leader = cluster.leader();
        let moved = cluster.node(leader).transfer(TALLY_GROUP, NodeId(lagging));
        cluster.pass(60);
        moved.wait().unwrap();
        assert_eq!(cluster.tally(lagging, 210), (0..=210).collect::<Vec<_>>());
    }
}

#[test]
fn a_new_member_is_given_everything() {
    let mut cluster = forgetful(1, 4, 3, None);
    cluster.count(0..30);
    let leader = cluster.leader();
    let members = Members::of((1..=4).map(NodeId));
    let changed = cluster.node(leader).change(TALLY_GROUP, members.clone());
    cluster.pass(250);
    changed.wait().unwrap();
    let (expected, got) = (cluster.kept(leader), cluster.kept(4));
    assert_eq!((got.1, got.2), (expected.1, expected.2));
    assert_eq!(cluster.status(4).members, members);
    cluster.crash(4);
    cluster.start(4);
    cluster.pass(60);
    assert_eq!(cluster.status(4).members, members);
    assert_eq!(cluster.tally(4, 30), (0..=30).collect::<Vec<_>>());
}

/// One of the things that may happen to a cluster.
fn mishap(cluster: &mut Cluster, dice: &mut Dice) {
    let id = 1 + dice.below(3);
    let alive = cluster.alive();
    match dice.below(7) {
        0 if alive.len() == 3 => cluster.crash(id),
        1 | 2 => (1..=3).filter(|id| !alive.contains(id)).for_each(|id| cluster.start(id)),
        3 => cluster.cut(id, true),
        4 => (1..=3).for_each(|id| cluster.cut(id, false)),
        5 => cluster.lose(10 * dice.below(3)),
        _ if alive.contains(&id) => drop(cluster.node(id).transfer(TALLY_GROUP, NodeId(id))),
        _ => {}
    }
}

/// Nodes lag, die and lead in turn, on bad lines. At the end all hold the same: each number that was
/// acknowledged, once, in the order of the log. Returns how many states were taken over.
fn program(seed: u64, sabotage: Option<Sabotage>) -> u64 {
    let mut dice = Dice(seed);
    let mut cluster = forgetful(seed, 3, 3, sabotage);
    let mut waiting = Vec::new();
    for number in 0..150 {
        let alive = cluster.alive();
        let some = |dice: &mut Dice| alive[dice.below(alive.len() as u64) as usize];
        if dice.below(3) > 0 {
            let id = some(&mut dice);
            waiting.push((number, cluster.propose(id, number)));
        }
        if dice.below(3) == 0 {
            // Steps of some, their logs not always.
            for _ in 0..dice.below(20) {
                let id = some(&mut dice);
                cluster.step(id, dice.below(2) == 0);
            }
        } else {
            cluster.pass(dice.below(20) as u32);
        }
        if dice.below(4) == 0 {
            mishap(&mut cluster, &mut dice);
        }
    }
    cluster.lose(0);
    (1..=3).for_each(|id| cluster.cut(id, false));
    let dead: Vec<u64> = (1..=3).filter(|id| !cluster.alive().contains(id)).collect();
    dead.into_iter().for_each(|id| cluster.start(id));
    cluster.pass(300);
    let leader = cluster.leader();
    let all = cluster.tally(leader, 999);
    cluster.pass(300);
    let kept = [1, 2, 3].map(|id| cluster.kept(id));
    for other in &kept[1..] {
        assert_eq!((other.1, &other.2), (kept[0].1, &kept[0].2), "seed {seed}");
    }
    let numbers: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(numbers.len(), all.len(), "seed {seed}: twice in {all:?}");
    for (number, answer) in waiting {
        match answer.wait() {
            Ok(had) => {
                let had = decode_tally(&had).unwrap();
                assert!(
                    all.starts_with(&had) && had.last() == Some(&number),
                    "seed {seed}: {had:?} of {all:?}"
                );
            }
            Err(cause) => assert!(!matches!(cause.class, Why::Corrupt | Why::Bug), "seed {seed}: {cause}"),
        }
    }
    for (id, (generation, ..)) in (1..).zip(&kept) {
        assert_eq!(trees(cluster.node(id)), [*generation], "seed {seed}, node {id}");
    }
    kept.iter().map(|kept| kept.0).sum()
}

const PROGRAMS: u64 = 40;

#[test]
fn whatever_happens_all_come_to_the_same_state() {
    let workers = cores().min(4) as u64;
    let work = move |worker: u64| {
        let seeds = (worker..PROGRAMS).step_by(workers as usize);
        seeds.map(|seed| program(seed, None)).sum::<u64>()
    };
    let start = |worker| world::task::spawn_thread("programs", move || work(worker)).unwrap();
    let threads: Vec<_> = (0..workers).map(start).collect();
    let installed: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("{installed} states were taken over");
    assert!(installed > PROGRAMS, "only {installed} states were taken over");
}

fn must_find(bug: Sabotage) {
    let found = (0..PROGRAMS).find(|&seed| catch_unwind(|| program(seed, Some(bug))).is_err());
    let seed = found.unwrap_or_else(|| panic!("{bug:?} was not found in {PROGRAMS} programs"));
    println!("{bug:?} was found after {} programs", seed + 1);
}

#[test]
fn a_snapshot_that_is_not_of_one_moment_is_found() {
    must_find(Sabotage::SnapshotNotAtomic);
}

/// What a follower holds after it was told once more of a snapshot that it installed long ago; and
/// what it held before.
fn told_late(sabotage: Option<Sabotage>) -> [(u64, Contents); 2] {
    let mut cluster = forgetful(1, 3, 3, sabotage);
    cluster.count(0..5);
    let lagging = cluster.follower();
    cluster.crash(lagging);
    cluster.count(5..150);
    cluster.start(lagging);
    let mut offers = Vec::new();
    while cluster.kept(lagging).0 == 0 {
        for id in cluster.alive() {
            let letters = cluster.wires.to.lock().unwrap().get(&NodeId(lagging)).cloned().unwrap_or_default();
            offers.extend(letters.into_iter().filter(|letter| is_offer(&letter.2)));
            cluster.step(id, true);
        }
        cluster.alive().into_iter().for_each(|id| cluster.node(id).tick());
    }
    cluster.count(150..160);
    let (_, applied, contents) = cluster.kept(lagging);
    let before = (applied, contents);
    cluster.wires.to.lock().unwrap().entry(NodeId(lagging)).or_default().extend(offers.pop());
    cluster.pass(100);
    let (_, applied, contents) = cluster.kept(lagging);
    [before, (applied, contents)]
}

/// Whether a frame has a snapshot of the Raft core for the Machine.
fn is_offer(frame: &[u8]) -> bool {
    let Ok((_, Frame::Groups(messages))) = message::decode(frame) else { return false };
    messages.iter().any(|(group, message)| match message {
        GroupMessage::Raft(message) => *group == TALLY_GROUP && message.msg_type == MessageType::MsgSnapshot,
        _ => false,
    })
}

#[test]
fn a_stale_snapshot_does_not_take_the_place_of_a_newer_state() {
    let [before, after] = told_late(None);
    assert_eq!(before, after);
    let [before, after] = told_late(Some(Sabotage::StaleSnapshot));
    assert!(before.0 > after.0 && before.1.len() > after.1.len(), "the planted bug was not found");
}

/// The node starts on what a power cut has left, and hears of nobody. Generation, applied index and contents
/// of its Machine.
fn start_alone(cluster: &Cluster, id: u64, disk: Disk, seed: u64) -> Result<(u64, u64, Contents), Cause> {
    let mut faults = Vec::new();
    let verified = verify(&disk, &mut |finding| faults.push(finding))?;
    assert_eq!(verified.faults, 0, "{faults:?}");
    let clock = cluster.members[id as usize - 1].world.clock.clone();
    let world = World { clock, entropy: Entropy::seeded(seed), disk };
    let link: Arc<dyn Link> = Arc::new(node_link::Alone);
    let among = Among { link: Some(link), founders: BTreeMap::new() };
    let machines: Vec<(GroupId, Box<dyn Machine>)> = vec![(TALLY_GROUP, Box::new(Tally::default()))];
    let mut node = Stepped::start_among(&world, cluster.settings.clone(), machines, Addresses::new(), among)?;
    node.settle()?;
    let kept = node.spine().group(TALLY_GROUP).kept();
    assert!(trees(&node).iter().all(|generation| *generation == kept.0), "trees that do not count");
    Ok(kept)
}

/// The power of the one that catches up is cut at each of its disk operations. What a start then finds is the
/// state that it had, or the one that it took over, and nothing of the other: after the entry that it says,
/// it holds what the leader held after that.
#[test]
fn a_power_cut_leaves_the_old_state_or_the_new_one() {
    let mut met = [0; 2];
    for seed in 0..3 {
        let mut cluster = forgetful(seed, 3, 3, None);
        // What the Machine holds after each entry, as the leader has it.
        let mut history = BTreeMap::from([(0, Vec::new())]);
        let lagging = cluster.follower();
        for number in 0..150 {
            cluster.note(number, &mut history);
            if number == 4 {
                cluster.crash(lagging);
            }
        }
        let sim = cluster.members[lagging as usize - 1].sim.clone();
        sim.record_boundaries();
        cluster.start(lagging);
        for number in 150..170 {
            cluster.pass(5);
            cluster.note(number, &mut history);
        }
        assert!(cluster.kept(lagging).0 > 0, "seed {seed}: it took the state over");
        for (nth, boundary) in sim.take_boundaries().into_iter().enumerate() {
            let (disk, _) = boundary.crash(seed ^ nth as u64);
            let (generation, applied, contents) = start_alone(&cluster, lagging, disk, nth as u64)
                .unwrap_or_else(|cause| panic!("seed {seed}, cut {nth}: {cause}"));
            met[usize::from(generation > 0)] += 1;
            let (_, expected) = history.range(..=applied).next_back().unwrap();
            assert_eq!(
                &contents, expected,
                "seed {seed}, cut {nth}, generation {generation}, entry {applied}"
            );
        }
    }
    assert!(met.iter().all(|met| *met > 20), "{met:?}");
}
