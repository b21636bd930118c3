//! Writing: [`Forest::apply`] checks a batch whole, puts it into memtables, and shows it.
//!
//! It holds the state for reading while it fills memtables, so nobody freezes one meanwhile, and
//! readers do not wait. It never waits for the disk: who plans a job reads no file under that lock.

use std::sync::atomic::Ordering::SeqCst;

use base::{Malformed, Position};
use bytes::Bytes;

use super::{
    TreeError, TreeId,
    batch::{Batch, Change},
    filter,
    forest::{Forest, Inner, lock},
    format::{MAX_KEY, MAX_VALUE},
    memtable::Writing,
    row_cache::Wanted,
    rule::Merge,
    state::{State, Tree},
};

impl Forest {
    /// Merges a batch into its trees, each of which begins with its first batch. Afterwards every
    /// reader sees all of it; before, none. A tree that was given `position` or a later one already
    /// skips its part, so a log can be applied again from any place; changes of dropped trees are
    /// void. Positions ascend for each tree, not for all of them.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`], [`TreeError::Value`], and then nothing was done;
    /// [`TreeError::Fatal`] if the disk has failed.
    pub fn apply(&self, position: Position, mut batch: Batch) -> Result<(), TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        let _writer = lock(&inner.writer);
        let mut state = inner.state();
        if inner.check(&state, &batch)? {
            drop(state);
            inner.make_trees(batch.changes.iter().map(|change| change.0));
            state = inner.state();
        }
        let active_bytes = inner.fill(&state, position, &mut batch)?;
        let full = inner.full(&state, &batch, active_bytes);
        drop(state);
        if !full.is_empty() {
            inner.freeze(full);
        }
        Ok(())
    }

    /// Has every memtable that holds something at or before `position` flushed by the next
    /// [`Forest::work`], full or not: a tree that is seldom written must not pin the log.
    pub fn freeze(&self, position: Position) {
        let _writer = lock(&self.inner.writer);
        let state = self.inner.state();
        let pins = |tree: &Tree| tree.active().first_position().is_some_and(|first| first <= position.0);
        let chosen = state.trees.iter().filter(|(_, tree)| pins(tree)).map(|(id, _)| *id).collect();
        drop(state);
        self.inner.freeze(chosen);
    }

    /// Has the memtable of a tree flushed by the next [`Forest::work`], full or not.
    pub fn freeze_tree(&self, tree: TreeId) {
        let _writer = lock(&self.inner.writer);
        self.inner.freeze(vec![tree]);
    }
}

/// The trees that changes are of, one after the other: mostly the same as before.
struct Finder<'s> {
    state: &'s State,
    last: Option<(TreeId, Option<&'s Tree>)>,
}

impl<'s> Finder<'s> {
    fn new(state: &'s State) -> Finder<'s> {
        Finder { state, last: None }
    }

    fn find(&mut self, id: TreeId) -> Option<&'s Tree> {
        match self.last {
            Some((last, found)) if last == id => found,
            _ => {
                let found = self.state.trees.get(&id);
                self.last = Some((id, found));
                found
            }
        }
    }
}

impl Inner {
    /// Refuses a batch of which not everything can be merged. Returns whether trees are missing.
    fn check(&self, state: &State, batch: &Batch) -> Result<bool, TreeError> {
        let mut finder = Finder::new(state);
        let mut missing = false;
        for (id, change) in &batch.changes {
            match finder.find(*id) {
                Some(tree) => check(tree.rule().as_ref(), change)?,
                None if state.dropped.contains(id) => {}
                None => {
                    check((self.rules)(*id).as_ref(), change)?;
                    missing = true;
                }
            }
        }
        Ok(missing)
    }

    /// Begins those of some trees that are not there and were not dropped.
    pub(crate) fn make_trees(&self, ids: impl IntoIterator<Item = TreeId>) {
        let mut state = self.state_mut();
        for id in ids {
            if !state.dropped.contains(&id) {
                state.trees.entry(id).or_insert_with(|| Tree::new((self.rules)(id), &self.files, 0));
            }
        }
    }

