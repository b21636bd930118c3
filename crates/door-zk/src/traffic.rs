//! Counts of requests and answers, of the door and of each connection, and a connection's last
//! answer, for the four-letter words.
//!
//! The latency is that of requests, from their arrival to their answer.

use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};

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

/// A connection's last answer. Each field by itself: nobody needs all of one moment.
#[derive(Default)]
pub(crate) struct Last {
    /// The request's opcode; 0 before the first.
    pub(crate) opcode: AtomicI32,
    /// The client's number of the request.
    pub(crate) xid: AtomicI32,
    /// The zxid in the answer.
    pub(crate) zxid: AtomicI64,
    /// When it was given, in milliseconds of the boot clock.
    pub(crate) at_ms: AtomicU64,
    /// How long it took.
    pub(crate) latency_ms: AtomicU64,
}

impl Last {
    /// Notes an answer.
    pub(crate) fn answered(&self, opcode: i32, xid: i32, at_ms: u64, latency_ms: u64) {
        self.opcode.store(opcode, Ordering::Relaxed);
        self.xid.store(xid, Ordering::Relaxed);
        self.at_ms.store(at_ms, Ordering::Relaxed);
        self.latency_ms.store(latency_ms, Ordering::Relaxed);
    }
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
