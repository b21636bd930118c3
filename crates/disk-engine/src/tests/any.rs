//! Arbitrary mutations and reads, of few keys so that they meet.

use base::{Cell, Change, ColumnId, Mutation, Selection, Slice, TableId, Token};
use bytes::Bytes;
use proptest::{prelude::*, sample::subsequence};

use crate::ReadSpec;

pub(super) const TABLE: TableId = TableId(7);
/// Keys fall on few tokens, so that partitions share them, in several shards.
pub(super) fn few_tokens(key: &[u8]) -> Token {
    [Token::MIN + 1, -5, 0, Token::MAX][usize::from(key.first().copied().unwrap_or(0)) % 4]
}

/// Partition keys: single bytes, zero among them; and some that begin others.
pub(super) fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => (0u8..6).prop_map(|key| Bytes::copy_from_slice(&[key])),
        1 => (0u8..2).prop_map(|key| Bytes::copy_from_slice(&[key, 0])),
        1 => Just(Bytes::new()),
    ]
}

/// Clustering keys: the static row, single bytes, and a byte with a zero behind (which ends the
/// range of one row).
pub(super) fn clustering() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        1 => Just(Bytes::new()),
        8 => (0u8..16).prop_map(|row| Bytes::copy_from_slice(&[row])),
        1 => (0u8..16).prop_map(|row| Bytes::copy_from_slice(&[row, 0])),
    ]
}

pub(super) fn bound() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::weighted(0.8, clustering())
}

pub(super) fn cell() -> impl Strategy<Value = Cell> {
    let expiry = prop_oneof![3 => Just((0, 0)), 1 => (1u32..4, 1u32..20)];
    let value = prop::option::weighted(0.8, (0usize..3, any::<u8>()));
    (1i64..10, expiry, value).prop_map(|(timestamp, (ttl, expires), value)| Cell {
        timestamp,
        ttl_seconds: ttl,
        expires_at_seconds: expires,
        value: value.map(|(len, byte)| vec![byte; len].into()),
    })
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    let cells = prop::collection::vec(((0u32..4).prop_map(ColumnId), cell()), 0..4);
    let one_row = (clustering(), 1i64..10).prop_map(|(row, timestamp)| Change::DeleteRows {
        to: Some([row.as_ref(), &[0]].concat().into()),
        from: row,
        timestamp,
    });
    prop_oneof![
        10 => (clustering(), cells).prop_map(|(clustering, cells)| Change::Row { clustering, cells }),
        2 => one_row,
        2 => (clustering(), bound(), 1i64..10)
            .prop_map(|(from, to, timestamp)| Change::DeleteRows { from, to, timestamp }),
        1 => (1i64..7).prop_map(|timestamp| Change::DeletePartition { timestamp }),
    ]
}

pub(super) fn mutation() -> impl Strategy<Value = Mutation> {
    (key(), prop::collection::vec(change(), 0..4)).prop_map(|(key, changes)| Mutation {
        table: TABLE,
        key,
        changes,
    })
}

pub(super) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), 0..60)
}

/// A selection: everything, or some slices of one partition.
pub(super) fn selection() -> impl Strategy<Value = Selection> {
    let tokens = (any::<Token>(), any::<Token>());
    let cuts = subsequence((0u8..17).collect::<Vec<_>>(), 1..6);
    let slices = (cuts, any::<bool>()).prop_map(|(cuts, open)| {
        let cut = |at: &u8| Bytes::copy_from_slice(&[*at]);
        let mut slices: Vec<Slice> =
            cuts.chunks(2).map(|pair| Slice { from: cut(&pair[0]), to: pair.get(1).map(cut) }).collect();
        if open {
            slices[0].from = Bytes::new();
        }
        slices
    });
    prop_oneof![
        1 => Just(Selection::Tokens { first: Token::MIN, last: Token::MAX }),
        1 => tokens.prop_map(|(first, last)| Selection::Tokens { first, last }),
        3 => (key(), slices, any::<bool>())
            .prop_map(|(key, slices, reversed)| Selection::Partition { key, slices, reversed }),
        1 => (key(), any::<bool>())
            .prop_map(|(key, reversed)| Selection::Partition { key, slices: vec![Slice::all()], reversed }),
    ]
}

pub(super) fn spec() -> impl Strategy<Value = ReadSpec> {
    let columns = prop::option::weighted(0.3, subsequence(vec![ColumnId(0), ColumnId(1), ColumnId(3)], 0..3));
    (selection(), columns, 0u32..20).prop_map(|(selection, columns, now_seconds)| ReadSpec {
        table: TABLE,
        selection,
        after: None,
        columns,
        limit_rows: usize::MAX,
        limit_bytes: usize::MAX,
        scan_rows: u64::MAX,
        now_seconds,
    })
}
