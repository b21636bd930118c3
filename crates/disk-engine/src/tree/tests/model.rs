//! What trees must say: every change ever made, in a list, and reads that look at all of it. It
//! knows nothing of the rules the trees use, only what they promise.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base::{Cell, Malformed};
use bytes::Bytes;

use crate::tree::{
    Batch, LastWriteWins, Latest, Merge, Rules, TreeId, decode_cell, decode_latest, encode_cell,
    encode_latest,
};

/// Trees of cells.
pub(super) const CELLS: [TreeId; 3] = [TreeId(1), TreeId(2), TreeId(4)];
/// A tree of lists, for which order matters.
pub(super) const LIST: TreeId = TreeId(3);
/// The tree that some programs drop.
pub(super) const DOOMED: TreeId = TreeId(4);
/// A tree without timestamps, fed by a stream that lags behind its places in the log.
pub(super) const LATE: TreeId = TreeId(5);
pub(super) const TREES: [TreeId; 5] = [TreeId(1), TreeId(2), LIST, DOOMED, LATE];

/// Values are lists of items (timestamp, name), the newer behind the older.
#[derive(Debug)]
struct Lists;

impl Merge for Lists {
    fn merge(&self, older: &[u8], newer: &[u8]) -> Result<Vec<u8>, Malformed> {
        Ok([older, newer].concat())
    }

    fn cover<'v>(&self, value: &'v [u8], deleted_at: i64) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        let left: Vec<u8> =
            value.chunks(2).filter(|item| i64::from(item[0]) > deleted_at).flatten().copied().collect();
        Ok((!left.is_empty()).then_some(Cow::Owned(left)))
    }

    fn oldest(&self, value: &[u8]) -> Result<i64, Malformed> {
        value.chunks(2).map(|item| i64::from(item[0])).min().ok_or(Malformed("list"))
    }

    fn purge<'v>(&self, value: &'v [u8], _: i64, _: u32) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        Ok(Some(Cow::Borrowed(value)))
    }

    fn prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.get(..1)
    }
}

pub(super) fn rules() -> Rules {
    Arc::new(|tree| match tree {
        LIST => Arc::new(Lists),
        LATE => Arc::new(Latest),
        _ => Arc::new(LastWriteWins { prefix_bytes: 1 }),
    })
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Cell(Vec<u8>, Cell),
    Item(Vec<u8>, u8, u8),
    Latest(Vec<u8>, Option<Vec<u8>>),
    Delete(Vec<u8>, Option<Vec<u8>>, i64),
}

/// As a batch.
pub(super) fn batch_of(changes: &[(TreeId, Change)]) -> Batch {
    let mut batch = Batch::new();
    for (tree, change) in changes {
        match change {
            Change::Cell(key, cell) => batch.put(*tree, key.clone(), encode_cell(cell)),
            Change::Item(key, timestamp, name) => batch.put(*tree, key.clone(), vec![*timestamp, *name]),
            Change::Latest(key, value) => batch.put(*tree, key.clone(), encode_latest(value.as_deref())),
            Change::Delete(from, to, timestamp) => {
                batch.delete_range(*tree, from.clone(), to.clone().map(Bytes::from), *timestamp);
            }
        }
    }
    batch
}

/// What a reader sees of a value: nothing of what is dead.
pub(super) fn seen(tree: TreeId, value: &[u8], now: u32) -> Option<Vec<u8>> {
    let dead = match tree {
        LIST => false,
        LATE => decode_latest(&Bytes::copy_from_slice(value)).unwrap().is_none(),
        _ => !decode_cell(value).unwrap().is_live(now),
    };
    (!dead).then(|| value.to_vec())
}

/// A deletion: from, to, position, timestamp.
type Deletion = (Vec<u8>, Option<Vec<u8>>, u64, i64);
/// Keys and what is seen of their values.
pub(super) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Default, Debug)]
struct Tree {
    keys: BTreeMap<Vec<u8>, Vec<(u64, Change)>>,
    deletions: Vec<Deletion>,
}

#[derive(Clone, Default, Debug)]
pub(super) struct Model {
    trees: BTreeMap<TreeId, Tree>,
    pub(super) dropped: bool,
}

impl Model {
    pub(super) fn apply(&mut self, position: u64, changes: &[(TreeId, Change)]) {
        for (id, change) in changes {
            if self.dropped && *id == DOOMED {
                continue;
            }
            let tree = self.trees.entry(*id).or_default();
            match change {
                Change::Cell(key, _) | Change::Item(key, ..) | Change::Latest(key, _) => {
                    tree.keys.entry(key.clone()).or_default().push((position, change.clone()));
                }
                Change::Delete(from, to, timestamp) => {
                    tree.deletions.push((from.clone(), to.clone(), position, *timestamp));
                }
            }
        }
    }

    pub(super) fn drop_doomed(&mut self) {
        self.trees.remove(&DOOMED);
        self.dropped = true;
    }

    pub(super) fn get(&self, id: TreeId, key: &[u8], position: u64, now: u32) -> Option<Vec<u8>> {
        let tree = self.trees.get(&id)?;
        let covers = |deletion: &&Deletion| {
            let (from, to, at, _) = deletion;
            *at <= position && from.as_slice() <= key && to.as_deref().is_none_or(|to| key < to)
        };
        let deleted =
            tree.deletions.iter().filter(covers).map(|deletion| deletion.3).max().unwrap_or(i64::MIN);
        let versions = tree.keys.get(key)?.iter().filter(|version| version.0 <= position);
        let mut list = Vec::new();
        let mut stands: Option<&Cell> = None;
        let mut latest = None;
        for (_, change) in versions {
            match change {
                Change::Item(_, timestamp, name) if i64::from(*timestamp) > deleted => {
                    list.extend([*timestamp, *name]);
                }
                Change::Cell(_, cell)
                    if cell.timestamp > deleted && stands.is_none_or(|other| cell.supersedes(other)) =>
                {
                    stands = Some(cell);
                }
                Change::Latest(_, value) => latest = value.as_deref(),
                _ => {}
            }
        }
        if id == LATE {
            return latest.map(|value| encode_latest(Some(value)).to_vec());
        }
        if id == LIST {
            return (!list.is_empty()).then_some(list);
        }
        stands.filter(|cell| cell.is_live(now)).map(|cell| encode_cell(cell).to_vec())
    }

    pub(super) fn scan(
        &self,
        id: TreeId,
        (from, to): (&[u8], Option<&[u8]>),
        backward: bool,
        position: u64,
        now: u32,
    ) -> Rows {
        let Some(tree) = self.trees.get(&id) else { return Rows::new() };
        let within = |key: &&Vec<u8>| from <= key.as_slice() && to.is_none_or(|to| key.as_slice() < to);
        let row = |key: &Vec<u8>| Some((key.clone(), self.get(id, key, position, now)?));
        let mut rows: Rows = tree.keys.keys().filter(within).filter_map(row).collect();
        if backward {
            rows.reverse();
        }
        rows
    }
}
