//! Sorted ingest: files made of what its owner has in order already, without log and memtable.
//!
//! The files become the newest run of the tree. So what is in memtables is flushed first, and the
//! entries get a sequence of their own, between what was applied before and what comes after.

use std::sync::atomic::Ordering::SeqCst;

use base::{Malformed, Position};
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    forest::{Forest, Inner, lock},
    sorted::Sorted,
    upkeep::{Flushed, Upkeep, sync_names},
};

impl Forest {
    /// Merges keys that ascend, each with a value, into a tree, as a batch at `position` would.
    /// Durable when it returns, so no log has to have it. Readers see all of it or nothing, from when
    /// it returns; so do snapshots that were taken since it began. Others may write meanwhile, at
    /// later positions; [`Forest::work`] waits.
    ///
    /// # Errors
    /// [`TreeError::Value`] if the keys do not ascend, if a value is none that the rule knows, or if
    /// the tree was given `position` or a later one already; [`TreeError::TooLarge`];
    /// [`TreeError::Full`]. Nothing of it is there then, and another attempt takes another position.
    /// [`TreeError::Fatal`] as ever.
    pub fn ingest(
        &self,
        tree: TreeId,
        position: Position,
        entries: impl IntoIterator<Item = (Bytes, Bytes)>,
    ) -> Result<(), TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        let mut upkeep = lock(&inner.upkeep);
        let Some(sequence) = inner.begin_ingest(tree, position)? else { return Ok(()) };
        upkeep.flush_tree(inner, tree, sequence)?;
        let mut sorted = Sorted::new(inner.clone(), tree, sequence);
        let ended = entries
            .into_iter()
            .try_for_each(|(key, value)| sorted.add(key, value, || upkeep.take_file_id()))
            .and_then(|()| sorted.end_file())
            .and_then(|()| sync_names(inner, sorted.files()))
            .and_then(|()| install(&mut upkeep, &mut sorted, position));
        match ended {
            Ok(()) => {
                sorted.count();
                Ok(())
            }
            Err(error) => Err(inner.failed(error)),
        }
    }
}

impl Inner {
    /// Puts aside what the tree has in memory, and takes a sequence for what comes; `None` if the
    /// tree was dropped.
    fn begin_ingest(&self, id: TreeId, position: Position) -> Result<Option<u64>, TreeError> {
        let _writer = lock(&self.writer);
        self.make_trees([id]);
        self.freeze(vec![id]);
        let state = self.state();
        let Some(tree) = state.trees.get(&id) else { return Ok(None) };
        if tree.applied.load(SeqCst) >= position.0 {
            return Err(TreeError::Value(Malformed("an ingest behind what was applied")));
        }
        tree.applied.store(position.0, SeqCst);
        self.applied.fetch_max(position.0, SeqCst);
        let sequence = position.0.max(self.moments.visible() + 1);
        self.moments.show(sequence);
        Ok(Some(sequence))
    }
}

/// Has the files of an ingest count, as the newest run of the tree.
fn install(upkeep: &mut Upkeep, sorted: &mut Sorted, position: Position) -> Result<(), TreeError> {
    let inner = sorted.inner.clone();
    let parts = {
        let state = inner.state();
        let tree = state.trees.get(&sorted.tree).expect("dropping a tree waits for the ingest");
        tree.parts.clone()
    };
    let mut runs = parts.runs.to_vec();
    runs.splice(0..0, sorted.run());
    let flushed = Flushed { count: 0, up_to: position.0, sequence: sorted.sequence };
    // A reader of now and one of the moment in which the files are there have the same sequence and see
    // different things: what one has found is not for the other.
    parts.ranges_at.store(u64::MAX, SeqCst);
    let committed = upkeep.commit(&inner, sorted.tree, runs, sorted.bytes(), Some(flushed));
    let _writer = lock(&inner.writer);
    parts.ranges_at.store(inner.moments.visible() + 1, SeqCst);
    committed
}
