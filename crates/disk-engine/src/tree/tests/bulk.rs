//! Checkpoints, sorted ingest and staged trees.

use base::{Cell, Position};
use bytes::Bytes;
use world::{Disk, DiskError};

use super::{model::rules, program::finish_work};
use crate::tree::{Batch, Compression, Forest, TreeError, TreeId, TreeSettings, decode_cell, encode_cell};

const TREE: TreeId = TreeId(1);

fn settings() -> TreeSettings {
    TreeSettings { file_bytes: 4 << 10, compression: Compression::None, ..TreeSettings::default() }
}

fn open(disk: &Disk) -> Forest {
    Forest::open(disk.clone(), settings(), rules()).unwrap()
}

fn cell(timestamp: i64) -> Bytes {
    encode_cell(&Cell::live(timestamp, Bytes::from(vec![7; 60])))
}

fn put(forest: &Forest, position: u64, key: &str) {
    let mut batch = Batch::new();
    batch.put(TREE, key.to_owned(), cell(position as i64));
    forest.apply(Position(position), batch).unwrap();
}

fn keys(range: std::ops::Range<u64>, timestamp: i64) -> impl Iterator<Item = (Bytes, Bytes)> {
    range.map(move |n| (Bytes::from(format!("{n:05}")), cell(timestamp)))
}

fn timestamp(forest: &Forest, key: &str) -> i64 {
    decode_cell(&forest.get(TREE, key.as_bytes()).unwrap().unwrap()).unwrap().timestamp
}

/// The folder of a checkpoint as the forest of a disk of its own.
pub(super) fn disk_of_checkpoint(disk: &Disk, name: &str) -> Disk {
    let (copy, folder) = (Disk::in_memory(), format!("checkpoint-{name}"));
    copy.make_folder("tree").unwrap();
    for file in disk.list(&folder).unwrap() {
        let bytes = disk.read(&format!("{folder}/{file}"), 1 << 30).unwrap();
        copy.replace(&format!("tree/{file}"), &bytes).unwrap();
    }
    copy
}

#[test]
fn a_checkpoint_stays_what_it_was() {
    let disk = Disk::in_memory();
    let forest = open(&disk);
    put(&forest, 1, "a");
    forest.freeze(Position(1));
    finish_work(&forest, None).unwrap();
    put(&forest, 2, "in memory only");
    forest.checkpoint("one").unwrap();
    assert!(matches!(forest.checkpoint("one"), Err(TreeError::Disk(DiskError::Exists { .. }))));
    forest.drop_tree(TREE).unwrap();
    assert_eq!(disk.list("tree").unwrap(), ["MANIFEST"]);

    let copy = open(&disk_of_checkpoint(&disk, "one"));
    assert_eq!((copy.flushed_position(), copy.verify()), (Position(1), vec![]));
    assert_eq!(timestamp(&copy, "a"), 1);
    assert_eq!(copy.get(TREE, b"in memory only").unwrap(), None);

    forest.remove_checkpoint("one").unwrap();
    assert_eq!(disk.list("checkpoint-one").unwrap(), [""; 0]);
    forest.checkpoint("one").unwrap();
    assert_eq!(open(&disk_of_checkpoint(&disk, "one")).trees(), []);
}

#[test]
fn a_checkpoint_that_did_not_end_is_begun_anew() {
    let (disk, sim) = Disk::simulated(1);
    let forest = open(&disk);
    forest.ingest(TREE, Position(1), keys(0..200, 1)).unwrap();
    sim.inject("fail nth(3) link".parse().unwrap());
    assert!(matches!(forest.checkpoint("one"), Err(TreeError::Disk(_))));
    assert!(!disk.list("checkpoint-one").unwrap().is_empty());
    forest.checkpoint("one").unwrap();
    assert_eq!(open(&disk_of_checkpoint(&disk, "one")).scan(TREE, "", None, false).unwrap().count(), 200);
    disk.remove("tree/00000001.tree").unwrap();
    assert!(matches!(forest.checkpoint("two"), Err(TreeError::Damaged(_))));
}

#[test]
fn what_is_ingested_lies_above_what_was_and_below_what_comes() {
    let disk = Disk::in_memory();
    let forest = open(&disk);
    put(&forest, 1, "00010");
    put(&forest, 2, "00500");
    forest.ingest(TREE, Position(3), keys(0..400, 2)).unwrap();
    put(&forest, 4, "00011");
    let look = |forest: &Forest| ["00010", "00011", "00012", "00500"].map(|key| timestamp(forest, key));
    assert_eq!(look(&forest), [2, 4, 2, 2]);
    let figures = forest.figures(TREE);
    assert!(figures.files > 4 && figures.runs == 2, "{figures:?}");
    // The log need not have it: all but the last put is in files.
    assert_eq!((forest.flushed_position(), forest.applied(TREE)), (Position(3), Position(4)));
    drop(forest);
    let forest = open(&disk);
    for (position, key) in [(1, "00010"), (2, "00500"), (4, "00011")] {
        put(&forest, position, key);
    }
    assert_eq!((look(&forest), forest.verify()), ([2, 4, 2, 2], vec![]));
    forest.freeze(Position(4));
    forest.compact(TREE);
    finish_work(&forest, None).unwrap();
    assert_eq!((look(&forest), forest.figures(TREE).entries), ([2, 4, 2, 2], 401));
}

