//! What a job is made from: sources in order, deletions, snapshots to respect, and what else of the
//! tree there is that a tombstone may still hide.
//!
//! A plan is made from what a tree was at one moment ([`Parts`]). What is written afterwards is in
//! later memtables: a flush leaves those, and a compaction relies on the horizon for them.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{
    Horizon, TreeError, TreeId,
    cursor::Access,
    file::FileHandle,
    forest::Inner,
    job::{Other, Plan, Replaces},
    pick::Pick,
    ranges::Ranges,
    source::{FilesSource, MemSource, Merged, Source},
    state::Parts,
};

/// What is to be compacted.
pub(crate) struct Choice {
    pub(crate) tree: TreeId,
    pub(crate) parts: Arc<Parts>,
    pub(crate) pick: Pick,
    /// Its files need not be rewritten.
    pub(crate) moves: bool,
}

impl Inner {
    /// A flush of all frozen memtables of one tree, the one that holds the log longest; or of those of
    /// the tree `only` that hold nothing from a sequence on.
    pub(crate) fn plan_flush(&self, only: Option<(TreeId, u64)>) -> Option<Plan> {
        let (id, parts) = {
            let state = self.state();
            let wanted = |id: TreeId| only.is_none_or(|only| only.0 == id);
            let waiting = state.trees.iter().filter(|(id, tree)| wanted(**id) && !tree.frozen().is_empty());
            let (id, tree) = waiting.min_by_key(|(_, tree)| tree.frozen()[0].first_position())?;
            (*id, tree.parts.clone())
        };
        let before = only.map_or(u64::MAX, |only| only.1);
        let frozen = parts.frozen();
        let frozen = &frozen[..frozen.partition_point(|memtable| memtable.last_sequence() < before)];
        let last = frozen.last()?;
        let mut ranges = Ranges::default();
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for memtable in frozen {
            ranges.absorb(&memtable.ranges());
            sources.push(Box::new(MemSource::new(memtable.clone(), Bytes::new(), None, false)));
        }
        Some(Plan {
            tree: id,
            rule: parts.rule.clone(),
            replaces: Replaces::Memtables {
                count: frozen.len(),
                up_to: last.last_position(),
                sequence: last.last_sequence(),
            },
            level: 0,
            sources: Merged::new(sources, false),
            ranges,
            // After the sources were chosen: who takes a snapshot from now on sees all of them.
            snapshots: self.held_sequences(),
            others: Vec::new(),
            horizon: None,
        })
    }

    /// The compaction of a choice. Reads the first blocks of its files.
    pub(crate) fn plan_compaction(
        &self,
        choice: Choice,
        horizon: Option<Horizon>,
    ) -> Result<Plan, TreeError> {
        let Choice { tree, parts, pick, moves: _ } = choice;
        let inputs: Vec<Arc<FileHandle>> = pick.inputs.iter().flatten().cloned().collect();
        let mut ranges = Ranges::default();
        for file in inputs.iter().filter(|file| file.meta.has_ranges) {
            ranges.absorb(&file.ranges((&[], None), usize::MAX, Access::Ahead)?);
        }
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for files in pick.inputs {
            sources.push(Box::new(FilesSource::new(files, (Bytes::new(), None), false, Access::Ahead)?));
        }
        let others = others(&parts, &inputs);
        Ok(Plan {
            tree,
            rule: parts.rule.clone(),
            replaces: Replaces::Files(inputs),
            level: pick.level,
            sources: Merged::new(sources, false),
            ranges,
            snapshots: self.held_sequences(),
            others,
            horizon: horizon_of(&parts, horizon),
        })
    }
}

/// What a compaction of a tree may purge by. Where only order counts, nothing that is still to be
/// written can need a tombstone.
pub(crate) fn horizon_of(parts: &Parts, given: Option<Horizon>) -> Option<Horizon> {
    let always = Horizon { before: i64::MAX, now_seconds: 0 };
    if parts.rule.newest_stands() { Some(always) } else { given }
}

/// All of a tree but `inputs`, as far as it can hold what a tombstone in them hides.
pub(crate) fn others(parts: &Parts, inputs: &[Arc<FileHandle>]) -> Vec<Other> {
    let chosen: BTreeSet<u64> = inputs.iter().map(|file| file.meta.id).collect();
    let is_input = |file: &Arc<FileHandle>| chosen.contains(&file.meta.id);
    let mut runs = &parts.runs[..];
    let mut memtables: Vec<Other> = Vec::new();
    if parts.rule.newest_stands() {
        // Nor does what is newer.
        let newest = runs.iter().position(|run| run.files.iter().any(is_input)).unwrap_or(0);
        runs = &runs[newest..];
    } else {
        memtables.extend(parts.memtables.iter().map(|memtable| (Bytes::new(), None, memtable.oldest())));
    }
    let files = runs.iter().flat_map(|run| &run.files).filter(|file| !is_input(file));
    files
        .map(|file| (file.meta.from.clone(), file.meta.to.clone(), file.meta.oldest))
        .chain(memtables)
        .collect()
}
