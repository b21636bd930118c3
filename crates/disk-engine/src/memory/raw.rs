//! Raw answers: what is known of some rows, as the mutations that would rebuild it.

use base::{Change, Mutation, NO_TIMESTAMP, Slice, TableId};
use bytes::Bytes;

use super::{
    partition::Partition,
    rows::Row,
    shard::{Sink, bytes_of},
};

/// Gathers a raw answer.
pub(crate) struct Raw {
    table: TableId,
    mutations: Vec<Mutation>,
}

impl Raw {
    pub(crate) fn new(table: TableId) -> Raw {
        Raw { table, mutations: Vec::new() }
    }

    pub(crate) fn into_mutations(mut self) -> Vec<Mutation> {
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
}
