//! What a tree says about its size, what filters save, and what it refuses.

use base::{Cell, Position};
use bytes::Bytes;
use world::Disk;

use super::{model::rules, program::finish_work};
use crate::tree::{Batch, Compression, Forest, Horizon, TreeError, TreeId, TreeSettings, encode_cell};

const TREE: TreeId = TreeId(1);

fn forest() -> Forest {
    let settings = TreeSettings { compression: Compression::None, ..TreeSettings::default() };
    Forest::open(Disk::in_memory(), settings, rules()).unwrap()
}

fn put(forest: &Forest, keys: impl IntoIterator<Item = String>) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(TREE, key, encode_cell(&Cell::live(1, Bytes::from(vec![7; 100]))));
    }
    let position = Position(forest.applied_position().0 + 1);
    forest.apply(position, batch).unwrap();
}

fn flush(forest: &Forest) {
    forest.freeze(forest.applied_position());
    finish_work(forest, None).unwrap();
}

#[test]
fn sizes_and_split_points() {
    let forest = forest();
    put(&forest, (0..10_000).map(|n| format!("{n:05}")));
    assert!(forest.figures(TREE).memtable_bytes > 1_000_000);
    forest.freeze(Position(1));
    assert_eq!(forest.debt().frozen_bytes, forest.figures(TREE).memtable_bytes);
    flush(&forest);
    assert_eq!((forest.debt().frozen_bytes, forest.figures(TREE).entries), (0, 10_000));
    let all = forest.approximate_bytes(TREE, b"", None).unwrap();
    let files = forest.figures(TREE).file_bytes;
    assert!(all > files * 8 / 10 && all <= files, "{all} of {files}");
    let tenth = forest.approximate_bytes(TREE, b"02000", Some(b"03000")).unwrap();
    assert!((all / 12..all / 8).contains(&tenth), "{tenth} of {all}");
    let middle = forest.split_key(TREE, b"", None).unwrap().unwrap();
    assert!((b"04900".as_slice()..b"05100".as_slice()).contains(&middle.as_ref()), "{middle:?}");
    assert_eq!(forest.split_key(TREE, b"02000", Some(b"02001")).unwrap(), None);
    assert_eq!(forest.approximate_bytes(TREE, b"b", Some(b"a")).unwrap(), 0);
}

#[test]
fn a_scan_of_a_prefix_reads_only_files_that_hold_it() {
    let forest = forest();
    for letters in [["a", "c"], ["a", "b"], ["b", "d"]] {
        put(&forest, letters.map(|letter| format!("{letter}1")));
        flush(&forest);
    }
    let read = |from: &str, to: &str| {
        let scan = forest.scan(TREE, from.to_owned(), Some(to.to_owned().into()), false).unwrap();
        (scan.files_read(), scan.count())
    };
    assert_eq!(forest.figures(TREE).files, 3);
    assert_eq!(read("a", "b"), (2, 1));
    assert_eq!(read("b", "c"), (2, 1), "the bounds of the first hold `b`, its filter does not");
    assert_eq!(read("d", "e"), (1, 1));
    assert_eq!(read("x", "y"), (0, 0));
    assert_eq!(read("a", "c"), (3, 2), "no prefix: bounds alone decide");
}

