//! Random programs for a forest, run beside the model, with limits so small that a few writes
//! make files and levels.
//!
//! The log is a list that never loses anything but what the forest says it may forget: so after
//! every stop, the forest and what is left of that list must be everything.

use std::collections::{BTreeMap, VecDeque};

use base::{Cell, Position};
use bytes::Bytes;
use world::{Disk, Entropy, SimDisk};

use super::{
    bulk::disk_of_checkpoint,
    model::{CELLS, Change, DOOMED, LATE, LIST, Model, Rows, TREES, batch_of, rules, seen},
};
use crate::tree::{
    Compression, Forest, Horizon, Patience, Scan, Snapshot, TreeError, TreeId, TreeSettings, Work,
    encode_cell, settings::Sabotage,
};

/// What is wrong with a forest, and the error it told, if that is what is wrong.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String, pub(super) Option<TreeError>);

impl From<TreeError> for Violation {
    fn from(error: TreeError) -> Violation {
        Violation(format!("an error: {error}"), Some(error))
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Violation> {
    if found == expected {
        return Ok(());
    }
    Err(Violation(format!("{what}: found {found:?}, expected {expected:?}"), None))
}

/// What programs came across.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    pub(super) batches: u64,
    pub(super) reads: u64,
    /// Reads that were to be made again, and wait.
    pub(super) waited: u64,
    pub(super) reopened: u64,
    /// Of each program the most files of a tree, and the deepest level.
    pub(super) files: u64,
    pub(super) deep: u64,
    /// Programs that reached level 2.
    pub(super) grown: u64,
    pub(super) failures: u64,
    pub(super) full: u64,
    pub(super) cuts: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.batches += other.batches;
        self.reads += other.reads;
        self.waited += other.waited;
        self.reopened += other.reopened;
        self.files += other.files;
        self.deep += other.deep;
        self.grown += other.grown;
        self.failures += other.failures;
        self.full += other.full;
        self.cuts += other.cuts;
    }
}

/// Limits at which a few writes fill everything.
pub(super) fn tiny(random: &Entropy) -> TreeSettings {
    let between = |low: u64, high: u64| low + random.below(high - low);
    let memtable_bytes = between(300, 2500) as usize;
    TreeSettings {
        block_bytes: between(64, 200) as usize,
        compression: [Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }]
            [random.below(3) as usize],
        memtable_bytes,
        memtables_bytes: memtable_bytes + between(0, 4_000) as usize,
        file_bytes: between(200, 900),
        tier_runs: between(2, 5) as usize,
        level_bytes: between(400, 2000),
        level_factor: between(2, 4),
        cache_bytes: between(0, 20_000) as usize,
        open_files: between(1, 6) as usize,
        sabotage: None,
    }
}

const CHECKPOINT: &str = "program";

/// Whether there is a checkpoint, which is a forest without a fault then.
pub(super) fn whole_checkpoint(disk: &Disk) -> Result<bool, Violation> {
    let files = disk.list(&format!("checkpoint-{CHECKPOINT}")).unwrap_or_default();
    if !files.iter().any(|file| file == "MANIFEST") {
        return Ok(false);
    }
    let copy = disk_of_checkpoint(disk, CHECKPOINT);
    let forest = Forest::open(copy, TreeSettings::default(), rules())?;
    equal("faults of a checkpoint", &forest.verify(), &Vec::new())?;
    Ok(true)
}

/// What must survive: the log, and what was ever written.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) model: Model,
    pub(super) log: BTreeMap<u64, Vec<(TreeId, Change)>>,
    /// The end of the log.
    pub(super) position: u64,
    /// Places in the log whose changes are applied later, ascending.
    lagging: VecDeque<u64>,
    /// Batches that were applied, which is how the model counts.
    pub(super) moment: u64,
    pub(super) now: u32,
    /// Batches that went past the log.
    pub(super) ingested: u64,
    /// Timestamps are not below it any more.
    low: i64,
}

