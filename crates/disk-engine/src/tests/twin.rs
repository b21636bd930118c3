//! The engine on trees against its twin in memory: the same random programs, with limits so tiny
//! that a few writes make files and levels, and every shape of read.

use std::cell::RefCell;

use base::{Change, Mutation, Page, PartitionRows, Position};
use proptest::{prelude::*, test_runner::TestRunner};
use world::Disk;

use super::{any::*, subject::tiny};
use crate::{
    Engine, MemoryEngine, ReadSpec,
    tree::{Compression, Horizon, Patience, TreeError, TreeSettings, Work},
};

/// What a program does.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Mutation>),
    /// Makes files of what is in memory, and so many steps of upkeep.
    Work {
        freeze: bool,
        steps: usize,
    },
    /// Merges everything into one run; with a horizon, purges what is older.
    Compact(Option<Horizon>),
    /// Opens the disk again and applies the log behind what is flushed.
    Reopen,
    Read {
        spec: ReadSpec,
        limit_rows: usize,
        limit_bytes: usize,
        scan_rows: u64,
        now: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let limits = (1usize..5, prop_oneof![Just(usize::MAX), 0usize..100]);
    let scan_rows = prop_oneof![Just(u64::MAX), 1u64..6];
    let read = (spec(), limits, scan_rows, any::<bool>()).prop_map(
        |(spec, (limit_rows, limit_bytes), scan_rows, now)| Step::Read {
            spec,
            limit_rows,
            limit_bytes,
            scan_rows,
            now,
        },
    );
    let horizon = (0i64..6, 0u32..12).prop_map(|(before, now_seconds)| Horizon { before, now_seconds });
    prop_oneof![
        8 => prop::collection::vec(mutation(), 0..8).prop_map(Step::Apply),
        3 => (any::<bool>(), 0usize..6).prop_map(|(freeze, steps)| Step::Work { freeze, steps }),
        1 => prop::option::weighted(0.2, horizon).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
        4 => read,
    ]
}

fn settings() -> impl Strategy<Value = TreeSettings> {
    let sizes = (64usize..200, 300usize..2500, 2usize..4);
    let cache_bytes = prop_oneof![Just(0usize), Just(1 << 20)];
    (sizes, any::<bool>(), cache_bytes).prop_map(
        |((block_bytes, memtable_bytes, tier_runs), lz4, cache_bytes)| TreeSettings {
            block_bytes,
            memtable_bytes,
            tier_runs,
            cache_bytes,
            compression: if lz4 { Compression::Lz4 } else { Compression::None },
            ..tiny()
        },
    )
}

/// An engine, its twin, and the log of both.
struct Pair {
    disk: Disk,
    settings: TreeSettings,
    engine: Engine,
    twin: MemoryEngine,
    log: Vec<Vec<Mutation>>,
    /// What the engine was allowed to purge: the twin keeps it.
    purged: Option<Horizon>,
    met: Met,
}

/// What programs met, lest they prove nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    rows: usize,
    files: usize,
    purges: usize,
    waits: usize,
}

