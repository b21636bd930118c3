//! [`Sorted`]: entries in order on their way into files that no manifest names yet.
//!
//! Who brings them has them in order already, so there is no memtable: they go straight into files, of
//! which one at a time is open. When it is dropped before its files count they are removed; what a
//! power cut leaves of them is removed when the forest is opened.

use std::sync::Arc;

use base::Malformed;
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    batch::Change,
    build::FileBuilder,
    file::{FileHandle, FileMeta},
    forest::Inner,
    format::file_name,
    pick::Run,
    ranges::Ranges,
    rule::Merge,
};

pub(crate) struct Sorted {
    pub(crate) inner: Arc<Inner>,
    pub(crate) tree: TreeId,
    /// Of all its entries.
    pub(crate) sequence: u64,
    rule: Arc<dyn Merge>,
    builder: Option<FileBuilder>,
    last: Option<Bytes>,
    done: Vec<FileMeta>,
}

impl Sorted {
    pub(crate) fn new(inner: Arc<Inner>, tree: TreeId, sequence: u64) -> Sorted {
        let rule = (inner.rules)(tree);
        Sorted { inner, tree, sequence, rule, builder: None, last: None, done: Vec::new() }
    }

    /// Adds the next entry; `next_file` gives the id of another file, should it be needed.
    pub(crate) fn add(
        &mut self,
        key: Bytes,
        value: Bytes,
        next_file: impl FnOnce() -> u64,
    ) -> Result<(), TreeError> {
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(TreeError::Value(Malformed("keys that do not ascend")));
        }
        let change = Change::Put { key: key.clone(), value: value.clone() };
        super::apply::check(self.rule.as_ref(), &change)?;
        let settings = &self.inner.settings;
        if self.builder.as_ref().is_some_and(|builder| builder.bytes() >= settings.file_bytes) {
            self.end_file()?;
        }
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => {
                let Inner { disk, settings, .. } = self.inner.as_ref();
                let builder = FileBuilder::create(disk, settings, &self.rule, self.tree, next_file())?;
                self.builder.insert(builder)
            }
        };
        builder.add(&key, self.sequence, &value)?;
        self.last = Some(key);
        Ok(())
    }

    /// Ends the open file: afterwards its bytes are durable.
    pub(crate) fn end_file(&mut self) -> Result<(), TreeError> {
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

    /// The files that are ended.
    pub(crate) fn files(&self) -> &[FileMeta] {
        &self.done
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.done.iter().map(|meta| meta.bytes).sum()
    }

    /// They as a run of level 0; `None` if there are none.
    pub(crate) fn run(&self) -> Option<Run> {
        let open = |meta: &FileMeta| Arc::new(FileHandle::new(meta.clone(), &self.inner.files));
        (!self.done.is_empty()).then(|| Run { level: 0, files: self.done.iter().map(open).collect() })
    }

    /// A manifest names the files: they stay.
    pub(crate) fn count(mut self) {
        self.done.clear();
    }
}

impl Drop for Sorted {
    fn drop(&mut self) {
        // After a failure of the disk nobody knows whether the manifest names them already.
        if self.inner.check_alive().is_ok() {
            let open = self.builder.as_ref().map(FileBuilder::id);
            for id in self.done.iter().map(|meta| meta.id).chain(open) {
                let _ = self.inner.disk.remove(&file_name(id));
            }
        }
    }
}
