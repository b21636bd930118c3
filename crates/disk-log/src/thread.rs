//! The log's own thread: when to step, when to wait, when to end.
//!
//! **Gathering.** Clients that wait for their answers come back all at once, a moment after a
//! batch is done. Writing as soon as the first is back would leave the others to the next sync:
//! half the throughput. So after a batch of `n`, while `m` more were already waiting, the thread
//! waits for `n + m`, but never longer than a quarter of what a sync takes.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use world::Clock;

use crate::{LogError, Stepper, stepper::Step};

/// The thread that owns the log.
pub(crate) struct Thread {
    stepper: Stepper,
    clock: Clock,
    /// The longest to gather.
    gather: Duration,
    /// What a batch takes: a moving average.
    sync: Duration,
}

/// Yields while gathering, at most: more than the longest wait has room for, and an end where the
/// clock stands still (a simulated one).
const GATHER_YIELDS_MAX: u32 = 10_000;

/// How long to wait for the only caller to come back.
const LONE_GATHER: Duration = Duration::from_micros(8);

/// How often to look whether a full disk has room again.
const FULL_DISK_POLL: Duration = Duration::from_millis(200);

impl Thread {
    pub(crate) fn new(stepper: Stepper, clock: Clock, gather: Duration) -> Thread {
        Thread { stepper, clock, gather, sync: Duration::ZERO }
    }

    pub(crate) fn run(mut self) -> Result<(), LogError> {
        let mut expected = 0;
        let is_real = self.stepper.log.disk.is_real();
        let ended = loop {
            self.gather(expected);
            if self.sleep() {
                break self.stepper.seal();
            }
            let begun = self.clock.boot();
            match self.stepper.advance() {
                Ok(Step::Done(done)) => {
                    let took = self.clock.boot().saturating_sub(begun);
                    self.sync = (self.sync * 7 + took) / 8;
                    expected = done + self.waiting();
                }
                Ok(Step::Stuck) => expected = 0,
                Err(error) => break Err(error),
            }
        };
        if let (true, Err(LogError::Fatal(why))) = (is_real, &ended) {
            world::process::die(&format!("the log failed: {why}"));
        }
        ended
    }

    fn waiting(&self) -> usize {
        self.stepper.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits until `expected` appends are waiting, for a while. It yields instead of sleeping: a
    /// sleep and its wake-up take as long as the whole wait should.
    ///
    /// One caller has nobody to share a sync with. It is worth waiting for only if it comes back
    /// sooner than a sleep and a wake-up take, as a task of this process may; a client behind a
    /// socket never does, and waiting for it would double what its write costs.
    fn gather(&self, expected: usize) {
        let longest = if expected > 1 { self.sync / 4 } else { LONE_GATHER };
        let limit = self.gather.min(longest);
        if self.waiting() >= expected {
            return;
        }
        let begun = self.clock.boot();
        for _ in 0..GATHER_YIELDS_MAX {
            if self.waiting() >= expected || self.clock.boot().saturating_sub(begun) >= limit {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// Sleeps until there is something to do. Returns whether that is to stop.
    fn sleep(&self) -> bool {
        let shared = &self.stepper.shared;
        let stuck = !self.stepper.appends.is_empty();
        let mut queue = shared.lock();
        loop {
            if !queue.closing && (!queue.appends.is_empty() && !stuck || !queue.trims.is_empty()) {
                return false;
            }
            if queue.closing {
                return true;
            }
            queue.asleep = true;
            if queue.stats.has_reserve {
                queue = shared.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = shared.bell.wait_timeout(queue, FULL_DISK_POLL);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.asleep = false;
                if timeout.timed_out() && !queue.closing {
                    return false;
                }
            }
            queue.asleep = false;
        }
    }
}
