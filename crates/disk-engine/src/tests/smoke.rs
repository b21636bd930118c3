//! Readers beside the applier: no page is torn.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use base::{Cell, Change, ColumnId, Mutation, Page, Position, Selection, TableId, Token};
use bytes::Bytes;
use world::Disk;

use super::subject::tiny;
use crate::{
    Engine, MemoryEngine, ReadSpec,
    tree::{Patience, TreeError},
};

const TABLE: TableId = TableId(1);
const PARTITIONS: u64 = 50;

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&(number % PARTITIONS).to_be_bytes())
}

/// Writes the number into two rows of a partition.
fn mutation(number: u64) -> Mutation {
    let row = |clustering: &'static [u8]| Change::Row {
        clustering: Bytes::from_static(clustering),
        cells: vec![(ColumnId(1), Cell::live(number as i64, number.to_be_bytes().to_vec().into()))],
    };
    Mutation { table: TABLE, key: key(number), changes: vec![row(b"a"), row(b"b")] }
}

/// The numbers in a page, one for each partition: whoever reads one sees it in both rows.
fn numbers(page: &Page) -> Vec<u64> {
    let number = |rows: &[base::Row]| {
        let values: Vec<_> = rows.iter().map(|row| row.cells[0].1.value.clone().unwrap()).collect();
        assert_eq!(values.len(), 2);
        assert_eq!(values[0], values[1]);
        u64::from_be_bytes(values[0][..].try_into().unwrap())
    };
    page.partitions.iter().map(|partition| number(&partition.rows)).collect()
}

fn check(
    mutations: u64,
    apply: impl Fn(&Mutation, u64),
    read: impl Fn(&ReadSpec) -> Page + Sync,
    one_moment: bool,
) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (read, stop) = (&read, &stop);
            scope.spawn(move || {
                let mut pages = 0u64;
                while !stop.load(Ordering::Relaxed) || pages < 100 {
                    let mut spec = ReadSpec::partition(TABLE, key(pages), 0);
                    if reader == 0 {
                        spec.selection = Selection::Tokens { first: Token::MIN, last: Token::MAX };
                    }
                    let numbers = numbers(&read(&spec));
                    // The last write of each partition before the latest that is seen at all.
                    let latest = numbers.iter().max().copied().unwrap_or(0);
                    if one_moment {
                        assert!(numbers.iter().all(|number| number + PARTITIONS > latest), "{numbers:?}");
                    }
                    pages += 1;
                }
            });
        }
        (0..mutations).for_each(|number| apply(&mutation(number), number));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_reader_of_memory_sees_a_mutation_whole() {
    let engine = MemoryEngine::new();
    check(20_000, |mutation, _| engine.apply(mutation), |spec| engine.read(spec), false);
    let stats = engine.table_stats(TABLE);
    assert_eq!((stats.partitions, stats.rows), (PARTITIONS, 2 * PARTITIONS));
    assert_eq!(engine.weight_bytes(), stats.weight_bytes);
}

/// Flushes and compactions go on beside it; and the partitions of a page are of one moment.
#[test]
fn a_reader_of_trees_sees_a_mutation_whole() {
    let engine = Engine::open(Disk::in_memory(), tiny()).unwrap();
    let apply = |mutation: &Mutation, number: u64| {
        engine.apply(Position(number + 1), std::slice::from_ref(mutation)).unwrap();
        engine.forest().work(2000, &|_| None).unwrap();
    };
    let read = |spec: &ReadSpec| match engine.read(spec, Patience::Now) {
        Err(TreeError::NotNow) => engine.read(spec, Patience::Wait).unwrap(),
        page => page.unwrap(),
    };
    check(3_000, apply, read, true);
    let everything = Selection::Tokens { first: Token::MIN, last: Token::MAX };
    let spec = ReadSpec { selection: everything, ..ReadSpec::partition(TABLE, Bytes::new(), 0) };
    let mut last = numbers(&engine.read(&spec, Patience::Wait).unwrap());
    last.sort_unstable();
    assert_eq!(last, (3_000 - PARTITIONS..3_000).collect::<Vec<_>>());
    assert!(engine.forest().figures(Engine::tree_of(TABLE)).files > 0);
}
