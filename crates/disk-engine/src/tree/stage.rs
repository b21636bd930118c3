//! [`Stage`]: a tree that is made whole before anybody sees it.
//!
//! Its entries come in order, a part now and then, from somebody who has the tree already. They go
//! into files that no manifest names; one change of the manifest, at the end, makes the tree of
//! them. So a power cut leaves the whole tree or nothing of it, and a stage that is given up costs
//! nothing but its files.

use base::Malformed;
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    forest::{Forest, Inner, lock},
    sorted::Sorted,
    upkeep::{Flushed, sync_names},
};

/// A tree that is not there yet. Dropped, it never will be.
pub struct Stage(Sorted);

impl Forest {
    /// Begins a tree that there must not be when it is installed, nor have been dropped.
    pub fn stage(&self, tree: TreeId) -> Stage {
        let inner = &self.inner;
        let _writer = lock(&inner.writer);
        let sequence = inner.moments.visible() + 1;
        inner.moments.show(sequence);
        Stage(Sorted::new(inner.clone(), tree, sequence))
    }
}

impl Stage {
    /// Adds entries behind those that are in it. Their keys ascend.
    ///
    /// # Errors
    /// [`TreeError::Value`] if they do not, or if a value is none that the tree's rule knows;
    /// [`TreeError::TooLarge`]; [`TreeError::Full`]: the stage is of no use then and is to be dropped.
    /// [`TreeError::Fatal`] if the disk failed.
    pub fn add(&mut self, entries: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<(), TreeError> {
        let inner = self.0.inner.clone();
        inner.check_alive()?;
        let mut entries = entries.into_iter();
        let added = entries
            .try_for_each(|(key, value)| self.0.add(key, value, || lock(&inner.upkeep).take_file_id()));
        added.map_err(|error| inner.failed(error))
    }

    /// Makes the tree of what is in it. Durable when it returns: no log has anything of it, it is as if
    /// nothing was applied to it yet.
    ///
    /// # Errors
    /// [`TreeError::Value`] if there is or was such a tree; [`TreeError::Full`]; then there is nothing of
    /// it. [`TreeError::Fatal`] as ever.
    pub fn install(self) -> Result<(), TreeError> {
        let Stage(mut sorted) = self;
        let inner = sorted.inner.clone();
        inner.check_alive()?;
        let ended = sorted.end_file().and_then(|()| sync_names(&inner, sorted.files()));
        match ended.and_then(|()| begin_tree(&inner, &sorted)) {
            Ok(()) => {
                sorted.count();
                Ok(())
            }
            Err(error) => Err(inner.failed(error)),
        }
    }
}

fn begin_tree(inner: &Inner, sorted: &Sorted) -> Result<(), TreeError> {
    let id = sorted.tree;
    let mut upkeep = lock(&inner.upkeep);
    {
        // Trees begin with a batch, under this lock.
        let _writer = lock(&inner.writer);
        let state = inner.state();
        if state.dropped.contains(&id) || state.trees.contains_key(&id) {
            return Err(TreeError::Value(Malformed("the id of a staged tree, which was given away")));
        }
        drop(state);
        inner.make_trees([id]);
    }
    let flushed = Flushed { count: 0, up_to: 0, sequence: sorted.sequence };
    let runs = sorted.run().into_iter().collect();
    upkeep.commit(inner, id, runs, sorted.bytes(), Some(flushed)).inspect_err(|_| {
        inner.state_mut().trees.remove(&id);
    })
}
