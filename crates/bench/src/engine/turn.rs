//! A turn: one tree, one size of value, all rows, in a process of its own.
//!
//! ```text
//! load        every item once, in no order; then upkeep until nothing waits
//! reads       of the settled tree, the data four times the cache
//! overwrite   every item once more, as fast as the tree lets it: what a write waits at most
//! mixed       reads and overwrites alternating while upkeep runs; then upkeep to the end
//! ```

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    data::{Data, KEY_BYTES, PREFIX_BYTES, ROWS, behind},
    forest::ForestPeer,
    lsm::LsmPeer,
    measure::{Latencies, Row, bytes_written, folder_bytes, row},
    peer::{Engine, Peer},
    pressure::Writers,
    scale::Scale,
};
use crate::{Outcome, load::Random, place, process};

/// How long the worker sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_micros(500);
/// Entries of a short scan.
const SCAN: usize = 100;
/// Threads of the row with several readers: the machine has two cores.
const READERS: u64 = 2;
/// Of so many items, those that are read again and again: an eighth of the cache.
const HOT_SHARE: u64 = 32;

/// Runs a turn in the new folder `folder`, which is removed afterwards.
pub fn run(engine: Engine, scale: Scale, value_bytes: usize, folder: &Path) -> Outcome<Value> {
    place::emptied(folder)?;
    let data = Data::new(scale.items(value_bytes), value_bytes);
    let turn = match engine {
        Engine::Forest => Turn::new(&ForestPeer::open(folder, scale)?, &data, scale, folder).run(),
        Engine::LsmTree => Turn::new(&LsmPeer::open(folder, scale)?, &data, scale, folder).run(),
    };
    place::remove(folder)?;
    let mut figures = turn?;
    figures["engine"] = engine.name().into();
    figures["value_bytes"] = value_bytes.into();
    Ok(figures)
}

struct Turn<'t> {
    peer: &'t dyn Peer,
    data: &'t Data,
    scale: Scale,
    folder: &'t Path,
    rows: Vec<Row>,
    /// The worker is between two pieces of upkeep and found nothing to do.
    idle: AtomicBool,
    stop: AtomicBool,
    most_memtable_bytes: AtomicU64,
}