impl Pair {
    fn new(settings: TreeSettings, seed: u64) -> Pair {
        let (disk, sim) = Disk::simulated(seed);
        sim.set_waits(20);
        let engine = Engine::with(disk.clone(), settings.clone(), few_tokens).unwrap();
        let twin = MemoryEngine::with(2, few_tokens);
        Pair { disk, settings, engine, twin, log: Vec::new(), purged: None, met: Met::default() }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Apply(mutations) => self.apply(mutations),
            Step::Work { freeze, steps } => {
                if freeze {
                    self.engine.forest().freeze(Position(self.log.len() as u64));
                }
                for _ in 0..steps {
                    self.engine.forest().work(300, &|_| None).unwrap();
                }
            }
            Step::Compact(horizon) => {
                self.engine.forest().freeze(Position(self.log.len() as u64));
                self.finish_work(None);
                let horizon = horizon.map(|horizon| self.later(horizon));
                self.engine.forest().trees().into_iter().for_each(|tree| self.engine.forest().compact(tree));
                self.finish_work(horizon);
                self.purged = horizon.or(self.purged);
                self.met.purges += usize::from(horizon.is_some());
            }
            Step::Reopen => {
                let flushed = self.engine.forest().flushed_position();
                self.engine = Engine::with(self.disk.clone(), self.settings.clone(), few_tokens).unwrap();
                for (nth, mutations) in self.log.iter().enumerate().skip(flushed.0 as usize) {
                    self.engine.apply(Position(nth as u64 + 1), mutations).unwrap();
                }
            }
            Step::Read { mut spec, limit_rows, limit_bytes, scan_rows, now } => {
                let clock = self.purged.map_or(0, |horizon| horizon.now_seconds);
                spec.now_seconds = spec.now_seconds.max(clock);
                self.met.files += self.engine.forest().figures(Engine::tree_of(TABLE)).files;
                self.read(&spec, now)?;
                let paged = ReadSpec { limit_rows, limit_bytes, scan_rows, ..spec };
                self.read_paged(&paged, now)?;
            }
        }
        Ok(())
    }

    /// Keeps the promise that a horizon is: nothing older is applied any more.
    fn apply(&mut self, mut mutations: Vec<Mutation>) {
        let before = self.purged.map_or(i64::MIN, |horizon| horizon.before);
        for change in mutations.iter_mut().flat_map(|mutation| &mut mutation.changes) {
            match change {
                Change::Row { cells, .. } => cells.retain(|(_, cell)| cell.timestamp >= before),
                Change::DeleteRows { timestamp, .. } | Change::DeletePartition { timestamp } => {
                    *timestamp = before.max(*timestamp);
                }
            }
        }
        mutations.iter().for_each(|mutation| self.twin.apply(mutation));
        self.log.push(mutations);
        let position = Position(self.log.len() as u64);
        self.engine.apply(position, self.log.last().unwrap()).unwrap();
    }

    /// A horizon never goes back.
    fn later(&self, horizon: Horizon) -> Horizon {
        let before = self.purged.unwrap_or(horizon);
        Horizon {
            before: horizon.before.max(before.before),
            now_seconds: horizon.now_seconds.max(before.now_seconds),
        }
    }

    fn finish_work(&self, horizon: Option<Horizon>) {
        while self.engine.forest().work(u64::MAX, &|_| horizon).unwrap() == Work::More {}
    }

    /// One answer for all, both kinds.
    fn read(&mut self, spec: &ReadSpec, now: bool) -> Result<(), TestCaseError> {
        let found = without_counts(self.ask(now, |engine, patience| engine.read(spec, patience)));
        self.met.rows += found.partitions.iter().map(|partition| partition.rows.len()).sum::<usize>();
        prop_assert_eq!(found, without_counts(self.twin.read(spec)));
        if self.purged.is_none() {
            let found = self.ask(now, |engine, patience| engine.read_raw(spec, patience));
            prop_assert_eq!(found.mutations, self.twin.read_raw(spec).mutations);
            prop_assert_eq!(found.more, None);
        }
        Ok(())
    }

    fn read_paged(&mut self, spec: &ReadSpec, now: bool) -> Result<(), TestCaseError> {
        let unlimited = (usize::MAX, usize::MAX, u64::MAX);
        let whole = ReadSpec {
            limit_rows: unlimited.0,
            limit_bytes: unlimited.1,
            scan_rows: unlimited.2,
            ..spec.clone()
        };
        let found = pages(spec, |spec| self.ask(now, |engine, patience| engine.read(spec, patience)))?;
        prop_assert_eq!(joined(&found), self.twin.read(&whole).partitions);
        // Without a bound on rows looked at, the pages are the same one by one.
        let exact = ReadSpec { scan_rows: u64::MAX, ..spec.clone() };
        let found = pages(&exact, |spec| self.ask(now, |engine, patience| engine.read(spec, patience)))?;
        prop_assert_eq!(found, pages(&exact, |spec| self.twin.read(spec))?);
        self.read_raw_paged(spec, &exact, &whole, now)
    }

    fn read_raw_paged(
        &mut self,
        spec: &ReadSpec,
        exact: &ReadSpec,
        whole: &ReadSpec,
        now: bool,
    ) -> Result<(), TestCaseError> {
        let mut next = Some(exact.clone()).filter(|_| self.purged.is_none());
        while let Some(spec) = next.take() {
            let found = self.ask(now, |engine, patience| engine.read_raw(&spec, patience));
            let expected = self.twin.read_raw(&spec);
            prop_assert_eq!((found.mutations, &found.more), (expected.mutations, &expected.more));
            next = found.more.map(|more| ReadSpec { after: Some(more), ..spec });
        }
        // Pages that end anywhere say together what there is.
        let gathered = MemoryEngine::with(0, few_tokens);
        let mut next = Some(spec.clone());
        while let Some(spec) = next.take() {
            let found = self.ask(now, |engine, patience| engine.read_raw(&spec, patience));
            found.mutations.iter().for_each(|mutation| gathered.apply(mutation));
            next = found.more.map(|more| ReadSpec { after: Some(more), ..spec });
        }
        prop_assert_eq!(gathered.read(whole).partitions, self.twin.read(whole).partitions);
        if self.purged.is_none() {
            let all = MemoryEngine::with(0, few_tokens);
            self.twin.read_raw(whole).mutations.iter().for_each(|mutation| all.apply(mutation));
            prop_assert_eq!(gathered.read_raw(whole).mutations, all.read_raw(whole).mutations);
        }
        Ok(())
    }

    /// Reads as a node does: first without waiting, if it is tried, then with.
    fn ask<T>(&mut self, now: bool, read: impl Fn(&Engine, Patience) -> Result<T, TreeError>) -> T {
        if now {
            match read(&self.engine, Patience::Now) {
                Err(TreeError::NotNow) => self.met.waits += 1,
                found => return found.unwrap(),
            }
        }
        read(&self.engine, Patience::Wait).unwrap()
    }
}

