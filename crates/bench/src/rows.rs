//! Many rows through the CQL door: the suite `rows`.
//!
//! ```text
//! load       N rows of 1 KB by a real client, many in flight; memory against the budget
//! read       random keys, 64 in flight
//! stop       cleanly; the time until a started process has answered a read
//! read       the same again, with what a restart leaves in memory
//! kill -9    while 64 clients write; the time until a started process has answered; that all
//!            that was acknowledged is there
//! ```
//!
//! Everything is done through the driver; memory is what the kernel says. The rows are random
//! bytes, so that their size on disk is their size.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Outcome,
    cql::{Cql, VALUE_BYTES},
    engine::measure::{Latencies, folder_bytes},
    holdfast,
    load::{Load, Random},
    place, process,
    report::verdict,
    server::Server,
};

/// Writes under way while loading.
const LOAD_IN_FLIGHT: usize = 128;
/// Reads, and the writes that a kill interrupts.
const IN_FLIGHT: usize = 64;
/// Memory that the server is given. The default of a node.
pub const BUDGET_BYTES: u64 = 512 << 20;
/// A write that is refused as overloaded is tried again after this.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// No row is tried for longer.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);
/// Bytes on the disk that must be free for each byte loaded: log, files, and a compaction of all.
const DISK_SHARE: u64 = 3;
/// Of each writer that a kill interrupts, so many of its last acknowledged rows are looked for.
const CHECKED_ROWS: usize = 1000;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// What is promised.
pub mod bars {
    /// From the start of the process to its first answer after a clean stop, milliseconds.
    pub const CLEAN_MS: f64 = 2000.0;
    /// The same after `kill -9`.
    pub const KILLED_MS: f64 = 5000.0;
    /// Resident memory as a share of the budget.
    pub const MEMORY_SHARE: f64 = 1.1;
    /// 99 of 100 point reads, milliseconds.
    pub const READ_P99_MS: f64 = 5.0;
}

/// Loads `rows`, stops, kills, and reads for `reading` each time. The data is removed.
pub async fn run(rows: u64, reading: Duration) -> Outcome<Value> {
    let data = place::data("rows");
    place::emptied(&data)?;
    let measured = match room(&data, rows) {
        Ok(()) => measure(&data, rows, reading).await,
        Err(error) => Err(error),
    };
    place::remove(&data)?;
    measured
}

/// Refuses to fill the disk.
fn room(data: &Path, rows: u64) -> Outcome<()> {
    let output = Command::new("df").args(["-B1", "--output=avail"]).arg(data).output()?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let free: u64 = told.lines().nth(1).ok_or("df says nothing")?.trim().parse()?;
    let needed = rows * VALUE_BYTES as u64 * DISK_SHARE;
    if needed > free {
        return Err(format!("{rows} rows take {needed} bytes of disk at most, and {free} are free").into());
    }
    Ok(())
}

