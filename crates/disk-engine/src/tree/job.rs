//! [`Job`]: a flush or a compaction, done in steps.
//!
//! Both are the same walk: the keys of some sources in order, of each key all values, folded as a
//! reader would fold them, into new files. Four things may go, and each has its condition.
//!
//! - Values between which no snapshot stands become one value. (A *stripe* is the sequences from
//!   behind one snapshot up to the next; who reads without a snapshot reads at the end of the last
//!   stripe, because all that a job reads was visible before it began.)
//! - A value that a deletion covers goes, if whoever sees the value sees the deletion.
//! - A tombstone goes if nothing is left that it hides: no other file and no memtable that may
//!   hold its key has a value older than it, its owner expects none any more (the horizon), and
//!   no second value of the key is kept for a snapshot.
//! - The deletion of a range likewise, for its whole range.

use std::sync::Arc;

use base::Malformed;
use bytes::Bytes;
use world::Disk;

use super::{
    Horizon, TreeError, TreeId,
    build::{FileBuilder, successor},
    file::{FileHandle, FileMeta, damage},
    format::{MAX_MERGED, file_name},
    memtable::Versions,
    ranges::{Mark, Ranges},
    rule::Merge,
    settings::TreeSettings,
    source::{Merged, cover, fold},
};

/// What a job takes the place of when it is done.
#[derive(Debug)]
pub(crate) enum Replaces {
    /// The oldest frozen memtables, this many, which hold all up to `up_to`.
    Memtables {
        /// How many.
        count: usize,
        /// What the tree was given up to this position is in files then.
        up_to: u64,
        /// The highest sequence in them.
        sequence: u64,
    },
    /// These files.
    Files(Vec<Arc<FileHandle>>),
}

/// Why a step failed: what it reads or what it writes is to blame.
#[derive(Debug)]
pub(crate) enum Failure {
    Read(TreeError),
    Write(TreeError),
}

/// The most that is folded into one value.
const MOST_FOLDED: usize = if cfg!(test) { 150 } else { MAX_MERGED };

/// Another place that holds values: from, to, lowest timestamp.
pub(crate) type Other = (Bytes, Option<Bytes>, i64);

/// What a job is made from.
pub(crate) struct Plan {
    pub(crate) tree: TreeId,
    pub(crate) rule: Arc<dyn Merge>,
    pub(crate) replaces: Replaces,
    pub(crate) level: u8,
    pub(crate) sources: Merged,
    /// The deletions of ranges in the sources.
    pub(crate) ranges: Ranges,
    /// Sequences of snapshots, ascending.
    pub(crate) snapshots: Vec<u64>,
    /// All else of the tree.
    pub(crate) others: Vec<Other>,
    /// `None`: nothing is purged.
    pub(crate) horizon: Option<Horizon>,
}

/// A flush or a compaction under way.
pub(crate) struct Job {
    disk: Disk,
    settings: Arc<TreeSettings>,
    pub(crate) plan: Plan,
    /// The ranges that go into the new files.
    kept: Ranges,
    /// Where the territory of the file that is being written begins.
    lower: Bytes,
    builder: Option<FileBuilder>,
    /// Files that are written; their bytes are durable.
    pub(crate) done: Vec<FileMeta>,
}

impl Job {
    pub(crate) fn new(plan: Plan, disk: Disk, settings: Arc<TreeSettings>) -> Job {
        let (kept, lower) = (Ranges::default(), Bytes::new());
        let mut job = Job { disk, settings, kept, plan, lower, builder: None, done: Vec::new() };
        job.kept = job.kept_ranges();
        job
    }

    /// Works until about `budget_bytes` of keys and values are behind it. Returns whether it is done.
    pub(crate) fn step(&mut self, next_file: &mut u64, budget_bytes: u64) -> Result<bool, Failure> {
        // Out of the plan meanwhile: what is at hand of a key is borrowed from them.
        let mut sources = std::mem::take(&mut self.plan.sources);
        let done = self.walk(&mut sources, next_file, budget_bytes);
        self.plan.sources = sources;
        done
    }

