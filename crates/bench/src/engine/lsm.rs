//! `lsm-tree` as a [`Peer`], driven the way its database, fjall 3.1, drives it with one worker:
//! a memtable that is full is rotated by the writer, the worker flushes and then runs its leveled
//! strategy, and old versions are forgotten at each rotation.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, Guard, SeqNo, SequenceNumberCounter,
    compaction::Leveled,
    config::{BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry},
};
use serde_json::{Value, json};

use super::{
    peer::{Debt, Peer},
    scale::{BLOCK_BYTES, Scale},
};
use crate::Outcome;

/// Levels that every tree has.
const LEVELS: usize = 7;
/// Runs of the first level at which they are merged into the next: the default of both.
const FIRST_LEVEL_RUNS: u8 = 4;
/// Bits a key in filters: the default of both.
const FILTER_BITS: f32 = 10.0;

/// A tree, its sequence numbers and its strategy.
pub struct LsmPeer {
    tree: AnyTree,
    folder: PathBuf,
    cache: Arc<Cache>,
    next: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    strategy: Arc<Leveled>,
    memtable_bytes: u64,
    /// Memory of memtables that are full and in no file yet.
    sealed_bytes: AtomicU64,
    /// The last compaction changed nothing, and nothing was flushed since.
    settled: AtomicBool,
}

impl LsmPeer {
    /// A new tree in `folder`.
    pub fn open(folder: &Path, scale: Scale) -> Outcome<LsmPeer> {
        let cache = Arc::new(Cache::with_capacity_bytes(scale.cache_bytes));
        let (next, visible) = (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let bits = BloomConstructionPolicy::BitsPerKey(FILTER_BITS);
        let tree = Config::new(folder, next.clone(), visible.clone())
            .use_cache(Arc::clone(&cache))
            .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES as u32))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(bits)))
            .open()?;
        // Its first level is as large as so many files, which is what `level_bytes` is.
        let strategy =
            Leveled::default().with_l0_threshold(FIRST_LEVEL_RUNS).with_table_target_size(scale.file_bytes);
        Ok(LsmPeer {
            tree,
            folder: folder.to_owned(),
            cache,
            next,
            visible,
            strategy: Arc::new(strategy),
            memtable_bytes: scale.memtable_bytes,
            sealed_bytes: AtomicU64::new(0),
            settled: AtomicBool::new(true),
        })
    }

    /// No snapshot is ever held, so all but the last version may go.
    fn watermark(&self) -> SeqNo {
        self.visible.get().saturating_sub(1)
    }

    fn rotate(&self) -> Outcome<()> {
        let bytes = self.tree.active_memtable().size();
        if self.tree.rotate_memtable().is_some() {
            self.sealed_bytes.fetch_add(bytes, Relaxed);
            self.tree.get_version_history_lock().maintenance(&self.folder, self.watermark())?;
        }
        Ok(())
    }

    /// Bytes of what is in no file yet, as it counts them.
    fn memory_bytes(&self) -> u64 {
        self.tree.active_memtable().size() + self.sealed_bytes.load(Relaxed)
    }

    /// What a compaction changes, if it changes anything.
    fn shape(&self) -> (u64, u64, [Option<usize>; LEVELS]) {
        let levels = std::array::from_fn(|level| self.tree.level_table_count(level));
        (self.tree.next_table_id(), self.tree.disk_space(), levels)
    }
}

impl Peer for LsmPeer {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let sequence = self.next.next();
        let (_, memtable_bytes) = self.tree.insert(key, value, sequence);
        self.visible.fetch_max(sequence + 1);
        if memtable_bytes > self.memtable_bytes {
            self.rotate()?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.tree.get(key, self.visible.get())?;
        if let Some(value) = &found {
            see(value);
        }
        Ok(found.is_some())
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Outcome<()> {
        let visible = self.visible.get();
        let items = match to {
            Some(to) => self.tree.range(from..to, visible, None),
            None => self.tree.range(from.., visible, None),
        };
        for item in items.take(limit) {
            let (key, value) = item.into_inner()?;
            see(&key, &value);
        }
        Ok(())
    }

    fn work(&self) -> Outcome<bool> {
        if self.tree.sealed_memtable_count() > 0 {
            let lock = self.tree.get_flush_lock();
            let flushed = self.tree.flush(&lock, self.watermark())?;
            self.sealed_bytes.fetch_sub(flushed.unwrap_or(0), Relaxed);
            self.settled.store(false, Relaxed);
            return Ok(true);
        }
        if self.settled.load(Relaxed) {
            return Ok(false);
        }
        let before = self.shape();
        self.tree.compact(self.strategy.clone(), self.watermark())?;
        let changed = self.shape() != before;
        self.settled.store(!changed, Relaxed);
        Ok(changed)
    }

    fn debt(&self) -> Debt {
        Debt { memtable_bytes: self.memory_bytes(), runs: self.tree.l0_run_count() as u64, pending_bytes: 0 }
    }

    fn freeze(&self) {
        // Without versions to forget it cannot fail.
        let bytes = self.tree.active_memtable().size();
        if self.tree.rotate_memtable().is_some() {
            self.sealed_bytes.fetch_add(bytes, Relaxed);
        }
    }

    fn holdings(&self) -> Value {
        let levels: Vec<usize> = (0..LEVELS).filter_map(|level| self.tree.level_table_count(level)).collect();
        json!({
            "memtable_bytes": self.memory_bytes(),
            "cache_bytes": self.cache.size(),
            "pinned_filter_bytes": self.tree.pinned_filter_size(),
            "pinned_index_bytes": self.tree.pinned_block_index_size(),
            "runs": self.tree.l0_run_count(),
            "files": self.tree.table_count(),
            "files_by_level": levels,
            "file_bytes": self.tree.disk_space(),
        })
    }
}
