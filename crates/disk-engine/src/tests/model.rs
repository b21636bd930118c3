//! The properties: order does not matter, reads are what the model says, pages add up, raw
//! answers merge to the whole.

use std::collections::BTreeMap;

use base::{Cell, Change, ColumnId, Mutation, Page, PartitionRows, Place, Row, Selection, Slice, Token};
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::any::*;
use crate::{MemoryEngine, ReadSpec};

fn engine() -> MemoryEngine {
    MemoryEngine::with(2, few_tokens)
}

fn filled(mutations: &[Mutation]) -> MemoryEngine {
    let engine = engine();
    mutations.iter().for_each(|mutation| engine.apply(mutation));
    engine
}

/// The merge rule by its definition: per cell, the version that no other supersedes, if no
/// deletion covers it.
fn cells_of(changes: &[&Change], row: &Bytes) -> BTreeMap<ColumnId, Cell> {
    let covering = changes.iter().filter_map(|change| match change {
        Change::DeletePartition { timestamp } => Some(*timestamp),
        Change::DeleteRows { from, to, timestamp }
            if from <= row && to.as_ref().is_none_or(|to| row < to) =>
        {
            Some(*timestamp)
        }
        _ => None,
    });
    let deleted_at = covering.max().unwrap_or(i64::MIN);
    let mut cells = BTreeMap::<ColumnId, Cell>::new();
    for change in changes {
        if let Change::Row { clustering, cells: written } = change
            && clustering == row
        {
            for (column, cell) in written.iter().filter(|(_, cell)| cell.timestamp > deleted_at) {
                if cells.get(column).is_none_or(|stands| cell.supersedes(stands)) {
                    cells.insert(*column, cell.clone());
                }
            }
        }
    }
    cells
}

/// All rows of a selection, without limits.
fn model(mutations: &[Mutation], spec: &ReadSpec) -> Vec<PartitionRows> {
    let mut by_place = BTreeMap::<(Token, Bytes), Vec<&Change>>::new();
    for mutation in mutations {
        let place = (few_tokens(&mutation.key), mutation.key.clone());
        by_place.entry(place).or_default().extend(&mutation.changes);
    }
    let mut found = Vec::new();
    for ((token, key), changes) in by_place {
        let (slices, reversed) = match &spec.selection {
            Selection::Partition { key: wanted, slices, reversed } if *wanted == key => {
                (slices.clone(), *reversed)
            }
            Selection::Tokens { first, last } if *first <= token && token <= *last => {
                (vec![Slice::all()], false)
            }
            _ => continue,
        };
        let mut keys: Vec<&Bytes> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Row { clustering, .. } => Some(clustering),
                _ => None,
            })
            .filter(|row| {
                slices.iter().any(|slice| slice.from <= **row && slice.to.as_ref().is_none_or(|to| *row < to))
            })
            .collect();
        keys.sort();
        keys.dedup();
        if reversed {
            keys.reverse();
        }
        let mut rows = Vec::new();
        for row in keys {
            let mut cells = cells_of(&changes, row);
            cells.retain(|_, cell| cell.is_live(spec.now_seconds));
            if !cells.is_empty() {
                cells
                    .retain(|column, _| spec.columns.as_ref().is_none_or(|columns| columns.contains(column)));
                rows.push(Row { clustering: row.clone(), cells: cells.into_iter().collect() });
            }
        }
        if !rows.is_empty() {
            found.push(PartitionRows { key, rows });
        }
    }
    found
}

/// Reads page by page until nothing is left, and joins the pages.
fn all_pages(
    read: impl Fn(&ReadSpec) -> Page,
    mut spec: ReadSpec,
) -> Result<Vec<PartitionRows>, TestCaseError> {
    let mut joined = Vec::<PartitionRows>::new();
    for _ in 0..10_000 {
        let page = read(&spec);
        let rows: usize = page.partitions.iter().map(|partition| partition.rows.len()).sum();
        prop_assert!(rows <= spec.limit_rows.max(1));
        prop_assert!(page.scanned_rows <= spec.scan_rows.max(1));
        for partition in page.partitions {
            prop_assert!(!partition.rows.is_empty());
            match joined.last_mut().filter(|last| last.key == partition.key) {
                Some(last) => last.rows.extend(partition.rows),
                None => joined.push(partition),
            }
        }
        spec.after = page.more;
        if spec.after.is_none() {
            return Ok(joined);
        }
    }
    Err(TestCaseError::fail("the pages never end"))
}

