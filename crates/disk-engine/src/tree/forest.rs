//! [`Forest`]: the trees of one disk, what is written to them and what is seen.
//!
//! One thread applies, in log order; any thread reads; one thread at a time does the work (flushes
//! and compactions, see `upkeep`). What they share is one lock around a few pointers per tree:
//!
//! - a reader takes the pointers and the sequence of the last batch under it, and is alone with
//!   them from then on;
//! - the applier holds it while it fills memtables, and moves the visible sequence when a batch is whole;
//! - who freezes a memtable or puts files in the place of others has it to himself for a moment.
//!
//! **Two numbers.** A batch comes with its *position* in the log, which says only what a tree has
//! already and what is flushed. It is given a *sequence*, one more than any before and not below its
//! position, and that is what memtables, files, snapshots and readers go by. They differ because
//! streams of one log are applied at their own pace: a change that a quorum had to agree on is
//! applied after others that follow it in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use base::{Malformed, Position};
use bytes::Bytes;
use world::Disk;

use super::{
    TreeError, TreeId,
    batch::{Batch, Change},
    file::FileHandle,
    files::Files,
    format::{FOLDER, MAX_KEY, MAX_VALUE},
    manifest::Manifest,
    memtable::Memtable,
    pick::{Run, pending_bytes},
    read::{Patience, Scan, View},
    rule::Merge,
    settings::TreeSettings,
    upkeep::Upkeep,
};

/// Which rule a tree has: the same one for as long as the tree exists.
pub type Rules = Arc<dyn Fn(TreeId) -> Arc<dyn Merge> + Send + Sync>;

/// All trees of one disk. Clones are the same forest.
#[derive(Clone)]
pub struct Forest {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) disk: Disk,
    pub(crate) settings: Arc<TreeSettings>,
    rules: Rules,
    pub(crate) files: Arc<Files>,
    state: RwLock<State>,
    /// The sequence of the last batch that readers see.
    visible: AtomicU64,
    /// The highest position that was applied.
    applied: AtomicU64,
    debt: DebtCounters,
    /// Held by who applies or freezes.
    writer: Mutex<()>,
    pub(crate) upkeep: Mutex<Upkeep>,
    snapshots: Mutex<BTreeMap<u64, usize>>,
    /// Why nothing may be written any more.
    fatal: OnceLock<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) trees: BTreeMap<TreeId, Tree>,
    pub(crate) dropped: BTreeSet<TreeId>,
}

pub(crate) struct Tree {
    pub(crate) rule: Arc<dyn Merge>,
    pub(crate) active: Arc<Memtable>,
    /// Oldest first.
    pub(crate) frozen: Vec<Frozen>,
    /// Newest first.
    pub(crate) runs: Arc<Vec<Run>>,
    /// Of `runs`: those of level 0, and bytes that compactions which are due will go through.
    level0_runs: usize,
    pending_bytes: u64,
    /// Batches up to this position are in it.
    applied: AtomicU64,
}

/// A memtable that waits for its flush.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    /// What the tree was given up to this position is in this memtable, in older ones, or in files.
    pub(crate) up_to: u64,
}

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
struct DebtCounters {
    memtable_bytes: AtomicU64,
    frozen_bytes: AtomicU64,
    level0_runs: AtomicUsize,
    pending_compaction_bytes: AtomicU64,
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
}

