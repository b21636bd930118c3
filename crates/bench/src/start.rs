//! How long a server takes until it serves, on an empty folder, and what it costs when nobody
//! asks for anything.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Outcome, fsync, place,
    process::{self, Size},
    server::Kind,
};

/// How often ours is started; the peers, which take seconds, once.
const STARTS: usize = 9;
/// From ready until memory and processor are looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the idle processor time is watched.
const IDLE: Duration = Duration::from_secs(5);

/// One server, started and left alone.
#[derive(Clone, Debug)]
pub struct Start {
    /// The server.
    pub server: Kind,
    /// Milliseconds until it served, each start.
    pub ready_after_ms: Vec<f64>,
    /// Its size when idle.
    pub idle: Size,
    /// Processor time it uses when idle, microseconds a second.
    pub idle_cpu_us_per_second: f64,
    /// The disk's own speed just before, microseconds.
    pub fdatasync_p50_us: f64,
}

/// Starts each of `kinds`.
pub async fn run(kinds: &[Kind]) -> Outcome<Vec<Start>> {
    let mut starts = Vec::new();
    for &kind in kinds {
        eprintln!("start: {}", kind.name());
        starts.push(one(kind).await?);
    }
    Ok(starts)
}

async fn one(kind: Kind) -> Outcome<Start> {
    let fdatasync_p50_us = fsync::p50_us(&place::root().join("target/bench"))?;
    let mut ready_after_ms = Vec::new();
    // A peer's first start pays for the fetching of its jars into the page cache; so does ours
    // for its binary. Neither is thrown away: the median is told with the slowest.
    let times = if kind == Kind::Holdfast { STARTS } else { 1 };
    for _ in 1..times {
        let server = kind.start().await?;
        ready_after_ms.push(server.ready_after_ms);
        server.stop().await?;
    }
    let server = kind.start().await?;
    ready_after_ms.push(server.ready_after_ms);
    tokio::time::sleep(SETTLE).await;
    let before = process::cpu(server.pid())?;
    tokio::time::sleep(IDLE).await;
    let idle_cpu_us = process::cpu(server.pid())?.since(before).total_us();
    let idle = process::size(server.pid())?;
    server.stop().await?;
    let idle_cpu_us_per_second = idle_cpu_us as f64 / IDLE.as_secs_f64();
    Ok(Start { server: kind, ready_after_ms, idle, idle_cpu_us_per_second, fdatasync_p50_us })
}

impl Start {
    /// Everything that was measured.
    pub fn json(&self) -> Value {
        json!({
            "server": self.server.name(),
            "ready_after_ms": self.ready_after_ms,
            "idle_resident_bytes": self.idle.resident_bytes,
            "idle_peak_bytes": self.idle.peak_bytes,
            "idle_threads": self.idle.threads,
            "idle_cpu_us_per_second": self.idle_cpu_us_per_second,
            "fdatasync_p50_us": self.fdatasync_p50_us,
        })
    }
}