#[test]
fn more_files_than_may_be_open_are_read_all_the_same() {
    let disk = Disk::in_memory();
    let settings = TreeSettings { open_files: 3, cache_bytes: 0, tier_runs: 32, ..TreeSettings::default() };
    let forest = Forest::open(disk, settings, rules()).unwrap();
    for n in 0..7 {
        put(&forest, [format!("{n}")]);
        flush(&forest);
    }
    assert!(forest.figures(TREE).files > 3);
    for n in 0..7 {
        assert!(forest.get(TREE, format!("{n}").as_bytes()).unwrap().is_some());
        assert!(forest.inner.files.open_files() <= 3);
    }
    assert_eq!(forest.scan(TREE, "", None, true).unwrap().count(), 7);
    assert_eq!(forest.inner.files.open_files(), 3);
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_whole() {
    let forest = forest();
    let refused = |key: Vec<u8>, value: Bytes| {
        let mut batch = Batch::new();
        batch.put(TREE, "good", encode_cell(&Cell::tombstone(1)));
        batch.put(TREE, key, value);
        forest.apply(Position(1), batch).unwrap_err()
    };
    let cell = encode_cell(&Cell::tombstone(1));
    assert_eq!(refused(vec![1; 524_289], cell), TreeError::TooLarge { bytes: 524_289, limit: 524_288 });
    let huge = encode_cell(&Cell::live(1, Bytes::from(vec![0; 16 << 20])));
    assert!(matches!(refused(vec![1], huge), TreeError::TooLarge { .. }));
    assert!(matches!(refused(vec![1], Bytes::from_static(b"no cell")), TreeError::Value(_)));
    assert_eq!(forest.get(TREE, b"good").unwrap(), None);
    assert_eq!(forest.applied_position(), Position(0));
}

#[test]
fn a_dropped_tree_frees_its_room_and_stays_dropped() {
    let disk = Disk::in_memory();
    let forest = Forest::open(disk.clone(), TreeSettings::default(), rules()).unwrap();
    put(&forest, ["a".to_owned()]);
    flush(&forest);
    let scan = forest.scan(TREE, "", None, false).unwrap();
    forest.drop_tree(TREE).unwrap();
    assert_eq!(disk.list("tree").unwrap(), ["00000001.tree", "MANIFEST"], "a reader has it still");
    assert_eq!(scan.count(), 1);
    finish_work(&forest, None).unwrap();
    assert_eq!(disk.list("tree").unwrap(), ["MANIFEST"]);
    put(&forest, ["late".to_owned()]);
    let forest = Forest::open(disk, TreeSettings::default(), rules()).unwrap();
    put(&forest, ["later".to_owned()]);
    assert_eq!((forest.get(TREE, b"later").unwrap(), forest.trees()), (None, vec![]));
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |change: fn(&mut TreeSettings)| {
        let mut settings = TreeSettings::default();
        change(&mut settings);
        let opened = Forest::open(Disk::in_memory(), settings, rules());
        assert!(matches!(opened, Err(TreeError::Settings(_))), "{opened:?}");
    };
    refused(|settings| settings.block_bytes = 63);
    refused(|settings| settings.memtable_bytes = 255);
    refused(|settings| settings.file_bytes = 4095);
    refused(|settings| settings.tier_runs = 1);
    refused(|settings| settings.open_files = 0);
    refused(|settings| settings.compression = Compression::Zstd { level: 20 });
    refused(|settings| settings.level_bytes = 0);
    refused(|settings| settings.level_factor = 1);
}

#[test]
fn what_drags_nothing_along_is_moved_and_not_rewritten() {
    let settings = TreeSettings {
        memtable_bytes: 4 << 10,
        memtables_bytes: 8 << 10,
        file_bytes: 4 << 10,
        level_bytes: 8 << 10,
        compression: Compression::None,
        ..TreeSettings::default()
    };
    let forest = Forest::open(Disk::in_memory(), settings, rules()).unwrap();
    // In order, so no two files overlap.
    for n in 0..400 {
        put(&forest, [format!("{n:05}")]);
        finish_work(&forest, None).unwrap();
    }
    flush(&forest);
    let figures = forest.figures(TREE);
    assert_eq!((figures.entries, forest.scan(TREE, "", None, false).unwrap().count()), (400, 400));
    // Level 0 becomes files of level 1 once; what goes on from there is not written again.
    assert!(figures.compacted_bytes <= figures.flushed_bytes * 5 / 4, "{figures:?}");
    let levels = forest.levels(TREE);
    assert!(levels.len() > 2 && levels.iter().map(|level| level.files).sum::<usize>() == figures.files);
    assert_eq!(levels.iter().map(|level| level.bytes).sum::<u64>(), figures.file_bytes);
}

#[test]
fn a_dropped_tree_may_be_forgotten() {
    let disk = Disk::in_memory();
    let forest = Forest::open(disk.clone(), TreeSettings::default(), rules()).unwrap();
    put(&forest, ["a".to_owned()]);
    forest.drop_tree(TREE).unwrap();
    assert_eq!(forest.dropped(), [TREE]);
    forest.forget_dropped(TREE).unwrap();
    let forest = Forest::open(disk, TreeSettings::default(), rules()).unwrap();
    assert_eq!(forest.dropped(), []);
}

/// Writes 100 keys in one file, made by `cell` of the number of the key.
fn put_file(forest: &Forest, keys: std::ops::Range<u64>, cell: impl Fn(u64) -> Cell) {
    let mut batch = Batch::new();
    for n in keys {
        batch.put(TREE, format!("{n:05}"), encode_cell(&cell(n)));
    }
    forest.apply(Position(forest.applied_position().0 + 1), batch).unwrap();
    forest.freeze_tree(TREE);
}

fn expiring(timestamp: i64, expires_at_seconds: u32) -> Cell {
    let mut cell = Cell::live(timestamp, Bytes::from_static(b"value"));
    (cell.ttl_seconds, cell.expires_at_seconds) = (10, expires_at_seconds);
    cell
}

#[test]
fn a_file_in_which_all_has_expired_goes_unread() {
    let (disk, sim) = Disk::simulated(1);
    let settings = TreeSettings { cache_bytes: 0, ..TreeSettings::default() };
    let forest = Forest::open(disk, settings, rules()).unwrap();
    put_file(&forest, 0..100, |n| expiring(50, 1_000 + n as u32));
    finish_work(&forest, None).unwrap();
    put_file(&forest, 200..300, |_| expiring(50, 2_000));
    finish_work(&forest, None).unwrap();
    sim.inject(r#"fail every read on "tree/*.tree""#.parse().unwrap());
    let files_at = |before: i64, now_seconds: u32| {
        finish_work(&forest, Some(Horizon { before, now_seconds })).unwrap();
        forest.figures(TREE).files
    };
    assert_eq!(files_at(100, 1_098), 2, "one cell is alive");
    assert_eq!(files_at(50, 1_110), 2, "nothing as old as that may be forgotten");
    assert_eq!(files_at(100, 1_120), 1);
    let snapshot = forest.snapshot();
    assert_eq!(files_at(100, 2_000), 1, "a snapshot is held");
    drop(snapshot);
    assert_eq!(files_at(100, 2_010), 0);
}

#[test]
fn a_file_stays_while_it_hides_something() {
    let forest = forest();
    put_file(&forest, 0..100, |_| Cell::live(40, Bytes::from_static(b"older")));
    finish_work(&forest, None).unwrap();
    put_file(&forest, 0..100, |_| expiring(50, 1_000));
    let horizon = Horizon { before: 100, now_seconds: 5_000 };
    finish_work(&forest, Some(horizon)).unwrap();
    assert_eq!(forest.figures(TREE).files, 2);
    let value = forest.get(TREE, b"00007").unwrap().unwrap();
    assert_eq!(crate::tree::decode_cell(&value), Ok(expiring(50, 1_000)));
    forest.compact(TREE);
    finish_work(&forest, Some(horizon)).unwrap();
    assert_eq!(forest.figures(TREE).files, 0);
}

#[test]
fn a_file_of_tombstones_is_rewritten_when_they_hide_nothing() {
    let forest = forest();
    put_file(&forest, 0..100, |_| Cell::live(40, Bytes::from_static(b"older")));
    put_file(&forest, 0..60, |_| Cell::tombstone(50));
    forest.compact(TREE);
    finish_work(&forest, None).unwrap();
    assert_eq!(forest.figures(TREE).entries, 100, "without a horizon all stay");
    let horizon = |now_seconds| Some(Horizon { before: 100, now_seconds });
    // An old value in memory may still be hidden by them.
    put_file(&forest, 300..301, |_| Cell::live(30, Bytes::from_static(b"late")));
    finish_work(&forest, None).unwrap();
    finish_work(&forest, horizon(10)).unwrap();
    assert_eq!(forest.figures(TREE).entries, 41, "the late one is in a file that does not overlap");
    assert_eq!(forest.scan(TREE, "", None, false).unwrap().count(), 41);
}
