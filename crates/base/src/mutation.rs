//! A [`Mutation`]: changes to one partition of one table, and its bytes in the log.
//!
//! Clustering keys are opaque, order-preserving bytes (see [`crate::keys`]): a range of rows is a
//! range of bytes, and "all rows that begin with this prefix" is `[prefix, prefix + 0xFF)`.
//!
//! ```text
//! mutation = table u64 | key bytes | changes count | change...
//! change   = 1 | clustering bytes | cells count | (column varint | cell)...     cells of a row
//!          | 2 | from bytes | to bound | timestamp i64                          delete rows
//!          | 3 | timestamp i64                                                  delete partition
//! cell     = flags u8 (1 value, 2 expires) | timestamp i64 | [ttl u32 | expires u32] | [value bytes]
//! bound    = 0 | 1 bytes
//! ```

use bytes::Bytes;

use crate::{Cell, ColumnId, Malformed, Reader, TableId, Writer};

/// The longest partition key, in bytes: Cassandra's bound, which drivers know.
pub const MAX_PARTITION_KEY_BYTES: usize = 65_535;
/// The longest clustering key, in bytes. Cassandra's bound is 65,535 bytes of all values together;
/// as bytes that order as the values do, they take up to 2.7 times as many (zeros in texts are
/// escaped, decimals are written out in digits, each column has its marks).
/// A bound of a range may be one byte longer, so that it can be just behind any key.
pub const MAX_CLUSTERING_KEY_BYTES: usize = 176 << 10;

/// The end of a range of clustering keys: exclusive, or `None` for no end.
pub type Bound = Option<Bytes>;

/// One change within a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Writes or deletes cells of one row.
    Row {
        /// The row's clustering key; empty where the table has none, and for the static row.
        clustering: Bytes,
        /// Cells by column.
        cells: Vec<(ColumnId, Cell)>,
    },
    /// Deletes every cell no younger than `timestamp` in rows with `from <= clustering < to`.
    DeleteRows {
        /// First clustering key, inclusive.
        from: Bytes,
        /// End, exclusive.
        to: Bound,
        /// Microseconds since 1970.
        timestamp: i64,
    },
    /// Deletes every cell no younger than `timestamp` in the partition.
    DeletePartition {
        /// Microseconds since 1970.
        timestamp: i64,
    },
}

/// Changes to one partition of one table, applied together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutation {
    /// The table.
    pub table: TableId,
    /// The serialized partition key (see [`crate::token_of`]).
    pub key: Bytes,
    /// What changes, in any order: the merge rule makes order irrelevant.
    pub changes: Vec<Change>,
}

const ROW: u8 = 1;
const DELETE_ROWS: u8 = 2;
const DELETE_PARTITION: u8 = 3;
const HAS_VALUE: u8 = 1;
const EXPIRES: u8 = 2;

impl Mutation {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.u64(self.table.0);
        out.bytes(&self.key);
        out.varint(self.changes.len() as u64);
        for change in &self.changes {
            match change {
                Change::Row { clustering, cells } => {
                    out.u8(ROW);
                    out.bytes(clustering);
                    out.varint(cells.len() as u64);
                    for (column, cell) in cells {
                        out.varint(u64::from(column.0));
                        encode_cell(cell, out);
                    }
                }
                Change::DeleteRows { from, to, timestamp } => {
                    out.u8(DELETE_ROWS);
                    out.bytes(from);
                    out.u8(u8::from(to.is_some()));
                    if let Some(to) = to {
                        out.bytes(to);
                    }
                    out.i64(*timestamp);
                }
                Change::DeletePartition { timestamp } => {
                    out.u8(DELETE_PARTITION);
                    out.i64(*timestamp);
                }
            }
        }
    }

    /// Reads what [`Mutation::encode`] wrote. Values are copied, so the source may be dropped.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Mutation, Malformed> {
        let table = TableId(reader.u64("mutation table")?);
        let key = copied(reader.bytes("mutation key")?);
        let count = reader.count("mutation changes")?;
        // A change is many times larger in memory than its smallest bytes, so a count alone
        // never reserves.
        let mut changes = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            changes.push(match reader.u8("change kind")? {
                ROW => {
                    let clustering = copied(reader.bytes("clustering key")?);
                    let count = reader.count("cells")?;
                    let mut cells = Vec::with_capacity(count.min(64));
                    for _ in 0..count {
                        let column =
                            u32::try_from(reader.varint("column")?).map_err(|_| Malformed("column"))?;
                        cells.push((ColumnId(column), decode_cell(reader)?));
                    }
                    Change::Row { clustering, cells }
                }
                DELETE_ROWS => Change::DeleteRows {
                    from: copied(reader.bytes("range start")?),
                    to: match reader.u8("range end")? {
                        0 => None,
                        1 => Some(copied(reader.bytes("range end")?)),
                        _ => return Err(Malformed("range end")),
                    },
                    timestamp: reader.i64("range timestamp")?,
                },
                DELETE_PARTITION => Change::DeletePartition { timestamp: reader.i64("partition timestamp")? },
                _ => return Err(Malformed("change kind")),
            });
        }
        Ok(Mutation { table, key, changes })
    }

    /// Bytes it will take in memory and in the log, roughly: what admission counts.
    pub fn weight(&self) -> usize {
        let changes = self.changes.iter().map(|change| match change {
            Change::Row { clustering, cells } => {
                let values = cells.iter().map(|(_, cell)| 24 + cell.value.as_ref().map_or(0, Bytes::len));
                16 + clustering.len() + values.sum::<usize>()
            }
            Change::DeleteRows { from, to, .. } => 32 + from.len() + to.as_ref().map_or(0, Bytes::len),
            Change::DeletePartition { .. } => 16,
        });
        32 + self.key.len() + changes.sum::<usize>()
    }
}

