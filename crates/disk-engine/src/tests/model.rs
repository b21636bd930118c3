//! The properties: order does not matter, reads are what the model says, pages add up, raw
//! answers merge to the whole.

use std::{cmp::Ordering, collections::BTreeMap};

use base::{Cell, Change, ColumnId, Mutation, Page, PartitionRows, Place, Row, Selection, Slice, Token};
use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::{
    any::*,
    subject::{filled, memory},
};
use crate::{MemoryEngine, RawFound, ReadSpec};

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

/// Whether a raw page says nothing of rows behind its end.
fn ends_where_it_says(found: &RawFound, spec: &ReadSpec) -> bool {
    let Some(Place { key, clustering }) = &found.more else { return true };
    let reversed = matches!(spec.selection, Selection::Partition { reversed: true, .. });
    let behind = clustering.as_ref().map(|last| Bytes::from([last, &[0][..]].concat()));
    let before_end = |change: &Change| match (change, clustering, &behind) {
        (Change::Row { clustering, .. }, Some(last), _) if reversed => clustering >= last,
        (Change::Row { clustering, .. }, Some(last), _) => clustering <= last,
        (Change::DeleteRows { from, .. }, Some(last), _) if reversed => from >= last,
        (Change::DeleteRows { to, .. }, _, Some(behind)) => to.as_ref().is_some_and(|to| to <= behind),
        _ => true,
    };
    found.mutations.iter().all(|mutation| {
        match (few_tokens(&mutation.key), &mutation.key).cmp(&(few_tokens(key), key)) {
            Ordering::Less => true,
            Ordering::Equal => mutation.changes.iter().all(before_end),
            Ordering::Greater => false,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn reads_are_what_the_model_says(mutations in mutations(), spec in spec()) {
        let expected = model(&mutations, &spec);
        for engine in filled(&mutations) {
            let found = engine.read(&spec);
            prop_assert_eq!(found.more, None);
            prop_assert_eq!(&found.partitions, &expected);
        }
    }

    #[test]
    fn pages_add_up(
        mutations in mutations(),
        spec in spec(),
        limit_rows in 0usize..5,
        limit_bytes in prop_oneof![Just(usize::MAX), 0usize..100],
        scan_rows in prop_oneof![Just(u64::MAX), 0u64..6],
    ) {
        for engine in filled(&mutations) {
            let whole = engine.read(&spec).partitions;
            let paged = ReadSpec { limit_rows, limit_bytes, scan_rows, ..spec.clone() };
            prop_assert_eq!(&all_pages(|spec| engine.read(spec), paged.clone())?, &whole);
            // Without a bound on rows looked at, a page says there is more only if there is.
            let rows = whole.iter().map(|partition| partition.rows.len()).sum::<usize>();
            let exact = ReadSpec { limit_rows: rows.max(1), limit_bytes: usize::MAX, scan_rows: u64::MAX, ..paged };
            prop_assert_eq!(engine.read(&exact).more, None);
        }
    }

    /// Raw pages leave nothing out: neither what is dead behind the last live row of a page, nor
    /// deletions where there are no rows.
    #[test]
    fn raw_pages_add_up(
        mutations in mutations(),
        spec in spec(),
        limit_rows in 0usize..5,
        scan_rows in prop_oneof![Just(u64::MAX), 0u64..6],
    ) {
        let whole = memory();
        filled(&mutations)[0].read_raw(&spec).mutations.iter().for_each(|mutation| whole.apply(mutation));
        for engine in filled(&mutations) {
            let gathered = memory();
            let mut next = Some(ReadSpec { limit_rows, scan_rows, ..spec.clone() });
            while let Some(spec) = next.take() {
                let found = engine.read_raw(&spec);
                found.mutations.iter().for_each(|mutation| gathered.apply(mutation));
                prop_assert!(found.more.is_none() || found.more != spec.after, "it gets on");
                prop_assert!(ends_where_it_says(&found, &spec), "{:?}", found);
                next = found.more.map(|more| ReadSpec { after: Some(more), ..spec });
            }
            prop_assert_eq!(gathered.read_raw(&spec).mutations, whole.read_raw(&spec).mutations);
        }
    }

    /// Any order, and any repetition, ends in the same state, deletions too; and all engines say
    /// the same.
    #[test]
    fn order_does_not_matter(
        (mutations, shuffled) in mutations().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        again in prop::collection::vec(any::<Index>(), 0..5),
    ) {
        let one = memory();
        mutations.iter().for_each(|mutation| one.apply(mutation));
        let expected = one.read_raw(&everything(0)).mutations;
        for other in filled(&shuffled) {
            if !mutations.is_empty() {
                again.iter().for_each(|index| other.apply(index.get(&mutations)));
            }
            prop_assert_eq!(&other.read_raw(&everything(0)).mutations, &expected);
        }
        let other = memory();
        shuffled.iter().for_each(|mutation| other.apply(mutation));
        prop_assert_eq!(one.tables(), other.tables(), "weights and counts too");
    }

    /// The raw answer of one replica rebuilds it; those of two, merged, are the replica that saw
    /// everything.
    #[test]
    fn raw_answers_merge_to_the_whole(mutations in mutations(), split in any::<u64>(), spec in spec()) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (number, mutation) in mutations.iter().enumerate() {
            let replica = split >> (number % 64) & 1 == 0;
            if replica { &mut ours } else { &mut theirs }.push(mutation.clone());
        }
        for ((ours, theirs), whole) in filled(&ours).iter().zip(filled(&theirs)).zip(filled(&mutations)) {
            let merged = MemoryEngine::with(0, few_tokens);
            for replica in [ours, &theirs] {
                replica.read_raw(&spec).mutations.iter().for_each(|mutation| merged.apply(mutation));
            }
            prop_assert_eq!(merged.read_raw(&spec).mutations, whole.read_raw(&spec).mutations);
            prop_assert_eq!(merged.read(&spec).partitions, whole.read(&spec).partitions);
        }
        let (whole, rebuilt) = (memory(), memory());
        mutations.iter().for_each(|mutation| whole.apply(mutation));
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
        let engines = filled(&mutations);
        let raw = engines[0].read_raw(&spec).mutations;
        for engine in engines {
            prop_assert_eq!(&engine.read(&spec).partitions, &expected);
            prop_assert_eq!(&engine.read_raw(&spec).mutations, &raw);
        }
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
        for engine in filled(&mutations) {
            let (found, _) = (engine.read(&spec), engine.read_raw(&spec));
            prop_assert!(!crossed || found.partitions.is_empty());
        }
    }
}