impl Memory {
    /// Opens the forest of `disk`, applies the log again, and compares everything.
    pub(super) fn reopen(&self, disk: &Disk, settings: &TreeSettings) -> Result<Forest, Violation> {
        let forest = Forest::open(disk.clone(), settings.clone(), rules())?;
        for (position, changes) in &self.log {
            forest.apply(Position(*position), batch_of(changes))?;
        }
        self.compare_all(&forest)?;
        Ok(forest)
    }

    pub(super) fn compare_all(&self, forest: &Forest) -> Result<(), Violation> {
        for tree in TREES {
            for backward in [false, true] {
                let found = rows(tree, forest.scan(tree, "", None, backward)?, self.now)?;
                let expected = self.model.scan(tree, (b"", None), backward, self.moment, self.now);
                equal(&format!("all of tree {}", tree.0), &found, &expected)?;
            }
        }
        Ok(())
    }

    pub(super) fn horizon(&self) -> Horizon {
        Horizon { before: self.low, now_seconds: self.now }
    }
}

pub(super) fn rows(tree: TreeId, scan: Scan, now: u32) -> Result<Rows, Violation> {
    Ok(seen_rows(tree, scan.collect::<Result<_, _>>()?, now))
}

fn seen_rows(tree: TreeId, rows: Vec<(Bytes, Bytes)>, now: u32) -> Rows {
    let seen = |(key, value): (Bytes, Bytes)| Some((key.to_vec(), seen(tree, &value, now)?));
    rows.into_iter().filter_map(seen).collect()
}

/// Reads without waiting, and again with waiting where that was not possible. Returns whether it was
/// read twice.
fn patiently<T>(read: impl Fn(Patience) -> Result<T, TreeError>) -> Result<(T, u64), TreeError> {
    match read(Patience::Now) {
        Err(TreeError::NotNow) => Ok((read(Patience::Wait)?, 1)),
        found => Ok((found?, 0)),
    }
}

/// Does all there is to do.
pub(super) fn finish_work(forest: &Forest, horizon: Option<Horizon>) -> Result<(), TreeError> {
    while forest.work(1 << 20, &|_| horizon)? == Work::More {}
    Ok(())
}

/// A scan that was begun some time ago, and the rows still to come of it, the next one last.
struct Held {
    tree: TreeId,
    scan: Scan,
    now: u32,
    left: Rows,
}

/// A program under way.
pub(super) struct Program {
    random: Entropy,
    pub(super) disk: Disk,
    sim: Option<SimDisk>,
    pub(super) settings: TreeSettings,
    pub(super) forest: Forest,
    pub(super) memory: Memory,
    snapshots: Vec<(Snapshot, u64)>,
    held: Option<Held>,
    /// Whether it makes checkpoints and ingests. Tests in which single operations fail go without,
    /// because an ingest that fails may be there or not, and is in no log.
    pub(super) bulk: bool,
    pub(super) tally: Tally,
}

impl Program {
    pub(super) fn new(
        seed: u64,
        disk: Disk,
        sim: Option<SimDisk>,
        bug: Option<Sabotage>,
    ) -> Result<Program, Violation> {
        let random = Entropy::seeded(seed);
        let settings = TreeSettings { sabotage: bug, ..tiny(&random) };
        let forest = Forest::open(disk.clone(), settings.clone(), rules())?;
        let memory = Memory {
            model: Model::default(),
            log: BTreeMap::new(),
            position: 0,
            lagging: VecDeque::new(),
            moment: 0,
            ingested: 0,
            now: 100,
            low: 10,
        };
        let (snapshots, held, tally) = (Vec::new(), None, Tally::default());
        Ok(Program { random, disk, sim, settings, forest, memory, snapshots, held, bulk: true, tally })
    }

