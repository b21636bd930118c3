//! The oracle: every mutation ever acknowledged, and answers worked out from scratch.
//!
//! It is as slow as it is plain. Nothing is shared with any implementation but the rule which of
//! two cells stands.

use std::collections::{BTreeMap, BTreeSet};

use base::{Cell, Change, ColumnId, Mutation, token_of};
use bytes::Bytes;

use crate::{PartitionRows, Row, Selection, Slice};

/// One table.
#[derive(Debug, Default)]
pub(super) struct Model {
    mutations: Vec<Mutation>,
    newest_cas: BTreeMap<Bytes, i64>,
}

impl Model {
    pub(super) fn apply(&mut self, mutation: Mutation) {
        self.mutations.push(mutation);
    }

    /// Applies what a conditional write made.
    pub(super) fn apply_cas(&mut self, mutation: Mutation) {
        for change in &mutation.changes {
            if let Change::Row { cells, .. } = change {
                let newest = cells.iter().map(|(_, cell)| cell.timestamp).max();
                self.newest_cas.extend(newest.map(|newest| (mutation.key.clone(), newest)));
            }
        }
        self.mutations.push(mutation);
    }

    /// The timestamp of the last conditional write to a partition.
    pub(super) fn newest_cas(&self, key: &Bytes) -> Option<i64> {
        self.newest_cas.get(key).copied()
    }

    pub(super) fn read(
        &self,
        selection: &Selection,
        columns: Option<&[ColumnId]>,
        now_seconds: u32,
    ) -> Vec<PartitionRows> {
        let (mut keys, slices, reversed) = match selection {
            Selection::Partition { key, slices, reversed } => (vec![key.clone()], slices.clone(), *reversed),
            Selection::Tokens { first, last } => {
                let keys: BTreeSet<Bytes> =
                    self.mutations.iter().map(|mutation| mutation.key.clone()).collect();
                let within = keys.into_iter().filter(|key| (*first..=*last).contains(&token_of(key)));
                (within.collect(), vec![Slice::all()], false)
            }
        };
        keys.sort_by_key(|key| (token_of(key), key.clone()));
        let partition = |key: Bytes| {
            let mut rows = self.rows(&key, &slices, columns, now_seconds);
            if reversed {
                rows.reverse();
            }
            PartitionRows { key, rows }
        };
        keys.into_iter().map(partition).filter(|partition| !partition.rows.is_empty()).collect()
    }

    fn rows(
        &self,
        key: &Bytes,
        slices: &[Slice],
        columns: Option<&[ColumnId]>,
        now_seconds: u32,
    ) -> Vec<Row> {
        let changes: Vec<&Change> =
            self.mutations.iter().filter(|mutation| mutation.key == *key).flat_map(|m| &m.changes).collect();
        let mut rows: BTreeMap<&Bytes, BTreeMap<ColumnId, &Cell>> = BTreeMap::new();
        for change in &changes {
            let Change::Row { clustering, cells } = change else { continue };
            if !slices.iter().any(|slice| slice.contains(clustering)) {
                continue;
            }
            let row = rows.entry(clustering).or_default();
            for (column, cell) in cells {
                let shadowed = changes.iter().any(|change| deletes(change, clustering, cell.timestamp));
                if !shadowed && row.get(column).is_none_or(|other| cell.supersedes(other)) {
                    row.insert(*column, cell);
                }
            }
        }
        let live = |(clustering, cells): (&Bytes, BTreeMap<ColumnId, &Cell>)| {
            let live: Vec<_> = cells.into_iter().filter(|(_, cell)| cell.is_live(now_seconds)).collect();
            let asked = |column: &ColumnId| columns.is_none_or(|columns| columns.contains(column));
            (!live.is_empty()).then(|| Row {
                clustering: clustering.clone(),
                cells: live
                    .iter()
                    .filter(|(column, _)| asked(column))
                    .map(|(c, cell)| (*c, (*cell).clone()))
                    .collect(),
            })
        };
        rows.into_iter().filter_map(live).collect()
    }
}

fn deletes(change: &Change, clustering: &Bytes, timestamp: i64) -> bool {
    match change {
        Change::Row { .. } => false,
        Change::DeletePartition { timestamp: deleted } => timestamp <= *deleted,
        Change::DeleteRows { from, to, timestamp: deleted } => {
            timestamp <= *deleted && from <= clustering && to.as_ref().is_none_or(|to| clustering < to)
        }
    }
}