    /// Puts a checked batch into memtables and shows it. Returns the bytes of all active memtables. What is
    /// left of the batch are its trees.
    fn fill(&self, state: &State, position: Position, batch: &mut Batch) -> Result<u64, TreeError> {
        let watched = || self.watched();
        let sequence = position.0.max(self.moments.visible() + 1);
        let writing = Writing { sequence, position: position.0, watched: &watched };
        let mut finder = Finder::new(state);
        let (mut grown, mut given) = (0, false);
        // What is deleted with a write is before or behind it: the row cache is not to find out.
        let deletes = batch.changes.iter().any(|(_, change)| matches!(change, Change::DeleteRange { .. }));
        for (id, change) in &mut batch.changes {
            let due = finder.find(*id).filter(|tree| tree.applied.load(SeqCst) < position.0);
            let Some(tree) = due else { continue };
            grown += match change {
                Change::Put { key, value } => {
                    let (key, value) = (std::mem::take(key), std::mem::take(value));
                    let wanted = Wanted { tree: *id, hash: filter::hash(&key), key: &key };
                    self.write_row(&wanted, sequence, tree, deletes, &value);
                    let put = tree.active().put(tree.rule().as_ref(), writing, key, value);
                    put.map_err(TreeError::Value)?
                }
                Change::DeleteRange { from, to, timestamp } => {
                    tree.parts.ranges_at.fetch_max(sequence, SeqCst);
                    tree.active().delete_range(writing, from, to.as_deref(), *timestamp)
                }
            };
            given = true;
        }
        // Only now, because a tree may be changed more than once.
        let mut finder = Finder::new(state);
        for (id, _) in &batch.changes {
            if let Some(tree) = finder.find(*id) {
                tree.applied.fetch_max(position.0, SeqCst);
            }
        }
        self.applied.fetch_max(position.0, SeqCst);
        if given {
            self.moments.show(sequence);
        }
        Ok(self.debt.add(grown))
    }

    /// Has the row cache hold what it holds of a key with this write in it, or nothing.
    fn write_row(&self, wanted: &Wanted<'_>, sequence: u64, tree: &Tree, deletes: bool, value: &[u8]) {
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::RowsNotWritten) {
            return;
        }
        let moment = (sequence, tree.parts.ranges_at.load(SeqCst));
        let rule = (!deletes).then_some(tree.rule().as_ref());
        self.files.rows.write(&self.files.cache, wanted, moment, rule, value);
    }

    /// Sequences that memtables keep apart, ascending.
    fn watched(&self) -> Vec<u64> {
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::ReadersIgnored) {
            return vec![self.moments.visible()];
        }
        self.moments.watched()
    }

    /// The trees whose memtables are to be frozen, after a batch.
    fn full(&self, state: &State, batch: &Batch, active_bytes: u64) -> Vec<TreeId> {
        let mut full = Vec::new();
        let mut finder = Finder::new(state);
        for (id, _) in &batch.changes {
            let bytes = finder.find(*id).map_or(0, |tree| tree.active().bytes());
            if bytes >= self.settings.memtable_bytes && !full.contains(id) {
                full.push(*id);
            }
        }
        let most = self.settings.memtables_bytes as u64;
        if full.is_empty() && active_bytes > most {
            // More than one at once, so that many small trees are not gone through for each batch.
            full = state.largest_active(most / 4 * 3);
        }
        full
    }

    /// Freezes the memtables of trees, unless they are empty. The caller is the writer, so no batch
    /// is half applied.
    pub(crate) fn freeze(&self, chosen: Vec<TreeId>) {
        let mut state = self.state_mut();
        for id in chosen {
            if let Some(tree) = state.trees.get_mut(&id).filter(|tree| !tree.active().is_empty()) {
                self.debt.freeze(tree.freeze());
            }
        }
    }
}

/// Refuses a change that cannot be merged.
pub(crate) fn check(rule: &dyn Merge, change: &Change) -> Result<(), TreeError> {
    let bounded = |bytes: usize, limit: usize| {
        if bytes > limit { Err(TreeError::TooLarge { bytes, limit }) } else { Ok(()) }
    };
    match change {
        Change::Put { key, value } => {
            bounded(key.len(), MAX_KEY)?;
            bounded(value.len(), MAX_VALUE)?;
            rule.oldest(value).map(drop).map_err(TreeError::Value)
        }
        Change::DeleteRange { from, to, .. } => {
            bounded(from.len(), MAX_KEY)?;
            bounded(to.as_ref().map_or(0, Bytes::len), MAX_KEY)?;
            if rule.newest_stands() {
                return Err(TreeError::Value(Malformed("a deletion of a range without timestamps")));
            }
            Ok(())
        }
    }
}
