//! The power is cut at every write and sync of thousands of programs.

use world::task::{cores, spawn_thread};

use super::program::{Tally, Violation, run};

/// Programs that must hold.
pub(super) const PROGRAMS: u64 = 2_000;

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
