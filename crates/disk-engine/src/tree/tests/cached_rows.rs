//! Rows in the row cache: a write and a deletion reach them, whichever comes first.

use base::{Cell, Position};
use bytes::Bytes;
use world::Disk;

use super::model::{LIST, rules};
use crate::tree::{Batch, Forest, TreeId, TreeSettings, encode_cell, filter, row_cache::Wanted};

const TREE: TreeId = TreeId(1);
const KEY: &[u8] = b"key";

fn forest() -> Forest {
    Forest::open(Disk::in_memory(), TreeSettings::default(), rules()).unwrap()
}

fn apply(forest: &Forest, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    change(&mut batch);
    forest.apply(Position(forest.applied_position().0 + 1), batch).unwrap();
}

/// What the row cache alone says.
fn cached(forest: &Forest, tree: TreeId) -> Option<Bytes> {
    let (files, sequence) = (&forest.inner.files, forest.inner.moments.visible());
    let wanted = Wanted { tree, key: KEY, hash: filter::hash(KEY) };
    files.rows.get(&files.cache, &wanted, sequence, 0)
}

/// A value is found, found again and kept.
fn read_until_cached(forest: &Forest, tree: TreeId) {
    assert_eq!(cached(forest, tree), None);
    let found = [forest.get(tree, KEY).unwrap(), forest.get(tree, KEY).unwrap()];
    assert!(found[0].is_some() && found[0] == found[1] && cached(forest, tree) == found[0]);
}

fn cell(timestamp: i64) -> Bytes {
    encode_cell(&Cell::live(timestamp, Bytes::from_static(b"v")))
}

#[test]
fn a_row_stays_when_it_is_written() {
    let forest = forest();
    apply(&forest, |batch| batch.put(TREE, KEY, cell(10)));
    read_until_cached(&forest, TREE);
    let before = forest.snapshot();
    apply(&forest, |batch| batch.put(TREE, KEY, cell(20)));
    apply(&forest, |batch| batch.put(TREE, KEY, cell(15)));
    assert_eq!(cached(&forest, TREE), Some(cell(20)));
    assert_eq!(forest.get(TREE, KEY).unwrap(), Some(cell(20)));
    assert_eq!(before.get(TREE, KEY).unwrap(), Some(cell(10)), "a reader of the past looks for himself");
    assert_eq!(cached(&forest, TREE), Some(cell(20)), "and does not put back what he has found");
}

#[test]
fn a_write_and_the_deletion_of_a_range_in_one_batch() {
    for deletes_first in [true, false] {
        let forest = forest();
        apply(&forest, |batch| batch.put(TREE, KEY, cell(10)));
        read_until_cached(&forest, TREE);
        apply(&forest, |batch| {
            if deletes_first {
                batch.delete_range(TREE, "", None, 30);
            }
            batch.put(TREE, KEY, cell(20));
            if !deletes_first {
                batch.delete_range(TREE, "", None, 30);
            }
        });
        assert_eq!(forest.get(TREE, KEY).unwrap(), None);
    }
}

#[test]
fn a_write_that_comes_behind_the_deletion_that_covers_it() {
    let forest = forest();
    apply(&forest, |batch| batch.put(LIST, KEY, vec![40, 1]));
    apply(&forest, |batch| batch.delete_range(LIST, "", None, 30));
    read_until_cached(&forest, LIST);
    apply(&forest, |batch| batch.put(LIST, KEY, vec![20, 2]));
    apply(&forest, |batch| batch.put(LIST, KEY, vec![50, 3]));
    let seen = Some(Bytes::from_static(&[40, 1, 50, 3]));
    assert_eq!((cached(&forest, LIST), forest.get(LIST, KEY).unwrap()), (seen.clone(), seen));
}
