//! Reading: a [`View`] is one tree at one position, and everything it reads from stays as long as it
//! does. A read gathers what memtables and files say of a key, newest or not, and folds it: which
//! value stands is the rule's affair and not a question of which file is newer.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    cursor::Access,
    file::{FileHandle, Steps, damage, overlapping},
    filter,
    format::FOLDER,
    memtable::Versions,
    moments::Look,
    row_cache::Wanted,
    source::{FilesSource, MemSource, Merged, Source, cover, fold},
    state::Parts,
};

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patience {
    /// It waits: for threads of their own.
    #[default]
    Wait,
    /// It takes what is in memory, in the block cache or in the operating system's, and fails with
    /// [`TreeError::NotNow`] where that is not enough: for threads that many others wait for.
    Now,
}

/// One tree as it stood at one position.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) tree: TreeId,
    pub(crate) parts: Arc<Parts>,
    pub(crate) position: u64,
    /// Keeps what it sees from being folded away.
    pub(crate) _look: Look,
}

impl View {
    pub(crate) fn get(&self, key: &[u8], patience: Patience) -> Result<Option<Bytes>, TreeError> {
        let Parts { files, ranges_at, .. } = self.parts.as_ref();
        let ranges_at = || ranges_at.load(SeqCst);
        let wanted = Wanted { tree: self.tree, key, hash: filter::hash(key) };
        let known = files.rows.knows(wanted.hash);
        if known && let Some(value) = files.rows.get(&files.cache, &wanted, self.position, ranges_at()) {
            return Ok(Some(value));
        }
        let (found, deleted_at) = self.find(key, wanted.hash, patience)?;
        match &found {
            Some(value) if known => {
                files.rows.put(&files.cache, &wanted, (self.position, deleted_at), ranges_at, value);
            }
            Some(_) => files.rows.remember(wanted.hash),
            None => {}
        }
        Ok(found)
    }

    /// What memtables and files say of a key, and the latest timestamp of a deletion of a range with it.
    fn find(&self, key: &[u8], hash: u64, patience: Patience) -> Result<(Option<Bytes>, i64), TreeError> {
        let newest_stands = self.parts.rule.newest_stands();
        let mut versions = Versions::new();
        let mut deleted_at = NO_TIMESTAMP;
        for memtable in self.parts.memtables.iter().rev() {
            if newest_stands && !versions.is_empty() {
                break;
            }
            memtable.collect(key, self.position, &mut versions);
            deleted_at = deleted_at.max(memtable.deleted_at(key, self.position));
        }
        for run in self.parts.runs.iter() {
            if newest_stands && !versions.is_empty() {
                break;
            }
            // Ascending and apart: the first that ends behind the key is the only one that may hold it.
            let nth = run.files.partition_point(|file| file.meta.to.as_deref().is_some_and(|to| to <= key));
            if let Some(file) = run.files.get(nth).filter(|file| file.meta.holds(key)) {
                file.collect((key, hash), self.position, &mut versions, patience)?;
                deleted_at = deleted_at.max(file.deleted_at(key, self.position, patience)?);
            }
        }
        if versions.len() > 1 {
            versions.sort_unstable_by_key(|version| version.0);
        }
        Ok((self.resolve(&mut versions, deleted_at)?, deleted_at))
    }

    /// Of the data blocks that may hold some of `from <= key < to` the last keys, ascending, each
    /// with the bytes of its block.
    pub(crate) fn outline(&self, from: &[u8], to: Option<&[u8]>) -> Result<Vec<(Bytes, u64)>, TreeError> {
        let mut outline = Vec::new();
        if to.is_none_or(|to| from < to) {
            for run in self.parts.runs.iter() {
                for file in overlapping(&run.files, from, to) {
                    outline.extend(file.outline(from, to)?);
                }
            }
        }
        outline.sort();
        Ok(outline)
    }

    /// Folds what is seen of the values of a key, oldest first.
    fn resolve(&self, versions: &mut Versions, deleted_at: i64) -> Result<Option<Bytes>, TreeError> {
        let seen = versions.drain(..).filter(|version| version.0 <= self.position).map(|version| version.1);
        let rule = self.parts.rule.as_ref();
        let value = fold(rule, seen).and_then(|value| match value {
            Some(value) => cover(rule, value, deleted_at),
            None => Ok(None),
        });
        value.map_err(|error| self.malformed(error))
    }

    fn malformed(&self, error: Malformed) -> TreeError {
        damage(FOLDER, 0, self.tree, &format!("a value that its rule does not know: {error}"))
    }