async fn measure(data: &Path, rows: u64, reading: Duration) -> Outcome<Value> {
    let server = start(data).await?;
    let memory = Memory::watch(server.pid());
    let client = Arc::new(Cql::connect(&server, LOAD_IN_FLIGHT).await?);
    eprintln!("rows: loading {rows}");
    let load = load(&client, rows).await?;
    let loaded = process::size(server.pid())?;
    let reads = read(&client, rows, reading).await?;
    let read_size = process::size(server.pid())?;
    let disk_bytes = folder_bytes(data)?;
    drop(client);
    let asked = Instant::now();
    server.stop().await?;
    let stop_ms = ms(asked);
    let samples_mb = memory.end();

    eprintln!("rows: starting again after a clean stop");
    let (server, client, clean) = restart(data).await?;
    let reads_after_restart = read(&client, rows, reading).await?;
    let restarted = process::size(server.pid())?;

    eprintln!("rows: killing while clients write");
    let acknowledged = write_until_killed(server, &client, rows, reading).await?;
    drop(client);
    let (server, client, killed) = restart(data).await?;
    let checked = acknowledged.len();
    for id in acknowledged {
        client.read(id).await.map_err(|error| format!("an acknowledged row is gone: {error}"))?;
    }
    drop(client);
    server.stop().await?;
    Ok(json!({
        "rows": rows,
        "row_bytes": VALUE_BYTES,
        "budget_bytes": BUDGET_BYTES,
        "load": load,
        "memory": {
            "peak_bytes": read_size.peak_bytes.max(restarted.peak_bytes),
            "loaded_bytes": loaded.resident_bytes,
            "read_bytes": read_size.resident_bytes,
            "after_restart_bytes": restarted.resident_bytes,
            "samples_mb": samples_mb,
        },
        "disk_bytes": disk_bytes,
        "reads": reads,
        "stop_ms": stop_ms,
        "clean": clean,
        "reads_after_restart": reads_after_restart,
        "killed": killed,
        "acknowledged_rows_checked": checked,
    }))
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

async fn start(data: &Path) -> Outcome<Server> {
    let settings = [format!("memory.budget_bytes={BUDGET_BYTES}")];
    let mut server = holdfast::start_on(PathBuf::from(data), &settings).await?;
    server.keep_data();
    Ok(server)
}

/// Starts it on what is there; tells when it was ready, and when it had answered a read of a client
/// that connected then.
async fn restart(data: &Path) -> Outcome<(Server, Arc<Cql>, Value)> {
    let server = start(data).await?;
    let ready = Instant::now();
    let client = Cql::connect(&server, IN_FLIGHT).await?;
    client.read(0).await?;
    let first_answer_ms = server.ready_after_ms + ms(ready);
    let told = json!({ "ready_ms": server.ready_after_ms, "first_answer_ms": first_answer_ms });
    Ok((server, Arc::new(client), told))
}

/// Writes the rows 0 to `rows`, each once.
async fn load(client: &Arc<Cql>, rows: u64) -> Outcome<Value> {
    let (next, refusals) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let writer = |_| {
        let (client, next, refusals) = (Arc::clone(client), Arc::clone(&next), Arc::clone(&refusals));
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            loop {
                let row = next.fetch_add(1, Relaxed);
                if row >= rows {
                    return Ok(latencies);
                }
                if row > 0 && row % (rows / 10).max(1) == 0 {
                    eprintln!("rows: {row} after {:.0} s", begun.elapsed().as_secs_f64());
                }
                let asked = Instant::now();
                while let Err(error) = client.write(row as i64, row.rotate_left(40)).await {
                    if asked.elapsed() > LONGEST_REFUSAL {
                        return Err(format!("row {row} can't be written: {error}"));
                    }
                    refusals.fetch_add(1, Relaxed);
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
                latencies.record(asked.elapsed());
            }
        })
    };
    let writers: Vec<_> = (0..LOAD_IN_FLIGHT).map(writer).collect();
    let mut latencies = Latencies::default();
    for writer in writers {
        latencies.add(&writer.await??);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut told = latencies.json();
    told["seconds"] = seconds.into();
    told["per_second"] = (rows as f64 / seconds).into();
    told["refusals"] = refusals.load(Relaxed).into();
    Ok(told)
}

/// Reads random rows for `reading`.
async fn read(client: &Arc<Cql>, rows: u64, reading: Duration) -> Outcome<Value> {
    let begun = Instant::now();
    let reader = |reader: usize| {
        let client = Arc::clone(client);
        tokio::spawn(async move {
            let (mut random, mut latencies) = (Random::new(reader as u64), Latencies::default());
            while begun.elapsed() < reading {
                let asked = Instant::now();
                client.read((random.next() % rows) as i64).await?;
                latencies.record(asked.elapsed());
            }
            Ok::<_, String>(latencies)
        })
    };
    let readers: Vec<_> = (0..IN_FLIGHT).map(reader).collect();
    let mut latencies = Latencies::default();
    for reader in readers {
        latencies.add(&reader.await??);
    }
    let mut told = latencies.json();
    told["per_second"] = (latencies.count() as f64 / begun.elapsed().as_secs_f64()).into();
    told["in_flight"] = IN_FLIGHT.into();
    Ok(told)
}

/// Writes rows behind the last one, kills the server after `writing`, and returns what it had
/// acknowledged last.
async fn write_until_killed(
    server: Server,
    client: &Arc<Cql>,
    rows: u64,
    writing: Duration,
) -> Outcome<Vec<i64>> {
    let killed = Arc::new(AtomicBool::new(false));
    let writer = |writer: usize| {
        let (client, killed) = (Arc::clone(client), Arc::clone(&killed));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let ids = (0..).map(|nth| rows as i64 + nth * IN_FLIGHT as i64 + writer as i64);
            for id in ids.take_while(|_| !killed.load(Relaxed)) {
                match client.write(id, id as u64).await {
                    Ok(()) => acknowledged.push(id),
                    Err(_) => tokio::time::sleep(AFTER_REFUSAL).await,
                }
            }
            acknowledged.split_off(acknowledged.len().saturating_sub(CHECKED_ROWS))
        })
    };
    let writers: Vec<_> = (0..IN_FLIGHT).map(writer).collect();
    tokio::time::sleep(writing).await;
    server.kill()?;
    killed.store(true, Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await?);
    }
    if acknowledged.is_empty() {
        Err("nothing was acknowledged before the kill".into())
    } else {
        Ok(acknowledged)
    }
}

