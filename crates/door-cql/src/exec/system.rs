//! System tables read as if they were in the store: computed rows in the order of the ring, so
//! that everything above reads both alike.

use std::collections::BTreeMap;

use base::{Cell, Token, token_of};
use bytes::Bytes;
use store::{Page, PartitionRows, Place, Row, Selection};

use super::keys::{check_partition_key, partition_key};
use crate::{bind::TableView, types::keys};

/// The rows of a system table at one moment: partitions by token and key, rows by clustering key.
pub(super) struct SystemRows(BTreeMap<(Token, Bytes), BTreeMap<Bytes, Row>>);

impl SystemRows {
    /// Takes rows that have a value for each column of `view`. Rows without a key are left out.
    pub(super) fn new(view: &TableView, rows: Vec<Vec<Option<Bytes>>>) -> SystemRows {
        let mut partitions: BTreeMap<(Token, Bytes), BTreeMap<Bytes, Row>> = BTreeMap::new();
        for row in rows {
            let components: Vec<Bytes> = row.iter().take(view.partition_len).flatten().cloned().collect();
            let key = partition_key(&components).and_then(|key| check_partition_key(&key).map(|()| key));
            let Ok(key) = key else {
                continue;
            };
            let mut clustering = Vec::new();
            for (column, value) in view.clustering().iter().zip(&row[view.partition_len..]) {
                let descending = matches!(column.kind, store::ColumnKind::Clustering { descending: true });
                keys::put(&column.ty, descending, value.as_deref().unwrap_or_default(), &mut clustering);
            }
            let clustering = Bytes::from(clustering);
            let values = view.columns.iter().zip(row).skip(view.key_len());
            let cells =
                values.filter_map(|(column, value)| Some((column.id, Cell::live(0, value?)))).collect();
            let row = Row { clustering: clustering.clone(), cells };
            partitions.entry((token_of(&key), key)).or_default().insert(clustering, row);
        }
        SystemRows(partitions)
    }

    /// All that is selected after a place.
    pub(super) fn page(&self, selection: &Selection, after: Option<&Place>) -> Page {
        let mut page = Page::default();
        for ((token, key), rows) in &self.0 {
            let here = after.filter(|place| place.key == *key);
            let selected = |row: &Row| match (selection, here) {
                (_, Some(Place { clustering: None, .. })) => false,
                (Selection::Tokens { .. }, here) => {
                    here.is_none_or(|place| place.clustering.as_ref() < Some(&row.clustering))
                }
                (Selection::Partition { slices, reversed, .. }, here) => {
                    let beyond = here.is_none_or(|place| {
                        let last = place.clustering.as_ref();
                        if *reversed { last > Some(&row.clustering) } else { last < Some(&row.clustering) }
                    });
                    beyond && slices.iter().any(|slice| slice.contains(&row.clustering))
                }
            };
            let wanted = match selection {
                Selection::Partition { key: wanted, .. } => wanted == key,
                Selection::Tokens { first, last } => {
                    let passed =
                        after.is_some_and(|place| (*token, key) < (token_of(&place.key), &place.key));
                    (*first..=*last).contains(token) && !passed
                }
            };
            if !wanted {
                continue;
            }
            page.scanned_rows += rows.len() as u64;
            let mut rows: Vec<Row> = rows.values().filter(|row| selected(row)).cloned().collect();
            if matches!(selection, Selection::Partition { reversed: true, .. }) {
                rows.reverse();
            }
            if !rows.is_empty() {
                page.partitions.push(PartitionRows { key: key.clone(), rows });
            }
        }
        page
    }
}
