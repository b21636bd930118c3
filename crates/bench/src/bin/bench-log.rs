//! What the log adds to the disk: durable appends of many and of one against bare writes and syncs.
//!
//! `bench-log DIR [ROUNDS]` makes a log in the new directory DIR/bench-log and runs ROUNDS (20)
//! rounds of short phases. Each round is judged against its own bare figures, and the median round
//! counts, so that a disk whose speed changes with the hour is the same disk for all:
//!
//! 1. the bare rate: one thread writes 256 bytes and syncs, again and again, in a file prepared
//!    as the log prepares its segments (`fallocate`), and in one that was written before;
//! 2. one task that appends 256 bytes and waits for the answer;
//! 3. 32 such tasks on a runtime of one thread, and on one of two.
//!
//! The bars: 32 tasks reach 0.6 x 32 / (p50 of the bare sync), one task 0.8 of the bare rate,
//! against the faster of the two files. The table goes to standard error, JSON to standard output.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base::{Cause, Position, StreamId};
use bench::Outcome;
use disk_log::{Log, LogSettings, LogWriter};
use serde_json::json;
use tokio::sync::oneshot;
use world::{Clock, Disk, Entropy};

/// Bytes of one append.
const RECORD: [u8; 256] = [7; 256];
/// How long a phase lasts.
const PHASE: Duration = Duration::from_millis(300);
/// Syncs of a bare phase at most, so that its file need not be large.
const BARE_SYNCS: usize = 4000;
/// Of the appends of 32 tasks, per 32 / p50.
const BAR_MANY: f64 = 0.6;
/// Of the appends of one task, per bare write and sync.
const BAR_ONE: f64 = 0.8;

/// Figures of one bare phase.
struct Bare {
    /// Writes with their syncs per second.
    rate: f64,
    /// The median of the sync alone, in microseconds.
    sync_p50_us: f64,
}

/// Figures of one phase of appends.
struct Appends {
    rate: f64,
    per_batch: f64,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: bench-log DIR [ROUNDS]")?;
    let rounds: usize = arguments.next().map_or(Ok(20), |rounds| rounds.parse())?;
    let root = std::path::Path::new(&directory).join("bench-log");
    let disk = Disk::real(&root)?;
    let measured = measure(&disk, rounds);
    std::fs::remove_dir_all(&root)?;
    measured
}

/// What a phase of appends is called, its tasks, its threads, its bar.
const PHASES: [(&str, usize, usize, f64); 3] = [
    ("1 task", 1, 1, BAR_ONE),
    ("32 tasks, 1 thread", 32, 1, BAR_MANY),
    ("32 tasks, 2 threads", 32, 2, BAR_MANY),
];

/// One round: the bare figures, and each phase's appends with what they could be at most.
struct Round {
    allocated: Bare,
    written: Bare,
    phases: Vec<(Appends, f64)>,
}

fn round(disk: &Disk) -> Outcome<Round> {
    let (allocated, written) = (bare(disk, false)?, bare(disk, true)?);
    let sync_p50_us = allocated.sync_p50_us.min(written.sync_p50_us);
    let mut phases = Vec::new();
    for (_, tasks, threads, _) in PHASES {
        let ideal = match tasks {
            1 => allocated.rate.max(written.rate),
            _ => tasks as f64 * 1e6 / sync_p50_us,
        };
        phases.push((append(disk, tasks, threads)?, ideal));
    }
    Ok(Round { allocated, written, phases })
}

