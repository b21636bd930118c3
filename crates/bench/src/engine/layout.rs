//! How rows become keys, measured: the numbers of [ADR 5](../../../../docs/adr/0005-row-fragments.md).
//!
//! The same rows are written and read in three layouts: (a) every cell an entry of its own
//! ([`cells`]), (b) every write of a row one entry, (c) the same, but with keys of their own for
//! elements of collections ([`fragments`]). One thread does everything, upkeep included, and what is
//! told is its processor time: for a write its own, and beside it that of keeping it.
//!
//! ```text
//! two        rows of two columns in partitions of their own: write, read, overwrite, cold
//! twenty     rows of twenty columns, written column by column: write, read in runs, read settled
//! slice      partitions of 1,000 rows of two columns: read one
//! runs       the same row in four runs of the first level: read
//! map        maps of 10,000 elements: write one, read one, read all
//! ```

mod cells;
mod fragments;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use disk_engine::tree::{Forest, Horizon, TreeId, TreeSettings, Work};
use serde_json::{Value, json};
use world::Disk;

use self::{cells::Cells, fragments::Fragments};
use super::{
    forest::settings,
    measure::{folder_bytes, reads_made, row, thread_cpu},
    scale::Scale,
};
use crate::{
    Outcome,
    load::{Random, Values},
    place,
};

/// The ways to lay rows out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// (a).
    Cells,
    /// (b).
    Fragments,
    /// (c).
    Hybrid,
}

impl Kind {
    /// All, in the order in which the decision tells them.
    pub const ALL: [Kind; 3] = [Kind::Cells, Kind::Fragments, Kind::Hybrid];

    /// Its name in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cells => "cells",
            Kind::Fragments => "fragments",
            Kind::Hybrid => "hybrid",
        }
    }

    /// The layout of this name.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn open(self, folder: &Path, settings: TreeSettings) -> Outcome<Box<dyn Layout>> {
        let disk = Disk::real(folder)?;
        Ok(match self {
            Kind::Cells => Box::new(Cells::open(disk, settings)?),
            Kind::Fragments => Box::new(Fragments::open(disk, settings, false)?),
            Kind::Hybrid => Box::new(Fragments::open(disk, settings, true)?),
        })
    }
}

/// A row of a partition.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: u64,
    row: u64,
}

/// The column of maps.
const MAP_COLUMN: u32 = 9;

/// One way to lay rows out. Reads return how many cells they saw.
trait Layout: Sync {
    fn write(&self, place: Place, cells: &[(u32, Bytes)]) -> Outcome<()>;
    fn read(&self, place: Place) -> Outcome<usize>;
    fn read_partition(&self, key: u64) -> Outcome<usize>;
    fn write_elements(&self, map: Place, elements: &[(u32, Bytes)]) -> Outcome<()>;
    fn read_element(&self, map: Place, element: u32) -> Outcome<usize>;
    fn read_map(&self, map: Place) -> Outcome<usize>;
    fn forest(&self) -> &Forest;
}

/// Bytes of upkeep at a time.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes of a value of a row's first column, and of each of many columns or elements.
const SHORT_BYTES: usize = 16;
/// Bytes of a value of a row's second column.
const LONG_BYTES: usize = 100;
/// Columns of a wide row.
const COLUMNS: u32 = 20;
/// Rows of a long partition.
const SLICE_ROWS: u64 = 1000;
/// Runs that overlap.
const RUNS: u64 = 4;
/// Elements of a map.
const ELEMENTS: u32 = 10_000;
/// Elements of a map that are written at once when it is made.
const AT_ONCE: u32 = 100;
/// Single elements of each map that are written again.
const PATCHES: u64 = 64;
/// Reads of rows that no cache knows.
const COLD_READS: u64 = 2000;

/// Measures one layout in the new folder `folder`, which is removed afterwards.
pub fn run(kind: Kind, scale: Scale, folder: &Path) -> Outcome<Value> {
    let mut turn = Turn {
        kind,
        scale,
        folder,
        values: Values::new(),
        figures: Vec::new(),
        small: scale.data_bytes / (1 << 11),
    };
    let measured = turn.run();
    place::remove(folder)?;
    measured?;
    Ok(json!({ "layout": kind.name(), "scale": scale.json(), "figures": turn.figures }))
}

struct Turn<'t> {
    kind: Kind,
    scale: Scale,
    folder: &'t Path,
    values: Values,
    figures: Vec<Value>,
    /// How many rows a table of small rows has: 131,072, or an eighth of it.
    small: u64,
}

