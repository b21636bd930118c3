//! [`Source`]: keys in order with all that is known of them, and the fold that makes one value of
//! it. Reads, flushes and compactions are this, with different sources and sinks.

use std::{collections::VecDeque, ops::Bound, sync::Arc};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;

use super::{
    TreeError,
    memtable::{Memtable, Versions},
    rule::Merge,
};

/// Keys of one place, in one direction.
pub(crate) trait Source: Send {
    /// The key it is at; `None` behind the last.
    fn key(&self) -> Option<&[u8]>;

    /// Adds all values of that key to `into`, in any order, and goes on to the next key.
    fn take(&mut self, into: &mut Versions) -> Result<(), TreeError>;
}

/// Keys copied out of a memtable at a time: more hold its lock for longer.
const CHUNK: usize = 32;

/// A memtable as a source of `from <= key < to`.
#[derive(Debug)]
pub(crate) struct MemSource {
    memtable: Arc<Memtable>,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
    backward: bool,
    chunk: VecDeque<(Bytes, Versions)>,
}

impl MemSource {
    pub(crate) fn new(memtable: Arc<Memtable>, from: Bytes, to: Option<Bytes>, backward: bool) -> MemSource {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut source =
            MemSource { memtable, from: Bound::Included(from), to, backward, chunk: VecDeque::new() };
        source.fill();
        source
    }

    fn fill(&mut self) {
        if is_empty(&self.from, &self.to) {
            return;
        }
        let bounds = (self.from.as_ref().map(AsRef::as_ref), self.to.as_ref().map(AsRef::as_ref));
        self.chunk = self.memtable.chunk(bounds, self.backward, CHUNK).into();
        if let Some((last, _)) = self.chunk.back() {
            let behind = Bound::Excluded(last.clone());
            if self.backward { self.to = behind } else { self.from = behind }
        }
    }
}

fn is_empty(from: &Bound<Bytes>, to: &Bound<Bytes>) -> bool {
    match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

impl Source for MemSource {
    fn key(&self) -> Option<&[u8]> {
        self.chunk.front().map(|(key, _)| key.as_ref())
    }

    fn take(&mut self, into: &mut Versions) -> Result<(), TreeError> {
        if let Some((_, versions)) = self.chunk.pop_front() {
            into.extend(versions);
        }
        if self.chunk.is_empty() {
            self.fill();
        }
        Ok(())
    }
}

/// Takes the next key of all sources with all its values, oldest first.
pub(crate) fn take_next(
    sources: &mut [Box<dyn Source>],
    backward: bool,
) -> Result<Option<(Bytes, Versions)>, TreeError> {
    let keys = sources.iter().filter_map(|source| source.key());
    let next = if backward { keys.max() } else { keys.min() };
    let Some(key) = next.map(Bytes::copy_from_slice) else { return Ok(None) };
    let mut versions = Versions::new();
    for source in sources {
        if source.key() == Some(&key) {
            source.take(&mut versions)?;
        }
    }
    versions.sort_by_key(|version| version.0);
    Ok(Some((key, versions)))
}

/// Folds values, oldest first, into one.
pub(crate) fn fold(
    rule: &dyn Merge,
    mut values: impl Iterator<Item = Bytes>,
) -> Result<Option<Bytes>, Malformed> {
    let Some(mut folded) = values.next() else { return Ok(None) };
    for value in values {
        folded = rule.merge(&folded, &value)?.into();
    }
    Ok(Some(folded))
}

/// What is left of a value under a deletion.
pub(crate) fn cover(rule: &dyn Merge, value: Bytes, deleted_at: i64) -> Result<Option<Bytes>, Malformed> {
    if deleted_at == NO_TIMESTAMP {
        return Ok(Some(value));
    }
    let left = rule.cover(&value, deleted_at)?;
    Ok(left.map(|left| match left {
        std::borrow::Cow::Borrowed(same) => value.slice_ref(same),
        std::borrow::Cow::Owned(part) => part.into(),
    }))
}
