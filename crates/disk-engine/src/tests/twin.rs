//! The engine on trees against its twin in memory: the same random programs, with limits so tiny
//! that a few writes make files and levels, and every shape of read.

use base::{Mutation, Page, PartitionRows, Position};
use proptest::prelude::*;
use world::Disk;

use super::any::*;
use crate::{
    Engine, MemoryEngine, ReadSpec,
    tree::{Compression, Patience, TreeError, TreeSettings, Work},
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
    /// Merges everything into one run.
    Compact,
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
    prop_oneof![
        6 => prop::collection::vec(mutation(), 0..4).prop_map(Step::Apply),
        3 => (any::<bool>(), 0usize..6).prop_map(|(freeze, steps)| Step::Work { freeze, steps }),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        4 => (spec(), limits, scan_rows, any::<bool>()).prop_map(|(spec, (limit_rows, limit_bytes), scan_rows, now)| {
            Step::Read { spec, limit_rows, limit_bytes, scan_rows, now }
        }),
    ]
}

fn settings() -> impl Strategy<Value = TreeSettings> {
    (64usize..200, 300usize..2500, 2usize..4, any::<bool>(), prop_oneof![Just(0usize), Just(1 << 20)])
        .prop_map(|(block_bytes, memtable_bytes, tier_runs, lz4, cache_bytes)| TreeSettings {
            block_bytes,
            memtable_bytes,
            file_bytes: 400,
            tier_runs,
            level_bytes: 1200,
            level_factor: 2,
            cache_bytes,
            compression: if lz4 { Compression::Lz4 } else { Compression::None },
            ..TreeSettings::default()
        })
}

/// An engine, its twin, and the log of both.
struct Pair {
    disk: Disk,
    settings: TreeSettings,
    engine: Engine,
    twin: MemoryEngine,
    log: Vec<Vec<Mutation>>,
}

