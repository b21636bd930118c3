//! How rows become keys of a tree: ring order, then the order of clustering keys.
//!
//! ```text
//! partition = token, 8 bytes big-endian, its sign flipped | escaped partition key
//! row       = partition | 0x10 | escaped clustering key
//! element   = row | 0x01 | column u32 big-endian | element's key           (room; none yet)
//! escaped   = (byte except 0 | 0x00 0xFF)... 0x00 0x01                     (base::keys)
//!
//! partition | 0x08     what a deletion of the partition covers begins here
//! partition | 0x11     and it, and every range of rows without an end, ends here
//! row less its last byte | 0x02     the first key behind a row and its elements
//! ```
//!
//! Escaped keys end themselves, so no key is the beginning of another's, and the partition is the
//! prefix that filters know. A range of clustering keys is a range of these keys.

use base::{Malformed, Token, keys};
use bytes::Bytes;

const PARTITION: u8 = 0x08;
const ROWS: u8 = 0x10;
const END: u8 = 0x11;
/// The last byte of an escaped key.
const TERMINATOR: u8 = 0x01;
const TOKEN_BYTES: usize = 8;

/// A partition's part of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionKey {
    bytes: Vec<u8>,
}

impl PartitionKey {
    pub(crate) fn new(token: Token, key: &[u8]) -> PartitionKey {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES + key.len() + 8);
        bytes.extend_from_slice(&token_bytes(token));
        keys::put_escaped(&mut bytes, key);
        PartitionKey { bytes }
    }

    /// The key of a row, and the first key that a range of rows from it on covers.
    pub(crate) fn row(&self, clustering: &[u8]) -> Bytes {
        self.row_bytes(clustering).into()
    }

    /// The first key behind a row.
    pub(crate) fn behind_row(&self, clustering: &[u8]) -> Bytes {
        let mut bytes = self.row_bytes(clustering);
        if let Some(last) = bytes.last_mut() {
            *last = TERMINATOR + 1;
        }
        bytes.into()
    }

    fn row_bytes(&self, clustering: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + clustering.len() + 8);
        bytes.extend_from_slice(&self.bytes);
        bytes.push(ROWS);
        keys::put_escaped(&mut bytes, clustering);
        bytes
    }

    /// The first key that a deletion of the partition covers.
    pub(crate) fn start(&self) -> Bytes {
        [&self.bytes[..], &[PARTITION]].concat().into()
    }

    /// The first key that a range of rows can cover.
    pub(crate) fn rows(&self) -> Bytes {
        [&self.bytes[..], &[ROWS]].concat().into()
    }

    /// The first key behind all of it.
    pub(crate) fn end(&self) -> Bytes {
        [&self.bytes[..], &[END]].concat().into()
    }

    /// Whether `key` is of this partition.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        key.starts_with(&self.bytes)
    }

    /// The clustering key of one of its rows.
    pub(crate) fn clustering(&self, key: &[u8]) -> Result<Bytes, Malformed> {
        const WHAT: &str = "key of a row";
        let at = self.bytes.len();
        if !self.holds(key) || key.get(at) != Some(&ROWS) {
            return Err(Malformed(WHAT));
        }
        let (clustering, rest) = unescaped(key, at + 1)?;
        if rest == key.len() { Ok(clustering) } else { Err(Malformed(WHAT)) }
    }
}

fn token_bytes(token: Token) -> [u8; TOKEN_BYTES] {
    let mut bytes = token.to_be_bytes();
    keys::order_signed(&mut bytes);
    bytes
}

/// The first key with this token or a later one.
pub(crate) fn first_of(token: Token) -> Bytes {
    Bytes::copy_from_slice(&token_bytes(token))
}

/// The first key with a later token; `None` if there is none.
pub(crate) fn behind(token: Token) -> Option<Bytes> {
    token.checked_add(1).map(first_of)
}

/// The partition that a key belongs to: its part of the key, and its own.
pub(crate) fn partition_of(key: &[u8]) -> Result<(PartitionKey, Bytes), Malformed> {
    if key.len() < TOKEN_BYTES {
        return Err(Malformed("token of a key"));
    }
    let (partition, end) = unescaped(key, TOKEN_BYTES)?;
    Ok((PartitionKey { bytes: key[..end].to_vec() }, partition))
}

/// The part of a key by which files are filtered: its partition, if it is whole.
pub(crate) fn prefix(key: &[u8]) -> Option<&[u8]> {
    let (end, _) = end_of_escaped(key.get(TOKEN_BYTES..)?)?;
    key.get(..TOKEN_BYTES + end)
}