impl<'t> Turn<'t> {
    fn new(peer: &'t dyn Peer, data: &'t Data, scale: Scale, folder: &'t Path) -> Turn<'t> {
        Turn {
            peer,
            data,
            scale,
            folder,
            rows: Vec::new(),
            idle: AtomicBool::new(true),
            stop: AtomicBool::new(false),
            most_memtable_bytes: AtomicU64::new(0),
        }
    }

    fn run(mut self) -> Outcome<Value> {
        let start_bytes = process::size(std::process::id())?.resident_bytes;
        let load = self.load()?;
        let loaded = self.peer.holdings();
        self.reads()?;
        let overwrite = self.overwrite()?;
        let mixed = self.mixed()?;
        let size = process::size(std::process::id())?;
        Ok(json!({
            "scale": self.scale.json(),
            "items": self.data.items,
            "load": load,
            "overwrite": overwrite,
            "mixed": mixed,
            "holdings_loaded": loaded,
            "holdings_end": self.peer.holdings(),
            "memory": {
                "before_bytes": start_bytes,
                "peak_bytes": size.peak_bytes,
                "end_bytes": size.resident_bytes,
                "memtables_peak_bytes": self.most_memtable_bytes.load(Relaxed),
            },
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        }))
    }

    fn lasting(&self) -> Duration {
        Duration::from_millis(self.scale.row_ms)
    }

    fn raw_bytes(&self) -> u64 {
        self.data.items * (self.data.value_bytes + KEY_BYTES) as u64
    }

    /// Runs `write` while another thread does the upkeep, then waits until nothing is left to do.
    /// Returns seconds of both together.
    fn with_worker<T>(&self, write: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
        self.stop.store(false, Relaxed);
        thread::scope(|scope| {
            let worker = scope.spawn(|| self.work());
            let begun = Instant::now();
            let written = write();
            self.peer.freeze();
            // Once idle may be from before the freeze; the second time it is not.
            for _ in 0..2 {
                self.idle.store(false, Relaxed);
                while written.is_ok() && !self.idle.load(Relaxed) && !worker.is_finished() {
                    thread::sleep(IDLE);
                }
            }
            let seconds = begun.elapsed().as_secs_f64();
            self.stop.store(true, Relaxed);
            worker.join().map_err(|_| "the worker panicked")??;
            Ok((written?, seconds))
        })
    }

    fn work(&self) -> Outcome<()> {
        while !self.stop.load(Relaxed) {
            self.most_memtable_bytes.fetch_max(self.peer.debt().memtable_bytes, Relaxed);
            if !self.peer.work()? {
                self.idle.store(true, Relaxed);
                thread::sleep(IDLE);
            }
        }
        Ok(())
    }

    /// Writes every item once; `time` tells the values of one pass from another's.
    fn pass(&self, name: &'static str, time: u64) -> Outcome<Row> {
        let (mut writers, mut value) = (Writers::new(self.scale), Vec::new());
        let (cpu, begun) = (process::cpu(std::process::id())?, Instant::now());
        for nth in 0..self.data.items {
            let item = self.data.shuffled(nth.wrapping_add(time * 977));
            self.put(item, time, &mut value, &mut writers)?;
        }
        let latencies = writers.waits;
        let per_second = self.data.items as f64 / begun.elapsed().as_secs_f64();
        let used = process::cpu(std::process::id())?.since(cpu).total_us();
        Ok(Row { name, per_second, latencies, cpu_us: used as f64 / self.data.items as f64 })
    }

    fn put(&self, item: u64, time: u64, value: &mut Vec<u8>, writers: &mut Writers) -> Outcome<()> {
        let ready = writers.take();
        self.data.value_into(item, time, value);
        self.peer.put(&self.data.key(item), value)?;
        writers.wrote(self.peer, ready, value.len() + KEY_BYTES);
        Ok(())
    }

    fn load(&mut self) -> Outcome<Value> {
        let (written, cpu) = (bytes_written()?, process::cpu(std::process::id())?);
        let (row, settled_seconds) = self.with_worker(|| self.pass("insert", 0))?;
        self.rows.push(row);
        self.settled("insert, settled", self.data.items, settled_seconds, cpu)?;
        Ok(json!({
            "settled_seconds": settled_seconds,
            "write_amplification": (bytes_written()? - written) as f64 / self.raw_bytes() as f64,
            "space_amplification": folder_bytes(self.folder)? as f64 / self.raw_bytes() as f64,
        }))
    }

    /// A row about a whole pass, upkeep to the end included.
    fn settled(&mut self, name: &'static str, items: u64, seconds: f64, cpu: process::Cpu) -> Outcome<()> {
        let used = process::cpu(std::process::id())?.since(cpu).total_us();
        let (per_second, cpu_us) = (items as f64 / seconds, used as f64 / items as f64);
        self.rows.push(Row { name, per_second, latencies: Latencies::default(), cpu_us });
        Ok(())
    }

    fn overwrite(&mut self) -> Outcome<Value> {
        let (written, cpu) = (bytes_written()?, process::cpu(std::process::id())?);
        let (row, settled_seconds) = self.with_worker(|| self.pass("overwrite", 1))?;
        let waits = row.latencies.json();
        self.rows.push(row);
        self.settled("overwrite, settled", self.data.items, settled_seconds, cpu)?;
        Ok(json!({
            "settled_seconds": settled_seconds,
            "waits": waits,
            "write_amplification": (bytes_written()? - written) as f64 / self.raw_bytes() as f64,
            "space_amplification": folder_bytes(self.folder)? as f64 / self.raw_bytes() as f64,
        }))
    }

    fn reads(&mut self) -> Outcome<()> {
        let (lasting, data, peer) = (self.lasting(), self.data, self.peer);
        let hit = |random: &mut Random| read(peer, data, random.next() % data.items);
        let hot = data.items / HOT_SHARE;
        let rows = [
            row("read hit", lasting, 1, hit)?,
            row("read hit, 2 readers", lasting, READERS, hit)?,
            row("read hit, in cache", lasting, 1, |random| read(peer, data, random.next() % hot))?,
            row("read miss", lasting, 1, |random| {
                let found = peer.get(&data.absent_key(random.next()), &mut |_| {})?;
                if found { Err("a key was found that nobody wrote".into()) } else { Ok(1) }
            })?,
            row("partition hit", lasting, 1, |random| partition(peer, data, random.next() % data.items))?,
            row("partition miss", lasting, 1, |random| {
                let seen = scan_prefix(peer, &data.absent_key(random.next()))?;
                if seen > 0 { Err("a partition was found that nobody wrote".into()) } else { Ok(1) }
            })?,
            row("scan of 100", lasting, 1, |random| {
                scan(peer, &data.key(random.next() % data.items), SCAN).map(|seen| seen as u64)
            })?,
            row("scan of all", Duration::ZERO, 1, |_| {
                let seen = scan(peer, &[], usize::MAX)? as u64;
                if seen == data.items { Ok(seen) } else { Err(format!("a scan saw {seen} entries").into()) }
            })?,
        ];
        self.rows.extend(rows);
        Ok(())
    }

    /// Reads and overwrites in turn, one thread, while upkeep runs beside it.
    fn mixed(&mut self) -> Outcome<Value> {
        let (written, cpu) = (bytes_written()?, process::cpu(std::process::id())?);
        let ((reads, writes, seconds), _) = self.with_worker(|| {
            let (mut writers, mut random, mut value) = (Writers::new(self.scale), Random::new(9), Vec::new());
            let mut reads = Latencies::default();
            let begun = Instant::now();
            while begun.elapsed() < 3 * self.lasting() {
                self.put(random.next() % self.data.items, 2, &mut value, &mut writers)?;
                let before = Instant::now();
                read(self.peer, self.data, random.next() % self.data.items)?;
                reads.record(before.elapsed());
            }
            Ok((reads, writers.waits, begun.elapsed().as_secs_f64()))
        })?;
        let put_bytes = writes.count() * (self.data.value_bytes + KEY_BYTES) as u64;
        let told = json!({
            "reads": reads.json(),
            "writes": writes.json(),
            "write_amplification": (bytes_written()? - written) as f64 / put_bytes as f64,
        });
        let used = process::cpu(std::process::id())?.since(cpu).total_us();
        let pairs = reads.count() as f64;
        self.rows.push(Row {
            name: "mixed: pairs",
            per_second: pairs / seconds,
            latencies: reads,
            cpu_us: used as f64 / pairs,
        });
        Ok(told)
    }
}

/// Reads an item and checks its value.
fn read(peer: &dyn Peer, data: &Data, item: u64) -> Outcome<u64> {
    let mut right = false;
    peer.get(&data.key(item), &mut |value| right = data.is_value_of(item, value))?;
    if right { Ok(1) } else { Err(format!("item {item} has not its value").into()) }
}

/// Reads the partition of an item.
fn partition(peer: &dyn Peer, data: &Data, item: u64) -> Outcome<u64> {
    let seen = scan_prefix(peer, &data.key(item))?;
    if seen as u64 == ROWS { Ok(1) } else { Err(format!("a partition has {seen} rows").into()) }
}

fn scan_prefix(peer: &dyn Peer, key: &[u8]) -> Outcome<usize> {
    let prefix = &key[..PREFIX_BYTES];
    let mut seen = 0;
    peer.scan(prefix, behind(prefix).as_deref(), usize::MAX, &mut |_, _| seen += 1)?;
    Ok(seen)
}

fn scan(peer: &dyn Peer, from: &[u8], limit: usize) -> Outcome<usize> {
    let mut seen = 0;
    peer.scan(from, None, limit, &mut |_, _| seen += 1)?;
    Ok(seen)
}