/// All pages, without their counts: what there is to look at differs.
fn pages(spec: &ReadSpec, mut read: impl FnMut(&ReadSpec) -> Page) -> Result<Vec<Page>, TestCaseError> {
    let mut pages = Vec::new();
    let mut next = Some(spec.clone());
    while let Some(spec) = next.take() {
        let page = read(&spec);
        let rows: usize = page.partitions.iter().map(|partition| partition.rows.len()).sum();
        prop_assert!(rows <= spec.limit_rows.max(1));
        prop_assert!(page.scanned_rows <= spec.scan_rows.max(1));
        prop_assert!(pages.len() < 10_000, "the pages never end");
        next = page.more.clone().map(|more| ReadSpec { after: Some(more), ..spec });
        pages.push(without_counts(page));
    }
    Ok(pages)
}

fn without_counts(page: Page) -> Page {
    Page { scanned_rows: 0, scanned_bytes: 0, ..page }
}

fn joined(pages: &[Page]) -> Vec<PartitionRows> {
    let mut joined = Vec::<PartitionRows>::new();
    for partition in pages.iter().flat_map(|page| &page.partitions) {
        match joined.last_mut().filter(|last| last.key == partition.key) {
            Some(last) => last.rows.extend(partition.rows.iter().cloned()),
            None => joined.push(partition.clone()),
        }
    }
    joined
}

#[test]
fn it_says_what_its_twin_says() {
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 3_000, ..ProptestConfig::with_source_file(file!()) });
    let program = (settings(), any::<u64>(), prop::collection::vec(step(), 1..40));
    let total = RefCell::new(Met::default());
    runner
        .run(&program, |(settings, seed, steps)| {
            let mut pair = Pair::new(settings, seed);
            steps.into_iter().try_for_each(|step| pair.run(step))?;
            let mut total = total.borrow_mut();
            total.rows += pair.met.rows;
            total.files += pair.met.files;
            total.purges += pair.met.purges;
            total.waits += pair.met.waits;
            Ok(())
        })
        .unwrap();
    let met = total.into_inner();
    assert!(met.rows > 10_000 && met.files > 5_000 && met.purges > 200 && met.waits > 2_000, "{met:?}");
}