/// Resident memory of a process over time.
struct Memory {
    samples_mb: Arc<Mutex<Vec<u64>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn watch(pid: u32) -> Memory {
        let samples_mb = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&samples_mb);
        let task = tokio::spawn(async move {
            while let Ok(size) = process::size(pid) {
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(size.resident_bytes / 1_000_000);
                tokio::time::sleep(SAMPLE).await;
            }
        });
        Memory { samples_mb, task }
    }

    fn end(self) -> Vec<u64> {
        self.task.abort();
        std::mem::take(&mut self.samples_mb.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What was measured against what is promised.
pub fn table(told: &Value) -> String {
    let number = |place: &str| told.pointer(place).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let budget = number("/budget_bytes");
    let rows = [
        ("first answer after a clean stop, ms", number("/clean/first_answer_ms"), Some(bars::CLEAN_MS)),
        (
            "first answer after kill -9 under load, ms",
            number("/killed/first_answer_ms"),
            Some(bars::KILLED_MS),
        ),
        ("resident memory ÷ budget, most", number("/memory/peak_bytes") / budget, Some(bars::MEMORY_SHARE)),
        ("resident memory ÷ budget, loaded", number("/memory/loaded_bytes") / budget, None),
        (
            "resident memory ÷ budget, after reads",
            number("/memory/read_bytes") / budget,
            Some(bars::MEMORY_SHARE),
        ),
        ("point read p99, 64 in flight, ms", number("/reads/p99_us") / 1000.0, Some(bars::READ_P99_MS)),
        (
            "point read p99 after the restart, ms",
            number("/reads_after_restart/p99_us") / 1000.0,
            Some(bars::READ_P99_MS),
        ),
        ("point read p50, ms", number("/reads/p50_us") / 1000.0, None),
        ("point reads a second", number("/reads/per_second"), None),
        ("rows loaded a second", number("/load/per_second"), None),
        ("write p99, 128 in flight, ms", number("/load/p99_us") / 1000.0, None),
        ("write p99.9, ms", number("/load/p999_us") / 1000.0, None),
        ("writes refused and tried again", number("/load/refusals"), None),
        ("clean stop, ms", number("/stop_ms"), None),
        (
            "bytes on disk ÷ bytes of values",
            number("/disk_bytes") / (number("/rows") * VALUE_BYTES as f64),
            None,
        ),
        ("acknowledged rows found after the kill", number("/acknowledged_rows_checked"), None),
    ];
    let mut text =
        format!("{} rows of {VALUE_BYTES} B.\n\n| what | figure | bar |\n|---|--:|---|\n", number("/rows"));
    for (what, figure, bar) in rows {
        let judged = match bar {
            Some(bar) => format!("≤ {bar} {}", verdict(figure <= bar)),
            None => String::new(),
        };
        let shown = if figure < 100.0 { format!("{figure:.2}") } else { format!("{figure:.0}") };
        text.push_str(&format!("| {what} | {shown} | {judged} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_disk_is_not_filled() {
        let here = std::env::temp_dir();
        assert!(room(&here, 1).is_ok());
        let error = room(&here, 1 << 50).unwrap_err().to_string();
        assert!(error.contains("free"), "{error}");
    }

    #[test]
    fn what_is_missing_is_no_pass() {
        let told = json!({
            "rows": 10, "budget_bytes": 100, "memory": { "peak_bytes": 105, "read_bytes": 120 },
            "clean": { "first_answer_ms": 3.0 },
        });
        let table = table(&told);
        assert!(table.contains("| first answer after a clean stop, ms | 3.00 | ≤ 2000 pass |"), "{table}");
        assert!(table.contains("| resident memory ÷ budget, most | 1.05 | ≤ 1.1 pass |"), "{table}");
        assert!(
            table.contains("| resident memory ÷ budget, after reads | 1.20 | ≤ 1.1 **missed** |"),
            "{table}"
        );
        assert!(table.contains("kill -9 under load, ms | NaN | ≤ 5000 **missed** |"), "{table}");
    }
}
