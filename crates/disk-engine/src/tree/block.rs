//! Blocks of entries: keys share what they have in common with the one before, but for restart
//! points, which share nothing, so that a search can begin there. Drawn in `format`.
//!
//! Where restart points are, and the *head* of each, which is what its key begins with behind what the keys
//! of all have in common, stand side by side at the end: a search among them touches a few lines of memory
//! there, and the entries themselves hardly before it has found the right one.
//!
//! Two ways through a block. [`Block::find`] and [`Block::collect`] look for one key and make no copy
//! of any: while keys ascend it is enough to know how many bytes of the sought key the last one had
//! ([`Search`]). A [`BlockCursor`] stands at an entry, whose key it puts together, and goes both ways.

use std::{cmp::Ordering, ops::Range};

use base::{Malformed, Reader};
use bytes::Bytes;

use super::{key, memtable::Versions};

/// Bytes from one restart point to the next, at which it is time for one. A search that goes from entry
/// to entry touches memory all the way: at 100 bytes a value, 16 entries are 30 cache lines.
const RUN_BYTES: usize = 512;

/// Makes the payload of a block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    /// Entries from one restart point to the next.
    interval: usize,
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    /// Entries from the last restart point on.
    run_entries: usize,
    entries: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// `interval` entries from one restart point to the next: fewer make the block larger, more make
    /// a search decode more.
    pub(crate) fn new(interval: usize) -> BlockBuilder {
        let (bytes, restarts, last_key) = (Vec::new(), Vec::new(), Vec::new());
        BlockBuilder { interval, bytes, restarts, run_entries: 0, entries: 0, last_key }
    }

    /// Adds an entry, which is behind the one before.
    pub(crate) fn push(&mut self, key: &[u8], sequence: u64, value: &[u8]) {
        let mut shared = 0;
        let run = self.bytes.len() - self.restarts.last().map_or(0, |last| *last as usize);
        if self.entries == 0 || self.run_entries == self.interval || run >= RUN_BYTES {
            self.restarts.push(self.bytes.len() as u32);
            self.run_entries = 0;
        } else {
            shared = common(key, &self.last_key);
        }
        for number in [shared as u64, (key.len() - shared) as u64, value.len() as u64] {
            put_varint(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(&key[shared..]);
        put_varint(&mut self.bytes, sequence);
        self.bytes.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.run_entries += 1;
        self.entries += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + 8 * self.restarts.len() + TAIL
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// The key of the restart point at `at`, which stands whole there.
    fn restart_key(&self, at: u32) -> &[u8] {
        let mut reader = Reader::new(&self.bytes[at as usize..]);
        let mut number = || reader.varint(BLOCK.0).expect("it was written here") as usize;
        let (_, len, _) = (number(), number(), number());
        reader.take(len, BLOCK.0).expect("it was written here")
    }

    /// The key pushed last.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Ends the payload and gives it to `with`; the builder is empty again.
    pub(crate) fn finish<T>(&mut self, with: impl FnOnce(&[u8]) -> T) -> T {
        let common = match (self.restarts.first(), self.restarts.last()) {
            (Some(first), Some(last)) => common(self.restart_key(*first), self.restart_key(*last)),
            _ => 0,
        };
        let heads: Vec<u32> =
            self.restarts.iter().map(|restart| head(&self.restart_key(*restart)[common..])).collect();
        for number in self.restarts.iter().chain(&heads) {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [common, self.restarts.len()] {
            self.bytes.extend_from_slice(&(number as u32).to_le_bytes());
        }
        let done = with(&self.bytes);
        self.bytes.clear();
        self.restarts.clear();
        self.last_key.clear();
        self.entries = 0;
        done
    }
}

/// Bytes behind the tables: how much the restart points' keys have in common, and how many there are.
const TAIL: usize = 8;

/// The upper half of a key's [`key::head`]: its first four bytes.
fn head(key: &[u8]) -> u32 {
    (key::head(key) >> u32::BITS) as u32
}

/// How many bytes two keys begin with in common.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    // Eight at a time: keys of a table share much.
    let words = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count() * 8;
    words + a[words..].iter().zip(&b[words..]).take_while(|(a, b)| a == b).count()
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A block, read. Clones are the same block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    bytes: Bytes,
    /// Where the entries end and the restart points begin.
    end: usize,
    restarts: usize,
    /// Bytes that the keys of all restart points begin with in common.
    common: usize,
}

const BLOCK: Malformed = Malformed("block");

/// An entry, as offsets in its block.
#[derive(Clone, Debug)]
struct Entry {
    shared: usize,
    /// The rest of the key.
    rest: Range<usize>,
    sequence: u64,
    /// Its end is where the next entry begins.
    value: Range<usize>,
}

impl Block {
    pub(crate) fn parse(bytes: Bytes) -> Result<Block, Malformed> {
        let tail = bytes.len().checked_sub(TAIL).ok_or(BLOCK)?;
        let mut reader = Reader::new(&bytes[tail..]);
        let (common, restarts) = (reader.u32(BLOCK.0)? as usize, reader.u32(BLOCK.0)? as usize);
        let tables = restarts.checked_mul(8).ok_or(BLOCK)?;
        let end = tail.checked_sub(tables).ok_or(BLOCK)?;
        Ok(Block { bytes, end, restarts, common })
    }

    /// Where restart point `nth` is.
    fn restart(&self, nth: usize) -> Result<usize, Malformed> {
        Ok(self.table(nth)? as usize)
    }

    /// Number `nth` of the tables: first the places of the restart points, then their heads.
    fn table(&self, nth: usize) -> Result<u32, Malformed> {
        let at = self.end + 4 * nth;
        let bytes = self.bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
        Ok(u32::from_le_bytes(*bytes.ok_or(BLOCK)?))
    }

    /// Among the restart points the place of a key: those before it are lower, those from the second number
    /// on are higher, and those between have its head.
    fn among_heads(&self, key: &[u8]) -> Result<(usize, usize), Malformed> {
        if self.restarts == 0 {
            return Ok((0, 0));
        }
        let first = self.entry(self.restart(0)?)?;
        let shared = self.bytes[first.rest].get(..self.common).ok_or(BLOCK)?;
        let Some(rest) = key.strip_prefix(shared) else {
            return Ok(if key < shared { (0, 0) } else { (self.restarts, self.restarts) });
        };
        let wanted = head(rest);
        let (mut low, mut high) = (0, self.restarts);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.table(self.restarts + middle)? < wanted { low = middle + 1 } else { high = middle }
        }
        // Mostly one or none has the same.
        let mut end = low;
        while end < self.restarts && self.table(self.restarts + end)? == wanted {
            end += 1;
        }
        Ok((low, end))
    }

    /// The entry at `at`.
    fn entry(&self, at: usize) -> Result<Entry, Malformed> {
        let bytes = self.bytes.get(at..self.end).ok_or(BLOCK)?;
        let mut reader = Reader::new(bytes);
        let [shared, rest, value] = match *bytes {
            // Nearly always, and worth it.
            [shared, rest, value, ..] if (shared | rest | value) < 0x80 => {
                reader = Reader::new(&bytes[3..]);
                [shared, rest, value].map(usize::from)
            }
            _ => [varint(&mut reader)?, varint(&mut reader)?, varint(&mut reader)?],
        };
        let rest_at = self.end - reader.rest().len();
        reader.take(rest, BLOCK.0)?;
        let sequence = reader.varint(BLOCK.0)?;
        let value_at = self.end - reader.rest().len();
        reader.take(value, BLOCK.0)?;
        Ok(Entry { shared, rest: rest_at..rest_at + rest, sequence, value: value_at..value_at + value })
    }

    /// The restart point from which to go on to find (`key`, `sequence`): the last that is before it,
    /// or the first.
    fn restart_before(&self, key: &[u8], sequence: u64) -> Result<usize, Malformed> {
        let (mut low, mut high) = self.among_heads(key)?;
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(self.restart(middle)?)?;
            if entry.shared > 0 {
                return Err(BLOCK);
            }
            match compare(&self.bytes[entry.rest], entry.sequence, key, sequence) {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        if self.restarts == 0 { Ok(self.end) } else { self.restart(low.saturating_sub(1)) }
    }

    /// The value of the first entry at or behind (`key`, `sequence`).
    pub(crate) fn find(&self, key: &[u8], sequence: u64) -> Result<Option<&[u8]>, Malformed> {
        let found = Search::begin(self, key, sequence)?.next()?;
        Ok(found.map(|(entry, _)| &self.bytes[entry.value]))
    }

    /// Adds to `into` the values of `key` with this sequence and earlier ones. If they go on to the
    /// end of the block, so that more may be in the next one, returns the sequence of the last.
    pub(crate) fn collect(
        &self,
        key: &[u8],
        sequence: u64,
        into: &mut Versions,
    ) -> Result<Option<u64>, Malformed> {
        let mut search = Search::begin(self, key, sequence)?;
        let mut last = None;
        while let Some((entry, equal)) = search.next()? {
            if !equal {
                return Ok(None);
            }
            last = Some(entry.sequence);
            into.push((entry.sequence, self.bytes.slice(entry.value)));
        }
        Ok(last)
    }
}

fn varint(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    usize::try_from(reader.varint(BLOCK.0)?).map_err(|_| BLOCK)
}

/// Entries at and behind (`key`, `sequence`), told from their places: of each only whether it has
/// the key.
struct Search<'a> {
    block: &'a Block,
    key: &'a [u8],
    sequence: u64,
    at: usize,
    /// Bytes of the sought key that the entry before begins with.
    matched: usize,
}

impl<'a> Search<'a> {
    fn begin(block: &'a Block, key: &'a [u8], sequence: u64) -> Result<Search<'a>, Malformed> {
        let at = block.restart_before(key, sequence)?;
        Ok(Search { block, key, sequence, at, matched: 0 })
    }

    /// The next entry that is not before the place; `None` at the end of the block. Not to be asked
    /// again once it has been one with another key.
    fn next(&mut self) -> Result<Option<(Entry, bool)>, Malformed> {
        while self.at < self.block.end {
            let entry = self.block.entry(self.at)?;
            self.at = entry.value.end;
            match self.order(&entry) {
                Ordering::Less => {}
                Ordering::Equal if entry.sequence > self.sequence => {}
                order => return Ok(Some((entry, order == Ordering::Equal))),
            }
        }
        Ok(None)
    }

    /// How the key of `entry` stands to the sought one, which all keys before it did not reach.
    fn order(&mut self, entry: &Entry) -> Ordering {
        match entry.shared {
            // A restart point, or it differs from the first byte on.
            0 => self.matched = 0,
            shared if shared < self.matched => return Ordering::Greater,
            // What made the one before too small is in this one too.
            shared if shared > self.matched => return Ordering::Less,
            _ => {}
        }
        let (rest, sought) = (&self.block.bytes[entry.rest.clone()], &self.key[self.matched..]);
        let more = common(rest, sought);
        self.matched += more;
        rest[more..].cmp(&sought[more..])
    }
}

