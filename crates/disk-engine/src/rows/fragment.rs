//! A *row fragment*: what is known of one row in one place, as a value of a tree.
//!
//! One write of a row is one fragment; merging two cell by cell gives one again. Timestamps, times to live and
//! columns are stored as differences from what the cells share, since most cells of a write share
//! all: a cell takes two bytes beside its value.
//!
//! ```text
//! fragment = flags u8                     1 row deletion, 2 cells, 4 shared expiry; others: not known
//!          | [row deletion i64]           cells at or before it are not in here
//!          | [newest i64]                 the latest timestamp of a cell
//!          | [ttl varint | expires u32]   of the first cell that expires
//!          | cell...                      to the end, ascending by column
//! cell     = head varint                  (column - column before) << 4 | flags
//!                                         1 value, 2 own timestamp, 4 expires, 8 own expiry
//!          | [age varint]                 newest - timestamp
//!          | [ttl varint | expires u32]
//!          | [len varint | value]         none for a tombstone
//! ```
//!
//! The first cell counts from column 0. Integers are little-endian. The bytes are a function of
//! what is said, so that equal rows are equal bytes. A fragment that says nothing does not exist.
//!
//! What will come needs no other layout. The static row is the row with the empty clustering key.
//! A counter is a cell whose value lists its shards, under a flag of the fragment that changes how
//! two values merge. Elements of large collections get keys of their own behind the row's (see
//! `key`), each a fragment with one cell; a row that has them is deleted as a range.

use base::{CellView, ColumnId, Malformed, NO_TIMESTAMP, Reader, Writer};

const ROW_DELETION: u8 = 1;
const CELLS: u8 = 2;
const SHARED_EXPIRY: u8 = 4;

const VALUE: u64 = 1;
const OWN_TIMESTAMP: u64 = 2;
const EXPIRES: u64 = 4;
const OWN_EXPIRY: u64 = 8;
const CELL_FLAG_BITS: u32 = 4;

const WHAT: &str = "row fragment";

/// A time to live and when it runs out, in seconds: zeros are none.
type Expiry = (u32, u32);

/// A fragment whose head has been read. Its cells have not.
#[derive(Clone, Copy)]
pub(crate) struct Fragment<'a> {
    /// Deletes all cells at or before it; [`NO_TIMESTAMP`] if the row was never deleted.
    pub(crate) deleted_at: i64,
    newest: i64,
    expiry: Expiry,
    cells: Reader<'a>,
}

impl<'a> Fragment<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Fragment<'a>, Malformed> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8(WHAT)?;
        let known = flags & !(ROW_DELETION | CELLS | SHARED_EXPIRY) == 0;
        if !known || flags & (ROW_DELETION | CELLS) == 0 {
            return Err(Malformed(WHAT));
        }
        let mut fragment =
            Fragment { deleted_at: NO_TIMESTAMP, newest: NO_TIMESTAMP, expiry: (0, 0), cells: reader };
        if flags & ROW_DELETION != 0 {
            fragment.deleted_at = reader.i64(WHAT)?;
            if fragment.deleted_at == NO_TIMESTAMP {
                return Err(Malformed(WHAT));
            }
        }
        if flags & CELLS != 0 {
            fragment.newest = reader.i64(WHAT)?;
        }
        if flags & SHARED_EXPIRY != 0 {
            fragment.expiry = expiry(&mut reader)?;
        }
        if (flags & CELLS == 0) != reader.is_empty() {
            return Err(Malformed(WHAT));
        }
        fragment.cells = reader;
        Ok(fragment)
    }

    /// Its cells, ascending by column, each above `deleted_at`.
    pub(crate) fn cells(&self) -> Cells<'a> {
        Cells {
            rest: self.cells,
            newest: self.newest,
            expiry: self.expiry,
            deleted_at: self.deleted_at,
            last: None,
        }
    }
}

/// The cells of a fragment. After an error it ends.
#[derive(Clone)]
pub(crate) struct Cells<'a> {
    rest: Reader<'a>,
    newest: i64,
    expiry: Expiry,
    deleted_at: i64,
    last: Option<u32>,
}

