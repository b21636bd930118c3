//! Timing of one row: operations a second, percentiles, processor time.

use std::{
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{Outcome, load::Random};

/// Latencies are told apart to three digits between these, in nanoseconds.
const BOUNDS_NS: (u64, u64) = (1, 60_000_000_000);

/// Latencies of operations.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let (low, high) = BOUNDS_NS;
        Latencies(Histogram::new_with_bounds(low, high, 3).expect("the bounds are constants"))
    }
}

impl Latencies {
    /// Counts one operation.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Counts what another one has counted.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// Percentiles and the longest, microseconds.
    pub fn json(&self) -> Value {
        let within = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        json!({
            "p50_us": within(0.5),
            "p99_us": within(0.99),
            "p999_us": within(0.999),
            "max_us": self.0.max() as f64 / 1000.0,
        })
    }
}

/// What a row came to.
pub struct Row {
    /// Which.
    pub name: &'static str,
    /// What was done, in the row's unit, a second.
    pub per_second: f64,
    /// Of each call.
    pub latencies: Latencies,
    /// Processor time a unit, microseconds: of the threads that read, or of the whole process for
    /// rows with upkeep.
    pub cpu_us: f64,
}

impl Row {
    /// For the raw figures.
    pub fn json(&self) -> Value {
        let mut row = self.latencies.json();
        row["name"] = self.name.into();
        row["per_second"] = self.per_second.into();
        row["cpu_us"] = self.cpu_us.into();
        row
    }
}

/// Calls `operate` for `lasting`, and once at least, in each of `threads`, each with its own sequence of random
/// numbers; it returns how many units it has done.
pub(crate) fn row(
    name: &'static str,
    lasting: Duration,
    threads: u64,
    operate: impl Fn(&mut Random) -> Outcome<u64> + Sync,
) -> Outcome<Row> {
    let begun = Instant::now();
    let one = |thread: u64| -> Outcome<(u64, Duration, Latencies)> {
        let (mut random, mut units, mut latencies) = (Random::new(thread), 0, Latencies::default());
        let cpu = thread_cpu()?;
        let mut before = Instant::now();
        loop {
            units += operate(&mut random)?;
            let now = Instant::now();
            latencies.record(now - before);
            before = now;
            if before.duration_since(begun) >= lasting {
                return Ok((units, thread_cpu()?.saturating_sub(cpu), latencies));
            }
        }
    };
    let done = thread::scope(|scope| -> Outcome<Vec<(u64, Duration, Latencies)>> {
        let one = &one;
        let running: Vec<_> = (1..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let mut done = vec![one(0)?];
        for thread in running {
            done.push(thread.join().map_err(|_| "a reader panicked")??);
        }
        Ok(done)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let (mut units, mut cpu, mut latencies) = (0, Duration::ZERO, Latencies::default());
    for (others, used, seen) in &done {
        units += others;
        cpu += *used;
        latencies.add(seen);
    }
    let cpu_us = cpu.as_secs_f64() * 1e6 / units.max(1) as f64;
    Ok(Row { name, per_second: units as f64 / seconds, latencies, cpu_us })
}

/// Processor time that the calling thread has used, as the scheduler counts it.
pub fn thread_cpu() -> Outcome<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = told.split_ascii_whitespace().next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Bytes that this process has handed to `write` and its like so far.
pub fn bytes_written() -> Outcome<u64> {
    io_field("wchar: ")
}

/// Bytes on the disk of `folder` and what is in it.
pub fn folder_bytes(folder: &std::path::Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // A file may be removed between the listing and the look.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        bytes += if meta.is_dir() { folder_bytes(&path)? } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}

/// Calls of `read` and its like that this process has made so far: here each is a block, a filter,
/// an index or a footer.
pub fn reads_made() -> Outcome<u64> {
    io_field("syscr: ")
}

fn io_field(name: &str) -> Outcome<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.ok_or_else(|| format!("/proc/self/io has no {name}"))?.trim().parse()?)
}