    /// One random action.
    pub(super) fn step(&mut self) -> Result<(), Violation> {
        match self.random.below(64) {
            0..24 => self.write(),
            24..30 => self.get(),
            30..36 => self.scan(),
            36..48 => {
                let budget = [1, 50, 300, 5_000][self.random.below(4) as usize];
                let horizon = (self.random.below(4) > 0).then(|| self.memory.horizon());
                self.work(budget, horizon)
            }
            48..50 => {
                match self.random.below(2) {
                    0 => self.forest.freeze(Position(self.memory.position)),
                    _ => self.forest.freeze_tree(self.draw_tree()),
                }
                Ok(())
            }
            50..52 => {
                self.forest.compact(self.draw_tree());
                self.forest.join_young();
                Ok(())
            }
            52..54 => {
                if self.snapshots.len() < 3 {
                    self.snapshots.push((self.forest.snapshot(), self.memory.moment));
                }
                Ok(())
            }
            54..56 => {
                if !self.snapshots.is_empty() {
                    self.snapshots.swap_remove(self.random.below(self.snapshots.len() as u64) as usize);
                }
                Ok(())
            }
            56 => {
                self.memory.low = (self.memory.low + self.random.below(6) as i64).min(200);
                self.memory.now += self.random.below(20) as u32;
                Ok(())
            }
            57..59 => {
                let flushed = self.forest.flushed_position();
                let late = self.forest.pinned(|tree| tree == LATE);
                self.memory.log.retain(|&position, changes| match changes[..] {
                    [(LATE, _), ..] => late.is_some_and(|first| Position(position) >= first),
                    _ => Position(position) > flushed,
                });
                Ok(())
            }
            59 => match self.random.below(3) {
                0 => self.ingest(),
                1 => self.checkpoint(),
                _ => self.reopen(),
            },
            60..62 => self.hold(),
            62 => self.suffer(),
            _ => self.maybe_drop(),
        }
    }

    fn draw_tree(&self) -> TreeId {
        TREES[self.random.below(TREES.len() as u64) as usize]
    }

    fn write(&mut self) -> Result<(), Violation> {
        if self.random.below(4) == 0 {
            return self.write_late();
        }
        let count = 1 + self.random.below(4);
        let changes: Vec<_> = (0..count).map(|_| self.draw_change()).collect();
        self.memory.position += 1;
        self.apply(self.memory.position, changes)
    }

    /// Takes a place in the log for later, or applies what waits at the first such place.
    fn write_late(&mut self) -> Result<(), Violation> {
        if self.random.below(2) == 0 || self.memory.lagging.is_empty() {
            self.memory.position += 1;
            self.memory.lagging.push_back(self.memory.position);
            return Ok(());
        }
        let position = self.memory.lagging.pop_front().expect("it is not empty");
        let value = (self.random.below(3) > 0).then(|| vec![self.random.below(256) as u8; 30]);
        self.apply(position, vec![(LATE, Change::Latest(self.draw_key(), value))])
    }

    fn apply(&mut self, position: u64, changes: Vec<(TreeId, Change)>) -> Result<(), Violation> {
        self.memory.moment += 1;
        self.memory.model.apply(self.memory.moment, &changes);
        self.tally.batches += 1;
        let batch = batch_of(&changes);
        self.memory.log.insert(position, changes);
        Ok(self.forest.apply(Position(position), batch)?)
    }

    /// Builds files of cells that are in order, past the log.
    fn ingest(&mut self) -> Result<(), Violation> {
        if !self.bulk {
            return Ok(());
        }
        let tree = CELLS[self.random.below(3) as usize];
        let mut cells = BTreeMap::new();
        for _ in 0..self.random.below(20) {
            let timestamp = self.memory.low + self.random.below(10) as i64;
            let value = Bytes::from(vec![self.random.below(256) as u8; self.random.below(60) as usize]);
            cells.insert(self.draw_key(), Cell::live(timestamp, value));
        }
        self.memory.position += 1;
        let entries = cells.iter().map(|(key, cell)| (Bytes::from(key.clone()), encode_cell(cell)));
        self.forest.ingest(tree, Position(self.memory.position), entries.collect::<Vec<_>>())?;
        let changes: Vec<_> = cells.into_iter().map(|(key, cell)| (tree, Change::Cell(key, cell))).collect();
        self.memory.moment += 1;
        self.memory.model.apply(self.memory.moment, &changes);
        self.memory.ingested += 1;
        Ok(())
    }

