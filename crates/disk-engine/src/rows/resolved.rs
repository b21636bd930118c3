//! Rows for a client: live cells of the columns asked for.
//!
//! A fragment is gone through once. Values are shared with the place they were read from.

use base::{Cell, CellView, ColumnId, Malformed, PartitionRows, Row};
use bytes::Bytes;

use super::{fragment::Fragment, walk::Sink};
use crate::ReadSpec;

/// Gathers the rows of a page.
pub(super) struct Resolved<'a> {
    spec: &'a ReadSpec,
    pub(super) partitions: Vec<PartitionRows>,
}

impl<'a> Resolved<'a> {
    pub(super) fn new(spec: &'a ReadSpec) -> Resolved<'a> {
        Resolved { spec, partitions: Vec::new() }
    }
}

impl Sink for Resolved<'_> {
    fn row(&mut self, key: &Bytes, clustering: Bytes, value: &Bytes) -> Result<Option<usize>, Malformed> {
        let wanted = |column| self.spec.columns.as_ref().is_none_or(|columns| columns.contains(&column));
        let mut cells = Vec::new();
        let mut lives = false;
        let mut bytes = clustering.len();
        for cell in Fragment::decode(value)?.cells() {
            let (column, cell) = cell?;
            if !cell.is_live(self.spec.now_seconds) {
                continue;
            }
            lives = true;
            if wanted(column) {
                bytes += 16 + cell.value.map_or(0, <[u8]>::len);
                cells.push((column, owned(&cell, value)));
            }
        }
        if !lives {
            return Ok(None);
        }
        if self.partitions.last().is_none_or(|last| last.key != key) {
            bytes += key.len();
            self.partitions.push(PartitionRows { key: key.clone(), rows: Vec::new() });
        }
        let found = self.partitions.last_mut().expect("the first row of a partition pushed it");
        found.rows.push(Row { clustering, cells });
        Ok(Some(bytes))
    }

    fn full(&mut self) {}

    /// Dead rows left nothing.
    fn cut(&mut self) {}
}

/// The cell, its value shared with the fragment it lies in.
pub(super) fn owned(cell: &CellView<'_>, fragment: &Bytes) -> Cell {
    Cell {
        timestamp: cell.timestamp,
        ttl_seconds: cell.ttl_seconds,
        expires_at_seconds: cell.expires_at_seconds,
        value: cell.value.map(|value| fragment.slice_ref(value)),
    }
}

/// All cells of a fragment.
pub(super) fn cells_of(value: &Bytes) -> Result<Vec<(ColumnId, Cell)>, Malformed> {
    let cells = Fragment::decode(value)?.cells();
    cells.map(|cell| cell.map(|(column, cell)| (column, owned(&cell, value)))).collect()
}
