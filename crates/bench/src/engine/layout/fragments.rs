//! Layouts (b) and (c): a row is one entry, each write of it a fragment, merged when read. They
//! differ in the elements of large collections.
//!
//! - **(b)** an element is a cell of the row's fragment, under a column of its own;
//! - **(c)** an element has a key of its own behind the row's, its fragment with one cell. The engine
//!   has no collections yet, so the bench writes that key as a clustering key: the row's, then the
//!   column, then the element. It is the same bytes in the same order, but for two escapes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::{Cell, Change, ColumnId, Mutation, Position, Selection, Slice, TableId};
use bytes::Bytes;
use disk_engine::{
    Engine, ReadSpec,
    tree::{Forest, Patience, TreeSettings},
};
use world::Disk;

use super::{Layout, MAP_COLUMN, Place};
use crate::{Outcome, engine::data::behind};

const TABLE: TableId = TableId(1);
/// Any time: nothing expires here.
const NOW_SECONDS: u32 = 1;
/// Columns from here on are elements of a map, in layout (b).
const ELEMENTS: u32 = 1 << 16;

/// Rows as fragments of an engine.
pub(super) struct Fragments {
    engine: Engine,
    written: AtomicU64,
    /// Whether elements have keys of their own.
    subkeys: bool,
}

impl Fragments {
    pub(super) fn open(disk: Disk, settings: TreeSettings, subkeys: bool) -> Outcome<Fragments> {
        Ok(Fragments { engine: Engine::open(disk, settings)?, written: AtomicU64::new(0), subkeys })
    }

    fn next(&self) -> u64 {
        self.written.fetch_add(1, Relaxed) + 1
    }

    fn apply(&self, position: u64, key: u64, changes: Vec<Change>) -> Outcome<()> {
        let mutation = Mutation { table: TABLE, key: partition(key), changes };
        Ok(self.engine.apply(Position(position), &[mutation])?)
    }

    /// How many cells the rows of a slice have.
    fn count(&self, key: u64, slice: Slice, column: Option<u32>) -> Outcome<usize> {
        let mut spec = ReadSpec::partition(TABLE, partition(key), NOW_SECONDS);
        spec.selection = Selection::Partition { key: partition(key), slices: vec![slice], reversed: false };
        spec.columns = column.map(|column| vec![ColumnId(column)]);
        let page = self.engine.read(&spec, Patience::Wait)?;
        let rows = page.partitions.iter().flat_map(|partition| &partition.rows);
        Ok(rows.map(|row| row.cells.len()).sum())
    }
}

fn partition(key: u64) -> Bytes {
    Bytes::copy_from_slice(&key.to_be_bytes())
}

fn clustering(place: Place) -> Bytes {
    Bytes::copy_from_slice(&place.row.to_be_bytes())
}

/// The clustering key that stands for an element's key, or for the beginning of all.
fn subkey(map: Place, element: &[u8]) -> Vec<u8> {
    [&map.row.to_be_bytes()[..], &MAP_COLUMN.to_be_bytes(), element].concat()
}

fn cell(position: u64, column: u32, value: &Bytes) -> (ColumnId, Cell) {
    (ColumnId(column), Cell::live(position as i64, value.clone()))
}

impl Layout for Fragments {
    fn write(&self, place: Place, cells: &[(u32, Bytes)]) -> Outcome<()> {
        let position = self.next();
        let cells = cells.iter().map(|(column, value)| cell(position, *column, value)).collect();
        let row = Change::Row { clustering: clustering(place), cells };
        self.apply(position, place.partition, vec![row])
    }

    fn read(&self, place: Place) -> Outcome<usize> {
        self.count(place.partition, Slice::row(clustering(place)), None)
    }

    fn read_partition(&self, key: u64) -> Outcome<usize> {
        self.count(key, Slice::all(), None)
    }

    fn write_elements(&self, map: Place, elements: &[(u32, Bytes)]) -> Outcome<()> {
        let position = self.next();
        let changes = if self.subkeys {
            let row = |(element, value): &(u32, Bytes)| Change::Row {
                clustering: subkey(map, &element.to_be_bytes()).into(),
                cells: vec![cell(position, MAP_COLUMN, value)],
            };
            elements.iter().map(row).collect()
        } else {
            let cells =
                elements.iter().map(|(element, value)| cell(position, ELEMENTS + element, value)).collect();
            vec![Change::Row { clustering: clustering(map), cells }]
        };
        self.apply(position, map.partition, changes)
    }

    fn read_element(&self, map: Place, element: u32) -> Outcome<usize> {
        if self.subkeys {
            let key = subkey(map, &element.to_be_bytes());
            self.count(map.partition, Slice::row(key.into()), None)
        } else {
            self.count(map.partition, Slice::row(clustering(map)), Some(ELEMENTS + element))
        }
    }

    fn read_map(&self, map: Place) -> Outcome<usize> {
        if self.subkeys {
            let from = subkey(map, &[]);
            let to = behind(&from).map(Bytes::from);
            self.count(map.partition, Slice { from: from.into(), to }, None)
        } else {
            self.read(map)
        }
    }

    fn forest(&self) -> &Forest {
        self.engine.forest()
    }
}
