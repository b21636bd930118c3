//! The work behind the writes: flushes, compactions, and the changes of the manifest that make them
//! count. All of it happens in [`Forest::work`], on the caller's thread, a budget at a time.
//!
//! The order that survives a power cut anywhere:
//!
//! 1. write the new files and sync them;
//! 2. sync the folder, so that their names are durable;
//! 3. replace the manifest, durably: from here on the new files count and the old ones do not;
//! 4. show readers the new files, and only now say that the positions are flushed;
//! 5. remove the old files when no reader holds them. Who misses this finds them at the next start.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use world::{Disk, DiskError};

use super::{
    Damage, Horizon, TreeError, TreeId, Work,
    file::{FileHandle, FileMeta},
    forest::{Forest, Inner, lock},
    format::{FOLDER, file_name},
    job::{Failure, Job, Plan, Replaces},
    manifest::{self, Manifest, RunRecord},
    pick::{Run, pick, pick_all, pick_young},
    plan::{Choice, horizon_of},
    spent::{Spending, pick_spent},
    state::Parts,
};

/// How long a tree in which nothing is spent is not looked at again, unless it changes.
const LOOK_SECONDS: u32 = 10;

/// What is under way.
pub(crate) struct Upkeep {
    /// As it is on the disk, but for the id of the next file.
    pub(crate) manifest: Manifest,
    flush: Option<Job>,
    compaction: Option<Job>,
    /// Trees of which everything is to become one run.
    whole: BTreeSet<TreeId>,
    /// Trees of which the young runs are to become one, because nobody writes to them now.
    young: BTreeSet<TreeId>,
    /// Trees with a file that compaction cannot read: not tried again.
    sick: BTreeSet<TreeId>,
    /// The tree that was compacted last.
    last: TreeId,
    /// When, and with which runs, a tree was looked at and nothing in it was spent.
    looked: BTreeMap<TreeId, (u32, Arc<Vec<Run>>)>,
    /// Files that are in no manifest, for readers who have them still.
    obsolete: Vec<Arc<FileHandle>>,
}

/// The oldest memtables of a tree that are in files now, and what they hold.
pub(crate) struct Flushed {
    pub(crate) count: usize,
    pub(crate) up_to: u64,
    pub(crate) sequence: u64,
}

/// Where one of the two jobs is.
type Slot = fn(&mut Upkeep) -> &mut Option<Job>;

impl Upkeep {
    fn flush(&mut self) -> &mut Option<Job> {
        &mut self.flush
    }

    fn compaction(&mut self) -> &mut Option<Job> {
        &mut self.compaction
    }

    /// Gives away the id of a file.
    pub(crate) fn take_file_id(&mut self) -> u64 {
        let id = self.manifest.next_file;
        self.manifest.next_file += 1;
        id
    }

    pub(crate) fn new(manifest: Manifest) -> Upkeep {
        Upkeep {
            manifest,
            flush: None,
            compaction: None,
            whole: BTreeSet::new(),
            young: BTreeSet::new(),
            sick: BTreeSet::new(),
            last: TreeId(0),
            looked: BTreeMap::new(),
            obsolete: Vec::new(),
        }
    }
}

/// Removes files that the manifest does not name: left by jobs that did not end.
pub(crate) fn remove_strangers(disk: &Disk, manifest: &Manifest) -> Result<(), TreeError> {
    let files = manifest.trees.values().flat_map(|tree| &tree.runs).flat_map(|run| &run.files);
    let known: BTreeSet<String> = files.map(|file| file_name(file.id)).collect();
    for name in disk.list(FOLDER)? {
        let name = format!("{FOLDER}/{name}");
        if name != manifest::NAME && !known.contains(&name) {
            disk.remove(&name)?;
        }
    }
    Ok(())
}

