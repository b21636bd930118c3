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
    encode_behind(&[], deleted_at, cells)
}

/// [`encode`], behind other bytes in the same piece of memory.
pub(crate) fn encode_behind(
    before: &[u8],
    deleted_at: i64,
    cells: &[(ColumnId, CellView<'_>)],
) -> Option<Vec<u8>> {
    let newest = cells.iter().map(|(_, cell)| cell.timestamp).max();
    let shared = cells.iter().map(|(_, cell)| expiry_of(cell)).find(|expiry| *expiry != (0, 0));
    let deleted = deleted_at != NO_TIMESTAMP;
    if !deleted && newest.is_none() {
        return None;
    }
    let values = cells.iter().map(|(_, cell)| 4 + cell.value.map_or(0, <[u8]>::len));
    let mut out = Writer::with_capacity(26 + before.len() + values.sum::<usize>());
    out.raw(before);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base::Cell;
    use proptest::prelude::*;

    use super::*;

    const V: Option<&[u8]> = Some(b"v");

    fn cell(timestamp: i64, expiry: Expiry, value: Option<&'static [u8]>) -> CellView<'static> {
        CellView { timestamp, ttl_seconds: expiry.0, expires_at_seconds: expiry.1, value }
    }

    /// The format, byte by byte. What is on disks was written so.
    #[test]
    fn bytes_are_as_drawn() {
        let column = |column, cell| (ColumnId(column), cell);
        type Case<'a> = (i64, Vec<(ColumnId, CellView<'a>)>, &'a [u8]);
        let cases: [Case<'_>; 5] = [
            // One cell.
            (NO_TIMESTAMP, vec![column(1, cell(0x0102, (0, 0), V))], b"\x02\x02\x01\0\0\0\0\0\0\x11\x01v"),
            // The row marker, a tombstone, and a cell that is 300 older, of column 100.
            (
                NO_TIMESTAMP,
                vec![
                    column(0, cell(1000, (0, 0), Some(b""))),
                    column(2, cell(1000, (0, 0), None)),
                    column(100, cell(700, (0, 0), V)),
                ],
                b"\x02\xe8\x03\0\0\0\0\0\0\x01\0\x20\xa3\x0c\xac\x02\x01v",
            ),
            // Two cells that expire together, one that expires alone, one that does not.
            (
                NO_TIMESTAMP,
                vec![
                    column(1, cell(5, (0, 0), V)),
                    column(2, cell(5, (300, 0x0a0b), V)),
                    column(3, cell(5, (300, 0x0a0b), V)),
                    column(4, cell(5, (1, 7), V)),
                ],
                b"\x06\x05\0\0\0\0\0\0\0\xac\x02\x0b\x0a\0\0\x11\x01v\x15\x01v\x15\x01v\x1d\x01\x07\0\0\0\x01v",
            ),
            // A row that was deleted.
            (-2, vec![], b"\x01\xfe\xff\xff\xff\xff\xff\xff\xff"),
            // And written again.
            (4, vec![column(1, cell(5, (0, 0), V))], b"\x03\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x11\x01v"),
        ];
        for (deleted_at, cells, bytes) in cases {
            assert_eq!(
                encode(deleted_at, &cells).unwrap().escape_ascii().to_string(),
                bytes.escape_ascii().to_string()
            );
            let fragment = Fragment::decode(bytes).unwrap();
            assert_eq!(fragment.deleted_at, deleted_at);
            assert_eq!(fragment.cells().collect::<Result<Vec<_>, _>>().unwrap(), cells);
        }
        assert_eq!(encode(NO_TIMESTAMP, &[]), None);
    }

    #[test]
    fn what_is_none_is_refused() {
        let wrong: [(&str, &[u8]); 10] = [
            ("nothing", b""),
            ("says nothing", b"\0"),
            ("an unknown flag", b"\x09\x04\0\0\0\0\0\0\0"),
            ("cells announced, none there", b"\x02\x05\0\0\0\0\0\0\0"),
            ("cells not announced", b"\x01\x04\0\0\0\0\0\0\0\x11\x01v"),
            ("a deletion before all time", b"\x01\0\0\0\0\0\0\0\x80"),
            ("a cell that is deleted", b"\x03\x05\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x11\x01v"),
            ("a column twice", b"\x02\x05\0\0\0\0\0\0\0\x11\x01v\x01\x01v"),
            ("a value that is longer than all", b"\x02\x05\0\0\0\0\0\0\0\x11\x02v"),
            ("its own expiry, and none", b"\x02\x05\0\0\0\0\0\0\0\x19\x01v"),
        ];
        for (why, bytes) in wrong {
            let read =
                Fragment::decode(bytes).and_then(|fragment| fragment.cells().collect::<Result<Vec<_>, _>>());
            assert!(read.is_err(), "{why}");
        }
        let mut overflows = b"\x02\0\0\0\0\0\0\0\x80".to_vec();
        overflows.extend_from_slice(b"\x13\x01\x01v");
        assert!(Fragment::decode(&overflows).unwrap().cells().any(|cell| cell.is_err()), "before all time");
    }

    prop_compose! {
        fn any_cell()(
            timestamp: i64,
            expiry in prop_oneof![Just((0, 0)), Just((60, 1000)), any::<Expiry>()],
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
        ) -> Cell {
            let value = value.map(bytes::Bytes::from);
            Cell { timestamp, ttl_seconds: expiry.0, expires_at_seconds: expiry.1, value }
        }
    }

    proptest! {
        #[test]
        fn fragments_come_back(
            deleted_at in prop_oneof![Just(NO_TIMESTAMP), any::<i64>()],
            cells in prop::collection::btree_map(any::<u32>(), any_cell(), 0..6),
        ) {
            let standing = cells.iter().filter(|(_, cell)| cell.timestamp > deleted_at);
            let cells: Vec<_> = standing.map(|(column, cell)| (ColumnId(*column), cell.as_view())).collect();
            let Some(bytes) = encode(deleted_at, &cells) else {
                prop_assert!(deleted_at == NO_TIMESTAMP && cells.is_empty());
                return Ok(());
            };
            let fragment = Fragment::decode(&bytes).unwrap();
            prop_assert_eq!(fragment.deleted_at, deleted_at);
            prop_assert_eq!(fragment.cells().collect::<Result<Vec<_>, _>>().unwrap(), cells);
        }

        /// Any bytes are read or refused, and what is read takes no more memory than they do; also
        /// bytes that begin well.
        #[test]
        fn arbitrary_bytes_do_no_harm(flags in 0u8..9, newest: i64, bytes: Vec<u8>) {
            let bytes = [&[flags][..], &newest.to_le_bytes(), &bytes].concat();
            if let Ok(fragment) = Fragment::decode(&bytes) {
                let cells = fragment.cells().take_while(Result::is_ok).count();
                prop_assert!(cells <= bytes.len());
            }
        }
    }
}
