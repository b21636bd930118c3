//! A node that dies again and again, under a clock that is set back and forth: what survived one
//! power cut is where the next life begins.

use bytes::Bytes;
use store::{
    Action, Target,
    conformance::{Dice, TALLY_GROUP, decode_tally},
    waiter,
};
use world::{Clock, Disk, Entropy, SimDisk, World};

use super::{power_cut::*, tally, tiny};
use crate::{Addresses, Stepped};

/// A world whose clock shows some time around the last one, as after a bad battery.
fn world_again(disk: Disk, dice: &mut Dice) -> World {
    let wall_micros = 1_700_000_000_000_000 + dice.below(200_000_000);
    World { clock: Clock::simulated(wall_micros), entropy: Entropy::seeded(dice.below(1 << 40)), disk }
}

/// What must be there: acknowledged in this life or one before, and then checked.
#[derive(Default)]
struct Known {
    writes: Vec<u64>,
    entries: Vec<u64>,
    count_least: u64,
    count_most: u64,
}

impl Known {
    /// Checks a node that has just started.
    fn check(&mut self, node: &mut Stepped, table: base::TableId, life: u64) {
        for number in &self.writes {
            let page = read(node.store(), table, Bytes::copy_from_slice(&number.to_le_bytes()));
            assert_eq!(page.partitions.len(), 1, "write {number} is lost");
        }
        let (done, answer) = waiter();
        let probe = life * 1_000;
        let permit = permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
        let entry = Bytes::copy_from_slice(&probe.to_le_bytes());
        node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
        let (counted, count_answer) = waiter();
        count(node.store(), table, counted);
        node.settle().unwrap();

        let had = decode_tally(&answer.wait().unwrap()).unwrap();
        assert!(had.is_sorted_by(|a, b| a < b), "each once, in the order proposed: {had:?}");
        assert!(
            self.entries.iter().all(|number| had.contains(number)),
            "of {:?} there is {had:?}",
            self.entries
        );
        self.entries = had;

        let before = count_of(&count_answer.wait().unwrap().page);
        let possible = self.count_least..=self.count_most;
        assert!(possible.contains(&before), "the counter is {before}, not in {possible:?}");
        (self.count_least, self.count_most) = (before + 1, before + 1);
    }

    fn learn(&mut self, acknowledged: &Acknowledged, counts: u64, ops: u64) {
        self.writes.extend(until(&acknowledged.writes, ops));
        self.entries.extend(until(&acknowledged.entries, ops));
        self.count_least = self.count_least.max(until(&acknowledged.counts, ops).max().unwrap_or(0));
        self.count_most += counts;
    }
}

/// One life: a random program, ended by a power cut at a random disk operation.
fn live(
    node: &mut Stepped,
    sim: &SimDisk,
    table: base::TableId,
    life: u64,
    known: &mut Known,
    dice: &mut Dice,
) -> (Disk, SimDisk) {
    let before = sim.ops();
    sim.record_boundaries();
    let History { acknowledged, counts, .. } = run(node, sim, table, life * 1_000 + 1, dice);
    let boundaries = sim.take_boundaries();
    let cut = dice.below(boundaries.len() as u64);
    known.learn(&acknowledged, counts, before + cut);
    boundaries[cut as usize].crash(dice.below(1 << 40))
}

#[test]
fn acknowledged_work_survives_many_power_cuts_in_a_row() {
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let (mut disk, mut sim) = Disk::simulated(seed);
        let mut known = Known::default();
        let mut table = None;
        for life in 1..=6 {
            let world = world_again(disk, &mut dice);
            let mut node = Stepped::start(&world, tiny(), tally(), Addresses::new())
                .unwrap_or_else(|cause| panic!("seed {seed}, life {life}: {cause}"));
            let table = *table.get_or_insert_with(|| define(&mut node));
            known.check(&mut node, table, life);
            (disk, sim) = live(&mut node, &sim, table, life, &mut known, &mut dice);
        }
    }
}
