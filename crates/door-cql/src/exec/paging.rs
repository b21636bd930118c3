//! The paging state: where a page ended and how much of the limits is left, as bytes that the
//! client keeps and gives back.
//!
//! ```text
//! state = 2 | table u128 | left varint | left in partition varint | key bytes | 0
//!                                                                             | 1 clustering bytes
//! ```
//!
//! A limit that was not set is 0. It is not secret and not signed: whoever changes it reads other
//! rows of a table that they may read anyway. All that is promised is that no bytes do harm.

use base::{Malformed, Reader, Writer};
use bytes::Bytes;
use store::Place;

use crate::bind::CqlError;

const VERSION: u8 = 2;

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// The table's id as clients see it, which stays when its data is truncated; 0 for system tables.
    pub(super) table: u128,
    /// Rows that LIMIT still allows.
    pub(super) left: Option<u64>,
    /// Rows that PER PARTITION LIMIT still allows in the partition of `place`.
    pub(super) left_in_partition: Option<u64>,
    pub(super) place: Place,
}

impl Position {
    /// Its bytes.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(64);
        out.u8(VERSION);
        out.u128(self.table);
        out.varint(self.left.unwrap_or(0));
        // What is left in the partition may be nothing; that there is a limit is told by one more.
        out.varint(self.left_in_partition.map_or(0, |left| left.saturating_add(1)));
        out.bytes(&self.place.key);
        match &self.place.clustering {
            None => out.u8(0),
            Some(clustering) => {
                out.u8(1);
                out.bytes(clustering);
            }
        }
        out.into_vec().into()
    }

    /// Reads what [`Position::encode`] wrote for `table`.
    ///
    /// # Errors
    /// Other bytes; a state of another table.
    pub(super) fn decode(state: &[u8], table: u128) -> Result<Position, CqlError> {
        let invalid = |_| CqlError::Protocol("Invalid value for the paging state".to_owned());
        let position = decode(state).map_err(invalid)?;
        if position.table == table { Ok(position) } else { Err(invalid(Malformed("paging state"))) }
    }
}

fn decode(state: &[u8]) -> Result<Position, Malformed> {
    let what = "paging state";
    let mut reader = Reader::new(state);
    if reader.u8(what)? != VERSION {
        return Err(Malformed(what));
    }
    let table = reader.u128(what)?;
    let left = Some(reader.varint(what)?).filter(|left| *left > 0);
    let left_in_partition = reader.varint(what)?.checked_sub(1);
    let key = Bytes::copy_from_slice(reader.bytes(what)?);
    let clustering = match reader.u8(what)? {
        0 => None,
        1 => Some(Bytes::copy_from_slice(reader.bytes(what)?)),
        _ => return Err(Malformed(what)),
    };
    reader.end(what)?;
    Ok(Position { table, left, left_in_partition, place: Place { key, clustering } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_come_back(
            left in proptest::option::of(1u64..),
            left_in_partition in proptest::option::of(0..u64::MAX),
            key: Vec<u8>,
            clustering: Option<Vec<u8>>,
        ) {
            let place = Place { key: key.into(), clustering: clustering.map(Bytes::from) };
            let position = Position { table: 7, left, left_in_partition, place };
            let state = position.encode();
            prop_assert_eq!(Position::decode(&state, 7), Ok(position));
            prop_assert!(Position::decode(&state, 8).is_err());
            for cut in 0..state.len() {
                prop_assert!(Position::decode(&state[..cut], 7).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(state: Vec<u8>) {
            let _ = Position::decode(&state, 0);
        }
    }
}
