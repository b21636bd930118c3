//! What to compact: a pure function of the shape of a tree.
//!
//! Flushes make runs in level 0. Runs there of similar size become one run (size-tiered: each byte
//! is rewritten once for each time the runs grow by a factor, not once for each flush), until the
//! level is large enough to be merged into level 1. From there on each level is one run, at most
//! `level_factor` times as large as the one above; what is too large gives up the file that drags
//! the fewest bytes of the next level along. What drags nothing along is moved, not rewritten.
//!
//! One law keeps every choice right: of one key, a newer run holds later sequences than an older
//! one. So runs that are merged are neighbours, and what goes down takes along what it overlaps.

use std::sync::Arc;

use super::{
    file::{FileHandle, overlapping},
    settings::TreeSettings,
};

/// The deepest level. With 256 MiB and a factor of 10, level 6 begins beyond 2.7 TiB.
pub(crate) const DEEPEST: u8 = 6;

/// Files that do not overlap, ascending. Level 0 has many runs, others one.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) level: u8,
    pub(crate) files: Vec<Arc<FileHandle>>,
}

impl Pick {
    /// Whether its files can go down as they are: they are of one run, and nothing is in their way.
    pub(crate) fn is_move(&self, runs: &[Run]) -> bool {
        let [files] = &self.inputs[..] else { return false };
        let Some(first) = files.first() else { return false };
        let is_first = |file: &Arc<FileHandle>| file.meta.id == first.meta.id;
        runs.iter().any(|run| run.level < self.level && run.files.iter().any(is_first))
    }
}

impl Run {
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.meta.bytes).sum()
    }
}

/// Files that become files of one level.
#[derive(Debug)]
pub(crate) struct Pick {
    /// For each run that gives files, newest first, those files.
    pub(crate) inputs: Vec<Vec<Arc<FileHandle>>>,
    pub(crate) level: u8,
}

/// The most urgent compaction of a tree whose runs are `runs`, newest first; `None` if it is in shape.
pub(crate) fn pick(runs: &[Run], settings: &TreeSettings) -> Option<Pick> {
    let fresh = &runs[..runs.partition_point(|run| run.level == 0)];
    let total: u64 = fresh.iter().map(Run::bytes).sum();
    if total >= settings.level_bytes || fresh.len() >= 2 * settings.tier_runs {
        return Some(into_next(runs, fresh.iter().map(|run| run.files.clone()).collect(), 1));
    }
    if let Some(similar) = similar_runs(fresh, total, settings) {
        return Some(Pick { inputs: similar.iter().map(|run| run.files.clone()).collect(), level: 0 });
    }
    runs[fresh.len()..].iter().find_map(|run| {
        (run.bytes() > most_bytes(run.level, settings) && run.level < DEEPEST).then(|| {
            let cheapest = run.files.iter().min_by_key(|file| dragged_bytes(runs, run.level + 1, file));
            let file = cheapest.expect("a run that is too large has a file").clone();
            into_next(runs, vec![vec![file]], run.level + 1)
        })
    })
}

/// What the compactions that are due will read, an estimate: what goes down a level takes with it as
/// much of the next as their sizes say, and what arrives there may have to go down as well.
pub(crate) fn pending_bytes(runs: &[Run], settings: &TreeSettings) -> u64 {
    let fresh = &runs[..runs.partition_point(|run| run.level == 0)];
    let total: u64 = fresh.iter().map(Run::bytes).sum();
    let level_bytes = |level: u8| runs.iter().find(|run| run.level == level).map_or(0, Run::bytes);
    let mut arriving = 0;
    let mut pending = if total >= settings.level_bytes || fresh.len() >= 2 * settings.tier_runs {
        arriving = total;
        total + level_bytes(1)
    } else {
        similar_runs(fresh, total, settings).unwrap_or_default().iter().map(Run::bytes).sum()
    };
    for level in 1..DEEPEST {
        let bytes = level_bytes(level) + arriving;
        arriving = bytes.saturating_sub(most_bytes(level, settings));
        if arriving > 0 {
            let dragged = u128::from(level_bytes(level + 1)) * u128::from(arriving) / u128::from(bytes);
            pending += arriving + dragged as u64;
        }
    }
    pending
}

/// How large a level below the first may be.
fn most_bytes(level: u8, settings: &TreeSettings) -> u64 {
    settings.level_factor.saturating_pow(u32::from(level) - 1).saturating_mul(settings.level_bytes)
}

/// Everything into one run, as deep as the deepest there is, also where it is one run already: that
/// purges what may go by now.
pub(crate) fn pick_all(runs: &[Run]) -> Option<Pick> {
    let deepest = runs.last()?.level;
    let inputs = runs.iter().map(|run| run.files.clone()).collect();
    Some(Pick { inputs, level: deepest.max(1) })
}

/// The newest runs into one, while nobody writes: two or more, none of them more than four times as
/// large as all newer ones together, so that what is joined again and again grows by a quarter at least.
pub(crate) fn pick_young(runs: &[Run]) -> Option<Pick> {
    let young = newest_within(&runs[..runs.partition_point(|run| run.level == 0)], 4);
    let inputs = || young.iter().map(|run| run.files.clone()).collect();
    (young.len() >= 2).then(|| Pick { inputs: inputs(), level: 0 })
}

/// The newest runs, none of them more than `factor` times as large as all newer ones together.
fn newest_within(fresh: &[Run], factor: u64) -> &[Run] {
    let (mut sum, mut count) = (0, 0);
    for run in fresh {
        if count > 0 && run.bytes() > factor * sum {
            break;
        }
        sum += run.bytes();
        count += 1;
    }
    &fresh[..count]
}

/// The newest runs that are of similar size, if they are enough to become one run: none is more than
/// twice as large as all newer ones together. None if level 0 is so large that it will go down before
/// that would be of use to many reads.
fn similar_runs<'r>(fresh: &'r [Run], total: u64, settings: &TreeSettings) -> Option<&'r [Run]> {
    let similar = newest_within(fresh, 2);
    (similar.len() >= settings.tier_runs && total < settings.level_bytes / 2).then_some(similar)
}

/// `inputs`, and all files of `level` between the first key of the inputs and the last: also those
/// that lie in a gap between them, because a new file may reach over the gap.
pub(crate) fn into_next(runs: &[Run], mut inputs: Vec<Vec<Arc<FileHandle>>>, level: u8) -> Pick {
    let metas = || inputs.iter().flatten().map(|file| &file.meta);
    let from = metas().map(|meta| meta.from.clone()).min().unwrap_or_default();
    let endless = metas().any(|meta| meta.to.is_none());
    let to = metas().filter_map(|meta| meta.to.clone()).max().filter(|_| !endless);
    if let Some(next) = runs.iter().find(|run| run.level == level) {
        inputs.push(overlapping(&next.files, &from, to.as_deref()).to_vec());
    }
    inputs.retain(|files| !files.is_empty());
    Pick { inputs, level }
}

fn dragged_bytes(runs: &[Run], level: u8, file: &FileHandle) -> u64 {
    let next = runs.iter().filter(|run| run.level == level).flat_map(|run| &run.files);
    next.filter(|other| other.meta.overlaps(&file.meta.from, file.meta.to.as_deref()))
        .map(|other| other.meta.bytes)
        .sum()
}