impl<'a> Cells<'a> {
    fn cell(&mut self) -> Result<(ColumnId, CellView<'a>), Malformed> {
        let reader = &mut self.rest;
        let head = reader.varint(WHAT)?;
        let column = u64::from(self.last.unwrap_or(0)) + (head >> CELL_FLAG_BITS);
        let column = u32::try_from(column).map_err(|_| Malformed(WHAT))?;
        if self.last.is_some_and(|last| last >= column) {
            return Err(Malformed(WHAT));
        }
        self.last = Some(column);
        let age = if head & OWN_TIMESTAMP == 0 { 0 } else { reader.varint(WHAT)? };
        let timestamp = self.newest.checked_sub_unsigned(age).ok_or(Malformed(WHAT))?;
        if timestamp <= self.deleted_at {
            return Err(Malformed(WHAT));
        }
        let (ttl_seconds, expires_at_seconds) = match head & (EXPIRES | OWN_EXPIRY) {
            0 => (0, 0),
            EXPIRES => self.expiry,
            OWN_EXPIRY => return Err(Malformed(WHAT)),
            _ => expiry(reader)?,
        };
        let value = if head & VALUE == 0 { None } else { Some(reader.bytes(WHAT)?) };
        Ok((ColumnId(column), CellView { timestamp, ttl_seconds, expires_at_seconds, value }))
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<(ColumnId, CellView<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let cell = self.cell();
        if cell.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(cell)
    }
}

fn expiry(reader: &mut Reader<'_>) -> Result<Expiry, Malformed> {
    let ttl = u32::try_from(reader.varint(WHAT)?).map_err(|_| Malformed(WHAT))?;
    Ok((ttl, reader.u32(WHAT)?))
}

fn put_expiry(out: &mut Writer, (ttl, expires_at): Expiry) {
    out.varint(u64::from(ttl));
    out.u32(expires_at);
}

/// The bytes of a fragment; `None` if it would say nothing. The cells ascend by column and are
/// above `deleted_at`.
pub(crate) fn encode(deleted_at: i64, cells: &[(ColumnId, CellView<'_>)]) -> Option<Vec<u8>> {
    let newest = cells.iter().map(|(_, cell)| cell.timestamp).max();
    let shared = cells.iter().map(|(_, cell)| expiry_of(cell)).find(|expiry| *expiry != (0, 0));
    let deleted = deleted_at != NO_TIMESTAMP;
    if !deleted && newest.is_none() {
        return None;
    }
    let values = cells.iter().map(|(_, cell)| 4 + cell.value.map_or(0, <[u8]>::len));
    let mut out = Writer::with_capacity(26 + values.sum::<usize>());
    out.u8(if deleted { ROW_DELETION } else { 0 }
        | if newest.is_some() { CELLS } else { 0 }
        | if shared.is_some() { SHARED_EXPIRY } else { 0 });
    if deleted {
        out.raw(&deleted_at.to_le_bytes());
    }
    if let Some(newest) = newest {
        out.raw(&newest.to_le_bytes());
    }
    if let Some(shared) = shared {
        put_expiry(&mut out, shared);
    }
    let mut last = 0;
    for (column, cell) in cells {
        let age = newest.map_or(0, |newest| newest.abs_diff(cell.timestamp));
        let (expiry, shared) = (expiry_of(cell), shared.unwrap_or_default());
        let flags = if cell.value.is_some() { VALUE } else { 0 }
            | if age != 0 { OWN_TIMESTAMP } else { 0 }
            | if expiry == (0, 0) { 0 } else { EXPIRES }
            | if expiry == (0, 0) || expiry == shared { 0 } else { OWN_EXPIRY };
        out.varint(u64::from(column.0 - last) << CELL_FLAG_BITS | flags);
        last = column.0;
        if age != 0 {
            out.varint(age);
        }
        if flags & OWN_EXPIRY != 0 {
            put_expiry(&mut out, expiry);
        }
        if let Some(value) = cell.value {
            out.bytes(value);
        }
    }
    Some(out.into_vec())
}

fn expiry_of(cell: &CellView<'_>) -> Expiry {
    (cell.ttl_seconds, cell.expires_at_seconds)
}
