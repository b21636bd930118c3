//! A shard (a run of the ring under one lock) and the walk that every read is.
//!
//! The walk goes over the rows of a selection in order, judges which live, hands them to a
//! [`Sink`], and ends the page at the first limit reached. What is done with a row (resolved for a
//! client, or handed on raw for another replica) is the sink's business.

use std::{collections::BTreeMap, ops::Bound, ops::ControlFlow};

use base::{Change, Mutation, NO_TIMESTAMP, Place, Slice, Token};
use bytes::Bytes;

use super::{partition::Partition, rows::Row, weight::Meter};
use crate::{ReadSpec, page::Pager};

/// Partitions of a run of tokens.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    partitions: BTreeMap<Token, Partition>,
}

impl Shard {
    /// Merges a mutation that leaves a trace. Tells how memory and rows changed, and how many
    /// partitions were made.
    pub(crate) fn apply(&mut self, token: Token, mutation: &Mutation) -> (Meter, u64) {
        let mut meter = Meter::default();
        let (partition, made) = self.get_or_insert(token, &mutation.key);
        if made {
            meter.add(partition.weight());
        }
        for change in &mutation.changes {
            partition.apply(change, &mut meter);
        }
        (meter, u64::from(made))
    }

    fn get_or_insert(&mut self, token: Token, key: &[u8]) -> (&mut Partition, bool) {
        let mut made = false;
        let head = self.partitions.entry(token).or_insert_with(|| {
            made = true;
            Partition::new(key)
        });
        if head.key == key {
            return (head, made);
        }
        if key < head.key.as_ref() {
            let old = std::mem::replace(head, Partition::new(key));
            head.next = Some(Box::new(old));
            return (head, true);
        }
        chained(&mut head.next, key)
    }

    /// The partition with this token and key.
    pub(crate) fn find(&self, token: Token, key: &[u8]) -> Option<&Partition> {
        let head = self.partitions.get(&token)?;
        chain(head).find(|partition| partition.key == key)
    }

    /// Partitions with `first <= token <= last` in ring order.
    pub(crate) fn scan(&self, first: Token, last: Token) -> impl Iterator<Item = (Token, &Partition)> {
        let heads = (first <= last).then(|| self.partitions.range(first..=last));
        heads.into_iter().flatten().flat_map(|(token, head)| chain(head).map(|partition| (*token, partition)))
    }
}

/// The place of `key` in a chain sorted by key; made if it is not there.
fn chained<'a>(slot: &'a mut Option<Box<Partition>>, key: &[u8]) -> (&'a mut Partition, bool) {
    if slot.as_ref().is_some_and(|partition| partition.key < key) {
        let partition = slot.as_mut().expect("the slot was just looked at");
        return chained(&mut partition.next, key);
    }
    let made = slot.as_ref().is_none_or(|partition| partition.key != key);
    if made {
        let mut partition = Partition::new(key);
        partition.next = slot.take();
        *slot = Some(Box::new(partition));
    }
    (slot.as_mut().expect("the slot was just filled"), made)
}

fn chain(head: &Partition) -> impl Iterator<Item = &Partition> {
    std::iter::successors(Some(head), |partition| partition.next.as_deref())
}

/// Whether a mutation leaves a trace in an empty partition. Nothing is older than
/// [`NO_TIMESTAMP`], and what carries it says nothing.
pub(crate) fn leaves_a_trace(mutation: &Mutation) -> bool {
    mutation.changes.iter().any(|change| match change {
        Change::Row { cells, .. } => cells.iter().any(|(_, cell)| cell.timestamp > NO_TIMESTAMP),
        Change::DeleteRows { from, to, timestamp } => {
            *timestamp > NO_TIMESTAMP && to.as_ref().is_none_or(|to| to > from)
        }
        Change::DeletePartition { timestamp } => *timestamp > NO_TIMESTAMP,
    })
}