/// A place in a block: at an entry, or at none.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    block: Block,
    /// Where the entry it is at begins.
    at: usize,
    entry: Option<Entry>,
    /// The key, unless it stands whole in the block.
    key: Vec<u8>,
    whole: bool,
}

impl BlockCursor {
    /// A cursor at no entry.
    pub(crate) fn new(block: Block) -> BlockCursor {
        BlockCursor { block, at: 0, entry: None, key: Vec::new(), whole: false }
    }

    /// Takes another block; it is at no entry of it.
    pub(crate) fn reset(&mut self, block: Block) {
        self.block = block;
        self.entry = None;
    }

    /// Goes to no entry.
    pub(crate) fn leave(&mut self) {
        self.entry = None;
    }

    /// The key of the entry it is at.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        let entry = self.entry.as_ref()?;
        Some(if self.whole { &self.block.bytes[entry.rest.clone()] } else { &self.key })
    }

    /// Sequence and value of the entry it is at.
    pub(crate) fn value(&self) -> Option<(u64, Bytes)> {
        let entry = self.entry.as_ref()?;
        Some((entry.sequence, self.block.bytes.slice(entry.value.clone())))
    }

    /// Goes to the entry at `at`, which is behind the one it is at, or a restart point if it is at none;
    /// to no entry if that is the end.
    fn enter(&mut self, at: usize) -> Result<(), Malformed> {
        let before = self.entry.take();
        if at == self.block.end {
            return Ok(());
        }
        let entry = self.block.entry(at)?;
        if entry.shared == 0 {
            self.whole = true;
        } else {
            let before = before.ok_or(BLOCK)?;
            if self.whole {
                self.key.clear();
                self.key.extend_from_slice(&self.block.bytes[before.rest]);
                self.whole = false;
            }
            if entry.shared > self.key.len() {
                return Err(BLOCK);
            }
            self.key.truncate(entry.shared);
            self.key.extend_from_slice(&self.block.bytes[entry.rest.clone()]);
        }
        self.at = at;
        self.entry = Some(entry);
        Ok(())
    }

    pub(crate) fn first(&mut self) -> Result<(), Malformed> {
        self.entry = None;
        self.enter(0)
    }

    pub(crate) fn last(&mut self) -> Result<(), Malformed> {
        self.before(self.block.end)
    }

    pub(crate) fn next(&mut self) -> Result<(), Malformed> {
        match &self.entry {
            Some(entry) => self.enter(entry.value.end),
            None => Ok(()),
        }
    }

    pub(crate) fn prev(&mut self) -> Result<(), Malformed> {
        if self.entry.is_some() { self.before(self.at) } else { Ok(()) }
    }

    /// Goes to the entry that ends at `end`.
    fn before(&mut self, end: usize) -> Result<(), Malformed> {
        self.entry = None;
        let (mut low, mut high) = (0, self.block.restarts);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.block.restart(middle)? < end { low = middle + 1 } else { high = middle }
        }
        let Some(nth) = low.checked_sub(1) else { return Ok(()) };
        self.enter(self.block.restart(nth)?)?;
        while let Some(entry) = &self.entry
            && entry.value.end < end
        {
            self.enter(entry.value.end)?;
        }
        if self.entry.as_ref().is_some_and(|entry| entry.value.end == end) { Ok(()) } else { Err(BLOCK) }
    }

    /// Goes to the first entry at or behind (`key`, `sequence`), where within a key later sequences
    /// come first.
    pub(crate) fn seek(&mut self, key: &[u8], sequence: u64) -> Result<(), Malformed> {
        self.entry = None;
        self.enter(self.block.restart_before(key, sequence)?)?;
        while let (Some(entry), Some(found)) = (&self.entry, self.key())
            && compare(found, entry.sequence, key, sequence) == Ordering::Less
        {
            self.enter(entry.value.end)?;
        }
        Ok(())
    }
}

