//! The power is cut before every operation on the disk: what survives, with the log, is everything.

use base::{Cell, Position};
use world::{
    Disk,
    task::{cores, spawn_thread},
};

use super::{
    model::{TREES, rules},
    program::{Memory, Program, Tally, Violation, finish_work, whole_checkpoint},
};
use crate::tree::{Batch, Forest, TreeSettings, encode_cell, settings::Sabotage};

/// Programs that must hold.
pub(super) const PROGRAMS: u64 = 1_000;

/// How many actions a program has.
pub(super) fn steps(seed: u64) -> u64 {
    if seed % 50 == 49 { 300 } else { 40 }
}

/// Runs `run` for every seed below `count`; the first violation ends it.
pub(super) fn on_all_cores(count: u64, run: fn(u64) -> Result<Tally, Violation>) -> Tally {
    let threads = cores().min(8) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            spawn_thread("programs", move || -> Result<Tally, Violation> {
                let mut tally = Tally::default();
                for seed in (worker..count).step_by(threads as usize) {
                    tally.add(
                        run(seed).map_err(|error| Violation(format!("seed {seed}: {}", error.0), error.1))?,
                    );
                }
                Ok(tally)
            })
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(worker.unwrap().join().unwrap().unwrap());
    }
    tally
}

/// Runs a program and then cuts the power before each operation that its disk was asked for.
pub(super) fn run(seed: u64, steps: u64, bug: Option<Sabotage>) -> Result<Tally, Violation> {
    let (disk, sim) = Disk::simulated(seed);
    let mut program = Program::new(seed, disk, Some(sim.clone()), bug)?;
    let mut tally = Tally::default();
    for _ in 0..steps {
        // Batches and cuts of the log touch no disk, so all operations of one step know one log. A
        // log that was cut in this step was cut behind what had become durable before.
        sim.record_boundaries();
        let (crashed, before) = (program.tally.reopened, program.memory.clone());
        program.step()?;
        let boundaries = sim.take_boundaries();
        if program.tally.reopened != crashed {
            // The disk of before is gone with its process.
            continue;
        }
        for (nth, boundary) in boundaries.iter().enumerate().skip(1) {
            tally.cuts += 1;
            let (disk, sim) = boundary.crash(seed.wrapping_add(nth as u64));
            // It may have been full.
            sim.set_capacity(u64::MAX);
            let mut judged = judge(&program.memory, &disk, &program);
            let doubtful = before.model.dropped != program.memory.model.dropped
                || before.ingested != program.memory.ingested;
            if judged.is_err() && doubtful {
                // A tree that is being dropped is there or not, and so is what is being ingested.
                judged = judge(&before, &disk, &program);
            }
            judged?;
        }
    }
    tally.add(program.end()?);
    Ok(tally)
}

fn judge(memory: &Memory, disk: &Disk, program: &Program) -> Result<(), Violation> {
    whole_checkpoint(disk)?;
    let forest = memory.reopen(disk, &program.settings)?;
    finish_work(&forest, Some(memory.horizon()))?;
    memory.compare_all(&forest)
}

#[test]
fn nothing_is_lost_when_the_power_goes_at_any_moment() {
    let tally = on_all_cores(PROGRAMS, |seed| run(seed, steps(seed), None));
    println!("{PROGRAMS} programs: {tally:?}");
    assert!(tally.cuts > 30 * PROGRAMS, "{tally:?}");
    assert!(tally.failures > PROGRAMS / 10 && tally.full > PROGRAMS / 20, "{tally:?}");
}

/// What a process sees of the disk may still be lost by a cut, if the one before it died with a sync
/// that failed. Who opens a forest may cut the log by what it finds, so that has to stay.
#[test]
fn what_was_found_at_the_start_outlives_the_power() {
    let mut found = 0;
    for (seed, nth) in (0..20).flat_map(|seed| (1..4).map(move |nth| (seed, nth))) {
        let (disk, sim) = Disk::simulated(seed);
        let settings = TreeSettings::default();
        let forest = Forest::open(disk.clone(), settings.clone(), rules()).unwrap();
        let mut batch = Batch::new();
        batch.put(TREES[0], "key", encode_cell(&Cell::tombstone(1)));
        forest.apply(Position(1), batch).unwrap();
        forest.freeze(Position(1));
        sim.inject(format!("fail nth({nth}) sync-folder").parse().unwrap());
        let _ = finish_work(&forest, None);
        sim.kill();
        let forest = Forest::open(disk.clone(), settings.clone(), rules()).unwrap();
        let flushed = forest.flushed_position();
        sim.crash();
        let forest = Forest::open(disk, settings, rules()).unwrap();
        assert_eq!(forest.flushed_position(), flushed, "seed {seed}, sync {nth}");
        assert_eq!(forest.verify(), []);
        found += flushed.0;
    }
    assert_eq!(found, 40, "the first leaves the old manifest, the second the new one to be seen");
}
