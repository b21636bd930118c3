//! The pace of writers: who writes faster than files can be made of it is slowed, not stopped.
//!
//! What is written and not yet where it belongs is *debt*: memtables without a file, runs in the
//! first level, bytes that wait for compaction. Each has a bound. From half of it on, a write that
//! is durable is answered a little later, growing with the square of what is left, so clients that
//! wait for their answers settle where the debt neither grows nor shrinks, and no one sees a wall.
//! Nothing blocks: an answer that is to come later waits in a queue here, its thread goes on.
//! Writers that do not wait for answers meet the bound on requests in flight, and at the bound on
//! memtables, which is memory, a refusal as busy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use disk_engine::tree::Debt;
use store::Done;
use world::Clock;

use crate::shared::Admitted;

/// Runs in the first level of a tree above which reads would become slow.
const LEVEL0_RUNS_MAX: f64 = 24.0;
/// Bytes that may wait for compaction: what a slow disk rewrites in a minute.
const PENDING_BYTES_MAX: f64 = (4u64 << 30) as f64;
/// The longest an answer is held back. The bound on memtables is reached before it matters.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// How long to hold back an answer at this debt.
pub(crate) fn delay(debt: &Debt, memtables_max: usize) -> Duration {
    let memtables = debt.memtable_bytes as f64 / memtables_max.max(1) as f64;
    let runs = debt.level0_runs as f64 / LEVEL0_RUNS_MAX;
    let pending = debt.pending_compaction_bytes as f64 / PENDING_BYTES_MAX;
    let over = (memtables.max(runs).max(pending).min(1.0) - 0.5) * 2.0;
    if over <= 0.0 { Duration::ZERO } else { DELAY_MAX.mul_f64(over * over) }
}

/// An answer that is due later, and the room its request holds until then.
type Held = (Done<()>, Admitted);

/// Where answers wait.
pub(crate) struct Pace {
    clock: Clock,
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    /// By the time they are due, and the order in which they came.
    held: BTreeMap<(Duration, u64), Held>,
    count: u64,
    /// Without it, as in a stepped node, nothing is held.
    thread: Option<JoinHandle<()>>,
    closed: bool,
}

impl Pace {
    pub(crate) fn new(clock: Clock) -> Pace {
        Pace { clock, queue: Mutex::default(), bell: Condvar::new() }
    }

    /// Starts the thread that answers what is due.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<()> {
        let own = self.clone();
        let thread = world::task::spawn_thread("holdfast-pace", move || own.serve())?;
        self.lock().thread = Some(thread);
        Ok(())
    }

    /// Answers a write that is done, after `delay`.
    pub(crate) fn answer(&self, done: Done<()>, room: Admitted, delay: Duration) {
        if delay.is_zero() {
            drop(room);
            return done.complete(Ok(()));
        }
        let mut queue = self.lock();
        if queue.closed || queue.thread.is_none() {
            drop(queue);
            drop(room);
            return done.complete(Ok(()));
        }
        let due = self.clock.boot() + delay;
        let next = queue.held.first_key_value().map(|(key, _)| key.0);
        queue.count += 1;
        let count = queue.count;
        queue.held.insert((due, count), (done, room));
        drop(queue);
        if next.is_none_or(|next| due < next) {
            self.bell.notify_one();
        }
    }

    /// Answers everything and ends the thread.
    pub(crate) fn stop(&self) {
        let (held, thread) = {
            let mut queue = self.lock();
            queue.closed = true;
            (std::mem::take(&mut queue.held), queue.thread.take())
        };
        self.bell.notify_all();
        for (done, _room) in held.into_values() {
            done.complete(Ok(()));
        }
        if let Some(thread) = thread {
            // One that panicked has told so.
            let _ = thread.join();
        }
    }

    fn serve(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            let now = self.clock.boot();
            let later = queue.held.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut queue.held, later);
            if !due.is_empty() {
                drop(queue);
                for (done, _room) in due.into_values() {
                    done.complete(Ok(()));
                }
                queue = self.lock();
                continue;
            }
            let next = queue.held.first_key_value().map(|(key, _)| key.0);
            queue = match next {
                None => self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let wait = next.saturating_sub(now);
                    self.bell.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_half_of_the_bound_and_grows_to_its_end() {
        let at = |memtable_bytes| delay(&Debt { memtable_bytes, ..Debt::default() }, 1000);
        assert_eq!(at(500), Duration::ZERO);
        assert!(at(600) > Duration::ZERO && at(600) < at(700) && at(700) < at(900));
        assert!(at(600) < DELAY_MAX / 20, "gentle at first");
        assert_eq!(at(5_000), DELAY_MAX);
        let runs = delay(&Debt { level0_runs: 18, ..Debt::default() }, 1000);
        assert_eq!(runs, DELAY_MAX / 4);
    }
}
