//! Readers beside the applier: no page is torn.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use base::{Cell, Change, ColumnId, Mutation, Selection, TableId, Token};
use bytes::Bytes;

use crate::{MemoryEngine, ReadSpec};

const TABLE: TableId = TableId(1);

/// Each mutation writes one number into two rows of a partition. Whoever reads sees it in both.
#[test]
fn a_reader_sees_a_mutation_whole() {
    let engine = MemoryEngine::new();
    let stop = AtomicBool::new(false);
    let key = |number: u64| Bytes::copy_from_slice(&(number % 50).to_be_bytes());
    thread::scope(|scope| {
        for reader in 0..3 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let mut pages = 0u64;
                while !stop.load(Ordering::Relaxed) || pages < 100 {
                    let mut spec = ReadSpec::partition(TABLE, key(pages), 0);
                    if reader == 0 {
                        spec.selection = Selection::Tokens { first: Token::MIN, last: Token::MAX };
                    }
                    for partition in engine.read(&spec).partitions {
                        let values: Vec<_> =
                            partition.rows.iter().map(|row| row.cells[0].1.value.clone()).collect();
                        assert_eq!(values.len(), 2);
                        assert_eq!(values[0], values[1]);
                    }
                    pages += 1;
                }
            });
        }
        for number in 0..20_000u64 {
            let row = |clustering: &'static [u8]| Change::Row {
                clustering: Bytes::from_static(clustering),
                cells: vec![(ColumnId(1), Cell::live(number as i64, number.to_be_bytes().to_vec().into()))],
            };
            engine.apply(&Mutation { table: TABLE, key: key(number), changes: vec![row(b"a"), row(b"b")] });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let stats = engine.table_stats(TABLE);
    assert_eq!((stats.partitions, stats.rows), (50, 100));
    assert_eq!(engine.weight_bytes(), stats.weight_bytes);
}