    fn walk(
        &mut self,
        sources: &mut Merged,
        next_file: &mut u64,
        budget_bytes: u64,
    ) -> Result<bool, Failure> {
        let mut spent = 0;
        while spent < budget_bytes {
            if !sources.next().map_err(Failure::Read)? {
                self.end_file(next_file, None).map_err(Failure::Write)?;
                return Ok(true);
            }
            let (key, versions) = sources.at();
            spent += versions.iter().map(|version| (key.len() + version.1.len() + 16) as u64).sum::<u64>();
            if self.builder.as_ref().is_some_and(|builder| builder.bytes() >= self.settings.file_bytes) {
                self.end_file(next_file, Some(key)).map_err(Failure::Write)?;
            }
            self.fold_key(key, versions).map_err(|error| Failure::Read(self.malformed(error)))?;
            for (sequence, value) in versions.iter().rev() {
                let builder = self.builder(next_file).map_err(Failure::Write)?;
                builder.add(key, *sequence, value).map_err(Failure::Write)?;
            }
        }
        Ok(false)
    }

    /// The names of its files, for giving it up.
    pub(crate) fn files(&self) -> Vec<String> {
        let open = self.builder.as_ref().map(FileBuilder::id);
        self.done.iter().map(|file| file.id).chain(open).map(file_name).collect()
    }

    fn malformed(&self, error: Malformed) -> TreeError {
        let file = match &self.plan.replaces {
            Replaces::Files(files) => files.first().map_or(0, |file| file.meta.id),
            Replaces::Memtables { .. } => 0,
        };
        damage(
            &file_name(file),
            0,
            self.plan.tree,
            &format!("a value in this file or one merged with it: {error}"),
        )
    }

    fn builder(&mut self, next_file: &mut u64) -> Result<&mut FileBuilder, TreeError> {
        if self.builder.is_none() {
            let id = *next_file;
            *next_file += 1;
            self.builder =
                Some(FileBuilder::create(&self.disk, &self.settings, &self.plan.rule, self.plan.tree, id)?);
        }
        Ok(self.builder.as_mut().expect("it was just made"))
    }

    /// Ends the file whose territory ends before `to`. There is none if there is nothing in it.
    fn end_file(&mut self, next_file: &mut u64, to: Option<&[u8]>) -> Result<(), TreeError> {
        let ranges = self.kept.cut(&self.lower, to);
        if self.builder.is_some() || !ranges.is_empty() {
            self.builder(next_file)?;
            let builder = self.builder.take().expect("it was just made");
            let name = file_name(builder.id());
            match builder.finish(&ranges) {
                Ok(meta) => self.done.push(meta),
                Err(error) => {
                    // What it left behind is nobody's; opening the forest would remove it as well.
                    let _ = self.disk.remove(&name);
                    return Err(error);
                }
            }
        }
        if let Some(to) = to {
            self.lower = Bytes::copy_from_slice(to);
        }
        Ok(())
    }

    /// The sequence at the end of the stripe of `sequence`.
    fn stripe(&self, sequence: u64) -> u64 {
        let snapshots = &self.plan.snapshots;
        snapshots.get(snapshots.partition_point(|&snapshot| snapshot < sequence)).copied().unwrap_or(u64::MAX)
    }

    /// Leaves of the values of a key, oldest first, what has to be kept. Most keys have one value, no
    /// deletion is near, and nothing of it may go: for those this does hardly anything.
    fn fold_key(&self, key: &[u8], versions: &mut Versions) -> Result<(), Malformed> {
        if versions.len() > 1 {
            *versions = self.fold_stripes(versions)?;
        }
        if !self.plan.ranges.is_empty() {
            let mut kept = 0;
            for nth in 0..versions.len() {
                let (sequence, value) = std::mem::take(&mut versions[nth]);
                let deleted_at = self.plan.ranges.at(key, self.stripe(sequence));
                if let Some(left) = cover(self.plan.rule.as_ref(), value, deleted_at)? {
                    versions[kept] = (sequence, left);
                    kept += 1;
                }
            }
            versions.truncate(kept);
        }
        if let (Some(horizon), [(_, value)]) = (self.plan.horizon, &mut versions[..]) {
            match self.purge(horizon, key, value)? {
                Some(left) => *value = left,
                None => versions.clear(),
            }
        }
        Ok(())
    }

