//! The data set: rows of partitions, their keys spread like tokens, their values half compressible.
//!
//! ```text
//! key    mixed partition number u64 BE | partition number u64 BE | row u32 BE
//! value  item number u64 LE | bytes of a pool
//! ```
//!
//! The first two parts are the partition, [`PREFIX_BYTES`] long, as a token and a partition key
//! would be. Keys whose partition number has the bit [`ABSENT`] are never written: they fall
//! between those that are.

use std::ops::RangeInclusive;

use crate::load::Random;

/// Bytes of a key.
pub const KEY_BYTES: usize = 20;
/// Bytes of a key that are its partition.
pub const PREFIX_BYTES: usize = 16;
/// Rows of a partition.
pub const ROWS: u64 = 8;
/// The bit of partition numbers that are not there.
const ABSENT: u64 = 1 << 62;
/// Bytes at the start of a value that say whose it is.
const ITEM_BYTES: usize = 8;
/// The sizes of values that are measured.
pub const VALUE_BYTES: [usize; 2] = [1024, 100];
/// Sizes of values that can be made.
pub const VALUE_RANGE: RangeInclusive<usize> = 16..=65_536;

/// The data set of so many items, a power of two, with values of one size.
pub struct Data {
    /// How many items there are.
    pub items: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    pool: Vec<u8>,
}

/// Bytes that values are slices of.
const POOL_BYTES: usize = 1 << 20;
/// Of each piece of the pool so many bytes are random, and as many are a repeated word, so that
/// LZ4 halves it about.
const PIECE_BYTES: usize = 32;

impl Data {
    /// `items` values of `value_bytes`.
    pub fn new(items: u64, value_bytes: usize) -> Data {
        assert!(items.is_power_of_two() && items > ROWS, "{items} items");
        assert!(VALUE_RANGE.contains(&value_bytes), "{value_bytes} B");
        let mut random = Random::new(u64::MAX);
        let mut pool = Vec::with_capacity(POOL_BYTES);
        while pool.len() < POOL_BYTES {
            for _ in 0..PIECE_BYTES / 8 {
                pool.extend_from_slice(&random.next().to_le_bytes());
            }
            pool.extend_from_slice(b"a word that returns in each line");
        }
        Data { items, value_bytes, pool }
    }

    /// The `nth` item in the order of writing: each once, and no order of keys.
    pub fn shuffled(&self, nth: u64) -> u64 {
        let mask = self.items - 1;
        // Both steps are one to one among numbers of so many bits.
        let half = self.items.trailing_zeros() / 2;
        let mut item = nth & mask;
        for _ in 0..2 {
            item = item.wrapping_mul(0x9E37_79B9_7F4A_7C15 | 1) & mask;
            item ^= item >> half;
        }
        item
    }

    /// The key of an item.
    pub fn key(&self, item: u64) -> [u8; KEY_BYTES] {
        key(item / ROWS, item % ROWS)
    }

    /// A key that nobody writes, among those that are written.
    pub fn absent_key(&self, random: u64) -> [u8; KEY_BYTES] {
        key((random % self.items) | ABSENT, random % ROWS)
    }

    /// The value of an item, different each time it is written; `value` is where it is put.
    pub fn value_into(&self, item: u64, time: u64, value: &mut Vec<u8>) {
        let rest = self.value_bytes - ITEM_BYTES;
        // Values that are neighbours must not be the same stretch of the pool.
        let start = Random::new(item ^ (time << 40)).next() as usize % (self.pool.len() - rest);
        value.clear();
        value.extend_from_slice(&item.to_le_bytes());
        value.extend_from_slice(&self.pool[start..start + rest]);
    }

    /// Whether `value` is one of the item's.
    pub fn is_value_of(&self, item: u64, value: &[u8]) -> bool {
        value.len() == self.value_bytes && value[..ITEM_BYTES] == item.to_le_bytes()
    }
}

fn key(partition: u64, row: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let token = Random::new(partition).next();
    key[..8].copy_from_slice(&token.to_be_bytes());
    key[8..PREFIX_BYTES].copy_from_slice(&partition.to_be_bytes());
    key[PREFIX_BYTES..].copy_from_slice(&(row as u32).to_be_bytes());
    key
}

/// The end of the keys that begin with `prefix`: the first key behind them.
pub fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    let last = end.last_mut()?;
    *last += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_item_is_written_once_and_has_its_own_key() {
        for items in [1 << 10, 1 << 13] {
            let data = Data::new(items, 100);
            let written: BTreeSet<u64> = (0..items).map(|nth| data.shuffled(nth)).collect();
            assert_eq!(written.len() as u64, items);
            let keys: BTreeSet<_> = written.iter().map(|item| data.key(*item)).collect();
            assert_eq!(keys.len() as u64, items);
            assert!((0..items).all(|random| !keys.contains(&data.absent_key(random))));
        }
    }

    #[test]
    fn a_value_says_whose_it_is() {
        let data = Data::new(1 << 10, 100);
        let mut value = Vec::new();
        data.value_into(7, 1, &mut value);
        assert!(data.is_value_of(7, &value) && !data.is_value_of(8, &value));
        let before = value.clone();
        data.value_into(7, 2, &mut value);
        assert!(before != value && data.is_value_of(7, &value));
    }

    #[test]
    fn a_partition_is_its_prefix() {
        let data = Data::new(1 << 10, 100);
        let first = data.key(ROWS * 5);
        let end = behind(&first[..PREFIX_BYTES]).unwrap();
        let inside = (0..1 << 10).filter(|item| {
            let key = data.key(*item);
            first[..PREFIX_BYTES] <= key[..] && key[..] < end[..]
        });
        assert_eq!(inside.collect::<Vec<_>>(), (ROWS * 5..ROWS * 6).collect::<Vec<_>>());
        assert_eq!(behind(&[1, 255]).unwrap(), [2]);
        assert_eq!(behind(&[255]), None);
    }
}