fn everything(now_seconds: u32) -> ReadSpec {
    let selection = Selection::Tokens { first: Token::MIN, last: Token::MAX };
    ReadSpec { selection, ..ReadSpec::partition(TABLE, Bytes::new(), now_seconds) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn reads_are_what_the_model_says(mutations in mutations(), spec in spec()) {
        let found = filled(&mutations).read(&spec);
        prop_assert_eq!(found.more, None);
        prop_assert_eq!(found.partitions, model(&mutations, &spec));
    }

    #[test]
    fn pages_add_up(
        mutations in mutations(),
        spec in spec(),
        limit_rows in 0usize..5,
        limit_bytes in prop_oneof![Just(usize::MAX), 0usize..100],
        scan_rows in prop_oneof![Just(u64::MAX), 0u64..6],
    ) {
        let engine = filled(&mutations);
        let whole = engine.read(&spec).partitions;
        let paged = ReadSpec { limit_rows, limit_bytes, scan_rows, ..spec };
        prop_assert_eq!(&all_pages(|spec| engine.read(spec), paged.clone())?, &whole);
        // Without a bound on rows looked at, a page says there is more only if there is.
        let rows = whole.iter().map(|partition| partition.rows.len()).sum::<usize>();
        let exact = ReadSpec { limit_rows: rows.max(1), limit_bytes: usize::MAX, scan_rows: u64::MAX, ..paged };
        prop_assert_eq!(engine.read(&exact).more, None);
    }

    /// Any order, and any repetition, ends in the same state: deletions, weights and counts too.
    #[test]
    fn order_does_not_matter(
        (mutations, shuffled) in mutations().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        again in prop::collection::vec(any::<Index>(), 0..5),
    ) {
        let (one, other) = (filled(&mutations), filled(&shuffled));
        if !mutations.is_empty() {
            again.iter().for_each(|index| other.apply(index.get(&mutations)));
        }
        prop_assert_eq!(one.read_raw(&everything(0)), other.read_raw(&everything(0)));
        prop_assert_eq!(one.tables(), other.tables());
    }

    /// The raw answer of one replica rebuilds it; those of two, merged, are the replica that saw
    /// everything.
    #[test]
    fn raw_answers_merge_to_the_whole(mutations in mutations(), split in any::<u64>(), spec in spec()) {
        let whole = filled(&mutations);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (number, mutation) in mutations.iter().enumerate() {
            let replica = split >> (number % 64) & 1 == 0;
            if replica { &mut ours } else { &mut theirs }.push(mutation.clone());
        }
        let merged = MemoryEngine::with(0, few_tokens);
        for replica in [ours, theirs] {
            filled(&replica).read_raw(&spec).mutations.iter().for_each(|mutation| merged.apply(mutation));
        }
        prop_assert_eq!(merged.read_raw(&spec).mutations, whole.read_raw(&spec).mutations);
        prop_assert_eq!(merged.read(&spec).partitions, whole.read(&spec).partitions);
        let rebuilt = engine();
        whole.read_raw(&everything(0)).mutations.iter().for_each(|mutation| rebuilt.apply(mutation));
        prop_assert_eq!(rebuilt.tables(), whole.tables());
    }

    /// A place need not be one that a page gave: it comes from clients.
    #[test]
    fn any_place_is_a_place(
        mutations in mutations(),
        spec in spec(),
        place in (key(), prop::option::of(clustering())),
    ) {
        let (key, clustering) = place;
        let here = (few_tokens(&key), key.clone());
        let reversed = matches!(spec.selection, Selection::Partition { reversed: true, .. });
        let mut expected = model(&mutations, &spec);
        for partition in &mut expected {
            let there = (few_tokens(&partition.key), partition.key.clone());
            partition.rows.retain(|row| there > here || there == here && clustering.as_ref().is_some_and(|place| {
                if reversed { row.clustering < place } else { row.clustering > place }
            }));
        }
        expected.retain(|partition| !partition.rows.is_empty());
        let spec = ReadSpec { after: Some(Place { key, clustering }), ..spec };
        prop_assert_eq!(filled(&mutations).read(&spec).partitions, expected);
    }

    /// Slices that are empty or crossed find nothing, and panic nowhere.
    #[test]
    fn crossed_slices_are_empty(
        mutations in mutations(),
        key in key(),
        slice in (clustering(), bound()),
        after in prop::option::of(clustering()),
        reversed: bool,
    ) {
        let (from, to) = slice;
        let crossed = to.as_ref().is_some_and(|to| *to <= from);
        let selection = Selection::Partition { key: key.clone(), slices: vec![Slice { from, to }], reversed };
        let after = after.map(|row| Place { key, clustering: Some(row) });
        let spec = ReadSpec { selection, after, ..everything(0) };
        let engine = filled(&mutations);
        let (found, _) = (engine.read(&spec), engine.read_raw(&spec));
        prop_assert!(!crossed || found.partitions.is_empty());
    }
}

/// Deleting the same again, or within what is deleted already, takes no room.
#[test]
fn repeated_deletes_do_not_grow() {
    let engine = engine();
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
    let engine = engine();
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
