//! [`Forest`]: the trees of one disk, what is written to them and what is seen.
//!
//! One thread applies, in log order; any thread reads; one thread at a time does the work (flushes
//! and compactions, see `upkeep`). What they share is one lock around a few pointers per tree:
//!
//! - a reader takes the pointers of a tree and the sequence of the last batch under it, and is alone
//!   with them from then on;
//! - the applier shares it with readers while it fills memtables, and moves the visible sequence when
//!   a batch is whole;
//! - who freezes a memtable or puts files in the place of others has it to himself for a moment.
//!
//! **Two numbers.** A batch comes with its *position* in the log, which says only what a tree has
//! already and what is flushed. It is given a *sequence*, one more than any before and not below its
//! position, and that is what memtables, files, snapshots and readers go by. They differ because
//! streams of one log are applied at their own pace: a change that a quorum had to agree on is
//! applied after others that follow it in the log.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use base::Position;
use bytes::Bytes;
use world::Disk;

use super::{
    TreeError, TreeId,
    figures::DebtCounters,
    file::FileHandle,
    files::Files,
    format::FOLDER,
    manifest::Manifest,
    moments::{Look, Moments},
    pick::Run,
    read::{Patience, Scan, View},
    rule::Merge,
    settings::TreeSettings,
    state::{State, Tree},
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
    pub(crate) rules: Rules,
    pub(crate) files: Arc<Files>,
    state: RwLock<State>,
    pub(crate) moments: Arc<Moments>,
    /// The highest position that was applied.
    pub(crate) applied: AtomicU64,
    pub(crate) debt: DebtCounters,
    /// Held by who applies or freezes.
    pub(crate) writer: Mutex<()>,
    pub(crate) upkeep: Mutex<Upkeep>,
    /// Why nothing may be written any more.
    fatal: OnceLock<String>,
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
            let mut tree = Tree::new(rules(*id), &files, record.flushed);
            let open = |meta: &super::file::FileMeta| Arc::new(FileHandle::new(meta.clone(), &files));
            let runs = record
                .runs
                .iter()
                .map(|run| Run { level: run.level, files: run.files.iter().map(open).collect() });
            tree.install(0, runs.collect(), &settings);
            applied = applied.max(record.flushed);
            state.trees.insert(*id, tree);
        }
        let inner = Inner {
            disk,
            settings: Arc::new(settings),
            rules,
            files,
            state: RwLock::new(state),
            moments: Moments::new(manifest.sequence),
            applied: AtomicU64::new(applied),
            debt: DebtCounters::default(),
            writer: Mutex::default(),
            upkeep: Mutex::new(Upkeep::new(manifest)),
            fatal: OnceLock::new(),
        };
        inner.debt.count(&inner.state());
        Ok(Forest { inner: Arc::new(inner) })
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
        Snapshot { inner: self.inner.clone(), look: self.inner.moments.hold(None) }
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
        let memtables =
            state.trees.iter().filter(|(id, _)| of(**id)).flat_map(|(_, tree)| &tree.parts.memtables);
        memtables.filter_map(|memtable| memtable.first_position()).min().map(Position)
    }

    /// The highest position that was applied; after opening, that is in files.
    pub fn applied_position(&self) -> Position {
        Position(self.inner.applied.load(SeqCst))
    }

    /// The position of the last batch that a tree was given; 0 for none.
    pub fn applied(&self, tree: TreeId) -> Position {
        Position(self.inner.state().applied(tree))
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

impl Inner {
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

    /// What an error of writing means: after a failure of the disk, the end.
    pub(crate) fn failed(&self, error: TreeError) -> TreeError {
        match error {
            TreeError::Disk(error) => self.die(&error.to_string()),
            error => error,
        }
    }

    /// Sequences that compaction keeps apart, ascending.
    pub(crate) fn held_sequences(&self) -> Vec<u64> {
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::SnapshotsMerged) {
            return Vec::new();
        }
        self.moments.held()
    }

    /// A tree at a sequence, or as it is now.
    pub(crate) fn view(&self, tree: TreeId, sequence: Option<u64>) -> Option<View> {
        let state = self.state();
        // Under the lock: no memtable is frozen, and no job ends, between this and the look.
        let found = state.trees.get(&tree)?;
        #[cfg(test)]
        let sequence =
            sequence.filter(|_| !self.settings.sabotaged(super::settings::Sabotage::SnapshotReadsNewer));
        // A snapshot, which the caller holds, is looked at already.
        let look = sequence.map_or_else(|| self.moments.look(), |sequence| self.moments.look_at(sequence));
        Some(View { tree, parts: found.parts.clone(), position: look.sequence(), _look: look })
    }

    pub(crate) fn view_or_empty(&self, tree: TreeId, sequence: Option<u64>) -> View {
        self.view(tree, sequence).unwrap_or_else(|| {
            let look = self.moments.look();
            let parts = Tree::new((self.rules)(tree), &self.files, 0).parts;
            View { tree, parts, position: look.sequence(), _look: look }
        })
    }
}

/// All trees as they were when it was taken.
pub struct Snapshot {
    inner: Arc<Inner>,
    look: Look,
}

impl Snapshot {
    /// The sequence of the last batch that it sees: that batch's position, unless later ones of the
    /// log were applied before it.
    pub fn sequence(&self) -> u64 {
        self.look.sequence()
    }

    /// See [`Forest::get`].
    pub fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>, TreeError> {
        self.get_with(tree, key, Patience::Wait)
    }

    /// See [`Forest::get_with`].
    pub fn get_with(&self, tree: TreeId, key: &[u8], patience: Patience) -> Result<Option<Bytes>, TreeError> {
        self.inner.view(tree, Some(self.sequence())).map_or(Ok(None), |view| view.get(key, patience))
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
        self.inner.view_or_empty(tree, Some(self.sequence())).scan(from.into(), to, backward, patience)
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

/// Locks what is plain values, which a panicked thread leaves as sound as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