/// The order of entries: by key ascending, within a key by sequence descending.
pub(crate) fn compare(key: &[u8], sequence: u64, other_key: &[u8], other_sequence: u64) -> Ordering {
    key.cmp(other_key).then(other_sequence.cmp(&sequence))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{cmp::Reverse, collections::BTreeMap};

    use proptest::prelude::*;

    use super::*;

    type Entries = BTreeMap<(Vec<u8>, Reverse<u64>), Vec<u8>>;

    fn build(entries: &Entries, interval: usize) -> Block {
        let mut builder = BlockBuilder::new(interval);
        for ((key, sequence), value) in entries {
            builder.push(key, sequence.0, value);
        }
        let len = builder.len();
        let payload = builder.finish(Bytes::copy_from_slice);
        assert_eq!((payload.len(), builder.entries()), (len, 0));
        Block::parse(payload).unwrap()
    }

    fn entry_of(cursor: &BlockCursor) -> Option<(Vec<u8>, u64, Vec<u8>)> {
        let (sequence, value) = cursor.value()?;
        Some((cursor.key()?.to_vec(), sequence, value.to_vec()))
    }

    /// Keys of few letters, most short and some long, so that they share much and differ late.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let tail = prop::collection::vec(0u8..3, 0..6);
        (tail, prop_oneof![8 => Just(0usize), 1 => 1usize..300, 1 => Just((64 << 10) - 6)]).prop_map(
            |(tail, same)| {
                let mut key = vec![1; same];
                key.extend(tail);
                key
            },
        )
    }

    proptest! {
        #[test]
        fn a_block_is_its_entries_both_ways(
            entries in prop::collection::btree_map(
                (key(), (0u64..400).prop_map(Reverse)),
                prop_oneof![prop::collection::vec(any::<u8>(), 0..4), prop::collection::vec(any::<u8>(), 200)],
                0..60,
            ),
            interval in prop_oneof![Just(1usize), Just(2), Just(16)],
            sought in (key(), 0u64..400),
        ) {
            let entries: Entries = entries;
            let expected: Vec<_> =
                entries.iter().map(|((key, sequence), value)| (key.clone(), sequence.0, value.clone())).collect();
            let block = build(&entries, interval);
            let mut cursor = BlockCursor::new(block.clone());
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

            let places = expected.iter().map(|entry| (entry.0.clone(), entry.1)).chain([sought]);
            for (key, sequence) in places {
                let behind = || entries.range((key.clone(), Reverse(sequence))..);
                cursor.seek(&key, sequence).unwrap();
                let first = behind().next();
                prop_assert_eq!(entry_of(&cursor).map(|e| (e.0, e.1)), first.map(|(k, _)| (k.0.clone(), k.1.0)));
                cursor.prev().unwrap();
                if first.is_some() {
                    let before = entries.range(..(key.clone(), Reverse(sequence))).next_back();
                    prop_assert_eq!(entry_of(&cursor).map(|e| (e.0, e.1)), before.map(|(k, _)| (k.0.clone(), k.1.0)));
                }
                let found = block.find(&key, sequence).unwrap();
                prop_assert_eq!(found, first.map(|entry| entry.1.as_slice()));
                let mut versions = Versions::new();
                let last = block.collect(&key, sequence, &mut versions).unwrap();
                let of_key: Vec<_> = behind()
                    .take_while(|entry| entry.0.0 == key)
                    .map(|(key, value)| (key.1.0, Bytes::copy_from_slice(value)))
                    .collect();
                let ends = behind().all(|entry| entry.0.0 == key);
                prop_assert_eq!(last, of_key.last().filter(|_| ends).map(|version| version.0));
                prop_assert_eq!(versions.to_vec(), of_key);
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..100), restarts in 0u32..4) {
            let mut bytes = bytes;
            bytes.extend_from_slice(&restarts.to_le_bytes());
            if let Ok(block) = Block::parse(bytes.into()) {
                let _ = (block.find(b"k", 3), block.collect(b"k", 3, &mut Versions::new()));
                let mut cursor = BlockCursor::new(block);
                let _ = cursor.seek(b"k", 3);
                for (begin, step) in [
                    (BlockCursor::first as fn(&mut _) -> _, BlockCursor::next as fn(&mut _) -> _),
                    (BlockCursor::last, BlockCursor::prev),
                ] {
                    let mut steps = 0;
                    if begin(&mut cursor).is_ok() {
                        while cursor.key().is_some() && steps < 200 && step(&mut cursor).is_ok() {
                            steps += 1;
                        }
                    }
                    assert!(steps < 200);
                }
            }
        }

        #[test]
        fn common_is_counted_byte_by_byte(a in prop::collection::vec(0u8..2, 0..30), b in prop::collection::vec(0u8..2, 0..30)) {
            let naive = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common(&a, &b), naive);
        }
    }
}
