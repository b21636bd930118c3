//! [`State`]: the trees of a forest, each a few pointers to what never changes or locks itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use super::{
    TreeId,
    files::Files,
    memtable::Memtable,
    pick::{Run, pending_bytes},
    rule::Merge,
    settings::TreeSettings,
    spent::may_be_spent,
};

/// What a forest consists of.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    pub(crate) dropped: BTreeSet<TreeId>,
}

/// A tree as it is now.
pub(crate) struct Tree {
    pub(crate) parts: Arc<Parts>,
    /// Batches up to this position are in it.
    pub(crate) applied: AtomicU64,
    /// Of its runs: those of level 0, and bytes that compactions which are due will go through.
    pub(crate) level0_runs: usize,
    pub(crate) pending_bytes: u64,
    /// A file of it holds little that is worth keeping, or will at some time.
    pub(crate) may_be_spent: bool,
    /// Bytes of files written since the forest was opened, by flushes and by compactions.
    pub(crate) flushed_bytes: u64,
    pub(crate) compacted_bytes: u64,
    /// It is not compacted any more, because one of its files cannot be read.
    pub(crate) sick: bool,
}

/// What a reader of a tree takes along.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) rule: Arc<dyn Merge>,
    pub(crate) files: Arc<Files>,
    /// The sequence of the last deletion of a range, or of an ingest; 0 before the first.
    pub(crate) ranges_at: Arc<AtomicU64>,
    /// Oldest first: those that are frozen and wait for their flush, then the active one.
    pub(crate) memtables: Vec<Arc<Memtable>>,
    /// Newest first.
    pub(crate) runs: Arc<Vec<Run>>,
}

impl Parts {
    /// Memtables that wait for their flush, oldest first.
    pub(crate) fn frozen(&self) -> &[Arc<Memtable>] {
        &self.memtables[..self.memtables.len() - 1]
    }
}

impl Tree {
    pub(crate) fn new(rule: Arc<dyn Merge>, files: &Arc<Files>, applied: u64) -> Tree {
        let parts = Parts {
            rule,
            files: files.clone(),
            ranges_at: Arc::default(),
            memtables: vec![Arc::default()],
            runs: Arc::default(),
        };
        Tree {
            parts: Arc::new(parts),
            applied: AtomicU64::new(applied),
            level0_runs: 0,
            pending_bytes: 0,
            may_be_spent: false,
            flushed_bytes: 0,
            compacted_bytes: 0,
            sick: false,
        }
    }

    pub(crate) fn rule(&self) -> &Arc<dyn Merge> {
        &self.parts.rule
    }

    pub(crate) fn active(&self) -> &Arc<Memtable> {
        self.parts.memtables.last().expect("there is always an active one")
    }

    /// See [`Parts::frozen`].
    pub(crate) fn frozen(&self) -> &[Arc<Memtable>] {
        self.parts.frozen()
    }

    /// Puts the active memtable aside. Returns its bytes.
    pub(crate) fn freeze(&mut self) -> u64 {
        let bytes = self.active().bytes() as u64;
        let mut memtables = self.parts.memtables.clone();
        memtables.push(Arc::default());
        self.replace(memtables, self.parts.runs.clone());
        bytes
    }

    /// Forgets the oldest frozen memtables, this many, and puts other runs in the place of those it
    /// has.
    pub(crate) fn install(&mut self, flushed: usize, runs: Vec<Run>, settings: &TreeSettings) {
        self.level0_runs = runs.partition_point(|run| run.level == 0);
        self.pending_bytes = pending_bytes(&runs, settings);
        self.may_be_spent = may_be_spent(&runs);
        self.replace(self.parts.memtables[flushed..].to_vec(), Arc::new(runs));
    }

    fn replace(&mut self, memtables: Vec<Arc<Memtable>>, runs: Arc<Vec<Run>>) {
        let Parts { rule, files, ranges_at, .. } = self.parts.as_ref();
        let (rule, files, ranges_at) = (rule.clone(), files.clone(), ranges_at.clone());
        self.parts = Arc::new(Parts { rule, files, ranges_at, memtables, runs });
    }
}

impl State {
    /// Active memtables, the largest first, until no more than `most_bytes` is left in the others.
    pub(crate) fn largest_active(&self, most_bytes: u64) -> Vec<TreeId> {
        let active = |(id, tree): (&TreeId, &Tree)| (tree.active().bytes() as u64, *id);
        let mut sizes: Vec<(u64, TreeId)> = self.trees.iter().map(active).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut left: u64 = sizes.iter().map(|size| size.0).sum();
        let mut chosen = Vec::new();
        for (bytes, id) in sizes {
            if left <= most_bytes || bytes == 0 {
                break;
            }
            left -= bytes;
            chosen.push(id);
        }
        chosen
    }

    /// The position of the last batch that a tree was given.
    pub(crate) fn applied(&self, tree: TreeId) -> u64 {
        self.trees.get(&tree).map_or(0, |tree| tree.applied.load(SeqCst))
    }
}
