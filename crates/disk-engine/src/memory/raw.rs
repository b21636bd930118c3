//! Raw answers: what is known of some rows, as the mutations that would rebuild it.

use base::{Change, Mutation, NO_TIMESTAMP, Place, Selection, Slice, TableId};
use bytes::Bytes;

use super::{
    partition::Partition,
    rows::Row,
    shard::{Sink, bytes_of},
};
use crate::{ReadSpec, page::covered};

/// Cuts a deletion of rows to what the page covers; false if nothing is left.
fn cut(change: &mut Change, reversed: bool, after: Option<&[u8]>, last: Option<&[u8]>) -> bool {
    let Change::DeleteRows { from, to, .. } = change else { return true };
    let slice = Slice { from: from.clone(), to: to.clone() };
    match covered(&[slice], reversed, after, last).pop() {
        Some(slice) => {
            (*from, *to) = (slice.from, slice.to);
            true
        }
        None => false,
    }
}

/// Gathers a raw answer.
pub(crate) struct Raw {
    table: TableId,
    mutations: Vec<Mutation>,
    /// How many there were when the page was full, and how many changes the last of them had.
    full: (usize, usize),
}

impl Raw {
    pub(crate) fn new(table: TableId) -> Raw {
        Raw { table, mutations: Vec::new(), full: (0, 0) }
    }

    /// The answer of a page that ended at `more`.
    pub(crate) fn into_mutations(mut self, spec: &ReadSpec, more: Option<&Place>) -> Vec<Mutation> {
        let reversed = matches!(spec.selection, Selection::Partition { reversed: true, .. });
        for mutation in &mut self.mutations {
            let within = |place: Option<&'_ Place>| {
                let place = place.filter(|place| place.key == mutation.key)?;
                place.clustering.clone()
            };
            let (after, last) = (within(spec.after.as_ref()), within(more));
            mutation.changes.retain_mut(|change| cut(change, reversed, after.as_deref(), last.as_deref()));
        }
        self.mutations.retain(|mutation| !mutation.changes.is_empty());
        self.mutations
    }

    fn push(&mut self, clustering: &Bytes, row: &Row) {
        let changes = &mut self.mutations.last_mut().expect("a partition is open").changes;
        changes.push(Change::Row { clustering: clustering.clone(), cells: row.cells.clone() });
    }
}

impl Sink for Raw {
    fn open(&mut self, partition: &Partition, slices: &[Slice]) {
        let mut changes = Vec::new();
        if partition.deleted_at != NO_TIMESTAMP {
            changes.push(Change::DeletePartition { timestamp: partition.deleted_at });
        }
        if let Some(ranges) = &partition.ranges {
            let cut = slices.iter().flat_map(|slice| ranges.within(&slice.from, &slice.to));
            changes.extend(cut.map(|(from, to, timestamp)| Change::DeleteRows { from, to, timestamp }));
        }
        self.mutations.push(Mutation { table: self.table, key: partition.key.clone(), changes });
    }

    fn live(&mut self, _: &Partition, clustering: &Bytes, row: &Row) -> usize {
        self.push(clustering, row);
        bytes_of(clustering, row)
    }

    fn dead(&mut self, clustering: &Bytes, row: &Row) {
        self.push(clustering, row);
    }

    fn full(&mut self) {
        self.full = (self.mutations.len(), self.mutations.last().map_or(0, |last| last.changes.len()));
    }

    fn cut(&mut self) {
        self.mutations.truncate(self.full.0);
        if let Some(last) = self.mutations.last_mut() {
            last.changes.truncate(self.full.1);
        }
    }
}
