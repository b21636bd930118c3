//! The work behind the writes: files are made of memtables and of other files, the log is told what
//! it may forget, dropped tables go.
//!
//! ```text
//! memtable full --> forest.work --> in files --> TABLES trimmed          up to what is in files
//!                                          \--> group writes a base --> its stream trimmed
//! ```
//! On a node a thread of its own does it, woken by the writes that make it necessary; a test steps
//! it. Nothing of it is done for an idle node, so a disk can sleep.
//!
//! **Cold streams.** A segment of the log goes when nothing in it is needed, so one old record of a
//! Machine that nobody talks to would keep all that others have written since. When the log has
//! grown by [`crate::Settings::log_keep_bytes`], what still stands behind that is moved: memtables are
//! flushed, groups repeat their base, the clock its bound.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use base::{GroupId, Position};
use disk_engine::{
    Engine,
    tree::{Horizon, TreeError, TreeId, Work},
};
use disk_log::LogWriter;
use world::Clock;

use crate::{records, settings::Sabotage, shared::Shared, spine::Event};

/// Bytes of work between two looks at what else there is to do.
const STEP_BYTES: u64 = 1 << 20;
/// How long nobody has written before young files are joined.
const QUIET: Duration = Duration::from_secs(1);
/// How long to wait for room on the disk.
const FULL_DISK_POLL: Duration = Duration::from_millis(200);
/// For how long deletions are kept, because replicas may have to hear of them or writes with older
/// timestamps may still come: Cassandra's default of `gc_grace_seconds`.
const DELETIONS_KEPT_SECONDS: u64 = 864_000;

/// The owner of upkeep.
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    log: LogWriter,
    clock: Clock,
    /// Up to where each stream was trimmed, or asked to.
    trimmed: Position,
    groups: BTreeMap<GroupId, Position>,
    /// Where the log stood when it had so many bytes, at steps of an eighth of what it keeps.
    marks: VecDeque<(u64, Position)>,
    /// Nothing should stand in the log before this.
    floor: Position,
    /// Where the floor is to be moved.
    wanted_floor: Option<Position>,
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to do.
    More,
    /// Nothing until somebody writes.
    Done,
    /// Nothing until the disk has room.
    Full,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    /// There may be something to do.
    Wanted,
    /// Nobody wanted anything for a while.
    Quiet,
    /// The node stops.
    Stopped,
}

impl Upkeep {
    pub(crate) fn new(shared: Arc<Shared>, log: LogWriter, clock: Clock) -> Upkeep {
        let stats = log.stats();
        let settings = &shared.settings;
        let keeps = settings.log_keep_bytes / settings.log.segment_bytes + 2;
        Upkeep {
            marks: VecDeque::from([(stats.bytes, stats.next)]),
            // What one life leaves in the log counts in the next: a node may be started often.
            wanted_floor: (stats.segments > keeps).then_some(stats.next),
            shared,
            log,
            clock,
            trimmed: Position(0),
            groups: BTreeMap::new(),
            floor: Position(0),
        }
    }

    /// Does a step of what there is to do.
    pub(crate) fn turn(&mut self) -> Turn {
        let dropped = self.drop_trees();
        self.raise_floor();
        let forest = self.shared.engine.forest();
        let worked = forest.work(STEP_BYTES, &|tree| self.horizon(tree));
        let turn = match worked {
            Ok(Work::More) => Turn::More,
            Ok(Work::Done) => dropped,
            Err(TreeError::Full) => Turn::Full,
            // It names the file; its tree is compacted no more, reads of it fail.
            Err(error @ (TreeError::Damaged(_) | TreeError::Version { .. } | TreeError::Disk(_))) => {
                tracing::error!("{error}");
                Turn::More
            }
            Err(error) => {
                self.shared.fail(error.into());
                return Turn::Done;
            }
        };
        self.trim();
        turn
    }

    /// Frees what dropped tables hold, and states of Machines that others have taken the place of.
    fn drop_trees(&self) -> Turn {
        let mut full = false;
        for tree in self.shared.take_doomed() {
            match self.drop_tree(tree) {
                Ok(()) => {}
                // It and those behind it stay doomed until there is room for a manifest.
                Err(TreeError::Full) => {
                    self.shared.drop_tree_later(tree);
                    full = true;
                }
                Err(error) => self.shared.fail(error.into()),
            }
        }
        if full { Turn::Full } else { Turn::Done }
    }

    fn drop_tree(&self, tree: TreeId) -> Result<(), TreeError> {
        let forest = self.shared.engine.forest();
        if Engine::table_of(tree).is_some() {
            return forest.drop_tree(tree);
        }
        if forest.trees().contains(&tree) {
            forest.drop_tree(tree)?;
        }
        // The log does not say which tree of a Machine a change is for.
        forest.forget_dropped(tree)
    }

