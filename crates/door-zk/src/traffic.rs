//! Counts of requests and answers, of the door and of each connection, for the four-letter words.
//!
//! The latency is that of requests, from their arrival to their answer.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) connections: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Requests without an answer.
    pub(crate) outstanding: AtomicU64,
    pub(crate) auth_failed: AtomicU64,
    latency_sum_ms: AtomicU64,
    latency_max_ms: AtomicU64,
    /// One more than the least latency; 0 before the first.
    latency_min_ms: AtomicU64,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Latency {
    pub(crate) least_ms: u64,
    /// To four digits, as ZooKeeper rounds.
    pub(crate) average_ms: f64,
    pub(crate) most_ms: u64,
}

impl Traffic {
    /// Counts an answer that took this long.
    pub(crate) fn answered(&self, latency_ms: u64) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        self.latency_sum_ms.fetch_add(latency_ms, Ordering::Relaxed);
        if latency_ms > self.latency_max_ms.load(Ordering::Relaxed) {
            self.latency_max_ms.fetch_max(latency_ms, Ordering::Relaxed);
        }
        let least = self.latency_min_ms.load(Ordering::Relaxed);
        if least == 0 || latency_ms + 1 < least {
            self.latency_min_ms.store(latency_ms + 1, Ordering::Relaxed);
        }
    }

    /// The latencies so far.
    pub(crate) fn latency(&self) -> Latency {
        let sum = self.latency_sum_ms.load(Ordering::Relaxed) as f64;
        let average_ms = sum / self.sent.load(Ordering::Relaxed).max(1) as f64;
        Latency {
            least_ms: self.latency_min_ms.load(Ordering::Relaxed).saturating_sub(1),
            average_ms: (average_ms * 10_000.0).round() / 10_000.0,
            most_ms: self.latency_max_ms.load(Ordering::Relaxed),
        }
    }

    /// Forgets what has been, but not what is: connections, and requests without an answer.
    pub(crate) fn reset(&self) {
        for count in
            [&self.received, &self.sent, &self.latency_sum_ms, &self.latency_max_ms, &self.latency_min_ms]
        {
            count.store(0, Ordering::Relaxed);
        }
    }
}