impl Forest {
    /// Opens the forest of a disk, or makes it. What no manifest names is removed. Batches behind
    /// [`Forest::flushed_position`] have to be applied again then.
    ///
    /// # Errors
    /// [`TreeError::Settings`]; [`TreeError::Damaged`] if the manifest is: without it nothing is known. A damaged data
    /// file fails only the reads that need it.
    pub fn open(disk: Disk, settings: TreeSettings, rules: Rules) -> Result<Forest, TreeError> {
        settings.check()?;
        disk.make_folder(FOLDER)?;
        let files = Arc::new(Files::new(disk.clone(), settings.cache_bytes, settings.open_files));
        let manifest = Manifest::load_durably(&disk)?;
        super::upkeep::remove_strangers(&disk, &manifest)?;
        let mut state = State { dropped: manifest.dropped.clone(), ..State::default() };
        let mut applied = 0;
        for (id, record) in &manifest.trees {
            let mut tree = Tree::new(rules(*id), record.flushed);
            let open = |meta: &super::file::FileMeta| Arc::new(FileHandle::new(meta.clone(), &files));
            let runs = record
                .runs
                .iter()
                .map(|run| Run { level: run.level, files: run.files.iter().map(open).collect() });
            tree.set_runs(runs.collect(), &settings);
            applied = applied.max(record.flushed);
            state.trees.insert(*id, tree);
        }
        let inner = Inner {
            disk,
            settings: Arc::new(settings),
            rules,
            files,
            state: RwLock::new(state),
            visible: AtomicU64::new(manifest.sequence),
            applied: AtomicU64::new(applied),
            debt: DebtCounters::default(),
            writer: Mutex::default(),
            upkeep: Mutex::new(Upkeep::new(manifest)),
            snapshots: Mutex::default(),
            fatal: OnceLock::new(),
        };
        inner.count_debt(&inner.state());
        Ok(Forest { inner: Arc::new(inner) })
    }

    /// Merges a batch into its trees, each of which begins with its first batch. Afterwards every
    /// reader sees all of it; before, none. A tree that was given `position` or a later one already
    /// skips its part, so a log can be applied again from any place; changes of dropped trees are
    /// void. Positions ascend for each tree, not for all of them.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`], [`TreeError::Value`], and then nothing was done;
    /// [`TreeError::Fatal`] if the disk has failed.
    pub fn apply(&self, position: Position, batch: &Batch) -> Result<(), TreeError> {
        self.inner.check_alive()?;
        let _writer = lock(&self.inner.writer);
        self.inner.make_trees(batch);
        let settings = &self.inner.settings;
        let full = {
            let state = self.inner.state();
            check(&state, batch)?;
            let ids: BTreeSet<TreeId> = batch.changes.iter().map(|change| change.0).collect();
            let due: BTreeSet<TreeId> = ids
                .into_iter()
                .filter(|id| state.trees.get(id).is_some_and(|tree| tree.applied.load(SeqCst) < position.0))
                .collect();
            let sequence = position.0.max(self.inner.visible.load(SeqCst) + 1);
            let mut added = 0;
            for (id, change) in batch.changes.iter().filter(|change| due.contains(&change.0)) {
                let tree = state.trees.get(id).expect("it is due, so it is there");
                let applied = tree.active.apply(tree.rule.as_ref(), (sequence, position.0), change);
                added += applied.map_err(TreeError::Value)? as u64;
            }
            let mut full = Vec::new();
            for id in &due {
                let tree = state.trees.get(id).expect("it is due, so it is there");
                tree.applied.fetch_max(position.0, SeqCst);
                if tree.active.bytes() >= settings.memtable_bytes {
                    full.push(*id);
                }
            }
            self.inner.applied.fetch_max(position.0, SeqCst);
            if !due.is_empty() {
                self.inner.visible.store(sequence, SeqCst);
            }
            if self.inner.debt.add(added) > settings.memtables_bytes as u64 && full.is_empty() {
                full.extend(state.largest_active());
            }
            full
        };
        if !full.is_empty() {
            self.inner.freeze(|id, _| full.contains(&id));
        }
        Ok(())
    }

    /// The value of a key: all that was written to it, folded by its tree's rule, less what a
    /// deletion of a range covers. Whether that is a tombstone, or expired, is for the caller.
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>, TreeError> {
        self.get_with(tree, key, Patience::Wait)
    }

    /// [`Forest::get`], with as much patience as the caller's thread may have.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] only if it may not wait.
    pub fn get_with(&self, tree: TreeId, key: &[u8], patience: Patience) -> Result<Option<Bytes>, TreeError> {
        self.inner.view(tree, None).map_or(Ok(None), |view| view.get(key, patience))
    }

    /// The keys with `from <= key < to` (`None`: to the end) and their values, as they are now.
    pub fn scan(
        &self,
        tree: TreeId,
        from: impl Into<Bytes>,
        to: Option<Bytes>,
        backward: bool,
    ) -> Result<Scan, TreeError> {
        self.scan_with(tree, from, to, backward, Patience::Wait)
    }