    /// Makes a checkpoint and looks at it, or removes the one there is.
    fn checkpoint(&mut self) -> Result<(), Violation> {
        if !self.bulk {
            return Ok(());
        }
        if whole_checkpoint(&self.disk)? {
            return Ok(self.forest.remove_checkpoint(CHECKPOINT)?);
        }
        self.forest.checkpoint(CHECKPOINT)?;
        let copy = disk_of_checkpoint(&self.disk, CHECKPOINT);
        self.memory.reopen(&copy, &self.settings)?;
        Ok(())
    }

    fn draw_change(&mut self) -> (TreeId, Change) {
        let random = &self.random;
        let timestamp = self.memory.low + random.below(10) as i64;
        let tree = if random.below(3) == 0 { LIST } else { CELLS[random.below(3) as usize] };
        if random.below(12) == 0 {
            // Mostly narrow and not too young, so that trees grow nevertheless.
            let from = self.draw_key();
            let to = match random.below(12) {
                0 => None,
                1..4 => Some(self.draw_key()),
                _ => Some([&from[..], b"b"].concat()),
            };
            return (tree, Change::Delete(from, to, timestamp - 3));
        }
        let key = self.draw_key();
        if tree == LIST {
            return (tree, Change::Item(key, timestamp as u8, random.below(256) as u8));
        }
        let mut cell =
            Cell::live(timestamp, Bytes::from(vec![random.below(256) as u8; random.below(60) as usize]));
        match random.below(6) {
            0 => cell = Cell::tombstone(timestamp),
            1 => {
                cell.ttl_seconds = 10;
                cell.expires_at_seconds = self.memory.now - 10 + random.below(30) as u32;
            }
            _ => {}
        }
        (tree, Change::Cell(key, cell))
    }

    /// Keys of up to four letters: few enough to meet again, and one that is met all the time.
    fn draw_key(&self) -> Vec<u8> {
        if self.random.below(4) == 0 {
            return b"a".to_vec();
        }
        let letters = [b'a', b'b', 0, u8::MAX];
        let mut key = vec![b'a' + self.random.below(4) as u8];
        for _ in 0..self.random.below(4) {
            key.push(letters[self.random.below(4) as usize]);
        }
        if self.random.below(20) == 0 { Vec::new() } else { key }
    }

    /// Asks for a key, perhaps a few times in turn: the row cache has it from the second time on.
    fn get(&mut self) -> Result<(), Violation> {
        let (tree, key) = (self.draw_tree(), self.draw_key());
        for _ in 0..1 + self.random.below(3) {
            self.get_once(tree, &key)?;
        }
        Ok(())
    }

    fn get_once(&mut self, tree: TreeId, key: &[u8]) -> Result<(), Violation> {
        let now = self.memory.now;
        let (found, position) = match self.draw_snapshot() {
            Some((snapshot, position)) => (patiently(|p| snapshot.get_with(tree, key, p))?, *position),
            None => (patiently(|p| self.forest.get_with(tree, key, p))?, self.memory.moment),
        };
        let (found, waited) = found;
        self.tally.waited += waited;
        self.tally.reads += 1;
        let found = found.and_then(|value| seen(tree, &value, now));
        let expected = self.memory.model.get(tree, key, position, now);
        equal(&format!("key {key:?} of tree {} at {position}", tree.0), &found, &expected)
    }

    fn draw_snapshot(&self) -> Option<&(Snapshot, u64)> {
        let nth = self.random.below(2 * self.snapshots.len() as u64 + 1) as usize;
        self.snapshots.get(nth)
    }