    pub(crate) fn scan(
        self,
        from: Bytes,
        to: Option<Bytes>,
        backward: bool,
        patience: Patience,
    ) -> Result<Scan, TreeError> {
        let mut scan = Scan {
            sources: Merged::new(Vec::new(), backward),
            deletions: Vec::new(),
            patience,
            view: self,
            files_read: 0,
            failed: false,
        };
        if to.as_ref().is_some_and(|to| *to <= from) {
            return Ok(scan);
        }
        let mut sources: Vec<Box<dyn Source>> =
            Vec::with_capacity(scan.view.parts.memtables.len() + scan.view.parts.runs.len());
        for memtable in &scan.view.parts.memtables {
            sources.push(Box::new(MemSource::new(memtable.clone(), from.clone(), to.clone(), backward)));
        }
        let prefix = scan.view.shared_prefix(&from, to.as_deref()).map(filter::hash);
        for run in scan.view.parts.runs.iter() {
            let reached = overlapping(&run.files, &from, to.as_deref());
            let deletions: Vec<_> = reached.iter().filter(|file| file.meta.has_ranges).cloned().collect();
            if !deletions.is_empty() {
                scan.deletions.push(Deletions { files: deletions, at: None });
            }
            let mut files = Vec::with_capacity(reached.len());
            for file in reached {
                let skipped = match prefix {
                    Some(prefix) => !file.may_hold_prefix(prefix, patience)?,
                    None => false,
                };
                if !skipped {
                    files.push(file.clone());
                }
            }
            scan.files_read += files.len();
            if !files.is_empty() {
                let (bounds, access) = ((from.clone(), to.clone()), Access::Cached(patience));
                sources.push(Box::new(FilesSource::new(files, bounds, backward, access)?));
            }
        }
        scan.sources = Merged::new(sources, backward);
        Ok(scan)
    }

    /// The prefix of all keys with `from <= key < to`, if they share one.
    fn shared_prefix<'k>(&self, from: &'k [u8], to: Option<&[u8]>) -> Option<&'k [u8]> {
        let prefix = self.parts.rule.prefix(from)?;
        // All keys that begin with it are below this.
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        match (end.last_mut(), to) {
            (None, _) => Some(prefix),
            (Some(_), None) => None,
            (Some(last), Some(to)) => {
                *last += 1;
                (to <= end.as_slice()).then_some(prefix)
            }
        }
    }
}

/// A key that a [`Scan`] met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The key.
    pub key: Bytes,
    /// Its value; `None` if nothing of it is to be seen: all is covered by deletions of ranges, or
    /// was written later. Meeting it took its time nevertheless, so whoever bounds a scan counts it.
    pub value: Option<Bytes>,
}

/// The deletions of ranges in the files of a run.
struct Deletions {
    /// Those that have any, ascending.
    files: Vec<Arc<FileHandle>>,
    /// The one that was asked last, by its place among them.
    at: Option<(usize, Steps)>,
}

impl Deletions {
    fn at(&mut self, key: &[u8], sequence: u64, patience: Patience) -> Result<i64, TreeError> {
        let nth = self.files.partition_point(|file| file.meta.to.as_deref().is_some_and(|to| to <= key));
        let Some(file) = self.files.get(nth).filter(|file| file.meta.holds(key)) else {
            return Ok(NO_TIMESTAMP);
        };
        if self.at.as_ref().is_none_or(|(at, _)| *at != nth) {
            self.at = Some((nth, Steps::new(file, patience)?));
        }
        let (_, steps) = self.at.as_mut().expect("it was just put there");
        steps.at(key, sequence)
    }
}

/// Keys of a tree in order, each with its value: an iterator that holds its place in the past
/// whatever is written meanwhile. After an error it ends.
pub struct Scan {
    view: View,
    sources: Merged,
    deletions: Vec<Deletions>,
    patience: Patience,
    files_read: usize,
    failed: bool,
}

impl Scan {
    /// Files that it reads, after bounds and filters have kept others out.
    pub fn files_read(&self) -> usize {
        self.files_read
    }

    /// The next key that anything is said about; `None` behind the last, and after an error.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] if it may not wait; what is wrong with the files, otherwise.
    pub fn advance(&mut self) -> Result<Option<Step>, TreeError> {
        if self.failed {
            return Ok(None);
        }
        let step = self.step();
        self.failed = step.is_err();
        step
    }

    fn step(&mut self) -> Result<Option<Step>, TreeError> {
        if !self.sources.next()? {
            return Ok(None);
        }
        let (key, versions) = self.sources.at();
        let sequence = self.view.position;
        let mut deleted_at = NO_TIMESTAMP;
        for deletions in &mut self.deletions {
            deleted_at = deleted_at.max(deletions.at(key, sequence, self.patience)?);
        }
        for memtable in &self.view.parts.memtables {
            deleted_at = deleted_at.max(memtable.deleted_at(key, sequence));
        }
        let value = self.view.resolve(versions, deleted_at)?;
        let key = Bytes::copy_from_slice(key);
        Ok(Some(Step { key, value }))
    }
}

impl Iterator for Scan {
    type Item = Result<(Bytes, Bytes), TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(Step { key, value: Some(value) })) => return Some(Ok((key, value))),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