    /// [`Forest::scan`], with as much patience as the caller's thread may have.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] only if it may not wait, here and at each step. The scan is over then.
    pub fn scan_with(
        &self,
        tree: TreeId,
        from: impl Into<Bytes>,
        to: Option<Bytes>,
        backward: bool,
        patience: Patience,
    ) -> Result<Scan, TreeError> {
        self.inner.view_or_empty(tree, None).scan(from.into(), to, backward, patience)
    }

    /// All trees as they are now, for as long as it is held. Compaction keeps what it sees.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshots = lock(&self.inner.snapshots);
        // Under the lock: whoever lists snapshots later has seen at most what this one sees.
        let sequence = self.inner.visible.load(SeqCst);
        *snapshots.entry(sequence).or_default() += 1;
        drop(snapshots);
        Snapshot { inner: self.inner.clone(), sequence }
    }

    /// Everything up to here that was applied is in files: the log may forget it, if it is applied
    /// in its order; who applies some streams later than others asks [`Forest::pinned`] for each.
    /// Not to be asked while a log is applied again: what is still to come from it is not known
    /// here.
    pub fn flushed_position(&self) -> Position {
        let applied = self.applied_position();
        #[cfg(test)]
        if self.inner.settings.sabotaged(super::settings::Sabotage::TruncateAtApplied) {
            return applied;
        }
        self.pinned(|_| true).map_or(applied, |first| applied.min(Position(first.0 - 1)))
    }

    /// The lowest position whose change is in memory only, of the trees that are `of` interest;
    /// `None` if all that they were given is in files. What has been read before it was asked for
    /// is counted, what is being applied meanwhile may not be.
    pub fn pinned(&self, of: impl Fn(TreeId) -> bool) -> Option<Position> {
        let state = self.inner.state();
        let memtables = state.trees.iter().filter(|(id, _)| of(**id)).flat_map(|(_, tree)| tree.memtables());
        memtables.filter_map(|memtable| memtable.first_position()).min().map(Position)
    }

    /// The highest position that was applied; after opening, that is in files.
    pub fn applied_position(&self) -> Position {
        Position(self.inner.applied.load(SeqCst))
    }

    /// The position of the last batch that a tree was given; 0 for none.
    pub fn applied(&self, tree: TreeId) -> Position {
        let state = self.inner.state();
        Position(state.trees.get(&tree).map_or(0, |tree| tree.applied.load(SeqCst)))
    }

    /// Has every memtable that holds something at or before `position` flushed by the next
    /// [`Forest::work`], full or not: a tree that is seldom written must not pin the log.
    pub fn freeze(&self, position: Position) {
        let _writer = lock(&self.inner.writer);
        self.inner.freeze(|_, tree| tree.active.first_position().is_some_and(|first| first <= position.0));
    }

    /// Has the memtable of a tree flushed by the next [`Forest::work`], full or not.
    pub fn freeze_tree(&self, tree: TreeId) {
        let _writer = lock(&self.inner.writer);
        self.inner.freeze(|id, _| id == tree);
    }

    /// How far [`Forest::work`] is behind. Costs no more than a few loads.
    pub fn debt(&self) -> Debt {
        let counters = &self.inner.debt;
        Debt {
            memtable_bytes: counters.memtable_bytes.load(SeqCst),
            frozen_bytes: counters.frozen_bytes.load(SeqCst),
            level0_runs: counters.level0_runs.load(SeqCst),
            pending_compaction_bytes: counters.pending_compaction_bytes.load(SeqCst),
        }
    }

    /// How large a tree is; zeros if it does not exist.
    pub fn figures(&self, tree: TreeId) -> TreeFigures {
        let state = self.inner.state();
        let Some(tree) = state.trees.get(&tree) else { return TreeFigures::default() };
        let files = || tree.runs.iter().flat_map(|run| &run.files);
        TreeFigures {
            memtable_bytes: tree.memtables().map(|memtable| memtable.bytes() as u64).sum(),
            frozen: tree.frozen.len(),
            runs: tree.runs.len(),
            files: files().count(),
            file_bytes: files().map(|file| file.meta.bytes).sum(),
            entries: files().map(|file| file.meta.entries).sum(),
        }
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

    /// The trees there are.
    pub fn trees(&self) -> Vec<TreeId> {
        self.inner.state().trees.keys().copied().collect()
    }

    /// Memory of cached blocks, indexes and filters.
    pub fn cache_bytes(&self) -> usize {
        self.inner.files.cache.bytes()
    }
}

