//! What may go although no level is too large: files of which nothing, or little, is worth keeping.
//!
//! Levels are compacted when they grow. Tombstones and expired cells make a tree no larger than it
//! should be, but they take room and are read by every scan. So a file in which all values have died
//! is dropped unread, and one that is mostly tombstones is rewritten without them; each as soon as
//! nothing is left that its values hide, which is asked for the whole file at once. Where something
//! is left below, such a file goes down a level to meet it.

use std::sync::Arc;

#[cfg(test)]
use super::settings::TreeSettings;
use super::{
    Horizon,
    file::FileHandle,
    pick::{DEEPEST, Pick, Run, into_next},
    plan::others,
    state::Parts,
};

/// What to do about a file.
pub(crate) enum Spending {
    /// It goes, unread.
    Drop(Arc<FileHandle>),
    /// A compaction.
    Compact(Pick),
}

/// Whether there is a file that may be spent, now or at some time.
pub(crate) fn may_be_spent(runs: &[Run]) -> bool {
    let files = runs.iter().flat_map(|run| &run.files);
    files.into_iter().any(|file| file.meta.spent.dies_at < u32::MAX || mostly_dead(file))
}

/// The first file of a tree about which something can be done. No snapshot is held.
pub(crate) fn pick_spent(
    parts: &Parts,
    horizon: Horizon,
    #[cfg(test)] settings: &TreeSettings,
) -> Option<Spending> {
    let files = parts.runs.iter().flat_map(|run| run.files.iter().map(move |file| (run, file)));
    files.into_iter().find_map(|(run, file)| {
        let has_values = file.meta.entries > 0;
        let all_dead = has_values && file.meta.spent.dies_at <= horizon.now_seconds;
        if !all_dead && !mostly_dead(file) {
            return None;
        }
        #[cfg(test)]
        if all_dead && settings.sabotaged(super::settings::Sabotage::FileDroppedEarly) {
            return Some(Spending::Drop(file.clone()));
        }
        if file.meta.spent.newest >= floor(parts, file, horizon) {
            return (run.level > 0 && hides_below(parts, run, file))
                .then(|| Spending::Compact(into_next(&parts.runs, vec![vec![file.clone()]], run.level + 1)));
        }
        if all_dead && !file.meta.has_ranges {
            return Some(Spending::Drop(file.clone()));
        }
        // Of a run of level 0 it would make two.
        let alone = run.level > 0 || run.files.len() == 1;
        alone.then(|| Spending::Compact(Pick { inputs: vec![vec![file.clone()]], level: run.level }))
    })
}

/// More than half of it is tombstones.
fn mostly_dead(file: &FileHandle) -> bool {
    file.meta.spent.dead.saturating_mul(2) > file.meta.entries
}

/// No value that the file may hide has a timestamp below this.
fn floor(parts: &Parts, file: &Arc<FileHandle>, horizon: Horizon) -> i64 {
    let others = others(parts, std::slice::from_ref(file));
    let meta = &file.meta;
    let near = others.iter().filter(|other| meta.overlaps(&other.0, other.1.as_deref()));
    near.map(|other| other.2).fold(horizon.before, i64::min)
}

/// Whether it lies above something that it could take along.
fn hides_below(parts: &Parts, run: &Run, file: &FileHandle) -> bool {
    let meta = &file.meta;
    let below = parts.runs.iter().filter(|other| other.level > run.level && run.level < DEEPEST);
    below.flat_map(|run| &run.files).any(|other| other.meta.overlaps(&meta.from, meta.to.as_deref()))
}
