//! Real files and real threads: one applies, one works, two read.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use base::{Cell, Position};
use bytes::Bytes;
use world::{Disk, Entropy, task::spawn_thread};

use super::{
    model::rules,
    program::{finish_work, tiny},
};
use crate::tree::{
    Batch, Forest, Horizon, Patience, TreeError, TreeId, TreeSettings, decode_cell, encode_cell,
};

const TREES: [TreeId; 2] = [TreeId(1), TreeId(2)];
const KEYS: [&str; 4] = ["a", "aa", "b", "c"];
const BATCHES: u64 = 3_000;

/// A directory that is removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    fn new() -> (Scratch, Disk) {
        let name = format!("tree-{}-{:x}", std::process::id(), Entropy::real().u64());
        let scratch = Scratch(std::env::temp_dir().join(name));
        let disk = Disk::real(&scratch.0).unwrap();
        (scratch, disk)
    }
}

/// Batch `n` writes `n` everywhere, and every tenth deletes all before it.
fn batch(n: u64) -> Batch {
    let mut batch = Batch::new();
    for tree in TREES {
        if n.is_multiple_of(10) {
            batch.delete_range(tree, "", None, n as i64 - 1);
        }
        for key in KEYS {
            batch.put(tree, key, encode_cell(&Cell::live(n as i64, Bytes::from(vec![n as u8; 20]))));
        }
    }
    batch
}

fn timestamp(value: &Bytes) -> u64 {
    decode_cell(value).unwrap().timestamp as u64
}

/// A snapshot of batch `n` says `n` everywhere.
fn read_one_moment(forest: &Forest) {
    let snapshot = forest.snapshot();
    let at = snapshot.sequence();
    for (nth, tree) in TREES.into_iter().enumerate() {
        let scan = snapshot.scan(tree, "", None, nth == 0).unwrap();
        let seen: Vec<u64> = scan.map(|row| timestamp(&row.unwrap().1)).collect();
        assert_eq!(seen, vec![at; if at == 0 { 0 } else { KEYS.len() }]);
        let value = snapshot.get(tree, b"aa").unwrap();
        assert_eq!(value.as_ref().map_or(0, timestamp), at);
    }
    drop(snapshot);
    // Nor does a reader without a snapshot see two moments, though memtables fold what they hold.
    let scan = forest.scan(TREES[0], "", None, at.is_multiple_of(2)).unwrap();
    let seen: Vec<u64> = scan.map(|row| timestamp(&row.unwrap().1)).collect();
    assert!(seen.iter().all(|other| *other == seen[0]) && (seen.len() == KEYS.len() || at == 0), "{seen:?}");
    let newest = forest.get(TREES[0], b"b").unwrap().as_ref().map_or(0, timestamp);
    assert!(newest >= at, "what was seen is gone");
}

#[test]
fn readers_see_whole_batches_while_files_come_and_go() {
    let (_scratch, disk) = Scratch::new();
    let settings =
        TreeSettings { memtable_bytes: 1_600, memtables_bytes: 3_000, ..tiny(&Entropy::seeded(1)) };
    let forest = Forest::open(disk.clone(), settings.clone(), rules()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let until_done = |name: &str, turn: fn(&Forest)| {
        let (forest, done) = (forest.clone(), done.clone());
        let run = move || {
            while !done.load(SeqCst) {
                turn(&forest);
            }
        };
        spawn_thread(name, run).unwrap()
    };
    let readers = [until_done("reader", read_one_moment), until_done("reader", read_one_moment)];
    let worker = until_done("worker", |forest| {
        let horizon = Horizon { before: i64::MIN, now_seconds: 0 };
        forest.work(2_000, &|_| Some(horizon)).unwrap();
    });
    for n in 1..=BATCHES {
        forest.apply(Position(n), batch(n)).unwrap();
    }
    done.store(true, SeqCst);
    for thread in readers.into_iter().chain([worker]) {
        thread.join().unwrap();
    }
    forest.freeze(Position(BATCHES));
    finish_work(&forest, None).unwrap();
    assert_eq!(forest.verify(), []);
    let files: usize = TREES.iter().map(|tree| forest.figures(*tree).files).sum();
    drop(forest);
    let forest = Forest::open(disk.clone(), settings, rules()).unwrap();
    assert_eq!(forest.flushed_position(), Position(BATCHES));
    let left = disk.list("tree").unwrap();
    assert!(files > 0 && left.len() == files + 1, "old files are removed: {files} of {left:?}");
    read_one_moment(&forest);
}

#[test]
fn a_read_that_must_not_wait_opens_no_file_and_finds_what_is_cached() {
    let (_scratch, disk) = Scratch::new();
    let open = || Forest::open(disk.clone(), TreeSettings::default(), rules()).unwrap();
    let forest = open();
    forest.apply(Position(1), batch(1)).unwrap();
    assert!(forest.get_with(TREES[0], b"a", Patience::Now).unwrap().is_some(), "it is in memory");
    forest.freeze(Position(1));
    finish_work(&forest, None).unwrap();
    drop(forest);
    let forest = open();
    let scan = |patience| {
        let scan = forest.scan_with(TREES[0], "", None, false, patience)?;
        scan.collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(forest.get_with(TREES[0], b"a", Patience::Now), Err(TreeError::NotNow));
    assert_eq!(scan(Patience::Now), Err(TreeError::NotNow));
    let rows = scan(Patience::Wait).unwrap();
    assert_eq!(rows.len(), KEYS.len());
    assert_eq!(scan(Patience::Now).unwrap(), rows);
    // The page of the filter was not read yet.
    let value = forest.get(TREES[0], b"a").unwrap();
    assert!(value.is_some());
    assert_eq!(forest.get_with(TREES[0], b"a", Patience::Now).unwrap(), value);
}
