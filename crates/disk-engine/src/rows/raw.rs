//! Raw answers: what is known of some rows, as the mutations that would rebuild it.
//!
//! Rows come from the walk; deletions of ranges are not keys, so they are asked for when it is
//! known how far the page goes. Deletions of single rows lie in fragments and come with the walk.
//! Both become one step function, so that the answer has the form that the engine in memory gives
//! it, whatever was written in which order.

use std::collections::BTreeMap;

use base::{Change, Malformed, Mutation, NO_TIMESTAMP, Place, Selection, Slice, Token};
use bytes::Bytes;

use super::{
    fragment::Fragment,
    key::{self, PartitionKey},
    resolved::cells_of,
    walk::{Begin, Sink, Walk, damaged},
};
use crate::{
    RawFound, ReadSpec,
    memory::{Meter, Steps},
    page::covered,
    tree::{Deletion, Deletions, TreeError},
};

/// What is known of a partition.
#[derive(Default)]
struct Known {
    key: Bytes,
    deleted_at: i64,
    /// Deletions of rows and ranges of rows.
    ranges: Steps,
    /// Rows with cells, in the order of the walk.
    rows: Vec<Change>,
}

/// Gathers a raw answer.
pub(super) struct Raw {
    now_seconds: u32,
    rows: Vec<RawRow>,
    /// How many of them a full page had.
    full: usize,
}

/// One row as its fragment tells it.
struct RawRow {
    key: Bytes,
    clustering: Bytes,
    deleted_at: i64,
    cells: Vec<(base::ColumnId, base::Cell)>,
}

impl Raw {
    pub(super) fn new(spec: &ReadSpec) -> Raw {
        Raw { now_seconds: spec.now_seconds, rows: Vec::new(), full: 0 }
    }
}

impl Sink for Raw {
    fn row(&mut self, key: &Bytes, clustering: Bytes, value: &Bytes) -> Result<Option<usize>, Malformed> {
        let deleted_at = Fragment::decode(value)?.deleted_at;
        let cells = cells_of(value)?;
        let lives = cells.iter().any(|(_, cell)| cell.is_live(self.now_seconds));
        let values = cells.iter().map(|(_, cell)| 16 + cell.value.as_ref().map_or(0, Bytes::len));
        let bytes = clustering.len() + values.sum::<usize>();
        self.rows.push(RawRow { key: key.clone(), clustering, deleted_at, cells });
        Ok(lives.then_some(bytes))
    }

    fn full(&mut self) {
        self.full = self.rows.len();
    }

    fn cut(&mut self) {
        self.rows.truncate(self.full);
    }
}

/// Adds the deletions to what a walk that is at its end has found.
pub(super) fn complete(mut walk: Walk<'_, Raw>) -> Result<RawFound, TreeError> {
    let mut known = Partitions { tokens: walk.tokens, by_place: BTreeMap::new() };
    for row in std::mem::take(&mut walk.sink.rows) {
        known.add_row(row);
    }
    let slices = match &walk.spec.selection {
        Selection::Partition { key, slices, reversed } => {
            partition_deletions(&walk, key, slices, *reversed, &mut known)?
        }
        Selection::Tokens { first, last } => {
            token_deletions(&mut walk, *first, *last, &mut known)?;
            vec![Slice::all()]
        }
    };
    let Walk { spec, pager, .. } = walk;
    let mutations = known.by_place.into_values().filter_map(|known| known.into_mutation(spec, &slices));
    Ok(RawFound {
        mutations: mutations.collect(),
        more: pager.more,
        scanned_rows: pager.scanned_rows,
        scanned_bytes: pager.scanned_bytes,
    })
}

/// Adds the deletions within one partition; returns the slices that the page tells of.
fn partition_deletions(
    walk: &Walk<'_, Raw>,
    key: &Bytes,
    slices: &[Slice],
    reversed: bool,
    known: &mut Partitions,
) -> Result<Vec<Slice>, TreeError> {
    let after = match walk.begin(key) {
        Begin::Start => None,
        Begin::After(after) => Some(after),
        Begin::Nowhere => return Ok(Vec::new()),
    };
    let last = walk.pager.more.as_ref().and_then(|place| place.clustering.as_deref());
    let slices = covered(slices, reversed, after, last);
    let partition = PartitionKey::new((walk.tokens)(key), key);
    known.add_whole(walk, &partition, key)?;
    for slice in &slices {
        let from = partition.row(&slice.from);
        let to = slice.to.as_ref().map_or_else(|| partition.end(), |to| partition.row(to));
        for deletion in walk.view.deletions(&from, Some(&to), usize::MAX, walk.patience)?.found {
            known.add_range(&partition, key, &deletion).map_err(|error| damaged(walk.view, error))?;
        }
    }
    Ok(slices)
}

/// Adds the deletions within the page.
fn token_deletions(
    walk: &mut Walk<'_, Raw>,
    first: Token,
    last: Token,
    known: &mut Partitions,
) -> Result<(), TreeError> {
    let partition = |place: &Place| PartitionKey::new((walk.tokens)(&place.key), &place.key);
    let mut from = key::first_of(first);
    if let Some(place) = walk.spec.after.as_ref().filter(|place| (walk.tokens)(&place.key) >= first) {
        if (walk.tokens)(&place.key) > last {
            return Ok(());
        }
        let partition = partition(place);
        if place.clustering.is_some() {
            known.add_whole(walk, &partition, &place.key)?;
        }
        from = behind_place(&partition, place);
    }
    let end = walk.pager.more.as_ref().map(|place| behind_place(&partition(place), place));
    let to = end.or_else(|| key::behind(last));
    let limit = usize::try_from(walk.spec.scan_rows).unwrap_or(usize::MAX).max(1);
    let Deletions { mut found, more } = walk.view.deletions(&from, to.as_deref(), limit, walk.patience)?;
    if let Some(more) = more {
        found = end_early(walk, (from, to), found, &more, known)?;
    }
    for deletion in found {
        let add = key::partition_of(&deletion.from)
            .and_then(|(partition, key)| known.add_range(&partition, &key, &deletion));
        add.map_err(|error| damaged(walk.view, error))?;
    }
    Ok(())
}