/// What becomes of the rows of a walk.
pub(crate) trait Sink {
    /// Rows of this partition, within these slices, follow (perhaps none).
    fn open(&mut self, partition: &Partition, slices: &[Slice]);
    /// A row that lives. Returns the bytes it adds to the page.
    fn live(&mut self, partition: &Partition, clustering: &Bytes, row: &Row) -> usize;
    /// A row that is dead.
    fn dead(&mut self, clustering: &Bytes, row: &Row);
    /// The page is full: what comes now belongs to it only if no live row follows.
    fn full(&mut self);
    /// A live row follows the full page: what came since belongs to the next.
    fn cut(&mut self);
}

/// A read under way.
pub(crate) struct Walk<'a, S> {
    pub(crate) spec: &'a ReadSpec,
    pub(crate) sink: S,
    pub(crate) pager: Pager<'a>,
}

impl<'a, S: Sink> Walk<'a, S> {
    pub(crate) fn new(spec: &'a ReadSpec, sink: S) -> Walk<'a, S> {
        Walk { spec, sink, pager: Pager::new(spec) }
    }

    /// Walks the rows of one partition that lie in `slices`, behind the row `after`.
    pub(crate) fn partition(
        &mut self,
        partition: &Partition,
        slices: &[Slice],
        reversed: bool,
        after: Option<&[u8]>,
    ) -> ControlFlow<()> {
        self.sink.open(partition, slices);
        let scanned_before = self.pager.scanned_rows;
        for nth in 0..slices.len() {
            let slice = &slices[if reversed { slices.len() - 1 - nth } else { nth }];
            let (lower, upper) = bounds(slice, reversed, after);
            let mut rows = partition.rows.range(lower, upper);
            while let Some((clustering, row)) = if reversed { rows.next_back() } else { rows.next() } {
                self.row(partition, clustering, row)?;
            }
        }
        if self.pager.scanned_rows == scanned_before {
            self.looked_at(partition, None)?;
        }
        ControlFlow::Continue(())
    }

    fn row(&mut self, partition: &Partition, clustering: &Bytes, row: &Row) -> ControlFlow<()> {
        self.pager.scanned_bytes += bytes_of(clustering, row) as u64;
        if row.is_live(self.spec.now_seconds) {
            if self.pager.is_full() {
                self.sink.cut();
                return self.pager.end();
            }
            let bytes = self.sink.live(partition, clustering, row);
            self.pager.added(bytes, || place(partition, Some(clustering)));
            if self.pager.is_full() {
                self.sink.full();
            }
        } else {
            self.sink.dead(clustering, row);
        }
        self.looked_at(partition, Some(clustering))
    }

    fn looked_at(&mut self, partition: &Partition, clustering: Option<&Bytes>) -> ControlFlow<()> {
        let was_full = self.pager.is_full();
        let flow = self.pager.looked_at(|| place(partition, clustering));
        if flow.is_break() && was_full {
            self.sink.cut();
        }
        flow
    }
}

fn place(partition: &Partition, clustering: Option<&Bytes>) -> Place {
    Place { key: partition.key.clone(), clustering: clustering.cloned() }
}

/// Bytes of a row as limits count them.
pub(crate) fn bytes_of(clustering: &Bytes, row: &Row) -> usize {
    let cells = row.cells.iter().map(|(_, cell)| 16 + cell.value.as_ref().map_or(0, Bytes::len));
    clustering.len() + cells.sum::<usize>()
}

/// A slice cut at the place where the page before ended.
fn bounds<'a>(
    slice: &'a Slice,
    reversed: bool,
    after: Option<&'a [u8]>,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let mut lower = Bound::Included(slice.from.as_ref());
    let mut upper = slice.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    match after {
        Some(after) if reversed && slice.to.as_deref().is_none_or(|to| after < to) => {
            upper = Bound::Excluded(after);
        }
        Some(after) if !reversed && after >= slice.from.as_ref() => lower = Bound::Excluded(after),
        _ => {}
    }
    (lower, upper)
}