    /// One value for each stripe, or all there are where one would be too large for a file: readers
    /// merge those.
    fn fold_stripes(&self, versions: &Versions) -> Result<Versions, Malformed> {
        let mut folded = Versions::new();
        for group in versions.chunk_by(|a, b| self.stripe(a.0) == self.stripe(b.0)) {
            let bytes: usize = group.iter().map(|version| version.1.len()).sum();
            if bytes > MOST_FOLDED {
                folded.extend(group.iter().cloned());
                continue;
            }
            let sequence = group.last().expect("a group is not empty").0;
            let values: Vec<Bytes> = group.iter().map(|version| version.1.clone()).collect();
            #[cfg(test)]
            let values = self.maybe_swapped(values);
            let value = fold(self.plan.rule.as_ref(), values.into_iter())?.expect("a group is not empty");
            folded.push((sequence, value));
        }
        Ok(folded)
    }

    /// What is left of the only value of a key when what hides nothing any more is gone.
    fn purge(&self, horizon: Horizon, key: &[u8], value: &Bytes) -> Result<Option<Bytes>, Malformed> {
        let rule = self.plan.rule.as_ref();
        let left = |before: i64| -> Result<Option<Bytes>, Malformed> {
            #[cfg(test)]
            let before = self.planted(before, value)?;
            Ok(rule
                .purge(value, before, horizon.now_seconds)?
                .map(|part| if part.len() == value.len() { value.clone() } else { part.into_owned().into() }))
        };
        // Mostly nothing may go even if nothing else of the tree mattered.
        if left(horizon.before)?.is_some_and(|left| left.len() == value.len()) {
            return Ok(Some(value.clone()));
        }
        left(self.floor(horizon, key, Some(&successor(key))))
    }

    #[cfg(test)]
    fn maybe_swapped(&self, mut values: Vec<Bytes>) -> Vec<Bytes> {
        if self.settings.sabotaged(super::settings::Sabotage::MergeSwapped) {
            values.reverse();
        }
        values
    }

    #[cfg(test)]
    fn planted(&self, before: i64, value: &[u8]) -> Result<i64, Malformed> {
        use super::settings::Sabotage;
        let expires = self.plan.rule.purge(value, i64::MAX, 0)?.is_some();
        let bug = if expires { Sabotage::ExpiredDropped } else { Sabotage::TombstoneDroppedEarly };
        Ok(if self.settings.sabotaged(bug) { i64::MAX } else { before })
    }

    /// The lowest timestamp that anything outside of this job may still have in `from <= key < to`.
    fn floor(&self, horizon: Horizon, from: &[u8], to: Option<&[u8]>) -> i64 {
        let overlaps = |other: &&Other| {
            to.is_none_or(|to| other.0.as_ref() < to) && other.1.as_deref().is_none_or(|end| from < end)
        };
        let others = self.plan.others.iter().filter(overlaps).map(|other| other.2).min();
        horizon.before.min(others.unwrap_or(i64::MAX))
    }

    /// Of each stripe the last deletion, less what hides nothing any more.
    fn kept_ranges(&self) -> Ranges {
        let mut kept = self.plan.ranges.clone();
        kept.thin(|from, to, marks| {
            let stripes = marks.chunk_by(|a, b| self.stripe(a.0) == self.stripe(b.0));
            let mut last: Vec<Mark> = stripes.filter_map(|stripe| stripe.last().copied()).collect();
            if let (Some(horizon), Some(&(sequence, timestamp))) = (self.plan.horizon, last.first()) {
                let seen_by_all = self.plan.snapshots.first().is_none_or(|&snapshot| sequence <= snapshot);
                if seen_by_all && timestamp < self.floor(horizon, from, to) {
                    last.remove(0);
                }
            }
            last
        });
        #[cfg(test)]
        if matches!(self.plan.replaces, Replaces::Files(_))
            && self.settings.sabotaged(super::settings::Sabotage::RangesLost)
        {
            return Ranges::default();
        }
        kept
    }
}
