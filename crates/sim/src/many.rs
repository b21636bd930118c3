//! Many seeds, on as many threads as there are cores, and what they come to together.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use world::task;

use crate::{
    bugs::Bug,
    plan::Plan,
    probes::Probes,
    run::{Options, Report, run},
};

/// Every so many-th seed is run twice, to see that it gives the same trace.
const TWICE_EVERY: u64 = 50;

/// What many runs come to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Seeds that were run.
    pub seeds: u64,
    /// Of these, run twice.
    pub twice: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Operations that clients asked for.
    pub operations: u64,
    /// Events.
    pub steps: u64,
    /// Where the runs came.
    pub probes: Probes,
    /// Runs in which something was that must not be, by seed.
    pub failed: Vec<(u64, String)>,
}

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Many {
    /// The first seed.
    pub first: u64,
    /// Nodes of every cluster; 0 lets the seeds choose.
    pub nodes: u64,
    /// Failures after which no other seed is begun.
    pub failures_max: usize,
    /// The mistake that nodes make.
    pub bug: Option<Bug>,
}

/// Runs seeds until `more` says of their number that there were enough, or too many have failed.
///
/// # Errors
/// When a thread cannot be started.
pub fn run_many(many: Many, more: Arc<dyn Fn(u64) -> bool + Send + Sync>) -> io::Result<Totals> {
    let next = Arc::new(AtomicU64::new(0));
    let totals = Arc::new(Mutex::new(Totals::default()));
    let mut workers = Vec::new();
    for _ in 0..task::cores() {
        let (next, totals, more) = (next.clone(), totals.clone(), more.clone());
        workers.push(task::spawn_thread("sim", move || {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if !more(nth) || lock(&totals).failed.len() >= many.failures_max {
                    break;
                }
                let plan = Plan::of(many.first + nth, many.nodes);
                let options = Options { bug: many.bug, ..Options::default() };
                let report = run(&plan, options);
                let again = nth.is_multiple_of(TWICE_EVERY).then(|| run(&plan, options));
                lock(&totals).add(report, again);
            }
        })?);
    }
    for worker in workers {
        worker.join().map_err(|_| io::Error::other("a thread of the simulator panicked"))?;
    }
    let mut totals = std::mem::take(&mut *lock(&totals));
    totals.failed.sort();
    Ok(totals)
}

fn lock(totals: &Mutex<Totals>) -> std::sync::MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Totals {
    fn add(&mut self, report: Report, again: Option<Report>) {
        self.seeds += 1;
        self.simulated_us += report.simulated_us;
        self.operations += report.operations as u64;
        self.steps += report.steps;
        self.probes.add(&report.probes);
        let mut violation = report.violation;
        if let Some(again) = again {
            self.twice += 1;
            if again.hash != report.hash {
                let told = "two runs of this seed are not the same; compare their stories".to_owned();
                violation = violation.or(Some(told));
            }
        }
        if let Some(violation) = violation {
            self.failed.push((report.plan.seed, violation));
        }
    }
}