impl Forest {
    /// Does up to about `budget_bytes` of what there is to do: flushes first, then compactions.
    /// `horizons` tells, of the tree that is compacted next, what may be purged; `None` for nothing,
    /// as while a log is being applied again, because what it brings may be old.
    ///
    /// # Errors
    /// [`TreeError::Full`]: nothing has changed, and it will be tried again.
    /// [`TreeError::Damaged`]: a compaction met a damaged file; its tree is compacted no more.
    /// [`TreeError::Fatal`]: the disk failed.
    pub fn work(
        &self,
        budget_bytes: u64,
        horizons: &dyn Fn(TreeId) -> Option<Horizon>,
    ) -> Result<Work, TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        let mut upkeep = lock(&inner.upkeep);
        upkeep.collect_garbage(inner)?;
        if upkeep.flush.is_none() {
            upkeep.flush = inner.plan_flush(None).map(|plan| inner.job(plan));
        }
        if upkeep.flush.is_some() {
            upkeep.run(inner, budget_bytes, Upkeep::flush)?;
            return Ok(Work::More);
        }
        if upkeep.compaction.is_none()
            && let Some(choice) = upkeep.choose(inner)
        {
            if choice.moves {
                upkeep.move_files(inner, choice)?;
                return Ok(Work::More);
            }
            upkeep.compaction = Some(inner.job(upkeep.plan_compaction(inner, choice, horizons)?));
        }
        if upkeep.compaction.is_some() {
            upkeep.run(inner, budget_bytes, Upkeep::compaction)?;
            return Ok(Work::More);
        }
        if upkeep.spend(inner, horizons)? {
            return Ok(Work::More);
        }
        upkeep.collect_garbage(inner)?;
        Ok(Work::Done)
    }

    /// Has the next [`Forest::work`] make one run of all files of a tree.
    pub fn compact(&self, tree: TreeId) {
        lock(&self.inner.upkeep).whole.insert(tree);
    }

    /// Has the next [`Forest::work`] join the young runs of each tree, for a time in which nobody writes:
    /// a row that was overwritten lies in each of them, and a read looks at all. Little by little it
    /// would cost more than it gives, so a run much larger than all newer ones is left alone. Returns
    /// whether there is something to join.
    pub fn join_young(&self) -> bool {
        let mut upkeep = lock(&self.inner.upkeep);
        let state = self.inner.state();
        let young = state.trees.iter().filter(|(_, tree)| pick_young(&tree.parts.runs).is_some());
        upkeep.young = young.map(|(id, _)| *id).collect();
        upkeep.young.iter().any(|id| !upkeep.sick.contains(id))
    }

    /// Forgets a tree for good, and frees its room: changes of it are void from now on. Durable
    /// when it returns.
    pub fn drop_tree(&self, tree: TreeId) -> Result<(), TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        let mut upkeep = lock(&inner.upkeep);
        let mut manifest = upkeep.manifest.clone();
        manifest.trees.remove(&tree);
        manifest.dropped.insert(tree);
        inner.store(&manifest)?;
        upkeep.manifest = manifest;
        let dropped = {
            let mut state = inner.state_mut();
            state.dropped.insert(tree);
            let dropped = state.trees.remove(&tree);
            inner.debt.count(&state);
            dropped
        };
        for slot in [Upkeep::flush as Slot, Upkeep::compaction] {
            if slot(&mut upkeep).as_ref().is_some_and(|job| job.plan.tree == tree) {
                upkeep.abandon(inner, slot);
            }
        }
        upkeep.looked.remove(&tree);
        if let Some(dropped) = dropped {
            upkeep.obsolete.extend(dropped.parts.runs.iter().flat_map(|run| run.files.iter().cloned()));
        }
        upkeep.collect_garbage(inner)
    }

    /// Forgets that a tree was dropped: its owner knows that nothing will be applied to it any more,
    /// because the log has nothing of it. Durable when it returns.
    pub fn forget_dropped(&self, tree: TreeId) -> Result<(), TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        let mut upkeep = lock(&inner.upkeep);
        if !upkeep.manifest.dropped.contains(&tree) {
            return Ok(());
        }
        let mut manifest = upkeep.manifest.clone();
        manifest.dropped.remove(&tree);
        inner.store(&manifest)?;
        upkeep.manifest = manifest;
        inner.state_mut().dropped.remove(&tree);
        Ok(())
    }

    /// The trees that were dropped, and are not forgotten.
    pub fn dropped(&self) -> Vec<TreeId> {
        self.inner.state().dropped.iter().copied().collect()
    }

    /// Reads everything, past the cache, and returns what is wrong.
    pub fn verify(&self) -> Vec<TreeError> {
        let mut faults = Vec::new();
        let expected = lock(&self.inner.upkeep).manifest.clone();
        match Manifest::load(&self.inner.disk) {
            Ok(Some(found)) if found.trees == expected.trees && found.dropped == expected.dropped => {}
            Ok(_) => faults.push(TreeError::Damaged(Damage {
                file: manifest::NAME.to_owned(),
                offset: 0,
                tree: None,
                why: "it is not the one that was written last".to_owned(),
            })),
            Err(error) => faults.push(error),
        }
        let files: Vec<Arc<FileHandle>> = {
            let state = self.inner.state();
            let runs = state.trees.values().flat_map(|tree| tree.parts.runs.iter());
            runs.flat_map(|run| run.files.iter().cloned()).collect()
        };
        faults.extend(files.iter().flat_map(|file| file.verify()));
        faults
    }
}