impl Pair {
    fn new(settings: TreeSettings) -> Pair {
        let disk = Disk::in_memory();
        let engine = Engine::with(disk.clone(), settings.clone(), few_tokens).unwrap();
        Pair { disk, settings, engine, twin: MemoryEngine::with(2, few_tokens), log: Vec::new() }
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Apply(mutations) => {
                mutations.iter().for_each(|mutation| self.twin.apply(mutation));
                self.log.push(mutations);
                let position = Position(self.log.len() as u64);
                self.engine.apply(position, self.log.last().unwrap()).unwrap();
            }
            Step::Work { freeze, steps } => {
                if freeze {
                    self.engine.forest().freeze(Position(self.log.len() as u64));
                }
                for _ in 0..steps {
                    self.engine.forest().work(300, &|_| None).unwrap();
                }
            }
            Step::Compact => {
                self.engine.forest().freeze(Position(self.log.len() as u64));
                while self.engine.forest().work(u64::MAX, &|_| None).unwrap() == Work::More {}
                self.engine.forest().trees().into_iter().for_each(|tree| self.engine.forest().compact(tree));
                while self.engine.forest().work(u64::MAX, &|_| None).unwrap() == Work::More {}
            }
            Step::Reopen => {
                let flushed = self.engine.forest().flushed_position();
                self.engine = Engine::with(self.disk.clone(), self.settings.clone(), few_tokens).unwrap();
                for (nth, mutations) in self.log.iter().enumerate().skip(flushed.0 as usize) {
                    self.engine.apply(Position(nth as u64 + 1), mutations).unwrap();
                }
            }
            Step::Read { spec, limit_rows, limit_bytes, scan_rows, now } => {
                self.read(&spec, now)?;
                let paged = ReadSpec { limit_rows, limit_bytes, scan_rows, ..spec };
                self.read_paged(&paged, now)?;
            }
        }
        Ok(())
    }

    /// One answer for all, both kinds.
    fn read(&self, spec: &ReadSpec, now: bool) -> Result<(), TestCaseError> {
        let (mut found, mut expected) = (patient(now, |p| self.engine.read(spec, p)), self.twin.read(spec));
        // What lies between live rows is counted by what there is to look at, and that differs.
        (found.scanned_rows, found.scanned_bytes) = (0, 0);
        (expected.scanned_rows, expected.scanned_bytes) = (0, 0);
        prop_assert_eq!(found, expected);
        let (found, expected) = (patient(now, |p| self.engine.read_raw(spec, p)), self.twin.read_raw(spec));
        prop_assert_eq!(found.mutations, expected.mutations);
        prop_assert_eq!(found.more, expected.more);
        Ok(())
    }

    fn read_paged(&self, spec: &ReadSpec, now: bool) -> Result<(), TestCaseError> {
        let whole =
            ReadSpec { limit_rows: usize::MAX, limit_bytes: usize::MAX, scan_rows: u64::MAX, ..spec.clone() };
        let pages = pages(spec, |spec| patient(now, |p| self.engine.read(spec, p)))?;
        prop_assert_eq!(joined(&pages), self.twin.read(&whole).partitions);
        // Without a bound on rows looked at, the pages are the same one by one.
        let exact = ReadSpec { scan_rows: u64::MAX, ..spec.clone() };
        let found = pages_of(&exact, |spec| patient(now, |p| self.engine.read(spec, p)))?;
        let expected = pages_of(&exact, |spec| self.twin.read(spec))?;
        prop_assert_eq!(found, expected);
        let mut next = Some(exact);
        while let Some(spec) = next.take() {
            let found = patient(now, |p| self.engine.read_raw(&spec, p));
            let expected = self.twin.read_raw(&spec);
            prop_assert_eq!(found.mutations, expected.mutations);
            prop_assert_eq!(&found.more, &expected.more);
            next = found.more.map(|more| ReadSpec { after: Some(more), ..spec });
        }
        // Raw pages merge to what one raw answer says.
        let (one, all) = (MemoryEngine::with(0, few_tokens), MemoryEngine::with(0, few_tokens));
        let mut next = Some(spec.clone());
        while let Some(spec) = next.take() {
            let found = patient(now, |p| self.engine.read_raw(&spec, p));
            found.mutations.iter().for_each(|mutation| one.apply(mutation));
            next = found.more.map(|more| ReadSpec { after: Some(more), ..spec });
        }
        self.twin.read_raw(&whole).mutations.iter().for_each(|mutation| all.apply(mutation));
        prop_assert_eq!(one.read_raw(&whole).mutations, all.read_raw(&whole).mutations);
        Ok(())
    }
}

/// Reads as a node does: first without waiting if it is tried, then with.
fn patient<T>(now: bool, read: impl Fn(Patience) -> Result<T, TreeError>) -> T {
    if now {
        match read(Patience::Now) {
            Err(TreeError::NotNow) => {}
            found => return found.unwrap(),
        }
    }
    read(Patience::Wait).unwrap()
}

fn pages(spec: &ReadSpec, read: impl Fn(&ReadSpec) -> Page) -> Result<Vec<Page>, TestCaseError> {
    let mut pages = Vec::new();
    let mut next = Some(spec.clone());
    while let Some(spec) = next.take() {
        let page = read(&spec);
        let rows: usize = page.partitions.iter().map(|partition| partition.rows.len()).sum();
        prop_assert!(rows <= spec.limit_rows.max(1));
        prop_assert!(page.scanned_rows <= spec.scan_rows.max(1));
        prop_assert!(pages.len() < 10_000, "the pages never end");
        next = page.more.clone().map(|more| ReadSpec { after: Some(more), ..spec });
        pages.push(page);
    }
    Ok(pages)
}

/// Pages without their counts.
fn pages_of(spec: &ReadSpec, read: impl Fn(&ReadSpec) -> Page) -> Result<Vec<Page>, TestCaseError> {
    let pages = pages(spec, read)?.into_iter();
    Ok(pages.map(|page| Page { scanned_rows: 0, scanned_bytes: 0, ..page }).collect())
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_its_twin_says(settings in settings(), steps in prop::collection::vec(step(), 1..40)) {
        let mut pair = Pair::new(settings);
        for step in steps {
            pair.run(step)?;
        }
    }
}
