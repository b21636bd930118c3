//! Blocks of entries: keys share what they have in common with the one before, and every 16th entry
//! (a restart point) shares nothing, so that a search can begin there. Drawn in `format`.
//!
//! A [`BlockCursor`] decodes one run between restart points at a time; that makes going backward
//! as simple as going forward.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use base::{Malformed, Reader};
use bytes::Bytes;

/// Entries from one restart point to the next. LevelDB's figure: fewer make blocks larger, more
/// make seeks decode more.
const INTERVAL: usize = 16;

/// Makes the payload of a block.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    entries: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// Adds an entry, which is behind the one before.
    pub(crate) fn push(&mut self, key: &[u8], position: u64, value: &[u8]) {
        let mut shared = 0;
        if self.entries.is_multiple_of(INTERVAL) {
            self.restarts.push(self.bytes.len() as u32);
        } else {
            shared = key.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count();
        }
        for number in [shared as u64, (key.len() - shared) as u64, position, value.len() as u64] {
            put_varint(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.entries += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + 4 * self.restarts.len() + 4
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The key pushed last.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The payload; the builder is empty again.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        for restart in &self.restarts {
            bytes.extend_from_slice(&restart.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        *self = BlockBuilder::default();
        bytes
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A block, read.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Bytes,
    /// Where the entries end and the restart points begin.
    end: usize,
    restarts: usize,
}

const BLOCK: &str = "block";

impl Block {
    pub(crate) fn parse(payload: Vec<u8>) -> Result<Block, Malformed> {
        let bytes = Bytes::from(payload);
        let count_at = bytes.len().checked_sub(4).ok_or(Malformed(BLOCK))?;
        let restarts = Reader::new(&bytes[count_at..]).u32(BLOCK)? as usize;
        let table = restarts.checked_mul(4).ok_or(Malformed(BLOCK))?;
        let end = count_at.checked_sub(table).ok_or(Malformed(BLOCK))?;
        Ok(Block { bytes, end, restarts })
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where run `run` of entries begins; the end of the entries for the run after the last.
    fn run_start(&self, run: usize) -> Result<usize, Malformed> {
        if run >= self.restarts {
            return Ok(self.end);
        }
        let start = Reader::new(&self.bytes[self.end + 4 * run..]).u32(BLOCK)? as usize;
        if start <= self.end { Ok(start) } else { Err(Malformed(BLOCK)) }
    }

    /// The key and the position of the first entry of a run, which shares nothing.
    fn begins(&self, run: usize) -> Result<(&[u8], u64), Malformed> {
        let mut reader = Reader::new(&self.bytes[self.run_start(run)?..self.end]);
        let shared = reader.varint(BLOCK)?;
        let rest = reader.varint(BLOCK)? as usize;
        let position = reader.varint(BLOCK)?;
        reader.varint(BLOCK)?;
        if shared == 0 { Ok((reader.take(rest, BLOCK)?, position)) } else { Err(Malformed(BLOCK)) }
    }
}

#[derive(Clone, Debug)]
struct Item {
    key: Range<usize>,
    position: u64,
    value: Range<usize>,
}

/// A place in a block: before, at, or behind its entries.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    block: Arc<Block>,
    run: usize,
    /// The keys of the run, one after the other.
    keys: Vec<u8>,
    items: Vec<Item>,
    at: Option<usize>,
}

impl BlockCursor {
    /// A cursor at no entry.
    pub(crate) fn new(block: Arc<Block>) -> BlockCursor {
        BlockCursor { block, run: 0, keys: Vec::new(), items: Vec::new(), at: None }
    }

    /// The entry it is at: key, position, value.
    pub(crate) fn entry(&self) -> Option<(&[u8], u64, Bytes)> {
        let item = &self.items[self.at?];
        Some((&self.keys[item.key.clone()], item.position, self.block.bytes.slice(item.value.clone())))
    }

    /// The key of the entry it is at.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        Some(&self.keys[self.items[self.at?].key.clone()])
    }

    pub(crate) fn first(&mut self) -> Result<(), Malformed> {
        self.load(0)?;
        self.at = (!self.items.is_empty()).then_some(0);
        Ok(())
    }

    pub(crate) fn last(&mut self) -> Result<(), Malformed> {
        self.load(self.block.restarts.saturating_sub(1))?;
        self.at = self.items.len().checked_sub(1);
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<(), Malformed> {
        let Some(at) = self.at else { return Ok(()) };
        if at + 1 < self.items.len() {
            self.at = Some(at + 1);
        } else if self.run + 1 < self.block.restarts {
            self.load(self.run + 1)?;
            self.at = Some(0);
        } else {
            self.at = None;
        }
        Ok(())
    }

    pub(crate) fn prev(&mut self) -> Result<(), Malformed> {
        let Some(at) = self.at else { return Ok(()) };
        if at > 0 {
            self.at = Some(at - 1);
        } else if self.run > 0 {
            self.load(self.run - 1)?;
            self.at = self.items.len().checked_sub(1);
        } else {
            self.at = None;
        }
        Ok(())
    }

    /// Goes to the first entry at or behind (`key`, `position`), where within a key later positions
    /// come first.
    pub(crate) fn seek(&mut self, key: &[u8], position: u64) -> Result<(), Malformed> {
        // The last run that begins before the place holds it, or the run behind begins with it.
        let (mut low, mut high) = (0, self.block.restarts);
        while low < high {
            let middle = low + (high - low) / 2;
            let (first, at) = self.block.begins(middle)?;
            if compare(first, at, key, position) == Ordering::Less { low = middle + 1 } else { high = middle }
        }
        self.load(low.saturating_sub(1))?;
        self.at = (!self.items.is_empty()).then_some(0);
        while let Some(item) = self.at.map(|at| &self.items[at]) {
            if compare(&self.keys[item.key.clone()], item.position, key, position) != Ordering::Less {
                break;
            }
            self.next()?;
        }
        Ok(())
    }

    /// Decodes a run.
    fn load(&mut self, run: usize) -> Result<(), Malformed> {
        self.keys.clear();
        self.items.clear();
        (self.run, self.at) = (run, None);
        let (start, end) = (self.block.run_start(run)?, self.block.run_start(run + 1)?);
        let bytes = self.block.bytes.get(start..end).ok_or(Malformed(BLOCK))?;
        let mut reader = Reader::new(bytes);
        let mut last = 0..0;
        while !reader.is_empty() {
            let shared = reader.varint(BLOCK)? as usize;
            let rest = reader.varint(BLOCK)? as usize;
            let position = reader.varint(BLOCK)?;
            let value = reader.varint(BLOCK)? as usize;
            let rest = reader.take(rest, BLOCK)?;
            if shared > last.len() {
                return Err(Malformed(BLOCK));
            }
            let from = self.keys.len();
            self.keys.extend_from_within(last.start..last.start + shared);
            self.keys.extend_from_slice(rest);
            last = from..self.keys.len();
            let value_at = end - reader.rest().len();
            reader.take(value, BLOCK)?;
            self.items.push(Item { key: last.clone(), position, value: value_at..value_at + value });
        }
        Ok(())
    }
}

/// The order of entries: by key ascending, within a key by position descending.
pub(crate) fn compare(key: &[u8], position: u64, other_key: &[u8], other_position: u64) -> Ordering {
    key.cmp(other_key).then(other_position.cmp(&position))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cmp::Reverse, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    type Entries = BTreeMap<(Vec<u8>, Reverse<u64>), Vec<u8>>;

    fn build(entries: &Entries) -> Arc<Block> {
        let mut builder = BlockBuilder::default();
        for ((key, position), value) in entries {
            builder.push(key, position.0, value);
        }
        let len = builder.len();
        let payload = builder.finish();
        assert_eq!(payload.len(), len);
        Arc::new(Block::parse(payload).unwrap())
    }

    fn entry_of(cursor: &BlockCursor) -> Option<(Vec<u8>, u64, Vec<u8>)> {
        cursor.entry().map(|(key, position, value)| (key.to_vec(), position, value.to_vec()))
    }

    proptest! {
        #[test]
        fn a_block_is_its_entries_both_ways(
            entries in prop::collection::btree_map(
                (prop::collection::vec(0u8..3, 0..6), (0u64..400).prop_map(Reverse)),
                prop::collection::vec(any::<u8>(), 0..4),
                0..60,
            ),
            sought in (prop::collection::vec(0u8..3, 0..6), 0u64..400),
        ) {
            let entries: Entries = entries;
            let expected: Vec<_> =
                entries.iter().map(|((key, position), value)| (key.clone(), position.0, value.clone())).collect();
            let mut cursor = BlockCursor::new(build(&entries));
            let mut forward = Vec::new();
            cursor.first().unwrap();
            while let Some(entry) = entry_of(&cursor) {
                forward.push(entry);
                cursor.next().unwrap();
            }
            prop_assert_eq!(&forward, &expected);
            let mut backward = Vec::new();
            cursor.last().unwrap();
            while let Some(entry) = entry_of(&cursor) {
                backward.push(entry);
                cursor.prev().unwrap();
            }
            backward.reverse();
            prop_assert_eq!(&backward, &expected);
            cursor.seek(&sought.0, sought.1).unwrap();
            let first = entries.range((sought.0.clone(), Reverse(sought.1))..).next();
            prop_assert_eq!(entry_of(&cursor).map(|e| (e.0, e.1)), first.map(|(k, _)| (k.0.clone(), k.1.0)));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100), restarts in 0u32..4) {
            let mut bytes = bytes;
            bytes.extend_from_slice(&restarts.to_le_bytes());
            if let Ok(block) = Block::parse(bytes) {
                let mut cursor = BlockCursor::new(Arc::new(block));
                let _ = cursor.seek(b"k", 3);
                let mut steps = 0;
                if cursor.first().is_ok() {
                    while cursor.entry().is_some() && steps < 200 && cursor.next().is_ok() {
                        steps += 1;
                    }
                }
                let _ = cursor.last();
            }
        }
    }
}
