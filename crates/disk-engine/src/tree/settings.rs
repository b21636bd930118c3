//! What may be set about a forest.

use super::{TreeError, seal::Compression};

/// Settings of one disk's forest. [`Default`] is what a node uses.
#[derive(Clone, Debug)]
pub struct TreeSettings {
    /// Bytes of a data block before compression, at which it is cut. Default 4 KiB, range 64 B to
    /// 1 MiB. Larger compresses better and reads more for one key.
    pub block_bytes: usize,
    /// How blocks are compressed that are written from now on. Default LZ4; a level of Zstandard is 1 to 19.
    pub compression: Compression,
    /// Bytes of a tree's memtable, at which it is frozen and waits for its flush. Default 64 MiB,
    /// range 256 B to 1 GiB. Larger writes fewer files and holds more of the log.
    pub memtable_bytes: usize,
    /// Bytes of the active memtables of all trees, above which the largest is frozen. Default
    /// 128 MiB, from `memtable_bytes` on.
    pub memtables_bytes: usize,
    /// Bytes of a file at which compaction begins the next one. Default 64 MiB, range from
    /// `block_bytes` to 1 GiB.
    pub file_bytes: u64,
    /// Runs of the first level of similar size, at which they become one run. Default 4, range 2
    /// to 32. More write less and have reads look at more runs.
    pub tier_runs: usize,
    /// Bytes of the first level at which it is merged into the second, and bytes that the second
    /// may have. Default 256 MiB, above 0.
    pub level_bytes: u64,
    /// How many times as large as the level above a level may be. Default 10, range 2 to 100.
    pub level_factor: u64,
    /// Bytes of blocks, indexes and filters kept in memory. Default 256 MiB, 0 for none.
    pub cache_bytes: usize,
    /// Data files that are kept open at most. Default 512, range 1 to 1,000,000. Reading another one
    /// has to open it first.
    pub open_files: usize,
    /// What to do wrong.
    #[cfg(test)]
    pub(crate) sabotage: Option<Sabotage>,
}

impl Default for TreeSettings {
    fn default() -> TreeSettings {
        TreeSettings {
            block_bytes: 4 << 10,
            compression: Compression::Lz4,
            memtable_bytes: 64 << 20,
            memtables_bytes: 128 << 20,
            file_bytes: 64 << 20,
            tier_runs: 4,
            level_bytes: 256 << 20,
            level_factor: 10,
            cache_bytes: 256 << 20,
            open_files: 512,
            #[cfg(test)]
            sabotage: None,
        }
    }
}

/// Bugs planted by tests, to see the tests that guard against them fail.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// A data file is not synced.
    FileUnsynced,
    /// The folder is not synced before the manifest names a new file.
    FolderUnsynced,
    /// The manifest is written over, without a sync.
    ManifestUnsynced,
    /// The log is told that it may forget all that was applied.
    TruncateAtApplied,
    /// Compaction drops tombstones that still hide something.
    TombstoneDroppedEarly,
    /// Compaction loses the deletions of ranges.
    RangesLost,
    /// The prefix filter is made of another prefix than the one that is asked for.
    WrongPrefix,
    /// A snapshot sees what was written after it.
    SnapshotReadsNewer,
    /// An expired cell is dropped like something that hides nothing.
    ExpiredDropped,
    /// Values are merged the wrong way round.
    MergeSwapped,
    /// Files that were merged are removed before the manifest forgets them.
    RemovedEarly,
    /// Compaction does not care for snapshots.
    SnapshotsMerged,
    /// A file whose values have died is dropped although they still hide something.
    FileDroppedEarly,
    /// Memtables fold what readers under way tell apart.
    ReadersIgnored,
    /// A write leaves what the row cache holds of its key as it was.
    RowsNotWritten,
}

fn sound_level(compression: Compression) -> bool {
    !matches!(compression, Compression::Zstd { level } if !(1..=19).contains(&level))
}

impl TreeSettings {
    /// Refuses what is out of range.
    pub(crate) fn check(&self) -> Result<(), TreeError> {
        const GIB: u64 = 1 << 30;
        let rules = [
            ((64..=1 << 20).contains(&self.block_bytes), "block_bytes is 64 B to 1 MiB"),
            ((256..=GIB).contains(&(self.memtable_bytes as u64)), "memtable_bytes is 256 B to 1 GiB"),
            (self.memtables_bytes >= self.memtable_bytes, "memtables_bytes is at least memtable_bytes"),
            (
                (self.block_bytes as u64..=GIB).contains(&self.file_bytes),
                "file_bytes is block_bytes to 1 GiB",
            ),
            ((2..=32).contains(&self.tier_runs), "tier_runs is 2 to 32"),
            (self.level_bytes > 0, "level_bytes is above 0"),
            ((2..=100).contains(&self.level_factor), "level_factor is 2 to 100"),
            (sound_level(self.compression), "a level of Zstandard is 1 to 19"),
            ((1..=1_000_000).contains(&self.open_files), "open_files is 1 to 1,000,000"),
        ];
        rules
            .into_iter()
            .try_for_each(|(holds, rule)| if holds { Ok(()) } else { Err(TreeError::Settings(rule)) })
    }

    /// Whether this bug is planted.
    #[cfg(test)]
    pub(crate) fn sabotaged(&self, bug: Sabotage) -> bool {
        self.sabotage == Some(bug)
    }
}
