//! [`Batch`]: changes of one log position, over any number of trees, seen all or not at all.

use bytes::Bytes;

/// A tree of a forest. Never reused: what is left of a dropped tree must not pass for another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TreeId(pub u64);

/// Changes in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<(TreeId, Change)>,
}

/// One change of one tree.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put { key: Bytes, value: Bytes },
    DeleteRange { from: Bytes, to: Option<Bytes>, timestamp: i64 },
}

impl Batch {
    /// No changes.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Merges `value` into what `key` has. A deletion of one key is a value too, if the tree's rule
    /// knows tombstones.
    pub fn put(&mut self, tree: TreeId, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((tree, Change::Put { key: key.into(), value: value.into() }));
    }

    /// [`Batch::put`] of a key and a value that stand in one piece of memory, the key in the first
    /// `key_bytes`: half the allocations, of which the second half would be freed by another thread.
    pub fn put_joined(&mut self, tree: TreeId, joined: Vec<u8>, key_bytes: usize) {
        let mut value = Bytes::from(joined);
        let key = value.split_to(key_bytes);
        self.put(tree, key, value);
    }

    /// Deletes `from <= key < to` (`None`: to the end) as far as it is not later than `timestamp`,
    /// whenever it was or will be written.
    pub fn delete_range(&mut self, tree: TreeId, from: impl Into<Bytes>, to: Option<Bytes>, timestamp: i64) {
        self.changes.push((tree, Change::DeleteRange { from: from.into(), to, timestamp }));
    }
}
