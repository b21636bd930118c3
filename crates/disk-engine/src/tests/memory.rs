//! What only the engine in memory promises: what a deletion shadows is freed at once.

use base::{Cell, Change, ColumnId, Mutation};
use bytes::Bytes;

use super::{any::TABLE, subject::memory};

/// Deleting the same again, or within what is deleted already, takes no room.
#[test]
fn repeated_deletes_do_not_grow() {
    let engine = memory();
    let delete = |from: u8, to: Option<u8>, timestamp| {
        let bytes = |at: u8| Bytes::copy_from_slice(&[at]);
        let change = Change::DeleteRows { from: bytes(from), to: to.map(bytes), timestamp };
        engine.apply(&Mutation { table: TABLE, key: bytes(1), changes: vec![change] });
        engine.weight_bytes()
    };
    let first = delete(10, Some(20), 5);
    for timestamp in 0..1000 {
        assert_eq!(delete(10, Some(20), timestamp), first);
    }
    for from in 10..20 {
        assert_eq!(delete(from, Some(20), 5), first);
    }
    assert!(delete(0, None, 2000) <= first, "one range over all replaces what is in it");
}

/// What a deletion shadows is freed at once.
#[test]
fn deletes_free_what_they_shadow() {
    let engine = memory();
    let put = |row: u8, timestamp| {
        let cells = vec![(ColumnId(1), Cell::live(timestamp, vec![7; 1000].into()))];
        let change = Change::Row { clustering: Bytes::copy_from_slice(&[row]), cells };
        engine.apply(&Mutation { table: TABLE, key: Bytes::from_static(b"k"), changes: vec![change] });
    };
    (0..100).for_each(|row| put(row, 5));
    assert_eq!(engine.table_stats(TABLE).rows, 100);
    assert!(engine.weight_bytes() > 100_000);
    let changes = vec![Change::DeletePartition { timestamp: 5 }];
    engine.apply(&Mutation { table: TABLE, key: Bytes::from_static(b"k"), changes });
    assert_eq!(engine.table_stats(TABLE).rows, 0);
    assert!(engine.weight_bytes() < 1000);
    put(1, 5);
    assert_eq!(engine.table_stats(TABLE).rows, 0, "what arrives shadowed is not stored");
    put(1, 6);
    assert_eq!(engine.table_stats(TABLE).rows, 1);
    drop(engine.drop_table(TABLE));
    assert_eq!((engine.weight_bytes(), engine.tables()), (0, vec![]));
    put(1, 7);
    assert_eq!(engine.tables(), vec![], "a late mutation does not bring a table back");
}
