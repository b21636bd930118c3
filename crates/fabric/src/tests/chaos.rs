//! Random programs on three nodes: steps in any order, syncs that come late, lost messages, cuts, crashes, moved leads,
//! changed members, all at once; and the proof that they find what they should.
//!
//! What must hold: of what was acknowledged nothing is lost and nothing comes twice; what one life of a node has proposed is
//! applied in the order of its calls; every answer shows a beginning of the one history; a read that was answered has seen
//! what was acknowledged before it was asked; when everything is healed, all go on, and are equal.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use base::{Cause, NodeId};
use bytes::Bytes;
use store::{
    Action, Changes, Done, Inbox, Machine, MachineState, Target,
    conformance::{Dice, TALLY_GROUP, Tally, decode_tally},
};

use super::{cluster::Cluster, power_cut::permit, tiny};
use crate::{Members, Settings, settings::Sabotage};

/// Programs that must run clean, and in which a planted bug must be found.
const PROGRAMS: u64 = 40;
const ROUNDS: u64 = 250;

/// What a node's Machine holds, for the test to look at.
pub(super) type View = Arc<Mutex<Option<Vec<u64>>>>;

/// A [`Tally`] that shows what it holds.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) tally: Tally,
    pub(super) view: View,
}

impl Machine for Shown {
    fn apply(&mut self, index: u64, entry: &[u8], changes: &mut Changes) -> Result<Bytes, Cause> {
        let result = self.tally.apply(index, entry, changes)?;
        *self.view.lock().unwrap() = Some(decode_tally(&result)?);
        Ok(result)
    }

    fn restore(&mut self, state: Arc<dyn MachineState>) -> Result<(), Cause> {
        *self.view.lock().unwrap() = None;
        self.tally.restore(state)
    }

    fn weight(&self) -> usize {
        self.tally.weight()
    }
}

/// What was answered to proposals.
#[derive(Default)]
struct Answers {
    of: Mutex<Vec<(u64, Vec<u64>)>>,
}

impl Inbox<Bytes> for Answers {
    fn deliver(&self, number: u64, answer: Result<Bytes, Cause>) {
        if let Ok(bytes) = answer {
            self.of.lock().unwrap().push((number, decode_tally(&bytes).unwrap()));
        }
    }
}

/// A read: what it must see, where it looks, and whether it may.
struct Look {
    must: BTreeSet<u64>,
    view: View,
    /// What reads have not seen. Not a panic, which would come while a node is being dropped.
    missed: Arc<Mutex<Vec<u64>>>,
}

impl Inbox<()> for Look {
    fn deliver(&self, _tag: u64, answer: Result<(), Cause>) {
        let view = self.view.lock().unwrap();
        if let (Ok(()), Some(seen)) = (answer, &*view) {
            let missed = self.must.iter().filter(|number| !seen.contains(number));
            self.missed.lock().unwrap().extend(missed);
        }
    }
}

struct Program {
    cluster: Cluster,
    dice: Dice,
    answers: Arc<Answers>,
    missed: Arc<Mutex<Vec<u64>>>,
    next: u64,
    /// For each node and life what it has proposed, in order.
    proposed: Vec<Vec<u64>>,
    life_of: [usize; 3],
}

impl Program {
    fn new(seed: u64, sabotage: Option<Sabotage>) -> Program {
        // Entries stay in the log: what lags can be caught up with without a snapshot.
        let mut settings = Settings { sabotage, ..tiny() };
        settings.tree.memtable_bytes = 1 << 20;
        settings.log.segment_bytes = 1 << 20;
        settings.log.queue_bytes = 1 << 19;
        settings.log_keep_bytes = 64 << 20;
        let cluster = Cluster::with(seed, 3, Members::of((1..=3).map(NodeId)), settings);
        let (answers, missed) = Default::default();
        Program {
            cluster,
            dice: Dice(seed),
            answers,
            missed,
            next: 1,
            proposed: vec![vec![]; 3],
            life_of: [0, 1, 2],
        }
    }

    fn any_node(&mut self) -> u64 {
        1 + self.dice.below(3)
    }

    fn propose(&mut self) {
        let (id, number) = (self.any_node(), self.next);
        self.next += 1;
        self.proposed[self.life_of[id as usize - 1]].push(number);
        let store = self.cluster.node(id).store();
        let permit = permit(store, Action::Write, Target::Machine(TALLY_GROUP));
        let entry = Bytes::copy_from_slice(&number.to_le_bytes());
        store.machines.propose(permit, TALLY_GROUP, entry.into(), Done::new(self.answers.clone(), number));
    }

    fn read(&mut self) {
        let id = self.any_node();
        let must = self.answers.of.lock().unwrap().iter().map(|(number, _)| *number).collect();
        let look = Arc::new(Look { must, view: self.cluster.view(id), missed: self.missed.clone() });
        let store = self.cluster.node(id).store();
        let permit = permit(store, Action::Read, Target::Machine(TALLY_GROUP));
        store.machines.barrier(permit, TALLY_GROUP, Done::new(look, 0));
    }

