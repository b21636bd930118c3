//! What things cost in memory, allocator included, so that a budget in bytes means bytes.
//!
//! The figures are estimates of the layout (`std`'s B-tree nodes of 11 entries are two thirds full
//! on average; an allocation costs a header and rounding), held within 30 % of what an allocator
//! really counts by the tests of this crate.

use base::{Cell, ColumnId};
use bytes::Bytes;

use super::rows::Row;

/// Header and rounding of one allocation.
const ALLOCATION: usize = 16;
/// What a shared [`Bytes`] allocates beside its bytes once it has been cloned.
const SHARED: usize = 24 + ALLOCATION;

/// What happened to memory and row count while a mutation was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// Bytes taken, less bytes freed.
    pub(crate) bytes: isize,
    /// Rows added, less rows removed.
    pub(crate) rows: isize,
}

impl Meter {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as isize;
    }

    pub(crate) fn sub(&mut self, bytes: usize) {
        self.bytes -= bytes as isize;
    }
}

/// The bytes behind a [`Bytes`] of `len` that the tree owns; the handle itself is counted by its
/// container.
pub(crate) fn owned_bytes(len: usize) -> usize {
    if len == 0 { 0 } else { len + ALLOCATION + SHARED }
}

/// An entry of a `BTreeMap` whose key and value take `size` bytes.
pub(crate) fn tree_entry(size: usize) -> usize {
    size * 3 / 2 + 4
}

/// A cell in a row's vector.
pub(crate) fn cell(cell: &Cell) -> usize {
    size_of::<(ColumnId, Cell)>() + cell.value.as_ref().map_or(0, |value| owned_bytes(value.len()))
}

/// A row without its cells.
pub(crate) fn row(clustering: &Bytes) -> usize {
    tree_entry(size_of::<(Bytes, Row)>()) + owned_bytes(clustering.len()) + ALLOCATION
}