    fn draw_range(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        if self.random.below(2) == 0 {
            // All keys of a prefix, as a partition is read.
            let letter = b'a' + self.random.below(4) as u8;
            return (vec![letter], Some(vec![letter + 1]));
        }
        (self.draw_key(), (self.random.below(4) > 0).then(|| self.draw_key()))
    }

    fn scan(&mut self) -> Result<(), Violation> {
        let (tree, now) = (self.draw_tree(), self.memory.now);
        let ((from, to), backward) = (self.draw_range(), self.random.below(2) == 0);
        let upper = to.clone().map(Bytes::from);
        let (drawn, forest) = (self.draw_snapshot(), &self.forest);
        let position = drawn.map_or(self.memory.moment, |(_, position)| *position);
        let (found, waited) = patiently(|patience| {
            let (from, to) = (from.clone(), upper.clone());
            let scan = match drawn {
                Some((snapshot, _)) => snapshot.scan_with(tree, from, to, backward, patience)?,
                None => forest.scan_with(tree, from, to, backward, patience)?,
            };
            scan.collect::<Result<Vec<_>, _>>()
        })?;
        self.tally.reads += 1;
        self.tally.waited += waited;
        let found = seen_rows(tree, found, now);
        let expected = self.memory.model.scan(tree, (&from, to.as_deref()), backward, position, now);
        equal(&format!("tree {} from {from:?} to {to:?} at {position}", tree.0), &found, &expected)
    }

    /// Goes on with the scan that is held, or begins one.
    fn hold(&mut self) -> Result<(), Violation> {
        let Some(mut held) = self.held.take() else {
            let (tree, now) = (self.draw_tree(), self.memory.now);
            let mut left = self.memory.model.scan(tree, (b"", None), false, self.memory.moment, now);
            left.reverse();
            self.held = Some(Held { tree, scan: self.forest.scan(tree, "", None, false)?, now, left });
            return Ok(());
        };
        for _ in 0..3 {
            let mut next = None;
            while next.is_none()
                && let Some(row) = held.scan.next()
            {
                let (key, value) = row?;
                next = seen(held.tree, &value, held.now).map(|value| (key.to_vec(), value));
            }
            let what = format!("a scan of tree {} that began long ago", held.tree.0);
            equal(&what, &next, &held.left.pop())?;
            if next.is_none() {
                return Ok(());
            }
        }
        self.held = Some(held);
        Ok(())
    }

    fn work(&mut self, budget: u64, horizon: Option<Horizon>) -> Result<(), Violation> {
        for _ in 0..1 + self.random.below(8) {
            if self.forest.work(budget, &|_| horizon)? == Work::Done {
                break;
            }
        }
        for tree in TREES {
            let figures = self.forest.figures(tree);
            self.tally.files = self.tally.files.max(figures.files as u64);
        }
        let state = self.forest.inner.state();
        let levels = state.trees.values().filter_map(|tree| tree.parts.runs.last().map(|run| run.level));
        self.tally.deep = self.tally.deep.max(levels.max().unwrap_or(0).into());
        Ok(())
    }

    /// Stops the process, and starts it again.
    fn reopen(&mut self) -> Result<(), Violation> {
        self.snapshots.clear();
        self.held = None;
        self.tally.reopened += 1;
        self.forest = self.memory.reopen(&self.disk, &self.settings)?;
        Ok(())
    }

