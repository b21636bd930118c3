//! What memtables take: as much as they say, and no more for a key that is written for ever.

use base::{Cell, Position};
use bytes::Bytes;
use world::Disk;

use super::model::rules;
use crate::{
    tests::weights::held_bytes,
    tree::{Batch, Forest, TreeId, TreeSettings, decode_cell, encode_cell},
};

const TREE: TreeId = TreeId(1);

fn forest() -> Forest {
    Forest::open(Disk::in_memory(), TreeSettings::default(), rules()).unwrap()
}

fn apply(forest: &Forest, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    fill(&mut batch);
    forest.apply(Position(forest.applied_position().0 + 1), batch).unwrap();
}

/// Fills a tree and compares what it says with what the allocator says.
fn check(name: &str, changes: impl Iterator<Item = (Bytes, Option<usize>)>) {
    let forest = forest();
    apply(&forest, |batch| batch.put(TREE, "", encode_cell(&Cell::tombstone(0))));
    let before = (held_bytes(), forest.figures(TREE).memtable_bytes as isize);
    for (nth, (key, bytes)) in changes.enumerate() {
        let timestamp = nth as i64;
        apply(&forest, |batch| match bytes {
            Some(bytes) => {
                batch.put(TREE, key, encode_cell(&Cell::live(timestamp, Bytes::from(vec![7; bytes]))));
            }
            None => {
                let to = Bytes::from([&key[..], b"x"].concat());
                batch.delete_range(TREE, key, Some(to), timestamp);
            }
        });
    }
    let held = (held_bytes() - before.0) as f64;
    let says = (forest.figures(TREE).memtable_bytes as isize - before.1) as f64;
    assert_eq!(forest.debt().memtable_bytes, forest.figures(TREE).memtable_bytes);
    drop(forest);
    println!("{name}: holds {held}, says {:.2} of it", says / held);
    assert!((0.8..1.2).contains(&(says / held)), "{name}: says {:.2} of what it holds", says / held);
}

/// Like the key of a row: a token that spreads, and some more.
fn key(n: u64) -> Bytes {
    let token = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    Bytes::from([&token[..], format!("partition {n:06}").as_bytes()].concat())
}

#[test]
fn a_memtable_says_what_it_takes() {
    check("values of 8 bytes", (0..30_000).map(|n| (key(n), Some(8))));
    check("values of 100 bytes", (0..30_000).map(|n| (key(n), Some(100))));
    check("values of 1 KB", (0..10_000).map(|n| (key(n), Some(1000))));
    let ordered = |n: u64| Bytes::from(n.to_be_bytes().to_vec());
    check("keys in order", (0..30_000).map(|n| (ordered(n), Some(100))));
    check("keys written three times", (0..30_000).map(|n| (key(n % 10_000), Some(100))));
    check("deletions of ranges", (0..10_000).map(|n| (key(n), None)));
}

#[test]
fn a_key_that_is_written_for_ever_takes_little() {
    let forest = forest();
    let mut snapshot = None;
    for n in 0..20_000 {
        apply(&forest, |batch| {
            let range = n % 2 == 0;
            if range {
                batch.delete_range(TREE, "a", Some("b".into()), n - 10);
            }
            batch.put(TREE, "hot", encode_cell(&Cell::live(n, Bytes::from(vec![7; 100]))));
        });
        if n == 10_000 {
            snapshot = Some(forest.snapshot());
        }
    }
    let bytes = forest.figures(TREE).memtable_bytes;
    assert!(bytes < 10_000, "{bytes}");
    let timestamp = |value: Option<Bytes>| decode_cell(&value.unwrap()).unwrap().timestamp;
    assert_eq!(timestamp(snapshot.unwrap().get(TREE, b"hot").unwrap()), 10_000);
    assert_eq!(timestamp(forest.get(TREE, b"hot").unwrap()), 19_999);
}

#[test]
fn the_largest_memtable_is_frozen_when_all_are_too_much() {
    let settings = TreeSettings { memtable_bytes: 8_000, memtables_bytes: 10_000, ..TreeSettings::default() };
    let forest = Forest::open(Disk::in_memory(), settings, rules()).unwrap();
    for n in 0..200u64 {
        // The second tree gets twice as much as the others.
        let trees = [1, 2, 2, 4];
        apply(&forest, |batch| {
            let cell = encode_cell(&Cell::live(1, Bytes::from(vec![7; 100])));
            batch.put(TreeId(trees[(n % 4) as usize]), key(n), cell);
        });
        let debt = forest.debt();
        assert!(debt.memtable_bytes - debt.frozen_bytes <= 10_000, "{debt:?}");
        if debt.frozen_bytes > 0 {
            assert!(forest.figures(TreeId(2)).frozen == 1 && forest.figures(TreeId(1)).frozen == 0);
            return;
        }
    }
    panic!("none was frozen");
}
