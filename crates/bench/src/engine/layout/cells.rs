//! Layout (a): every cell is an entry of its own.
//!
//! ```text
//! key    token u64 BE, sign flipped | escaped partition | 0x10 | escaped clustering | 0x01 | column u32 BE
//!        | element
//! value  a cell: flags, timestamp, value
//! ```
//!
//! What is read is only counted, not gathered into rows: in its favour.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use base::{Cell, Position, keys, token_of};
use bytes::Bytes;
use disk_engine::tree::{Batch, Forest, LastWriteWins, Rules, TreeId, TreeSettings, encode_cell};
use world::Disk;

use super::{Layout, MAP_COLUMN, Place};
use crate::{Outcome, engine::data::behind};

const TREE: TreeId = TreeId(1);
const ROWS: u8 = 0x10;
const CELL: u8 = 0x01;
/// Filters know the token: no two partitions here share one.
const PREFIX_BYTES: usize = 8;

/// Rows as cells of a forest.
pub(super) struct Cells {
    forest: Forest,
    written: AtomicU64,
}

impl Cells {
    pub(super) fn open(disk: Disk, settings: TreeSettings) -> Outcome<Cells> {
        let rules: Rules = Arc::new(|_| Arc::new(LastWriteWins { prefix_bytes: PREFIX_BYTES }));
        Ok(Cells { forest: Forest::open(disk, settings, rules)?, written: AtomicU64::new(0) })
    }

    /// Writes a cell for each of `values`, all at once.
    fn put(&self, values: &[(u32, Bytes)], key: impl Fn(u32) -> Vec<u8>) -> Outcome<()> {
        let position = self.written.fetch_add(1, Relaxed) + 1;
        let mut batch = Batch::new();
        for (number, value) in values {
            batch.put(TREE, key(*number), encode_cell(&Cell::live(position as i64, value.clone())));
        }
        Ok(self.forest.apply(Position(position), batch)?)
    }

    /// How many cells begin with `prefix`.
    fn count(&self, prefix: Vec<u8>) -> Outcome<usize> {
        let to = behind(&prefix).map(Bytes::from);
        let mut count = 0;
        for cell in self.forest.scan(TREE, prefix, to, false)? {
            cell?;
            count += 1;
        }
        Ok(count)
    }
}

fn partition(key: u64) -> Vec<u8> {
    let key = key.to_be_bytes();
    let mut token = token_of(&key).to_be_bytes();
    keys::order_signed(&mut token);
    let mut bytes = token.to_vec();
    keys::put_escaped(&mut bytes, &key);
    bytes.push(ROWS);
    bytes
}

fn row(place: Place) -> Vec<u8> {
    let mut bytes = partition(place.partition);
    keys::put_escaped(&mut bytes, &place.row.to_be_bytes());
    bytes.push(CELL);
    bytes
}

fn cell(place: Place, column: u32, element: &[u8]) -> Vec<u8> {
    let mut bytes = row(place);
    bytes.extend_from_slice(&column.to_be_bytes());
    bytes.extend_from_slice(element);
    bytes
}

impl Layout for Cells {
    fn write(&self, place: Place, cells: &[(u32, Bytes)]) -> Outcome<()> {
        self.put(cells, |column| cell(place, column, &[]))
    }

    fn read(&self, place: Place) -> Outcome<usize> {
        self.count(row(place))
    }

    fn read_partition(&self, key: u64) -> Outcome<usize> {
        self.count(partition(key))
    }

    fn write_elements(&self, map: Place, elements: &[(u32, Bytes)]) -> Outcome<()> {
        self.put(elements, |element| cell(map, MAP_COLUMN, &element.to_be_bytes()))
    }

    fn read_element(&self, map: Place, element: u32) -> Outcome<usize> {
        let key = cell(map, MAP_COLUMN, &element.to_be_bytes());
        Ok(usize::from(self.forest.get(TREE, &key)?.is_some()))
    }

    fn read_map(&self, map: Place) -> Outcome<usize> {
        self.count(cell(map, MAP_COLUMN, &[]))
    }

    fn forest(&self) -> &Forest {
        &self.forest
    }
}