fn copied(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn encode_cell(cell: &Cell, out: &mut Writer) {
    let expires = cell.expires_at_seconds != 0;
    out.u8(if cell.value.is_some() { HAS_VALUE } else { 0 } | if expires { EXPIRES } else { 0 });
    out.i64(cell.timestamp);
    if expires {
        out.u32(cell.ttl_seconds);
        out.u32(cell.expires_at_seconds);
    }
    if let Some(value) = &cell.value {
        out.bytes(value);
    }
}

fn decode_cell(reader: &mut Reader<'_>) -> Result<Cell, Malformed> {
    let flags = reader.u8("cell flags")?;
    if flags & !(HAS_VALUE | EXPIRES) != 0 {
        return Err(Malformed("cell flags"));
    }
    let timestamp = reader.i64("cell timestamp")?;
    let (ttl_seconds, expires_at_seconds) = match flags & EXPIRES {
        0 => (0, 0),
        _ => (reader.u32("cell ttl")?, reader.u32("cell expiry")?),
    };
    let value = match flags & HAS_VALUE {
        0 => None,
        _ => Some(copied(reader.bytes("cell value")?)),
    };
    Ok(Cell { timestamp, ttl_seconds, expires_at_seconds, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
    }

    fn cell() -> impl Strategy<Value = Cell> {
        let expiry = prop_oneof![Just((0, 0)), (any::<u32>(), 1..u32::MAX)];
        (any::<i64>(), expiry, proptest::option::of(bytes())).prop_map(
            |(timestamp, (ttl, expires), value)| Cell {
                timestamp,
                ttl_seconds: ttl,
                expires_at_seconds: expires,
                value,
            },
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        let cells = proptest::collection::vec((any::<u32>().prop_map(ColumnId), cell()), 0..4);
        prop_oneof![
            (bytes(), cells).prop_map(|(clustering, cells)| Change::Row { clustering, cells }),
            (bytes(), proptest::option::of(bytes()), any::<i64>())
                .prop_map(|(from, to, timestamp)| Change::DeleteRows { from, to, timestamp }),
            any::<i64>().prop_map(|timestamp| Change::DeletePartition { timestamp }),
        ]
    }

    proptest! {
        #[test]
        fn bytes_round_trip(table: u64, key in bytes(), changes in proptest::collection::vec(change(), 0..4)) {
            let mutation = Mutation { table: TableId(table), key, changes };
            let mut out = Writer::new();
            mutation.encode(&mut out);
            let encoded = out.into_vec();
            let mut reader = Reader::new(&encoded);
            prop_assert_eq!(Mutation::decode(&mut reader), Ok(mutation));
            prop_assert!(reader.is_empty());
            for cut in 0..encoded.len() {
                prop_assert!(Mutation::decode(&mut Reader::new(&encoded[..cut])).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Mutation::decode(&mut Reader::new(&bytes));
        }
    }
}
