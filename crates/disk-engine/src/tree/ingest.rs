//! Sorted ingest: files made of what its owner has in order already, without log and memtable.
//!
//! The files become the newest run of the tree. So what is in memtables is flushed first, and the
//! entries get a sequence of their own, between what was applied before and what comes after.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use base::{Malformed, Position};
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    batch::Change,
    build::FileBuilder,
    file::{FileHandle, FileMeta},
    forest::{Forest, Inner, lock},
    format::file_name,
    pick::Run,
    ranges::Ranges,
    rule::Merge,
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
        let rule = (inner.rules)(tree);
        upkeep.flush_tree(inner, tree, sequence)?;
        let mut ingest = Ingest { inner, tree, rule, sequence, builder: None, last: None, done: Vec::new() };
        let ended = ingest.take(&mut upkeep, entries).and_then(|()| {
            sync_names(inner, &ingest.done)?;
            ingest.install(&mut upkeep, position)
        });
        ended.map_err(|error| {
            let error = match error {
                TreeError::Disk(error) => inner.die(&error.to_string()),
                error => error,
            };
            ingest.abandon();
            error
        })
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

/// An ingest under way.
struct Ingest<'i> {
    inner: &'i Inner,
    tree: TreeId,
    rule: Arc<dyn Merge>,
    sequence: u64,
    builder: Option<FileBuilder>,
    last: Option<Bytes>,
    done: Vec<FileMeta>,
}

impl Ingest<'_> {
    fn take(
        &mut self,
        upkeep: &mut Upkeep,
        entries: impl IntoIterator<Item = (Bytes, Bytes)>,
    ) -> Result<(), TreeError> {
        for (key, value) in entries {
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return Err(TreeError::Value(Malformed("keys that do not ascend")));
            }
            let change = Change::Put { key: key.clone(), value: value.clone() };
            super::apply::check(self.rule.as_ref(), &change)?;
            let settings = &self.inner.settings;
            if self.builder.as_ref().is_some_and(|builder| builder.bytes() >= settings.file_bytes) {
                self.end_file()?;
            }
            if self.builder.is_none() {
                let id = upkeep.manifest.next_file;
                upkeep.manifest.next_file += 1;
                let builder = FileBuilder::create(&self.inner.disk, settings, &self.rule, self.tree, id)?;
                self.builder = Some(builder);
            }
            let builder = self.builder.as_mut().expect("it was just made");
            builder.add(&key, self.sequence, &value)?;
            self.last = Some(key);
        }
        self.end_file()
    }

    fn end_file(&mut self) -> Result<(), TreeError> {
        if let Some(builder) = self.builder.take() {
            let name = file_name(builder.id());
            let ended = builder.finish(&Ranges::default()).inspect_err(|_| {
                // Nobody names it; opening the forest would remove it as well.
                let _ = self.inner.disk.remove(&name);
            });
            self.done.push(ended?);
        }
        Ok(())
    }

    fn install(&self, upkeep: &mut Upkeep, position: Position) -> Result<(), TreeError> {
        let open = |meta: &FileMeta| Arc::new(FileHandle::new(meta.clone(), &self.inner.files));
        let parts = {
            let state = self.inner.state();
            let tree = state.trees.get(&self.tree).expect("dropping a tree waits for the ingest");
            tree.parts.clone()
        };
        let mut runs = parts.runs.to_vec();
        if !self.done.is_empty() {
            runs.insert(0, Run { level: 0, files: self.done.iter().map(open).collect() });
        }
        let flushed = Flushed { count: 0, up_to: position.0, sequence: self.sequence };
        let written_bytes = self.done.iter().map(|meta| meta.bytes).sum();
        // A reader of now and one of the moment in which the files are there have the same sequence and see
        // different things: what one has found is not for the other.
        parts.ranges_at.store(u64::MAX, SeqCst);
        let committed = upkeep.commit(self.inner, self.tree, runs, written_bytes, Some(flushed));
        let _writer = lock(&self.inner.writer);
        parts.ranges_at.store(self.inner.moments.visible() + 1, SeqCst);
        committed
    }

    /// Removes what was written.
    fn abandon(self) {
        // After a failure of the disk nobody knows whether the manifest names them already.
        if self.inner.check_alive().is_ok() {
            let open = self.builder.as_ref().map(FileBuilder::id);
            for id in self.done.iter().map(|meta| meta.id).chain(open) {
                let _ = self.inner.disk.remove(&file_name(id));
            }
        }
    }
}