    /// What compaction may purge of a tree. Writes with a timestamp of their own choice may be older
    /// than deletions that were purged: as in Cassandra, `gc_grace_seconds` is the time for them. Of a
    /// Machine's tree, where only order counts, the forest knows by itself.
    fn horizon(&self, tree: TreeId) -> Option<Horizon> {
        let table = Engine::table_of(tree)?;
        let now_micros = self.clock.wall_micros();
        let now_seconds = u32::try_from(now_micros / 1_000_000).unwrap_or(u32::MAX);
        let kept = self.shared.deletions_kept_seconds(table).unwrap_or(DELETIONS_KEPT_SECONDS);
        let before = now_micros.saturating_sub(kept.saturating_mul(1_000_000));
        Some(Horizon { before: i64::try_from(before).unwrap_or(i64::MAX), now_seconds })
    }

    /// Tells the log what is in files.
    fn trim(&mut self) {
        let forest = self.shared.engine.forest();
        // Read first: what is applied after it is in the memtables when they are asked.
        let applied = self.shared.tables_at.load(Ordering::Acquire);
        let pinned = forest.pinned(|tree| Engine::table_of(tree).is_some());
        let pinned = pinned.filter(|_| self.shared.settings.planted() != Some(Sabotage::TrimAtApplied));
        let up_to = pinned.map_or(Position(applied), |first| Position((first.0 - 1).min(applied)));
        if up_to > self.trimmed {
            self.trimmed = up_to;
            self.log.trim(records::TABLES, up_to);
        }
        for (group, generation) in self.shared.group_trees() {
            let tree = Engine::machine_tree(group, generation);
            let applied = forest.applied(tree);
            let pinned = forest.pinned(|other| other == tree);
            let flushed = pinned.map_or(applied, |first| Position(first.0 - 1).min(applied));
            let known = self.groups.entry(group).or_default();
            if flushed > *known {
                *known = flushed;
                self.shared.post(Event::Flushed { group, up_to: flushed });
            }
        }
    }

    /// Moves what the log has kept for too long.
    fn raise_floor(&mut self) {
        let keep = self.shared.settings.log_keep_bytes;
        let stats = self.log.stats();
        if self.marks.back().is_none_or(|mark| stats.bytes >= mark.0 + keep / 8) {
            self.marks.push_back((stats.bytes, stats.next));
        }
        while self.marks.len() > 1 && self.marks[1].0 + keep <= stats.bytes {
            self.marks.pop_front();
        }
        if let Some(&(bytes, position)) = self.marks.front()
            && bytes + keep <= stats.bytes
        {
            self.wanted_floor = Some(position.max(self.wanted_floor.unwrap_or_default()));
        }
        if let Some(floor) = self.wanted_floor.take().filter(|floor| *floor > self.floor) {
            self.floor = floor;
            self.shared.post(Event::RaiseFloor { floor });
        }
        // Again, because a Machine's entries may be applied long after they came into the log.
        let forest = self.shared.engine.forest();
        if forest.pinned(|_| true).is_some_and(|first| first <= self.floor) {
            forest.freeze(self.floor);
        }
    }
}

/// The bell of upkeep's thread.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
}

#[derive(Default)]
struct BellState {
    wanted: bool,
    stopped: bool,
}

impl Bell {
    /// There may be something to do.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut state.wanted, true) {
            self.rung.notify_one();
        }
    }

    /// No more.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.rung.notify_one();
    }

    /// Waits after a turn that went so; `restless` if it should also end when nobody writes for long.
    fn wait(&self, turn: Turn, restless: bool) -> Woken {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut BellState| !state.wanted && !state.stopped;
        state = match turn {
            Turn::More => state,
            Turn::Done if restless => {
                let waited = self.rung.wait_timeout_while(state, QUIET, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            Turn::Done => self.rung.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Turn::Full => {
                let waited = self.rung.wait_timeout_while(state, FULL_DISK_POLL, |state| !state.stopped);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let wanted = std::mem::take(&mut state.wanted) || turn != Turn::Done;
        match (state.stopped, wanted) {
            (true, _) => Woken::Stopped,
            (false, true) => Woken::Wanted,
            (false, false) => Woken::Quiet,
        }
    }
}

/// Starts upkeep's thread; it ends when the bell is stopped.
pub(crate) fn start(mut upkeep: Upkeep) -> std::io::Result<std::thread::JoinHandle<()>> {
    world::task::spawn_thread("holdfast-tree", move || {
        let shared = upkeep.shared.clone();
        // Whether something was written since young files were joined last.
        let mut restless = true;
        loop {
            match shared.upkeep.wait(upkeep.turn(), restless) {
                Woken::Wanted => restless = true,
                Woken::Quiet => restless = shared.engine.forest().join_young(),
                Woken::Stopped => return,
            }
        }
    })
}