impl Inner {
    fn job(&self, plan: Plan) -> Job {
        Job::new(plan, self.disk.clone(), self.settings.clone())
    }

    /// Replaces the manifest. Without room nothing has changed; after another failure nobody knows.
    fn store(&self, manifest: &Manifest) -> Result<(), TreeError> {
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::ManifestUnsynced) {
            let written = self.disk.remove(manifest::NAME).and_then(|()| {
                let bytes = manifest.encode();
                self.disk.create(manifest::NAME, bytes.len() as u64)?.write_at(&bytes, 0)
            });
            return written.map_err(|error| self.die(&error.to_string()));
        }
        manifest.store(&self.disk).map_err(|error| match error {
            DiskError::Full { .. } => TreeError::Full,
            error => self.die(&error.to_string()),
        })
    }
}

impl Upkeep {
    /// Files are read here, but not under the lock that writers need.
    fn plan_compaction(
        &mut self,
        inner: &Inner,
        choice: Choice,
        horizons: &dyn Fn(TreeId) -> Option<Horizon>,
    ) -> Result<Plan, TreeError> {
        let tree = choice.tree;
        inner.plan_compaction(choice, horizons(tree)).inspect_err(|_| self.give_up(inner, tree))
    }

    /// Leaves a tree alone from now on: one of its files cannot be read.
    fn give_up(&mut self, inner: &Inner, tree: TreeId) {
        self.sick.insert(tree);
        let mut state = inner.state_mut();
        if let Some(tree) = state.trees.get_mut(&tree) {
            tree.sick = true;
        }
        inner.debt.count(&state);
    }

    /// The next compaction.
    fn choose(&mut self, inner: &Inner) -> Option<Choice> {
        let state = inner.state();
        // In turn, so that a tree that always has something to do leaves time for others.
        let behind = state.trees.range((Excluded(self.last), Unbounded));
        for (&id, tree) in behind.chain(state.trees.range(..=self.last)) {
            if self.sick.contains(&id) {
                continue;
            }
            let (runs, parts) = (&tree.parts.runs, || tree.parts.clone());
            let whole = if self.whole.remove(&id) { pick_all(runs) } else { None };
            let young = if self.young.remove(&id) { pick_young(runs) } else { None };
            let chosen = match whole.or(young) {
                Some(pick) => Some(Choice { tree: id, parts: parts(), pick, moves: false }),
                None => pick(runs, &inner.settings).map(|pick| {
                    let moves = pick.is_move(runs);
                    Choice { tree: id, parts: parts(), pick, moves }
                }),
            };
            if chosen.is_some() {
                self.last = id;
                return chosen;
            }
        }
        None
    }