    /// Something of the disk fails while it works; or it is full for a while.
    fn suffer(&mut self) -> Result<(), Violation> {
        let Some(sim) = self.sim.clone() else { return Ok(()) };
        self.forest.freeze(Position(self.memory.position));
        if self.random.below(2) == 0 {
            let names = self.disk.list("tree").map_err(TreeError::from)?;
            let len = |name: &String| self.disk.open(&format!("tree/{name}")).and_then(|file| file.len());
            let used: u64 = names.iter().filter_map(|name| len(name).ok()).sum();
            sim.set_capacity(used + self.random.below(3_000));
            let result = finish_work(&self.forest, None);
            sim.set_capacity(u64::MAX);
            match result {
                Ok(()) => {}
                Err(TreeError::Full) => self.tally.full += 1,
                Err(error) => return Err(error.into()),
            }
            self.memory.compare_all(&self.forest)?;
            return Ok(finish_work(&self.forest, None)?);
        }
        let nth = 1 + self.random.below(6);
        let what = ["fail", "short", "full"][self.random.below(3) as usize];
        sim.inject(format!("{what} nth({nth}) change").parse().expect("it is a line of the language"));
        match finish_work(&self.forest, None) {
            Ok(()) => {}
            Err(TreeError::Fatal(_)) => {
                self.tally.failures += 1;
                self.memory.compare_all(&self.forest)?;
                let refused = self.forest.apply(Position(self.memory.position + 1), batch_of(&[]));
                equal("a write after the disk failed", &matches!(refused, Err(TreeError::Fatal(_))), &true)?;
            }
            Err(TreeError::Full) => {
                self.tally.full += 1;
                self.memory.compare_all(&self.forest)?;
            }
            Err(error) => return Err(error.into()),
        }
        if self.random.below(2) == 0 {
            sim.crash()
        } else {
            sim.kill()
        }
        self.reopen()
    }

    fn maybe_drop(&mut self) -> Result<(), Violation> {
        if self.random.below(4) == 0 && !self.memory.model.dropped {
            self.snapshots.clear();
            self.forest.drop_tree(DOOMED)?;
            self.memory.model.drop_doomed();
        }
        Ok(())
    }
}

/// Runs a program of `steps` actions on a disk that does not fail, then lets all work be done. Some
/// of these disks have reads wait now and then.
pub(super) fn run(seed: u64, steps: u64, bug: Option<Sabotage>) -> Result<Tally, Violation> {
    let mut disk = Disk::in_memory();
    if seed.is_multiple_of(4) {
        let (waiting, sim) = Disk::simulated(seed);
        sim.set_waits(50);
        disk = waiting;
    }
    let mut program = Program::new(seed, disk, None, bug)?;
    for _ in 0..steps {
        program.step()?;
    }
    program.end()
}

impl Program {
    /// Lets all work be done, and looks at everything.
    pub(super) fn end(mut self) -> Result<Tally, Violation> {
        self.memory.compare_all(&self.forest)?;
        finish_work(&self.forest, Some(self.memory.horizon()))?;
        for tree in TREES {
            self.forest.compact(tree);
        }
        finish_work(&self.forest, Some(self.memory.horizon()))?;
        self.memory.compare_all(&self.forest)?;
        for (snapshot, position) in &self.snapshots {
            for tree in TREES {
                let found = rows(tree, snapshot.scan(tree, "", None, false)?, self.memory.now)?;
                let expected = self.memory.model.scan(tree, (b"", None), false, *position, self.memory.now);
                equal(&format!("a snapshot of tree {} at {position}", tree.0), &found, &expected)?;
            }
        }
        equal("faults", &self.forest.verify(), &Vec::new())?;
        self.tally.grown = u64::from(self.tally.deep >= 2);
        self.reopen()?;
        Ok(self.tally)
    }
}

/// Programs in CI.
pub(super) const PROGRAMS: u64 = 20_000;

/// How many actions a program has.
pub(super) fn steps(seed: u64) -> u64 {
    if seed % 20 == 19 { 500 } else { 40 }
}

#[test]
fn a_forest_says_what_the_model_says() {
    // Most are short, because short ones begin anew more often; some are long enough for levels.
    let tally = super::power_cut::on_all_cores(PROGRAMS, |seed| run(seed, steps(seed), None));
    println!("{PROGRAMS} programs: {tally:?}");
    // Programs that never get anywhere prove nothing.
    assert!(tally.reads > 5 * PROGRAMS && tally.reopened > PROGRAMS);
    assert!(tally.files > PROGRAMS && tally.grown > PROGRAMS / 25);
    assert!(tally.waited > PROGRAMS / 20);
}