impl fmt::Debug for Forest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forest at {}", self.applied_position())
    }
}

/// Refuses a batch of which not everything can be merged.
fn check(state: &State, batch: &Batch) -> Result<(), TreeError> {
    let bounded = |bytes: usize, limit: usize| {
        if bytes > limit { Err(TreeError::TooLarge { bytes, limit }) } else { Ok(()) }
    };
    for (tree, change) in &batch.changes {
        match change {
            Change::Put { key, value } => {
                bounded(key.len(), MAX_KEY)?;
                bounded(value.len(), MAX_VALUE)?;
                if let Some(tree) = state.trees.get(tree) {
                    tree.rule.oldest(value).map_err(TreeError::Value)?;
                }
            }
            Change::DeleteRange { from, to, .. } => {
                bounded(from.len(), MAX_KEY)?;
                bounded(to.as_ref().map_or(0, Bytes::len), MAX_KEY)?;
                if state.trees.get(tree).is_some_and(|tree| tree.rule.newest_stands()) {
                    return Err(TreeError::Value(Malformed("a deletion of a range without timestamps")));
                }
            }
        }
    }
    Ok(())
}

impl Tree {
    fn new(rule: Arc<dyn Merge>, applied: u64) -> Tree {
        Tree {
            rule,
            active: Arc::default(),
            frozen: Vec::new(),
            runs: Arc::default(),
            level0_runs: 0,
            pending_bytes: 0,
            applied: AtomicU64::new(applied),
        }
    }

    pub(crate) fn set_runs(&mut self, runs: Vec<Run>, settings: &TreeSettings) {
        self.level0_runs = runs.partition_point(|run| run.level == 0);
        self.pending_bytes = pending_bytes(&runs, settings);
        self.runs = Arc::new(runs);
    }

    pub(crate) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.frozen.iter().map(|frozen| &frozen.memtable).chain([&self.active])
    }
}

impl State {
    /// The tree whose active memtable takes the most memory.
    fn largest_active(&self) -> Option<TreeId> {
        let actives = self.trees.iter().filter(|(_, tree)| !tree.active.is_empty());
        actives.max_by_key(|(_, tree)| tree.active.bytes()).map(|(id, _)| *id)
    }
}

impl DebtCounters {
    /// Counts what was added to active memtables; returns what is in all of them.
    fn add(&self, bytes: u64) -> u64 {
        let all = self.memtable_bytes.fetch_add(bytes, SeqCst) + bytes;
        all.saturating_sub(self.frozen_bytes.load(SeqCst))
    }
}

