//! Writing: a mutation becomes changes of its table's tree.

use base::{
    Cell, CellView, Change, ColumnId, MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES, Mutation,
    NO_TIMESTAMP, Token,
};
use bytes::Bytes;

use super::{fragment::encode_behind, key::PartitionKey};
use crate::tree::{Batch, TreeError, TreeId};

/// Adds a mutation to a batch. What says nothing adds nothing: nothing is older than
/// [`NO_TIMESTAMP`], so what carries it can neither be seen nor hide anything.
///
/// # Errors
/// [`TreeError::TooLarge`] if a key is; the batch is of no use then.
pub(super) fn add(
    batch: &mut Batch,
    tree: TreeId,
    token: Token,
    mutation: &Mutation,
) -> Result<(), TreeError> {
    bounded(&mutation.key, MAX_PARTITION_KEY_BYTES)?;
    let partition = PartitionKey::new(token, &mutation.key);
    for change in &mutation.changes {
        match change {
            Change::Row { clustering, cells } => {
                bounded(clustering, MAX_CLUSTERING_KEY_BYTES)?;
                put(batch, tree, &partition.row(clustering), NO_TIMESTAMP, &standing(cells));
            }
            Change::DeleteRows { from, to, timestamp } if *timestamp > NO_TIMESTAMP => {
                // The bound behind a row is one byte longer than the row's key.
                bounded(from, MAX_CLUSTERING_KEY_BYTES + 1)?;
                bounded(to.as_deref().unwrap_or_default(), MAX_CLUSTERING_KEY_BYTES + 1)?;
                delete_rows(batch, tree, &partition, from, to.as_ref(), *timestamp);
            }
            Change::DeletePartition { timestamp } if *timestamp > NO_TIMESTAMP => {
                batch.delete_range(tree, partition.start(), Some(partition.end()), *timestamp);
            }
            Change::DeleteRows { .. } | Change::DeletePartition { .. } => {}
        }
    }
    Ok(())
}

/// Adds a fragment, if it says something.
fn put(batch: &mut Batch, tree: TreeId, row: &[u8], deleted_at: i64, cells: &[(ColumnId, CellView<'_>)]) {
    if let Some(joined) = encode_behind(row, deleted_at, cells) {
        batch.put_joined(tree, joined, row.len());
    }
}

/// One row is deleted in its fragment, which costs what a write costs; more are a range of the
/// tree, which readers of all keys have to ask.
fn delete_rows(
    batch: &mut Batch,
    tree: TreeId,
    partition: &PartitionKey,
    from: &Bytes,
    to: Option<&Bytes>,
    timestamp: i64,
) {
    match to {
        Some(to) if to <= from => {}
        Some(to) if is_row(from, to) && from.len() <= MAX_CLUSTERING_KEY_BYTES => {
            put(batch, tree, &partition.row(from), timestamp, &[]);
        }
        Some(to) => batch.delete_range(tree, partition.row(from), Some(partition.row(to)), timestamp),
        None => batch.delete_range(tree, partition.row(from), Some(partition.end()), timestamp),
    }
}

/// Whether a range holds exactly the row with the key `from`.
pub(super) fn is_row(from: &[u8], to: &[u8]) -> bool {
    to.split_last().is_some_and(|(last, key)| *last == 0 && key == from)
}

/// The cells that say something, ascending by column, of each column the one that stands.
fn standing(cells: &[(ColumnId, Cell)]) -> Vec<(ColumnId, CellView<'_>)> {
    let says = cells.iter().filter(|(_, cell)| cell.timestamp > NO_TIMESTAMP);
    let mut standing: Vec<_> = says.map(|(column, cell)| (*column, cell.as_view())).collect();
    if standing.is_sorted_by(|(a, _), (b, _)| a < b) {
        return standing;
    }
    standing.sort_by_key(|(column, _)| *column);
    standing.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same && later.1.supersedes(&kept.1) {
            kept.1 = later.1;
        }
        same
    });
    standing
}

fn bounded(key: &[u8], limit: usize) -> Result<(), TreeError> {
    if key.len() > limit { Err(TreeError::TooLarge { bytes: key.len(), limit }) } else { Ok(()) }
}
