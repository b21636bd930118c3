//! [`Source`]: keys in order with all that is known of them; [`Merged`]: several of them as one; and
//! the fold that makes one value of what is known. Reads, flushes and compactions are this, with
//! different sources and sinks.

use std::{borrow::Cow, cmp::Ordering, collections::VecDeque, ops::Bound, sync::Arc};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;

use super::{
    TreeError,
    cursor::{Access, Cursor},
    file::FileHandle,
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
    /// Nothing is left behind the chunk.
    ended: bool,
}

impl MemSource {
    pub(crate) fn new(memtable: Arc<Memtable>, from: Bytes, to: Option<Bytes>, backward: bool) -> MemSource {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut source = MemSource {
            memtable,
            from: Bound::Included(from),
            to,
            backward,
            chunk: VecDeque::new(),
            ended: false,
        };
        source.fill();
        source
    }

    fn fill(&mut self) {
        if self.ended || is_empty(&self.from, &self.to) {
            return;
        }
        let bounds = (self.from.as_ref().map(AsRef::as_ref), self.to.as_ref().map(AsRef::as_ref));
        self.chunk = self.memtable.chunk(bounds, self.backward, CHUNK).into();
        self.ended = self.chunk.len() < CHUNK;
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

/// Files that follow each other, as one source of `from <= key < to`.
#[derive(Debug)]
pub(crate) struct FilesSource {
    /// In the order in which they are read, the next one last.
    files: Vec<Arc<FileHandle>>,
    from: Bytes,
    to: Option<Bytes>,
    backward: bool,
    access: Access,
    cursor: Option<Cursor>,
    /// It has come to the bound.
    ended: bool,
    /// The key whose values are being taken.
    taken: Vec<u8>,
}

impl FilesSource {
    /// `files` ascend and do not overlap.
    pub(crate) fn new(
        mut files: Vec<Arc<FileHandle>>,
        (from, to): (Bytes, Option<Bytes>),
        backward: bool,
        access: Access,
    ) -> Result<FilesSource, TreeError> {
        if !backward {
            files.reverse();
        }
        let (cursor, ended, taken) = (None, false, Vec::new());
        let mut source = FilesSource { files, from, to, backward, access, cursor, ended, taken };
        source.settle()?;
        Ok(source)
    }

    /// Goes on to the next file while there is no entry, and looks whether the bound is reached.
    fn settle(&mut self) -> Result<(), TreeError> {
        loop {
            if let Some(key) = self.cursor.as_ref().and_then(Cursor::key) {
                self.ended = if self.backward {
                    key < self.from.as_ref()
                } else {
                    self.to.as_deref().is_some_and(|to| to <= key)
                };
                return Ok(());
            }
            let Some(file) = self.files.pop() else {
                self.ended = true;
                return Ok(());
            };
            let mut cursor = file.entries(self.access)?;
            if self.backward {
                cursor.seek_below(self.to.as_deref())?;
            } else {
                cursor.seek(&self.from, u64::MAX)?;
            }
            self.cursor = Some(cursor);
        }
    }
}

impl Source for FilesSource {
    fn key(&self) -> Option<&[u8]> {
        if self.ended { None } else { self.cursor.as_ref()?.key() }
    }

    fn take(&mut self, into: &mut Versions) -> Result<(), TreeError> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let (Some(key), Some(first)) = (cursor.key(), cursor.value()) else { return Ok(()) };
        self.taken.clear();
        self.taken.extend_from_slice(key);
        into.push(first);
        loop {
            if self.backward {
                cursor.prev()?
            } else {
                cursor.next()?
            }
            match cursor.value() {
                Some(more) if cursor.key() == Some(&self.taken) => into.push(more),
                _ => return self.settle(),
            }
        }
    }
}

/// Several sources as one: at a key, with all its values.
#[derive(Default)]
pub(crate) struct Merged {
    sources: Vec<Box<dyn Source>>,
    /// Those that have keys left, by the key they are at, the next one last.
    order: Vec<usize>,
    backward: bool,
    key: Vec<u8>,
    versions: Versions,
}

impl Merged {
    /// Before the first key.
    pub(crate) fn new(sources: Vec<Box<dyn Source>>, backward: bool) -> Merged {
        let order = Vec::with_capacity(sources.len());
        let count = sources.len();
        let mut merged = Merged { sources, order, backward, key: Vec::new(), versions: Versions::new() };
        for nth in 0..count {
            merged.line_up(nth);
        }
        merged
    }

    /// Puts a source in its place in the order. Mostly it is the next one again, so the search begins
    /// there; a heap would compare as often where that is so, and more where it is not.
    fn line_up(&mut self, nth: usize) {
        let Some(key) = self.sources[nth].key() else { return };
        let not_before = |other: &usize| {
            let order = self.sources[*other].key().map(|other| key.cmp(other));
            order != Some(if self.backward { Ordering::Less } else { Ordering::Greater })
        };
        let at = self.order.iter().rposition(not_before);
        self.order.insert(at.map_or(0, |at| at + 1), nth);
    }

    /// Goes to the next key; false behind the last.
    pub(crate) fn next(&mut self) -> Result<bool, TreeError> {
        self.versions.clear();
        let Some(&first) = self.order.last() else { return Ok(false) };
        self.key.clear();
        self.key.extend_from_slice(self.sources[first].key().unwrap_or_default());
        while let Some(&nth) = self.order.last()
            && self.sources[nth].key() == Some(&self.key)
        {
            self.sources[nth].take(&mut self.versions)?;
            self.order.pop();
            self.line_up(nth);
        }
        if self.versions.len() > 1 {
            self.versions.sort_unstable_by_key(|version| version.0);
        }
        Ok(true)
    }

    /// The key it is at, and its values, oldest first. They may be changed.
    pub(crate) fn at(&mut self) -> (&[u8], &mut Versions) {
        (&self.key, &mut self.versions)
    }
}

/// Folds values, oldest first, into one. It begins with the newest: a long-lived large value is the
/// oldest mostly, and is copied once then and not once for each that is newer.
pub(crate) fn fold(
    rule: &dyn Merge,
    mut values: impl DoubleEndedIterator<Item = Bytes>,
) -> Result<Option<Bytes>, Malformed> {
    let Some(mut folded) = values.next_back() else { return Ok(None) };
    while let Some(older) = values.next_back() {
        folded = rule.merge(&older, &folded)?.into();
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
        Cow::Borrowed(same) => value.slice_ref(same),
        Cow::Owned(part) => part.into(),
    }))
}
