//! Our tree as a [`Peer`].

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use base::{Cell, Position};
use bytes::Bytes;
use disk_engine::tree::{
    Batch, Compression, Forest, LastWriteWins, Rules, TreeId, TreeSettings, Work, encode_cell,
};
use serde_json::{Value, json};
use world::Disk;

use super::{
    data::PREFIX_BYTES,
    peer::{Debt, Peer},
    scale::{BLOCK_BYTES, Scale},
};
use crate::Outcome;

const TREE: TreeId = TreeId(1);
/// Bytes of work between two looks at the clock, as the server does it.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes before the value of a cell without a time to live.
const CELL_HEAD: usize = 9;

/// A forest of one tree whose values are cells. Reads fold by timestamp, as tables do: they
/// cannot stop at the newest file that has the key, as `lsm-tree` can.
pub struct ForestPeer {
    forest: Forest,
    position: AtomicU64,
}

/// The settings of a scale.
pub fn settings(scale: Scale) -> TreeSettings {
    TreeSettings {
        block_bytes: BLOCK_BYTES,
        compression: Compression::Lz4,
        memtable_bytes: scale.memtable_bytes as usize,
        memtables_bytes: 2 * scale.memtable_bytes as usize,
        file_bytes: scale.file_bytes,
        level_bytes: scale.level_bytes,
        cache_bytes: scale.cache_bytes as usize,
        ..TreeSettings::default()
    }
}

impl ForestPeer {
    /// A new forest in `folder`.
    pub fn open(folder: &Path, scale: Scale) -> Outcome<ForestPeer> {
        let rules: Rules = Arc::new(|_| Arc::new(LastWriteWins { prefix_bytes: PREFIX_BYTES }));
        let forest = Forest::open(Disk::real(folder)?, settings(scale), rules)?;
        Ok(ForestPeer { forest, position: AtomicU64::new(0) })
    }
}

/// A key and, behind it, its value as a cell: see [`encode_cell`].
fn joined(key: &[u8], timestamp: i64, value: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(key.len() + CELL_HEAD + value.len());
    joined.extend_from_slice(key);
    joined.extend_from_slice(&encode_cell(&Cell::live(timestamp, Bytes::new())));
    joined.extend_from_slice(value);
    joined
}

impl Peer for ForestPeer {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let position = self.position.fetch_add(1, Relaxed) + 1;
        let mut batch = Batch::new();
        batch.put_joined(TREE, joined(key, position as i64, value), key.len());
        Ok(self.forest.apply(Position(position), batch)?)
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let found = self.forest.get(TREE, key)?;
        if let Some(cell) = &found {
            see(&cell[CELL_HEAD..]);
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
        let to = to.map(Bytes::copy_from_slice);
        for item in self.forest.scan(TREE, Bytes::copy_from_slice(from), to, false)?.take(limit) {
            let (key, cell) = item?;
            see(&key, &cell[CELL_HEAD..]);
        }
        Ok(())
    }

    fn work(&self) -> Outcome<bool> {
        Ok(self.forest.work(STEP_BYTES, &|_| None)? == Work::More)
    }

    fn debt(&self) -> Debt {
        let debt = self.forest.debt();
        Debt {
            memtable_bytes: debt.memtable_bytes,
            runs: debt.level0_runs as u64,
            pending_bytes: debt.pending_compaction_bytes,
        }
    }

    fn freeze(&self) {
        self.forest.freeze(Position(u64::MAX));
    }

    fn holdings(&self) -> Value {
        let figures = self.forest.figures(TREE);
        json!({
            "memtable_bytes": figures.memtable_bytes,
            "cache_bytes": self.forest.cache_bytes(),
            "runs": self.forest.debt().level0_runs,
            "runs_of_all_levels": figures.runs,
            "files": figures.files,
            "file_bytes": figures.file_bytes,
            "entries": figures.entries,
        })
    }
}
