//! [`Writers`]: clients that write and wait for their answers, slowed as the server slows them,
//! alike for both trees.
//!
//! So many clients write one after the other; each writes again when it has its answer. An answer
//! is held back by what waits for upkeep, by the rule of `fabric::pace`, of which this is a copy
//! because it has to slow `lsm-tree` too. One thread plays all of them, as one thread applies in
//! the server.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    thread,
    time::{Duration, Instant},
};

use super::{
    measure::Latencies,
    peer::{Debt, Peer},
    scale::Scale,
};

/// How many clients there are.
const CLIENTS: usize = 64;
/// Runs of the newest level at which an answer is held back longest.
const RUNS_MAX: f64 = 24.0;
/// Bytes that wait for compaction at which it is.
const PENDING_BYTES_MAX: f64 = (4u64 << 30) as f64;
/// Memtables, full ones included, at which it is, and above which writes are refused.
const MEMTABLES_MAX: u64 = 4;
/// The longest an answer is held back.
const DELAY_MAX: Duration = Duration::from_millis(50);
/// How long a client waits that was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(1);
/// Bytes between two looks at the debt, which costs `lsm-tree` a lock.
const LOOK_BYTES: usize = 16 << 10;

/// Clients that write.
pub struct Writers {
    memtables_max_bytes: u64,
    unseen_bytes: usize,
    delay: Duration,
    /// When each client has had its answer.
    ready: BinaryHeap<Reverse<Instant>>,
    /// From the moment a client was ready to its answer.
    pub waits: Latencies,
}

impl Writers {
    /// For trees of this scale; all are ready.
    pub fn new(scale: Scale) -> Writers {
        let now = Instant::now();
        Writers {
            memtables_max_bytes: MEMTABLES_MAX * scale.memtable_bytes,
            unseen_bytes: 0,
            delay: Duration::ZERO,
            ready: (0..CLIENTS).map(|_| Reverse(now)).collect(),
            waits: Latencies::default(),
        }
    }

    /// The next client: waits for it, and returns since when it has been ready.
    pub fn take(&mut self) -> Instant {
        let Reverse(ready) = self.ready.pop().expect("every client that is taken is put back");
        let wait = ready.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        ready
    }

    /// The client that was ready at `ready` has written `bytes`.
    pub fn wrote(&mut self, peer: &dyn Peer, ready: Instant, bytes: usize) {
        self.unseen_bytes += bytes;
        if self.unseen_bytes >= LOOK_BYTES {
            self.unseen_bytes = 0;
            let mut debt = peer.debt();
            while debt.memtable_bytes > self.memtables_max_bytes {
                thread::sleep(AFTER_REFUSAL);
                debt = peer.debt();
            }
            self.delay = delay(debt, self.memtables_max_bytes);
        }
        let answered = Instant::now() + self.delay;
        self.waits.record(answered - ready);
        self.ready.push(Reverse(answered));
    }
}

/// How long to hold back an answer at this debt.
fn delay(debt: Debt, memtables_max_bytes: u64) -> Duration {
    let memtables = debt.memtable_bytes as f64 / memtables_max_bytes as f64;
    let runs = debt.runs as f64 / RUNS_MAX;
    let pending = debt.pending_bytes as f64 / PENDING_BYTES_MAX;
    let over = (memtables.max(runs).max(pending).min(1.0) - 0.5) * 2.0;
    if over <= 0.0 { Duration::ZERO } else { DELAY_MAX.mul_f64(over * over) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_late_from_half_of_the_bound_on() {
        let at = |memtable_bytes| delay(Debt { memtable_bytes, ..Debt::default() }, 1000);
        assert_eq!(at(500), Duration::ZERO);
        assert_eq!(at(750), DELAY_MAX / 4);
        assert_eq!(at(2000), DELAY_MAX);
        assert_eq!(delay(Debt { runs: 18, ..Debt::default() }, 1000), DELAY_MAX / 4);
    }
}