/// Reads the escaped key at `start`; returns where it ends. It is copied: sharing the memory of
/// `key` would take an allocation as well, and keep all of it.
fn unescaped(key: &[u8], start: usize) -> Result<(Bytes, usize), Malformed> {
    const WHAT: &str = "escaped key";
    let mut rest = key.get(start..).ok_or(Malformed(WHAT))?;
    let (len, zeros) = end_of_escaped(rest).ok_or(Malformed(WHAT))?;
    // Exactly as many as there will be, or `Bytes` would have to remember the difference.
    let mut value = Vec::with_capacity(len - 2 - zeros);
    for nth in 0..=zeros {
        let zero = rest.iter().position(|byte| *byte == 0).ok_or(Malformed(WHAT))?;
        value.extend_from_slice(&rest[..zero]);
        if nth < zeros {
            value.push(0);
        }
        rest = &rest[zero + 2..];
    }
    Ok((value.into(), start + len))
}

/// The length of the escaped key that `bytes` begin with, terminator included, and how many zeros
/// are escaped in it. `None` if it is none.
fn end_of_escaped(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    let mut zeros = 0;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == 0)? + 2;
        match bytes.get(at - 1)? {
            0xff => zeros += 1,
            &TERMINATOR => return Some((at, zeros)),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base::{MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES};
    use proptest::prelude::*;

    use super::*;

    /// Few bytes, so that keys meet; among them those that are escaped or end a key.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![0u8..3, Just(0x10), 0xfeu8..], 0..4)
    }

    fn token() -> impl Strategy<Value = Token> {
        prop_oneof![-1i64..2, Just(Token::MIN + 1), Just(Token::MAX)]
    }

    proptest! {
        #[test]
        fn keys_are_in_ring_order(a in (token(), bytes(), bytes()), b in (token(), bytes(), bytes())) {
            let key = |(token, key, row): &(Token, Vec<u8>, Vec<u8>)| PartitionKey::new(*token, key).row(row);
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            let (first, behind) = (first_of(b.0), behind(b.0));
            prop_assert_eq!(key(&a) >= first, a.0 >= b.0);
            prop_assert_eq!(behind.is_some_and(|behind| key(&a) >= behind), a.0 > b.0);
        }

        #[test]
        fn bounds_hold_their_rows((token, key) in (token(), bytes()), row in bytes(), other in bytes(), element: Vec<u8>) {
            let partition = PartitionKey::new(token, &key);
            let at = partition.row(&row);
            prop_assert!(partition.start() < partition.rows() && partition.rows() < at && at < partition.end());
            prop_assert!(partition.holds(&at));
            prop_assert_eq!(prefix(&at), Some(&partition.bytes[..]));
            let end = partition.end();
            prop_assert_eq!(prefix(&end), Some(&partition.bytes[..]));
            let behind = partition.behind_row(&row);
            prop_assert!(at < behind);
            // Elements of a row, when there are some, lie between it and the next.
            let element = [&at[..], &[1], &element].concat();
            prop_assert!(at < element && behind > element);
            let other_at = partition.row(&other);
            prop_assert_eq!(other_at < behind, other <= row);
            prop_assert_eq!(element < other_at, row < other);
        }

        #[test]
        fn keys_come_back(token in token(), key in bytes(), row in bytes()) {
            let at = PartitionKey::new(token, &key).row(&row);
            let (partition, found) = partition_of(&at).unwrap();
            prop_assert_eq!(&partition, &PartitionKey::new(token, &key));
            prop_assert_eq!(found, key);
            prop_assert_eq!(partition.clustering(&at).unwrap(), row);
            prop_assert_eq!(prefix(&at), Some(&partition.bytes[..]));
        }

        #[test]
        fn arbitrary_keys_do_no_harm(bytes: Vec<u8>) {
            let key = Bytes::from(bytes);
            if let Ok((partition, _)) = partition_of(&key) {
                let _ = partition.clustering(&key);
                prop_assert!(prefix(&key).is_some());
            }
        }
    }

    /// Bytes as they are on disks.
    #[test]
    fn keys_are_as_drawn() {
        let partition = PartitionKey::new(-2, b"a\0b");
        let row = partition.row(b"\x20k");
        assert_eq!(&row[..], b"\x7f\xff\xff\xff\xff\xff\xff\xfea\0\xffb\0\x01\x10\x20k\0\x01");
        assert_eq!(
            &partition.behind_row(b"\x20k")[..],
            b"\x7f\xff\xff\xff\xff\xff\xff\xfea\0\xffb\0\x01\x10\x20k\0\x02"
        );
        assert_eq!(&partition.start()[..], b"\x7f\xff\xff\xff\xff\xff\xff\xfea\0\xffb\0\x01\x08");
        assert_eq!(&partition.end()[..], b"\x7f\xff\xff\xff\xff\xff\xff\xfea\0\xffb\0\x01\x11");
    }

    /// The longest keys that may be, of zeros, which take two bytes each.
    #[test]
    fn the_longest_key() {
        let longest =
            PartitionKey::new(0, &vec![0; MAX_PARTITION_KEY_BYTES])
                .row(&vec![0; MAX_CLUSTERING_KEY_BYTES + 1]);
        assert_eq!(longest.len(), 8 + 2 * 65_535 + 2 + 1 + 2 * (176 * 1024 + 1) + 2);
    }
}