    fn crash(&mut self, id: u64) {
        self.cluster.crash(id);
        self.cluster.start(id);
        self.life_of[id as usize - 1] = self.proposed.len();
        self.proposed.push(Vec::new());
    }

    fn trouble(&mut self) {
        let id = self.any_node();
        match self.dice.below(10) {
            0..3 => self.crash(id),
            3 => (1..=3).for_each(|id| self.crash(id)),
            4 | 5 => {
                let cut = self.dice.below(2) == 0;
                self.cluster.cut(id, cut);
            }
            6 => {
                let percent = self.dice.below(30);
                self.cluster.lose(percent);
            }
            7 => drop(self.cluster.node(id).transfer(TALLY_GROUP, NodeId(id))),
            _ => {
                let others = (1..=3).filter(|other| *other != id).map(NodeId);
                let alone = Members { learners: others.clone().collect(), ..Members::of([NodeId(id)]) };
                let two = Members { learners: [NodeId(id)].into(), ..Members::of(others) };
                let wanted = match self.dice.below(3) {
                    0 => alone,
                    1 => two,
                    _ => Members::of((1..=3).map(NodeId)),
                };
                let asked = self.any_node();
                drop(self.cluster.node(asked).change(TALLY_GROUP, wanted));
            }
        }
    }

    fn round(&mut self) {
        for _ in 0..4 {
            let (id, syncs) = (self.any_node(), self.dice.below(3) > 0);
            self.cluster.step(id, syncs);
        }
        match self.dice.below(20) {
            0..6 => self.propose(),
            6..9 => self.read(),
            9 => self.trouble(),
            _ => (1..=3).for_each(|id| self.cluster.node(id).tick()),
        }
    }

    fn run(mut self) {
        self.cluster.pass(60);
        for _ in 0..ROUNDS {
            self.round();
        }
        self.cluster.lose(0);
        (1..=3).for_each(|id| self.cluster.cut(id, false));
        self.cluster.pass(300);
        self.check();
    }

    fn check(&mut self) {
        assert_eq!(*self.missed.lock().unwrap(), [], "reads have not seen what was acknowledged");
        let leader = self.cluster.leader();
        let all = self.cluster.tally(leader, 0);
        self.cluster.pass(60);
        let unique: BTreeSet<_> = all.iter().collect();
        assert_eq!(unique.len(), all.len(), "something was applied twice: {all:?}");
        for (number, seen) in &*self.answers.of.lock().unwrap() {
            assert!(all.starts_with(seen), "{number} was answered with {seen:?}, but there is {all:?}");
            assert_eq!(seen.last(), Some(number));
        }
        for proposed in &self.proposed {
            let order: Vec<_> = all.iter().filter(|number| proposed.contains(number)).collect();
            assert!(order.is_sorted(), "{proposed:?} was applied as {order:?}");
        }
        for id in 1..=3 {
            assert_eq!(self.cluster.status(id).applied, self.cluster.status(leader).applied, "node {id}");
            assert_eq!(self.cluster.view(id).lock().unwrap().as_ref(), Some(&all), "node {id}");
        }
    }
}

/// Programs that have found a bug of ours.
const NAMED: [(u64, &str); 3] = [
    (0, "old voters left the joint configuration before new ones knew of it, and nobody could be elected"),
    (173, "a node became the only voter, and what it was asked then overtook what it still asked for"),
    (1429, "a leader that was no voter any more answered reads without asking the only voter there was"),
];

#[test]
fn what_was_found_once_stays_away() {
    for (seed, story) in NAMED {
        let program = AssertUnwindSafe(|| Program::new(seed, None).run());
        assert!(catch_unwind(program).is_ok(), "seed {seed}: {story}");
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_comes_twice() {
    for seed in 0..PROGRAMS {
        let program = AssertUnwindSafe(|| Program::new(seed, None).run());
        assert!(catch_unwind(program).is_ok(), "seed {seed}");
    }
}

fn must_find(bug: Sabotage) {
    let finds = |&seed: &u64| catch_unwind(|| Program::new(seed, Some(bug)).run()).is_err();
    let found = (0..10 * PROGRAMS).find(finds);
    let seed = found.unwrap_or_else(|| panic!("{bug:?} was not found in {} programs", 10 * PROGRAMS));
    println!("{bug:?} was found after {} programs", seed + 1);
}

#[test]
fn a_vote_that_is_forgotten() {
    must_find(Sabotage::VoteNotPersisted);
}

#[test]
fn an_entry_acknowledged_before_it_is_durable() {
    must_find(Sabotage::AckBeforeFsync);
}

#[test]
fn a_leader_that_counts_itself_early() {
    must_find(Sabotage::LeaderCountsEarly);
}

#[test]
fn a_read_before_an_entry_of_the_own_term() {
    must_find(Sabotage::ReadBeforeOwnTerm);
}

#[test]
fn members_that_change_without_both_majorities() {
    must_find(Sabotage::NoJointMajority);
}

#[test]
fn a_proposal_that_is_applied_twice() {
    must_find(Sabotage::ApplyTwice);
}

#[test]
fn entries_that_a_follower_lacks_and_nobody_has() {
    must_find(Sabotage::TruncatePastFollower);
}
