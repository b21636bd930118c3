//! The merge tree: sorted data larger than memory, in files that never change.
//!
//! ```text
//! Forest    all trees of a disk        apply a batch, read, work          forest, read, upkeep
//! Memtable  what is in no file yet     frozen when it is full             memtable
//! Job       a flush or a compaction    sorted sources in, files out       job, source, pick
//! Stage     a tree before it is there  sorted entries in, files out       stage, ingest, sorted
//! file      blocks, index, filters     every part checked when read       format, build, stack, file, cursor,
//!                                                                       block, seal, filter, check
//! Files     what is at hand of files   open ones, cached blocks and rows  files, cache, row_cache, known
//! MANIFEST  which files count          replaced whole, durably            manifest
//! ```
//!
//! **A write** is a [`Batch`] at a log position: it goes into the memtable of each tree it names, and
//! is seen when all of it is there. It is durable because it is in the log. A memtable that is
//! full is frozen, and [`Forest::work`] makes a file of it; what is in files need not be in the log
//! any more ([`Forest::flushed_position`]).
//!
//! **A read** gathers what memtables and files say of a key and folds it by the tree's [`Merge`]
//! rule. Files that cannot hold the key are not read: their bounds are in memory, their filters
//! know keys and prefixes of keys.
//!
//! **Work** is stepped and has a budget; there is no thread in here. Flushes and compactions fold
//! with the same rule as reads do, so when they happen changes nothing of what is seen. That is the
//! property all tests of this module circle around.
//!
//! ```
//! use std::sync::Arc;
//!
//! use base::{Cell, Position};
//! use disk_engine::tree::{Batch, Forest, LastWriteWins, TreeId, TreeSettings, Work, decode_cell, encode_cell};
//! use world::Disk;
//!
//! let disk = Disk::in_memory();
//! let rules: disk_engine::tree::Rules = Arc::new(|_| Arc::new(LastWriteWins::default()));
//! let forest = Forest::open(disk.clone(), TreeSettings::default(), rules.clone())?;
//! let mut batch = Batch::new();
//! batch.put(TreeId(1), "key", encode_cell(&Cell::live(5, "value".into())));
//! forest.apply(Position(1), batch)?;
//!
//! // Make a file of it, and start again without a log.
//! forest.freeze(Position(1));
//! while forest.work(1 << 20, &|_| None)? == Work::More {}
//! assert_eq!(forest.flushed_position(), Position(1));
//! let forest = Forest::open(disk, TreeSettings::default(), rules)?;
//! let value = forest.get(TreeId(1), b"key")?.map(|value| decode_cell(&value));
//! assert_eq!(value, Some(Ok(Cell::live(5, "value".into()))));
//! # Ok::<(), disk_engine::tree::TreeError>(())
//! ```

mod apply;
mod batch;
mod block;
mod build;
mod cache;
mod check;
mod checkpoint;
mod cursor;
mod deletions;
mod error;
mod figures;
mod file;
mod files;
mod filter;
mod forest;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod ingest;
mod job;
mod key;
mod known;
mod latest;
mod manifest;
mod memtable;
mod moments;
mod pick;
mod plan;
mod ranges;
mod read;
mod row_cache;
mod rule;
mod seal;
mod settings;
mod sorted;
mod source;
mod spent;
mod stack;
mod stage;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;
mod values;
mod verify;

pub use batch::{Batch, TreeId};
pub(crate) use deletions::{Deletion, Deletions};
pub use error::{Damage, TreeError};
pub use figures::{Debt, LevelFigures, TreeFigures};
pub use forest::{Forest, Rules, Snapshot};
pub use format::FOLDER;
pub use latest::{Latest, decode_latest, encode_latest};
pub(crate) use read::View;
pub use read::{Patience, Scan, Step};
pub use rule::{LastWriteWins, Lifetime, Merge, decode_cell, encode_cell};
pub use seal::Compression;
pub use settings::TreeSettings;
pub use stage::Stage;
pub use verify::{Finding, Verified, verify};

/// What allows compaction to purge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Horizon {
    /// A promise of the owner: no value with a timestamp below this will be applied any more, and
    /// nobody has to be told of deletions before it.
    pub before: i64,
    /// The time, in seconds since 1970, by which times to live have run out or not.
    pub now_seconds: u32,
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Call again.
    More,
    /// Nothing until something is written or asked for.
    Done,
}