    /// Looks for a file that is hardly worth keeping, in trees that are in shape otherwise; returns
    /// whether there was one. Each tree is looked at now and then only, because that takes a look at
    /// all its files.
    fn spend(
        &mut self,
        inner: &Inner,
        horizons: &dyn Fn(TreeId) -> Option<Horizon>,
    ) -> Result<bool, TreeError> {
        if !inner.held_sequences().is_empty() {
            return Ok(false);
        }
        let candidates: Vec<(TreeId, Arc<Parts>)> = {
            let state = inner.state();
            let trees = state.trees.iter().filter(|(_, tree)| tree.may_be_spent && !tree.sick);
            trees.map(|(id, tree)| (*id, tree.parts.clone())).collect()
        };
        for (tree, parts) in candidates {
            // Not under the lock: who is asked may want to know something of the forest.
            let Some(horizon) = horizon_of(&parts, horizons(tree)) else { continue };
            let looked = self.looked.get(&tree).filter(|looked| Arc::ptr_eq(&looked.1, &parts.runs));
            if looked.is_some_and(|looked| horizon.now_seconds < looked.0.saturating_add(LOOK_SECONDS)) {
                continue;
            }
            let spending = pick_spent(
                &parts,
                horizon,
                #[cfg(test)]
                &inner.settings,
            );
            let pick = match spending {
                None => {
                    self.looked.insert(tree, (horizon.now_seconds, parts.runs.clone()));
                    continue;
                }
                Some(Spending::Drop(file)) => {
                    let replaces = Replaces::Files(vec![file.clone()]);
                    let runs = replaced(&parts.runs, &replaces, Vec::new(), 0);
                    self.commit(inner, tree, runs, 0, None)?;
                    self.obsolete.push(file);
                    return Ok(true);
                }
                Some(Spending::Compact(pick)) => pick,
            };
            let moves = pick.is_move(&parts.runs);
            let choice = Choice { tree, parts, pick, moves };
            if moves {
                self.move_files(inner, choice)?;
            } else {
                self.compaction = Some(inner.job(self.plan_compaction(inner, choice, &|_| Some(horizon))?));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Has files count in another level.
    fn move_files(&mut self, inner: &Inner, choice: Choice) -> Result<(), TreeError> {
        let files: Vec<Arc<FileHandle>> = choice.pick.inputs.into_iter().flatten().collect();
        let replaces = Replaces::Files(files.clone());
        let runs = replaced(&choice.parts.runs, &replaces, files, choice.pick.level);
        self.commit(inner, choice.tree, runs, 0, None)
    }

    /// Flushes what is frozen of a tree and holds nothing from a sequence on, after what is being
    /// flushed already.
    pub(crate) fn flush_tree(&mut self, inner: &Inner, tree: TreeId, sequence: u64) -> Result<(), TreeError> {
        loop {
            if self.flush.is_none() {
                let Some(plan) = inner.plan_flush(Some((tree, sequence))) else { return Ok(()) };
                self.flush = Some(inner.job(plan));
            }
            self.run(inner, u64::MAX, Upkeep::flush)?;
        }
    }

    /// One step of a job; its end, if that was the last; giving it up, if it failed.
    fn run(&mut self, inner: &Inner, budget_bytes: u64, slot: Slot) -> Result<(), TreeError> {
        let mut next_file = self.manifest.next_file;
        let job = slot(self).as_mut().expect("the caller has put a job there");
        let (tree, stepped) = (job.plan.tree, job.step(&mut next_file, budget_bytes));
        self.manifest.next_file = next_file;
        let ended = match stepped {
            Ok(false) => return Ok(()),
            Ok(true) => self.install(inner, slot).map_err(Failure::Write),
            Err(failure) => Err(failure),
        };
        ended.map_err(|failure| {
            let error = match failure {
                Failure::Read(error) => {
                    self.give_up(inner, tree);
                    error
                }
                Failure::Write(TreeError::Disk(error)) => inner.die(&error.to_string()),
                Failure::Write(error) => error,
            };
            self.abandon(inner, slot);
            error
        })
    }

    /// Gives up a job and what it has written.
    fn abandon(&mut self, inner: &Inner, slot: Slot) {
        // After a failure of the disk nobody knows whether the manifest names them already.
        if let Some(job) = slot(self).take().filter(|_| inner.check_alive().is_ok()) {
            for name in job.files() {
                // What stays is removed when the forest is opened.
                let _ = inner.disk.remove(&name);
            }
        }
    }

    /// Makes what a job has written count.
    fn install(&mut self, inner: &Inner, slot: Slot) -> Result<(), TreeError> {
        let job = slot(self).as_ref().expect("the job has just ended");
        let (id, done, level) = (job.plan.tree, job.done.clone(), job.plan.level);
        let open = |meta: &FileMeta| {
            let file = FileHandle::new(meta.clone(), &inner.files);
            file.warm();
            Arc::new(file)
        };
        let fresh: Vec<Arc<FileHandle>> = done.iter().map(open).collect();
        let runs = {
            let state = inner.state();
            let tree = state.trees.get(&id).expect("dropping a tree gives up its jobs");
            replaced(&tree.parts.runs, &job.plan.replaces, fresh, level)
        };
        let flushed = match job.plan.replaces {
            Replaces::Memtables { count, up_to, sequence } => Some(Flushed { count, up_to, sequence }),
            Replaces::Files(_) => None,
        };
        sync_names(inner, &done)?;
        #[cfg(test)]
        remove_early(inner, &job.plan.replaces);
        let written = done.iter().map(|meta| meta.bytes).sum();
        self.commit(inner, id, runs, written, flushed)?;
        let job = slot(self).take().expect("the job has just ended");
        if let Replaces::Files(files) = job.plan.replaces {
            self.obsolete.extend(files);
        }
        Ok(())
    }

    /// Has a tree consist of other runs: first durably, then for readers.
    pub(crate) fn commit(
        &mut self,
        inner: &Inner,
        id: TreeId,
        runs: Vec<Run>,
        written_bytes: u64,
        flushed: Option<Flushed>,
    ) -> Result<(), TreeError> {
        let mut manifest = self.manifest.clone();
        let record = manifest.trees.entry(id).or_default();
        record.runs = runs.iter().map(record_of).collect();
        if let Some(flushed) = &flushed {
            record.flushed = flushed.up_to;
            manifest.sequence = manifest.sequence.max(flushed.sequence);
        }
        inner.store(&manifest)?;
        self.manifest = manifest;
        let mut state = inner.state_mut();
        if let Some(tree) = state.trees.get_mut(&id) {
            match &flushed {
                Some(_) => tree.flushed_bytes += written_bytes,
                None => tree.compacted_bytes += written_bytes,
            }
            tree.install(flushed.map_or(0, |flushed| flushed.count), runs, &inner.settings);
        }
        inner.debt.count(&state);
        Ok(())
    }

    /// Removes files that count no more and that no reader holds.
    fn collect_garbage(&mut self, inner: &Inner) -> Result<(), TreeError> {
        let (free, held) =
            std::mem::take(&mut self.obsolete).into_iter().partition(|file| Arc::strong_count(file) == 1);
        self.obsolete = held;
        let free: Vec<Arc<FileHandle>> = free;
        for file in free {
            file.forget();
            match inner.disk.remove(&file_name(file.meta.id)) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(inner.die(&error.to_string())),
            }
        }
        Ok(())
    }
}

/// Makes the names of new files durable.
pub(crate) fn sync_names(inner: &Inner, files: &[FileMeta]) -> Result<(), TreeError> {
    #[cfg(test)]
    if inner.settings.sabotaged(super::settings::Sabotage::FolderUnsynced) {
        return Ok(());
    }
    if files.is_empty() {
        return Ok(());
    }
    inner.disk.sync_folder(FOLDER).map_err(|error| inner.die(&error.to_string()))
}

#[cfg(test)]
fn remove_early(inner: &Inner, replaces: &Replaces) {
    if let Replaces::Files(files) = replaces
        && inner.settings.sabotaged(super::settings::Sabotage::RemovedEarly)
    {
        for file in files {
            let _ = inner.disk.remove(&file_name(file.meta.id));
        }
    }
}

fn record_of(run: &Run) -> RunRecord {
    RunRecord { level: run.level, files: run.files.iter().map(|file| file.meta.clone()).collect() }
}

/// `runs` with `fresh` files of `level` in the place of what they replace.
fn replaced(runs: &[Run], replaces: &Replaces, fresh: Vec<Arc<FileHandle>>, level: u8) -> Vec<Run> {
    let mut runs = runs.to_vec();
    let mut at = 0;
    if let Replaces::Files(files) = replaces {
        let gone: BTreeSet<u64> = files.iter().map(|file| file.meta.id).collect();
        let touched = |run: &Run| run.files.iter().any(|file| gone.contains(&file.meta.id));
        at = runs.iter().position(touched).unwrap_or(0);
        for run in &mut runs {
            run.files.retain(|file| !gone.contains(&file.meta.id));
        }
    }
    match runs.iter_mut().find(|run| level > 0 && run.level == level) {
        Some(run) => {
            run.files.extend(fresh);
            run.files.sort_by(|a, b| a.meta.from.cmp(&b.meta.from));
        }
        None => {
            // In level 0 where the first of its inputs was; below, behind the levels above.
            let at = if level == 0 { at } else { runs.partition_point(|run| run.level < level) };
            runs.insert(at, Run { level, files: fresh });
        }
    }
    runs.retain(|run| !run.files.is_empty());
    runs
}
