//! The power is cut at every write and sync of thousands of programs.

use world::task::{cores, spawn_thread};

use super::program::{Tally, Violation, run};
use crate::settings::Sabotage;

/// Programs that must hold.
const PROGRAMS: u64 = 2_000;

#[test]
fn an_acknowledged_record_survives_a_power_cut_at_every_boundary() {
    let threads = cores().min(8) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            spawn_thread("programs", move || -> Result<Tally, Violation> {
                let mut tally = Tally::default();
                for seed in (worker..PROGRAMS).step_by(threads as usize) {
                    tally.add(run(seed, None)?);
                }
                Ok(tally)
            })
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(worker.unwrap().join().unwrap().unwrap());
    }
    println!("{PROGRAMS} programs: {tally:?}");
    // Programs that never get anywhere prove nothing.
    let Tally { cuts, lost_a_tail, began_a_segment, dropped_a_segment } = tally;
    assert!(cuts > 30 * PROGRAMS);
    assert!(lost_a_tail > PROGRAMS);
    assert!(began_a_segment > PROGRAMS / 2);
    assert!(dropped_a_segment > PROGRAMS / 10);
}

/// The test above must be able to fail: with a bug planted, it has to find it.
fn must_find(bug: Sabotage) {
    let found = (0..PROGRAMS).find_map(|seed| run(seed, Some(bug)).err().map(|violation| (seed, violation)));
    let (programs, violation) =
        found.unwrap_or_else(|| panic!("{bug:?} was not found in {PROGRAMS} programs"));
    println!("{bug:?} was found after {} programs: {}", programs + 1, violation.0);
}

#[test]
fn a_log_that_does_not_sync_its_batches_is_found_out() {
    must_find(Sabotage::BatchUnsynced);
}

#[test]
fn a_log_that_does_not_sync_its_folder_is_found_out() {
    must_find(Sabotage::NameUnsynced);
}

#[test]
fn a_log_that_acknowledges_before_the_sync_is_found_out() {
    must_find(Sabotage::EarlyAck);
}