#[test]
fn an_ingest_that_fails_leaves_nothing() {
    let (disk, sim) = Disk::simulated(1);
    let forest = open(&disk);
    put(&forest, 1, "00010");
    forest.freeze(Position(1));
    finish_work(&forest, None).unwrap();
    let files = disk.list("tree").unwrap();
    let refused = |position: u64, entries: Vec<(Bytes, Bytes)>| {
        let error = forest.ingest(TREE, Position(position), entries).unwrap_err();
        assert_eq!(disk.list("tree").unwrap(), files, "{error}");
        assert_eq!(forest.scan(TREE, "", None, false).unwrap().count(), 1, "{error}");
        error
    };
    let mut twice: Vec<_> = keys(0..100, 5).collect();
    twice.push(twice[99].clone());
    assert!(matches!(refused(2, twice), TreeError::Value(_)));
    assert!(matches!(refused(2, keys(0..100, 5).collect()), TreeError::Value(_)), "an old position");
    let mut bad: Vec<_> = keys(0..100, 5).collect();
    bad[99].1 = Bytes::from_static(b"no cell");
    assert!(matches!(refused(3, bad), TreeError::Value(_)));
    sim.inject(r#"full nth(2) create on "tree/*.tree""#.parse().unwrap());
    assert_eq!(refused(4, keys(0..100, 5).collect()), TreeError::Full);
    forest.ingest(TREE, Position(5), keys(0..100, 5)).unwrap();
    assert_eq!((timestamp(&forest, "00010"), forest.verify()), (5, vec![]));
    forest.drop_tree(TREE).unwrap();
    forest.ingest(TREE, Position(6), keys(0..100, 5)).unwrap();
    assert_eq!(forest.trees(), [], "void, as all changes of a dropped tree");
}

/// Values of all keys of a tree.
fn count(forest: &Forest, tree: TreeId) -> usize {
    forest.scan(tree, "", None, false).unwrap().map(Result::unwrap).count()
}

const STAGED: TreeId = TreeId(2);

#[test]
fn a_staged_tree_is_there_at_once_and_whole() {
    let disk = Disk::in_memory();
    let forest = open(&disk);
    let mut stage = forest.stage(STAGED);
    // What others do meanwhile has nothing to do with it.
    for part in 0..4 {
        stage.add(keys(part * 100..(part + 1) * 100, 5)).unwrap();
        put(&forest, part + 1, "other");
        forest.freeze(Position(part + 1));
        finish_work(&forest, None).unwrap();
        assert_eq!((forest.trees(), count(&forest, STAGED)), (vec![TREE], 0));
    }
    let before = forest.snapshot();
    stage.install().unwrap();
    assert_eq!((count(&forest, STAGED), forest.applied(STAGED)), (400, Position(0)));
    // It is as durable as any, and no position of the log is behind it.
    drop(before);
    drop(forest);
    let forest = open(&disk);
    assert_eq!((count(&forest, STAGED), forest.verify()), (400, vec![]));
    let figures = forest.figures(STAGED);
    assert!(figures.files > 4 && figures.runs == 1, "{figures:?}");
    let mut batch = Batch::new();
    batch.put(STAGED, "00007", cell(9));
    forest.apply(Position(1), batch).unwrap();
    let value = forest.get(STAGED, b"00007").unwrap().unwrap();
    assert_eq!(decode_cell(&value).unwrap().timestamp, 9);
}

#[test]
fn a_stage_that_does_not_end_well_leaves_nothing() {
    let (disk, sim) = Disk::simulated(1);
    let forest = open(&disk);
    let nothing = |why: &str| {
        assert_eq!(
            (disk.list("tree").unwrap(), forest.trees()),
            (vec!["MANIFEST".to_owned()], vec![]),
            "{why}"
        );
    };
    let mut stage = forest.stage(STAGED);
    stage.add(keys(0..200, 5)).unwrap();
    assert!(disk.list("tree").unwrap().len() > 2);
    drop(stage);
    nothing("given up");
    let mut stage = forest.stage(STAGED);
    stage.add(keys(0..200, 5)).unwrap();
    assert!(matches!(stage.add(keys(199..200, 5)), Err(TreeError::Value(_))));
    drop(stage);
    nothing("keys that do not ascend");
    let mut stage = forest.stage(STAGED);
    stage.add(keys(0..200, 5)).unwrap();
    sim.inject("full nth(1) create on \"tree/MANIFEST*\"".parse().unwrap());
    assert_eq!(stage.install(), Err(TreeError::Full));
    sim.relent();
    nothing("no room for a manifest");
    let mut stage = forest.stage(STAGED);
    stage.add(keys(0..200, 5)).unwrap();
    stage.install().unwrap();
    let mut second = forest.stage(STAGED);
    second.add(keys(0..100, 6)).unwrap();
    assert!(matches!(second.install(), Err(TreeError::Value(_))), "there is such a tree");
    assert_eq!((count(&forest, STAGED), forest.verify()), (200, vec![]));
    forest.drop_tree(STAGED).unwrap();
    assert!(matches!(forest.stage(STAGED).install(), Err(TreeError::Value(_))), "there was such a tree");
    nothing("dropped");
    forest.forget_dropped(STAGED).unwrap();
    forest.stage(STAGED).install().unwrap();
    assert_eq!(forest.trees(), [STAGED]);
}
