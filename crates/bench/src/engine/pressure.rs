//! [`Pacer`]: writers are slowed in proportion to what waits for upkeep, alike for both trees.

use std::time::{Duration, Instant};

use super::{
    peer::{Debt, Peer},
    scale::Scale,
};

/// From so many memtables' worth of frozen bytes on, writes are slowed; at the second they stop.
const FROZEN: (f64, f64) = (1.0, 4.0);
/// The same in runs of the newest level.
const RUNS: (f64, f64) = (8.0, 24.0);
/// What a writer is let through at, in bytes a second, just before it is stopped.
const SLOWEST: f64 = 4e6;
/// Pauses shorter than this are saved up: a sleep is no shorter than a thread's wake-up.
const SHORTEST: Duration = Duration::from_micros(500);
/// Bytes between two looks at the debt, which costs either tree a lock.
const LOOK_BYTES: usize = 16 << 10;

/// Slows one writer.
pub struct Pacer {
    memtable_bytes: f64,
    unseen_bytes: usize,
    owed: Duration,
}

impl Pacer {
    /// For trees of this scale.
    pub fn new(scale: Scale) -> Pacer {
        Pacer { memtable_bytes: scale.memtable_bytes as f64, unseen_bytes: 0, owed: Duration::ZERO }
    }

    /// From 0 (write on) to 1 (stop).
    fn pressure(&self, debt: Debt) -> f64 {
        let between = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        let frozen = between(debt.frozen_bytes as f64 / self.memtable_bytes, FROZEN);
        frozen.max(between(debt.runs as f64, RUNS))
    }

    /// Waits as long as a write of `bytes` has to before the next.
    pub fn pause(&mut self, peer: &dyn Peer, bytes: usize) {
        self.unseen_bytes += bytes;
        if self.unseen_bytes < LOOK_BYTES {
            return;
        }
        let bytes = std::mem::take(&mut self.unseen_bytes);
        let pressure = self.pressure(peer.debt());
        if pressure == 0.0 {
            self.owed = Duration::ZERO;
            return;
        }
        self.owed += Duration::from_secs_f64(bytes as f64 / SLOWEST * pressure);
        if self.owed >= SHORTEST || pressure >= 1.0 {
            let begun = Instant::now();
            std::thread::sleep(self.owed.max(SHORTEST));
            while self.pressure(peer.debt()) >= 1.0 {
                std::thread::sleep(SHORTEST);
            }
            // A sleep takes longer than asked: what it took too long is not owed again.
            self.owed = self.owed.saturating_sub(begun.elapsed());
        }
    }
}
