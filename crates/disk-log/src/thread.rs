//! The log's own thread: when to step, when to wait, when to end.
//!
//! **Gathering.** Clients that wait for their answers come back all at once, a moment after a
//! batch is done. Writing as soon as the first is back would leave the others to the next sync:
//! half the throughput. So after a batch of `n`, while `m` more were already waiting, the thread
//! waits for `n + m`, but not longer than half of what a sync takes.
//!
//! Tasks of this process are back within microseconds, and for so long the thread yields: a sleep and its
//! wake-up take longer. For many clients behind sockets it sleeps then, until the last of them is back or
//! the time is over; yielding all the while would take a fifth of a processor.
//!
//! Whether they do come back in that time depends on who they are: a task of this process does, a
//! client behind a socket takes longer than a sync. Waiting for one of those, alone, would only
//! burn a processor. So the thread remembers how its last waits for a *lone* caller ended
//! ([`Luck`]) and stops trying when they fail.

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
    lone: Luck,
}

/// Whether waiting for the only caller has paid lately.
#[derive(Debug)]
struct Luck {
    /// Rises by one with each wait that paid, falls by three with each that did not, so it stays up
    /// only if more than three in four pay; waits are tried above 0.
    score: u8,
    /// Waits left out since the last try.
    left_out: u8,
}

impl Luck {
    const MOST: u8 = 12;
    /// When waiting has not paid, one in so many is tried all the same.
    const TRY_EVERY: u8 = 128;

    fn new() -> Luck {
        Luck { score: Luck::MOST, left_out: 0 }
    }

    fn try_now(&mut self) -> bool {
        self.left_out = (self.left_out + 1) % Luck::TRY_EVERY;
        self.score > 0 || self.left_out == 0
    }

    fn note(&mut self, paid: bool) {
        self.score = if paid { (self.score + 1).min(Luck::MOST) } else { self.score.saturating_sub(3) };
    }
}

/// Yields while gathering, at most: more than the longest wait has room for, and an end where the
/// clock stands still (a simulated one).
const GATHER_YIELDS_MAX: u32 = 10_000;

/// For so many it pays to sleep: one wake-up is shared by all of them.
const MANY: usize = 8;
/// How long to yield before sleeping.
const YIELD: Duration = Duration::from_micros(15);

/// The longest wait for a lone caller, whatever a sync takes: it yields all the while, to save one
/// wake-up.
const LONE: Duration = Duration::from_micros(40);

/// How often to look whether a full disk has room again.
const FULL_DISK_POLL: Duration = Duration::from_millis(200);

impl Thread {
    pub(crate) fn new(stepper: Stepper, clock: Clock, gather: Duration) -> Thread {
        Thread { stepper, clock, gather, sync: Duration::ZERO, lone: Luck::new() }
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

    /// Waits until `expected` appends are waiting, for a while.
    fn gather(&mut self, expected: usize) {
        if self.waiting() >= expected || expected == 1 && !self.lone.try_now() {
            return;
        }
        let most = if expected == 1 { self.gather.min(LONE) } else { self.gather };
        let limit = most.min(self.sync / 2);
        let yielding = if expected >= MANY { limit.min(YIELD) } else { limit };
        let begun = self.clock.boot();
        for _ in 0..GATHER_YIELDS_MAX {
            if self.waiting() >= expected || self.clock.boot().saturating_sub(begun) >= yielding {
                break;
            }
            std::thread::yield_now();
        }
        if expected == 1 {
            self.lone.note(self.waiting() >= expected);
        }
        if limit > yielding {
            self.sleep_for(expected, limit - yielding);
        }
    }

    /// Sleeps until `expected` appends are waiting, or so long.
    fn sleep_for(&self, expected: usize, limit: Duration) {
        let shared = &self.stepper.shared;
        let mut queue = shared.lock();
        if queue.appends.len() >= expected || queue.closing {
            return;
        }
        queue.asleep = Some(expected);
        let waited = shared.bell.wait_timeout(queue, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0.asleep = None;
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
            queue.asleep = Some(0);
            if queue.stats.has_reserve {
                queue = shared.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = shared.bell.wait_timeout(queue, FULL_DISK_POLL);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.asleep = None;
                if timeout.timed_out() && !queue.closing {
                    return false;
                }
            }
            queue.asleep = None;
        }
    }
}