fn measure(disk: &Disk, rounds: usize) -> Outcome<()> {
    let rounds = (0..rounds).map(|_| round(disk)).collect::<Outcome<Vec<_>>>()?;
    let bare = |name: &str, of: fn(&Round) -> &Bare| {
        let rate = median(rounds.iter().map(|round| of(round).rate));
        let sync_p50_us = median(rounds.iter().map(|round| of(round).sync_p50_us));
        eprintln!("{name:<19} {rate:>7.0}/s  sync p50 {sync_p50_us:.0} us");
        json!({ "per_second": rate, "sync_p50_us": sync_p50_us })
    };
    let (allocated, written) =
        (bare("bare, fallocated", |r| &r.allocated), bare("bare, written", |r| &r.written));
    let mut results = Vec::new();
    for (index, (name, _, _, bar)) in PHASES.into_iter().enumerate() {
        let of =
            |what: fn(&(Appends, f64)) -> f64| median(rounds.iter().map(|round| what(&round.phases[index])));
        let rate = of(|(appends, _)| appends.rate);
        let per_batch = of(|(appends, _)| appends.per_batch);
        let ratio = of(|(appends, ideal)| appends.rate / ideal);
        let verdict = if ratio >= bar { "met" } else { "MISSED" };
        eprintln!(
            "{name:<19} {rate:>7.0}/s  {per_batch:>4.1} a batch  {ratio:.2} of its round's best, bar {bar}: {verdict}"
        );
        results.push(json!({
            "name": name, "appends_per_second": rate, "appends_per_batch": per_batch,
            "ratio": ratio, "bar": bar, "met": ratio >= bar,
        }));
    }
    println!(
        "{:#}",
        json!({
            "record_bytes": RECORD.len(), "rounds": rounds.len(), "cores": world::task::cores(),
            "bare_fallocated": allocated, "bare_written": written, "appends": results,
        })
    );
    Ok(())
}

/// Writes and syncs, one after the other, in a fresh file.
fn bare(disk: &Disk, written: bool) -> Outcome<Bare> {
    let file = disk.create("bare", (RECORD.len() * BARE_SYNCS) as u64)?;
    if written {
        file.write_at(&vec![1; RECORD.len() * BARE_SYNCS], 0)?;
    }
    file.sync_data()?;
    let mut syncs = Vec::with_capacity(BARE_SYNCS);
    let begun = Instant::now();
    while begun.elapsed() < PHASE && syncs.len() < BARE_SYNCS {
        file.write_at(&RECORD, (syncs.len() * RECORD.len()) as u64)?;
        let sync = Instant::now();
        file.sync_data()?;
        syncs.push(sync.elapsed().as_secs_f64() * 1e6);
    }
    let rate = syncs.len() as f64 / begun.elapsed().as_secs_f64();
    disk.remove("bare")?;
    disk.sync_folder("")?;
    Ok(Bare { rate, sync_p50_us: median(syncs) })
}

/// `tasks` that append and wait, on a runtime of `threads`.
fn append(disk: &Disk, tasks: usize, threads: usize) -> Outcome<Appends> {
    let log = Log::open(disk.clone(), LogSettings::default(), &Entropy::real(), &mut |_, _, _| Ok(()))?;
    let writer = LogWriter::start(log, Clock::real())?;
    let before = writer.stats();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let runtime = world::task::runtime(threads)?;
    let begun = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            runtime.spawn(appender(writer.clone(), StreamId(task as u64), stop.clone(), done.clone()))
        })
        .collect();
    std::thread::sleep(PHASE);
    let (count, took) = (done.load(Ordering::Relaxed), begun.elapsed());
    let stats = writer.stats();
    stop.store(true, Ordering::Relaxed);
    for task in running {
        runtime.block_on(task)??;
    }
    for task in 0..tasks {
        writer.trim(StreamId(task as u64), Position(u64::MAX));
    }
    writer.stop()?;
    let batches = (stats.batches - before.batches).max(1);
    Ok(Appends { rate: count as f64 / took.as_secs_f64(), per_batch: count as f64 / batches as f64 })
}

async fn appender(
    writer: LogWriter,
    stream: StreamId,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Result<(), Cause> {
    while !stop.load(Ordering::Relaxed) {
        let (sender, receiver) = oneshot::channel();
        let told = move |outcome: Result<Position, Cause>| {
            // Whoever waits may be gone; nobody is, here.
            let _ = sender.send(outcome);
        };
        writer.append(stream, &RECORD, Box::new(told))?;
        receiver.await.map_err(|_| Cause::bug("an append was forgotten"))??;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