/// There may be many more deletions than the walk met rows. Then the page ends with the last
/// partition of which all are `found`: what lies behind `more` was not looked at. Returns those
/// within the page.
fn end_early(
    walk: &mut Walk<'_, Raw>,
    (from, to): (Bytes, Option<Bytes>),
    mut found: Vec<Deletion>,
    more: &Bytes,
    known: &mut Partitions,
) -> Result<Vec<Deletion>, TreeError> {
    let (partition, key) = key::partition_of(more).map_err(|error| damaged(walk.view, error))?;
    let place = ((walk.tokens)(&key), key);
    found.retain(|deletion| !partition.holds(&deletion.from));
    let with_deletions = match found.last() {
        Some(last) => Some(key::partition_of(&last.from).map_err(|error| damaged(walk.view, error))?.1),
        None => None,
    };
    let with_deletions = with_deletions.map(|key| ((walk.tokens)(&key), key));
    let with_rows = known.by_place.range(..&place).next_back().map(|(place, _)| place.clone());
    if let Some((_, key)) = with_deletions.max(with_rows) {
        known.by_place.split_off(&place);
        walk.pager.more = Some(Place { key, clustering: None });
        return Ok(found);
    }
    // They are all of one partition, which is told whole however many they are.
    let end = to.map_or_else(|| partition.end(), |to| to.min(partition.end()));
    known.by_place.retain(|other, _| *other == place);
    if walk.pager.more.as_ref().is_none_or(|more| more.key != place.1) {
        walk.pager.more = Some(Place { key: place.1, clustering: None });
    }
    Ok(walk.view.deletions(&from, Some(&end), usize::MAX, walk.patience)?.found)
}

/// The first key behind a place at which a deletion of rows can begin.
fn behind_place(partition: &PartitionKey, place: &Place) -> Bytes {
    match &place.clustering {
        Some(clustering) => partition.row(&[clustering, &[0][..]].concat()),
        None => partition.end(),
    }
}

/// Partitions in ring order.
struct Partitions {
    tokens: fn(&[u8]) -> Token,
    by_place: BTreeMap<(Token, Bytes), Known>,
}

impl Partitions {
    fn at(&mut self, key: &Bytes) -> &mut Known {
        let place = ((self.tokens)(key), key.clone());
        let new = || Known { key: key.clone(), deleted_at: NO_TIMESTAMP, ..Known::default() };
        self.by_place.entry(place).or_insert_with(new)
    }

    /// Adds the deletion of the partition as such.
    fn add_whole(
        &mut self,
        walk: &Walk<'_, Raw>,
        partition: &PartitionKey,
        key: &Bytes,
    ) -> Result<(), TreeError> {
        let (from, to) = (partition.start(), partition.rows());
        let whole = walk.view.deletions(&from, Some(&to), usize::MAX, walk.patience)?;
        if let Some(deletion) = whole.found.first() {
            let known = self.at(key);
            known.deleted_at = known.deleted_at.max(deletion.timestamp);
        }
        Ok(())
    }

    /// Adds a deletion that lies within the partition.
    fn add_range(
        &mut self,
        partition: &PartitionKey,
        key: &Bytes,
        deletion: &Deletion,
    ) -> Result<(), Malformed> {
        let known = self.at(key);
        let from = if deletion.from == partition.start() {
            known.deleted_at = known.deleted_at.max(deletion.timestamp);
            Bytes::new()
        } else {
            partition.clustering(&deletion.from)?
        };
        let to = match &deletion.to {
            Some(to) if *to == partition.end() => None,
            Some(to) => Some(partition.clustering(to)?),
            None => None,
        };
        known.ranges.raise(&from, to.as_deref(), deletion.timestamp, &mut Meter::default());
        Ok(())
    }

    fn add_row(&mut self, row: RawRow) {
        let known = self.at(&row.key);
        if row.deleted_at > NO_TIMESTAMP {
            let behind = [&row.clustering[..], &[0]].concat();
            known.ranges.raise(&row.clustering, Some(&behind), row.deleted_at, &mut Meter::default());
        }
        if !row.cells.is_empty() {
            known.rows.push(Change::Row { clustering: row.clustering, cells: row.cells });
        }
    }
}

impl Known {
    /// The mutation that says all of it; `None` if that is nothing.
    fn into_mutation(mut self, spec: &ReadSpec, slices: &[Slice]) -> Option<Mutation> {
        self.ranges.prune(self.deleted_at, &mut Meter::default());
        let mut changes = Vec::new();
        if self.deleted_at != NO_TIMESTAMP {
            changes.push(Change::DeletePartition { timestamp: self.deleted_at });
        }
        let ranges = slices.iter().flat_map(|slice| self.ranges.within(&slice.from, &slice.to));
        changes.extend(ranges.map(|(from, to, timestamp)| Change::DeleteRows { from, to, timestamp }));
        changes.append(&mut self.rows);
        (!changes.is_empty()).then_some(Mutation { table: spec.table, key: self.key, changes })
    }
}
