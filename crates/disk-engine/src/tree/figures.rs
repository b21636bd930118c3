//! What a forest says about its size and about how far its work is behind.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;

use super::{TreeError, TreeId, forest::Forest, memtable::Memtable, pick::Run, state::State};

/// How far [`Forest::work`] is behind: what whoever writes is to be slowed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Memory of what is in no file yet, frozen or not, of all trees.
    pub memtable_bytes: u64,
    /// The part of it that is frozen and waits for its flush.
    pub frozen_bytes: u64,
    /// Runs in the first level of the tree that has the most.
    pub level0_runs: usize,
    /// Bytes that the compactions which are due will read, an estimate.
    pub pending_compaction_bytes: u64,
}

/// [`Debt`], kept where things change, so that asking for it costs nothing.
#[derive(Default)]
pub(crate) struct DebtCounters {
    memtable_bytes: AtomicU64,
    frozen_bytes: AtomicU64,
    level0_runs: AtomicUsize,
    pending_compaction_bytes: AtomicU64,
}

impl DebtCounters {
    /// Counts what was added to active memtables; returns what is in all of them.
    pub(crate) fn add(&self, grown: isize) -> u64 {
        // Two's complement: adding what is negative takes away.
        let all = self.memtable_bytes.fetch_add(grown as u64, SeqCst).wrapping_add(grown as u64);
        all.saturating_sub(self.frozen_bytes.load(SeqCst))
    }

    /// Counts an active memtable as frozen.
    pub(crate) fn freeze(&self, bytes: u64) {
        self.frozen_bytes.fetch_add(bytes, SeqCst);
    }

    /// Counts everything again. The caller holds the state for writing, or is alone: a batch that is
    /// applied meanwhile would be lost to the count.
    pub(crate) fn count(&self, state: &State) {
        let sum = |memtables: &[Arc<Memtable>]| memtables.iter().map(|one| one.bytes() as u64).sum::<u64>();
        let trees = || state.trees.values();
        let frozen = trees().map(|tree| sum(tree.frozen())).sum();
        self.memtable_bytes.store(trees().map(|tree| sum(&tree.parts.memtables)).sum(), SeqCst);
        self.frozen_bytes.store(frozen, SeqCst);
        // Nothing would make less of what sick trees owe; writers to others must not pay for it.
        let sound = || trees().filter(|tree| !tree.sick);
        self.level0_runs.store(sound().map(|tree| tree.level0_runs).max().unwrap_or(0), SeqCst);
        self.pending_compaction_bytes.store(sound().map(|tree| tree.pending_bytes).sum(), SeqCst);
    }

    fn get(&self) -> Debt {
        Debt {
            memtable_bytes: self.memtable_bytes.load(SeqCst),
            frozen_bytes: self.frozen_bytes.load(SeqCst),
            level0_runs: self.level0_runs.load(SeqCst),
            pending_compaction_bytes: self.pending_compaction_bytes.load(SeqCst),
        }
    }
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeFigures {
    /// Memory of what is in no file yet.
    pub memtable_bytes: u64,
    /// Memtables that wait for their flush.
    pub frozen: usize,
    /// Runs that a read may have to look at.
    pub runs: usize,
    /// Data files.
    pub files: usize,
    /// Their bytes.
    pub file_bytes: u64,
    /// Their entries: values and tombstones, of which one key may have several.
    pub entries: u64,
    /// Bytes of files that flushes have written since the forest was opened.
    pub flushed_bytes: u64,
    /// The same of compactions. With `flushed_bytes` it is the write amplification.
    pub compacted_bytes: u64,
}

/// How large a level of a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelFigures {
    /// 0 is where flushes go.
    pub level: u8,
    /// Runs: one, but for level 0.
    pub runs: usize,
    /// Data files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Forest {
    /// How far [`Forest::work`] is behind. Costs no more than a few loads.
    pub fn debt(&self) -> Debt {
        self.inner.debt.get()
    }

    /// How large a tree is; zeros if it does not exist.
    pub fn figures(&self, tree: TreeId) -> TreeFigures {
        let state = self.inner.state();
        let Some(tree) = state.trees.get(&tree) else { return TreeFigures::default() };
        let files = || tree.parts.runs.iter().flat_map(|run| &run.files);
        TreeFigures {
            memtable_bytes: tree.parts.memtables.iter().map(|memtable| memtable.bytes() as u64).sum(),
            frozen: tree.frozen().len(),
            runs: tree.parts.runs.len(),
            files: files().count(),
            file_bytes: files().map(|file| file.meta.bytes).sum(),
            entries: files().map(|file| file.meta.entries).sum(),
            flushed_bytes: tree.flushed_bytes,
            compacted_bytes: tree.compacted_bytes,
        }
    }

    /// How large the levels of a tree are, from the first down; those without files are left out.
    pub fn levels(&self, tree: TreeId) -> Vec<LevelFigures> {
        let state = self.inner.state();
        let runs = state.trees.get(&tree).map(|tree| tree.parts.runs.clone()).unwrap_or_default();
        let levels = runs.chunk_by(|a, b| a.level == b.level).map(|runs| LevelFigures {
            level: runs[0].level,
            runs: runs.len(),
            files: runs.iter().map(|run| run.files.len()).sum(),
            bytes: runs.iter().map(Run::bytes).sum(),
        });
        levels.collect()
    }

    /// How much of a tree's files `from <= key < to` is, to within a block for each run, compressed
    /// and with all that a compaction would fold away. Memtables do not count.
    pub fn approximate_bytes(&self, tree: TreeId, from: &[u8], to: Option<&[u8]>) -> Result<u64, TreeError> {
        let outline = self.inner.view_or_empty(tree, None).outline(from, to)?;
        Ok(outline.iter().map(|block| block.1).sum())
    }

    /// A key within `from < key < to` before which about half of that is; `None` if it is too
    /// little to be split.
    pub fn split_key(
        &self,
        tree: TreeId,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Option<Bytes>, TreeError> {
        let outline = self.inner.view_or_empty(tree, None).outline(from, to)?;
        let half = outline.iter().map(|block| block.1).sum::<u64>() / 2;
        let mut before = 0;
        let middle = outline.into_iter().find(|block| {
            before += block.1;
            before >= half
        });
        let within = |key: &Bytes| from < key.as_ref() && to.is_none_or(|to| key.as_ref() < to);
        Ok(middle.map(|block| block.0).filter(within))
    }
}