impl Inner {
    /// Counts everything again. The caller holds the lock for writing, or is alone: a batch that is
    /// applied meanwhile would be lost to the count.
    pub(crate) fn count_debt(&self, state: &State) {
        let bytes = |memtable: &Arc<Memtable>| memtable.bytes() as u64;
        let trees = || state.trees.values();
        let frozen = trees().flat_map(|tree| &tree.frozen).map(|frozen| bytes(&frozen.memtable)).sum::<u64>();
        let active = trees().map(|tree| bytes(&tree.active)).sum::<u64>();
        let pending = trees().map(|tree| tree.pending_bytes).sum();
        self.debt.memtable_bytes.store(frozen + active, SeqCst);
        self.debt.frozen_bytes.store(frozen, SeqCst);
        self.debt.level0_runs.store(trees().map(|tree| tree.level0_runs).max().unwrap_or(0), SeqCst);
        self.debt.pending_compaction_bytes.store(pending, SeqCst);
    }

    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(UNPOISONED)
    }

    pub(crate) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect(UNPOISONED)
    }

    pub(crate) fn check_alive(&self) -> Result<(), TreeError> {
        self.fatal.get().map_or(Ok(()), |why| Err(TreeError::Fatal(why.clone())))
    }

    /// From now on nothing is written any more.
    pub(crate) fn die(&self, why: &str) -> TreeError {
        TreeError::Fatal(self.fatal.get_or_init(|| why.to_owned()).clone())
    }

    fn make_trees(&self, batch: &Batch) {
        let missing: BTreeSet<TreeId> = {
            let state = self.state();
            let ids = batch.changes.iter().map(|change| change.0);
            ids.filter(|id| !state.trees.contains_key(id) && !state.dropped.contains(id)).collect()
        };
        for id in missing {
            let tree = Tree::new((self.rules)(id), 0);
            self.state_mut().trees.insert(id, tree);
        }
    }

    /// Freezes the memtables of the trees that are `chosen`, unless they are empty. The caller is
    /// the writer, so no batch is half applied.
    fn freeze(&self, chosen: impl Fn(TreeId, &Tree) -> bool) {
        let mut state = self.state_mut();
        for (id, tree) in &mut state.trees {
            if !tree.active.is_empty() && chosen(*id, tree) {
                // Not the position of the forest: while a log is applied again, other trees may be
                // ahead, and what this one is still to be given must not count as flushed.
                let up_to = tree.applied.load(SeqCst);
                let memtable = std::mem::take(&mut tree.active);
                tree.frozen.push(Frozen { memtable, up_to });
            }
        }
        self.count_debt(&state);
    }

    /// Sequences of snapshots, ascending.
    pub(crate) fn snapshot_sequences(&self) -> Vec<u64> {
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::SnapshotsMerged) {
            return Vec::new();
        }
        lock(&self.snapshots).keys().copied().collect()
    }

    /// A tree at a sequence, or as it is now.
    pub(crate) fn view(&self, tree: TreeId, sequence: Option<u64>) -> Option<View> {
        let state = self.state();
        // Under the lock: no memtable is frozen, and no job ends, between the two.
        let now = self.visible.load(SeqCst);
        let found = state.trees.get(&tree)?;
        #[cfg(test)]
        let sequence =
            sequence.filter(|_| !self.settings.sabotaged(super::settings::Sabotage::SnapshotReadsNewer));
        Some(View {
            tree,
            rule: found.rule.clone(),
            memtables: found.memtables().filter(|memtable| !memtable.is_empty()).cloned().collect(),
            runs: found.runs.clone(),
            position: sequence.unwrap_or(now),
        })
    }

    fn view_or_empty(&self, tree: TreeId, sequence: Option<u64>) -> View {
        self.view(tree, sequence).unwrap_or_else(|| View {
            tree,
            rule: (self.rules)(tree),
            memtables: Vec::new(),
            runs: Arc::default(),
            position: 0,
        })
    }
}

/// All trees as they were when it was taken.
pub struct Snapshot {
    inner: Arc<Inner>,
    sequence: u64,
}

impl Snapshot {
    /// The sequence of the last batch that it sees: that batch's position, unless later ones of the
    /// log were applied before it.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// See [`Forest::get`].
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>, TreeError> {
        self.get_with(tree, key, Patience::Wait)
    }

    /// See [`Forest::get_with`].
    pub fn get_with(&self, tree: TreeId, key: &[u8], patience: Patience) -> Result<Option<Bytes>, TreeError> {
        self.inner.view(tree, Some(self.sequence)).map_or(Ok(None), |view| view.get(key, patience))
    }

    /// See [`Forest::scan`].
    pub fn scan(
        &self,
        tree: TreeId,
        from: impl Into<Bytes>,
        to: Option<Bytes>,
        backward: bool,
    ) -> Result<Scan, TreeError> {
        self.scan_with(tree, from, to, backward, Patience::Wait)
    }

    /// See [`Forest::scan_with`].
    pub fn scan_with(
        &self,
        tree: TreeId,
        from: impl Into<Bytes>,
        to: Option<Bytes>,
        backward: bool,
        patience: Patience,
    ) -> Result<Scan, TreeError> {
        self.inner.view_or_empty(tree, Some(self.sequence)).scan(from.into(), to, backward, patience)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut snapshots = lock(&self.inner.snapshots);
        if let Some(count) = snapshots.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&self.sequence);
            }
        }
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

/// Locks what is plain values, which a panicked thread leaves as sound as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