impl Turn<'_> {
    fn run(&mut self) -> Outcome<()> {
        self.two()?;
        self.cold()?;
        self.twenty()?;
        self.slice()?;
        self.runs()?;
        self.map()
    }

    /// An empty table.
    fn table(&mut self) -> Outcome<Box<dyn Layout>> {
        place::emptied(self.folder)?;
        self.kind.open(self.folder, settings(self.scale))
    }

    fn value(&self, random: u64, bytes: usize) -> Bytes {
        Bytes::copy_from_slice(self.values.value(random.rotate_left(32), bytes))
    }

    fn tell(&mut self, name: &str, figure: Value) {
        let mut figure = figure;
        figure["name"] = name.into();
        self.figures.push(figure);
    }

    /// Calls `write` for each of `count` positions, with upkeep whenever a memtable waits, and to
    /// the end if `settled`. Tells the processor time of both, and bytes on disk.
    fn write(
        &mut self,
        name: &str,
        layout: &dyn Layout,
        count: u64,
        settled: bool,
        write: impl Fn(&Self, u64) -> Outcome<()>,
    ) -> Outcome<()> {
        let (begun, mut upkeep) = (thread_cpu()?, Duration::ZERO);
        for nth in 0..count {
            write(self, nth)?;
            if layout.forest().debt().frozen_bytes > 0 {
                upkeep += timed(|| work(layout))?;
            }
        }
        if settled {
            upkeep += timed(|| settle(layout))?;
        }
        let all = thread_cpu()?.saturating_sub(begun);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        let figure = json!({
            "us": each(all.saturating_sub(upkeep)),
            "upkeep_us": each(upkeep),
            "disk_bytes": folder_bytes(self.folder)? as f64 / count as f64,
        });
        self.tell(name, figure);
        Ok(())
    }

    /// Reads for a while; each read has to see `cells`.
    fn read(
        &mut self,
        name: &'static str,
        cells: usize,
        read: impl Fn(&mut Random) -> Outcome<usize> + Sync,
    ) -> Outcome<()> {
        let before = reads_made()?;
        let lasting = Duration::from_millis(self.scale.row_ms / 2);
        let row = row(name, lasting, 1, |random| {
            let seen = read(random)?;
            if seen == cells { Ok(1) } else { Err(format!("{name}: {seen} cells of {cells}").into()) }
        })?;
        let count = row.latencies.count() as f64;
        let mut figure = row.json();
        figure["us"] = row.cpu_us.into();
        figure["disk_reads"] = ((reads_made()? - before) as f64 / count).into();
        self.tell(name, figure);
        Ok(())
    }

    fn two_cells(&self, random: u64) -> [(u32, Bytes); 2] {
        [(1, self.value(random, SHORT_BYTES)), (2, self.value(random + 1, LONG_BYTES))]
    }

    fn two(&mut self) -> Outcome<()> {
        let layout = self.table()?;
        let (layout, rows) = (layout.as_ref(), self.small);
        let place = |row: u64| Place { partition: row, row: 0 };
        self.write("two columns: write", layout, rows, true, |turn, nth| {
            layout.write(place(nth), &turn.two_cells(nth))
        })?;
        self.read("two columns: read", 2, |random| layout.read(place(random.next() % rows)))?;
        self.read("two columns: read a row that is not there", 0, |random| {
            layout.read(place(random.next() | 1 << 62))
        })?;
        self.write("blind overwrite of one column", layout, rows, true, |turn, nth| {
            layout.write(place(nth), &[(1, turn.value(rows + nth, SHORT_BYTES))])
        })
    }

    /// Opens the table of [`Turn::two`] anew, with an empty block cache; the page cache stays warm.
    fn cold(&mut self) -> Outcome<()> {
        let rows = self.small;
        let layout = self.kind.open(self.folder, settings(self.scale))?;
        let (before, mut random) = (reads_made()?, Random::new(3));
        let took = timed(|| {
            (0..COLD_READS)
                .try_for_each(|_| layout.read(Place { partition: random.next() % rows, row: 0 }).map(|_| ()))
        })?;
        let figure = json!({
            "us": took.as_secs_f64() * 1e6 / COLD_READS as f64,
            "disk_reads": (reads_made()? - before) as f64 / COLD_READS as f64,
        });
        self.tell("two columns: read, cold cache", figure);
        Ok(())
    }

    fn twenty(&mut self) -> Outcome<()> {
        let layout = self.table()?;
        let (layout, rows) = (layout.as_ref(), self.small / 16);
        let place = |row: u64| Place { partition: row, row: 0 };
        let cells = rows * u64::from(COLUMNS);
        self.write("twenty columns: write one", layout, cells, false, |turn, nth| {
            let cell = ((nth / rows) as u32, turn.value(nth, SHORT_BYTES));
            layout.write(place(nth % rows), &[cell])
        })?;
        let read = |random: &mut Random| layout.read(place(random.next() % rows));
        self.read("twenty columns: read, as written", COLUMNS as usize, read)?;
        settle(layout)?;
        self.read("twenty columns: read, settled", COLUMNS as usize, read)?;
        let figure = json!({ "disk_bytes": folder_bytes(self.folder)? as f64 / rows as f64 });
        self.tell("twenty columns: bytes a row, settled", figure);
        Ok(())
    }

    fn slice(&mut self) -> Outcome<()> {
        let layout = self.table()?;
        let (layout, rows) = (layout.as_ref(), self.small);
        let partitions = rows / SLICE_ROWS;
        self.write("long partitions: write", layout, partitions * SLICE_ROWS, true, |turn, nth| {
            let place = Place { partition: nth % partitions, row: nth / partitions };
            layout.write(place, &turn.two_cells(nth))
        })?;
        self.read("slice of 1,000 rows", 2 * SLICE_ROWS as usize, |random| {
            layout.read_partition(random.next() % partitions)
        })?;
        self.read("one of 1,000 rows", 2, |random| {
            layout.read(Place { partition: random.next() % partitions, row: random.next() % SLICE_ROWS })
        })
    }

    /// Each row is in every one of so many runs, which nothing merges.
    fn runs(&mut self) -> Outcome<()> {
        place::emptied(self.folder)?;
        let mut settings = settings(self.scale);
        (settings.tier_runs, settings.level_bytes) = (32, 1 << 40);
        (settings.memtable_bytes, settings.memtables_bytes) = (1 << 30, 1 << 30);
        let layout = self.kind.open(self.folder, settings)?;
        let (layout, rows) = (layout.as_ref(), self.small / 4);
        let place = |row: u64| Place { partition: row, row: 0 };
        for run in 0..RUNS {
            for row in 0..rows {
                layout.write(place(row), &self.two_cells(run * rows + row))?;
            }
            settle(layout)?;
        }
        self.read("two columns in four runs: read", 2, |random| layout.read(place(random.next() % rows)))
    }

    fn map(&mut self) -> Outcome<()> {
        let layout = self.table()?;
        let (layout, maps) = (layout.as_ref(), (self.small >> 13).max(2));
        let map = |random: u64| Place { partition: random % maps, row: 0 };
        let writes = maps * u64::from(ELEMENTS / AT_ONCE);
        self.write("map: write 100 elements", layout, writes, true, |turn, nth| {
            let first = (nth / maps) as u32 * AT_ONCE;
            let element = |one| (first + one, turn.value(nth << 8 | u64::from(one), SHORT_BYTES));
            let elements: Vec<_> = (0..AT_ONCE).map(element).collect();
            layout.write_elements(map(nth), &elements)
        })?;
        let one = |random: &mut Random| {
            layout.read_element(map(random.next()), (random.next() % u64::from(ELEMENTS)) as u32)
        };
        let all = |random: &mut Random| layout.read_map(map(random.next()));
        let patch = |turn: &Self, nth: u64| {
            let element = ((nth * 7919) % u64::from(ELEMENTS)) as u32;
            layout.write_elements(map(nth), &[(element, turn.value(nth, SHORT_BYTES))])
        };
        self.read("map of 10,000: read one, settled", 1, one)?;
        self.read("map of 10,000: read all, settled", ELEMENTS as usize, all)?;
        for nth in 0..PATCHES * maps {
            patch(self, nth)?;
        }
        self.read("map of 10,000: read one after 64 writes", 1, one)?;
        self.read("map of 10,000: read all after 64 writes", ELEMENTS as usize, all)?;
        self.write("map of 10,000: write one", layout, self.small / 8, true, patch)
    }
}

/// The processor time of this thread that `work` takes.
fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let before = thread_cpu()?;
    work()?;
    Ok(thread_cpu()?.saturating_sub(before))
}

/// Upkeep until nothing waits.
fn work(layout: &dyn Layout) -> Outcome<()> {
    let horizons = |_: TreeId| -> Option<Horizon> { None };
    while layout.forest().work(STEP_BYTES, &horizons)? == Work::More {}
    Ok(())
}

/// The same with what is in memory written to files first.
fn settle(layout: &dyn Layout) -> Outcome<()> {
    layout.forest().freeze(base::Position(u64::MAX));
    work(layout)
}
