//! The readers of rows, for tests and fuzzers: keys and values of the trees that tables are.

use base::{Cell, ColumnId, Token};
use bytes::Bytes;
use world::garbage::Target;

use super::{
    fragment::{Fragment, encode},
    key::{self, PartitionKey},
    resolved::cells_of,
    rule::RowRule,
};
use crate::tree::Merge;

/// Every reader of this module.
pub const TARGETS: [Target; 2] = [
    Target { name: "engine_row", samples: rows, read: row },
    Target { name: "engine_row_key", samples: keys, read: row_key },
];

fn rows() -> Vec<Vec<u8>> {
    let live = Cell::live(70, "value".into());
    let brief = Cell { ttl_seconds: 9, expires_at_seconds: 1000, ..Cell::live(60, "v".into()) };
    let gone = Cell { value: None, ..Cell::live(65, Bytes::new()) };
    let cells = [live, brief, gone];
    let views: Vec<_> =
        cells.iter().enumerate().map(|(n, cell)| (ColumnId(n as u32 * 3), cell.as_view())).collect();
    let made = [encode(base::NO_TIMESTAMP, &views), encode(50, &views), encode(50, &[])];
    made.into_iter().flatten().collect()
}

/// A row fragment: read to its end or refused, and by the rule of rows as the tree's laws say.
fn row(bytes: &[u8]) -> bool {
    if let Ok(fragment) = Fragment::decode(bytes) {
        let count = fragment.cells().count();
        assert!(count <= bytes.len(), "a cell takes a byte at least");
    }
    let _ = cells_of(&Bytes::copy_from_slice(bytes));
    let is_row = RowRule.oldest(bytes).is_ok();
    let (middle, behind) = bytes.split_at(bytes.len() / 2);
    let _ = RowRule.merge(middle, behind);
    let others = [
        RowRule.merge(bytes, bytes).is_ok(),
        RowRule.cover(bytes, 60).is_ok(),
        RowRule.purge(bytes, 60, 500).is_ok(),
        RowRule.lifetime(bytes).is_ok(),
    ];
    assert!(!is_row || others == [true; 4], "what `oldest` takes, all others take: {others:?}");
    if is_row {
        let twice = RowRule.merge(bytes, bytes).expect("it was merged");
        let again = RowRule.merge(&twice, bytes).expect("what merging makes can be merged");
        assert_eq!(again, twice, "a row merged with itself stays");
    }
    is_row
}

fn keys() -> Vec<Vec<u8>> {
    let partition = PartitionKey::new(Token::default(), b"a\0b");
    vec![partition.row(b"c\0\xff").to_vec(), partition.start().to_vec(), partition.end().to_vec()]
}

/// A key of a tree of rows.
fn row_key(bytes: &[u8]) -> bool {
    let prefix = key::prefix(bytes);
    let Ok((partition, _)) = key::partition_of(bytes) else { return false };
    assert!(partition.holds(bytes));
    assert!(prefix.is_some_and(|prefix| bytes.starts_with(prefix)));
    if let Ok(clustering) = partition.clustering(bytes) {
        assert_eq!(partition.row(&clustering), bytes);
    }
    true
}
