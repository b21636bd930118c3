//! [`RowCache`]: values of keys that are read again and again, folded once.
//!
//! A value may lie in parts in several runs, and each of them has to be looked into; when it is read
//! again, it is here, whole. Folded values stand in the same [`Cache`] as blocks, under one budget: what is
//! used more stays. One that is read once in a while is not worth its copy, so a value comes in when its key
//! was found before, as far as a small table remembers; and who asks for a key that the table
//! does not know need not look for its value.
//!
//! A write is folded into the value that is here, so a row that is read and written stays; one that was not
//! read since the last writes is not worth that, and is taken out. Deletions of ranges cover values when they are
//! read, not when they are written, so beside a value stands the deletion that held for its key: it holds for
//! what is folded in as well, however late that is.
//!
//! **Why no reader sees an old value.** With a value stands the sequence at which it was read or last
//! written. Who writes a key first *notes* the batch's sequence in the slot of its hash, then folds the
//! write into the value, or takes the value out, and only then shows the batch. Who puts a value in looks at
//! the slot under the lock of its place: if he is before the writer's second step, the writer finds what he
//! put; if he is behind it, he sees the note and lets it be, unless his sequence is not below it. So a value that
//! is found is what its key had at the sequence that stands with it, and has had since; readers of that sequence and
//! later ones take it, earlier ones look for themselves. The deletion of a range is noted for the whole tree: what
//! stands with a lower sequence is not taken, and nothing is folded into it; nor is anything in a batch that has such a
//! deletion, which may cover the write or not. What compaction purges may stay here: to a reader it is dead
//! all the same, and what it could hide is not written any more.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
};

use base::{Malformed, NO_TIMESTAMP};
use bytes::{Buf, Bytes};

use super::{TreeId, cache::Cache, known::Known, rule::Merge};

/// Slots for notes. Two keys share one seldom, and nothing is lost then but that a value does not come in while
/// another is written.
const SLOTS: usize = 1 << 12;
/// Bytes of the budget for each key that is remembered, which takes 2 bytes: about those of a row. If more were
/// remembered, rows would come in whose turn ends before they are asked for again.
const BYTES_A_KEY: usize = 1 << 10;
/// The longest value that comes in: a copy of a long one costs more than it saves.
const MOST_BYTES: usize = 64 << 10;
/// The longest value into which a write is folded: the applier, for whom all writers wait, goes through all of
/// it. A longer one is taken out.
const MOST_FOLDED_BYTES: usize = 8 << 10;
/// Bytes before key and value: the sequence, the deletion, the tree, and the length of the key.
const HEAD: usize = 28;
/// In names of values stands this for a file, which ids of files do not reach.
const NO_FILE: u64 = u64::MAX;

/// Which keys are written to, and which were found. The values are in the cache of the caller.
#[derive(Debug)]
pub(crate) struct RowCache {
    /// The sequence of the last batch that wrote a key of the slot.
    notes: Box<[AtomicU64]>,
    /// Keys that were found.
    found: Known,
    /// Values that came in. As long as there is none, who writes has nothing to look for.
    came: AtomicUsize,
}

/// What is asked for: a key of a tree, and its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'k> {
    pub(crate) tree: TreeId,
    pub(crate) key: &'k [u8],
    pub(crate) hash: u64,
}

impl Wanted<'_> {
    fn name(&self) -> (u64, u64) {
        // The hash alone does not tell trees apart; the entry does.
        (NO_FILE, self.hash.wrapping_add(self.tree.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// What stands beside a value.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The sequence at which it was read or last written.
    at: u64,
    /// The latest timestamp of a deletion of a range that holds for its key then.
    deleted_at: i64,
}

/// An entry: head, tree, length of the key, key, value.
fn entry_of(wanted: &Wanted<'_>, head: Head, value: &[u8]) -> Bytes {
    let mut entry = Vec::with_capacity(HEAD + wanted.key.len() + value.len());
    entry.extend_from_slice(&head.at.to_le_bytes());
    entry.extend_from_slice(&head.deleted_at.to_le_bytes());
    entry.extend_from_slice(&wanted.tree.0.to_le_bytes());
    entry.extend_from_slice(&(wanted.key.len() as u32).to_le_bytes());
    entry.extend_from_slice(wanted.key);
    entry.extend_from_slice(value);
    entry.into()
}

/// The head of an entry, if it is of this key; the value is behind [`value_at`].
fn head_of(entry: &[u8], wanted: &Wanted<'_>) -> Option<Head> {
    let (at, rest) = entry.split_first_chunk()?;
    let (deleted_at, rest) = rest.split_first_chunk()?;
    let (tree, rest) = rest.split_first_chunk()?;
    let (key_len, rest) = rest.split_first_chunk()?;
    let same = u64::from_le_bytes(*tree) == wanted.tree.0
        && u32::from_le_bytes(*key_len) as usize == wanted.key.len()
        && rest.starts_with(wanted.key);
    same.then(|| Head { at: u64::from_le_bytes(*at), deleted_at: i64::from_le_bytes(*deleted_at) })
}

/// Where the value of an entry begins.
fn value_at(wanted: &Wanted<'_>) -> usize {
    HEAD + wanted.key.len()
}

impl RowCache {
    /// With a cache of this budget; a budget of 0 keeps nothing.
    pub(crate) fn new(budget_bytes: usize) -> RowCache {
        RowCache {
            notes: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            found: Known::of(budget_bytes.div_ceil(BYTES_A_KEY)),
            came: AtomicUsize::new(0),
        }
    }

    fn note(&self, hash: u64) -> &AtomicU64 {
        // The lowest bits choose a place in `found`, the highest a page of a filter.
        &self.notes[(hash >> 24) as usize % SLOTS]
    }

    /// Whether a key was found, not long ago: its value may be here then, or should be.
    pub(crate) fn knows(&self, hash: u64) -> bool {
        self.found.knows(hash)
    }

    /// Remembers a key that was found and is not known.
    pub(crate) fn remember(&self, hash: u64) {
        self.found.remember(hash);
    }

    /// The value of a key as a reader at `sequence` sees it. `ranges_at` is the sequence of the last
    /// deletion of a range in the tree.
    pub(crate) fn get(
        &self,
        cache: &Cache,
        wanted: &Wanted<'_>,
        sequence: u64,
        ranges_at: u64,
    ) -> Option<Bytes> {
        if self.came.load(Relaxed) == 0 {
            return None;
        }
        let (file, offset) = wanted.name();
        let mut entry = cache.get(file, offset)?;
        let Head { at, .. } = head_of(&entry, wanted)?;
        (ranges_at <= at && at <= sequence).then(|| {
            entry.advance(value_at(wanted));
            entry
        })
    }

    /// Takes in the value that a reader at `sequence` has found, covered by deletions up to `deleted_at`.
    pub(crate) fn put(
        &self,
        cache: &Cache,
        wanted: &Wanted<'_>,
        (sequence, deleted_at): (u64, i64),
        ranges_at: impl Fn() -> u64,
        value: &[u8],
    ) {
        if value.len() > MOST_BYTES || wanted.key.len() > MOST_BYTES {
            return;
        }
        let entry = entry_of(wanted, Head { at: sequence, deleted_at }, value);
        self.came.fetch_add(1, SeqCst);
        cache.replace(wanted.name(), entry, || {
            self.note(wanted.hash).load(SeqCst) <= sequence && ranges_at() <= sequence
        });
    }

    /// Before the batch with this sequence is shown: it merges `value` into a key. Without a rule it does
    /// more than that with the key, and what is here of it is taken out.
    pub(crate) fn write(
        &self,
        cache: &Cache,
        wanted: &Wanted<'_>,
        (sequence, ranges_at): (u64, u64),
        rule: Option<&dyn Merge>,
        value: &[u8],
    ) {
        self.note(wanted.hash).store(sequence, SeqCst);
        if self.came.load(SeqCst) == 0 {
            return;
        }
        // What is here now stays until it is exchanged, or goes: nobody else puts in anything behind the note.
        let Some(entry) = cache.spend(wanted.name()) else { return };
        let head = head_of(&entry, wanted).filter(|head| ranges_at <= head.at);
        let folded = rule.zip(head).and_then(|(rule, head)| {
            let before = &entry[value_at(wanted)..];
            // What cannot be merged is told to those who read it.
            let folded = fold(rule, before, head.deleted_at, value).ok()??;
            Some(entry_of(wanted, Head { at: sequence, ..head }, &folded))
        });
        cache.exchange(wanted.name(), folded.unwrap_or_default());
    }
}

/// A write folded into the value before it; `None` if that is too long.
fn fold<'v>(
    rule: &dyn Merge,
    before: &'v [u8],
    deleted_at: i64,
    written: &'v [u8],
) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
    if before.len() + written.len() > MOST_FOLDED_BYTES {
        return Ok(None);
    }
    let left = if deleted_at == NO_TIMESTAMP {
        Some(Cow::Borrowed(written))
    } else {
        rule.cover(written, deleted_at)?
    };
    match left {
        Some(left) if rule.newest_stands() => Ok(Some(left)),
        Some(left) => Ok(Some(Cow::Owned(rule.merge(before, &left)?))),
        None => Ok(Some(Cow::Borrowed(before))),
    }
}

#[cfg(test)]
mod tests {
    use base::Cell;

    use super::*;
    use crate::tree::{LastWriteWins, Latest, encode_cell, encode_latest};

    const TREE: TreeId = TreeId(3);
    const KEY: &[u8] = b"k";
    const RULE: LastWriteWins = LastWriteWins { prefix_bytes: 0 };

    fn wanted(key: &[u8]) -> Wanted<'_> {
        Wanted { tree: TREE, key, hash: 7 }
    }

    fn cell(timestamp: i64) -> Bytes {
        encode_cell(&Cell::live(timestamp, Bytes::from_static(b"v")))
    }

    /// Rows with the value of one key, as a reader at `sequence` found it.
    struct Rows(Cache, RowCache);

    impl Rows {
        fn with(sequence: u64, deleted_at: i64, value: &[u8]) -> Rows {
            let rows = Rows(Cache::new(1 << 20), RowCache::new(1 << 20));
            assert_eq!(rows.get(sequence), None);
            rows.put(sequence, deleted_at, 0, value);
            rows
        }

        fn get(&self, sequence: u64) -> Option<Bytes> {
            self.1.get(&self.0, &wanted(KEY), sequence, 0)
        }

        fn put(&self, sequence: u64, deleted_at: i64, ranges_at: u64, value: &[u8]) {
            self.1.put(&self.0, &wanted(KEY), (sequence, deleted_at), || ranges_at, value);
        }

        fn write(&self, sequence: u64, ranges_at: u64, rule: Option<&dyn Merge>, value: &[u8]) {
            self.1.write(&self.0, &wanted(KEY), (sequence, ranges_at), rule, value);
        }
    }

    #[test]
    fn a_value_is_for_its_key_and_its_time() {
        let Rows(cache, rows) = Rows::with(5, NO_TIMESTAMP, b"v");
        let got = |key: &'static [u8], sequence, ranges_at| {
            rows.get(&cache, &wanted(key), sequence, ranges_at).map(|value| value.to_vec())
        };
        assert_eq!(got(KEY, 5, 0), Some(b"v".to_vec()));
        assert_eq!(got(KEY, 9, 5), Some(b"v".to_vec()));
        assert_eq!(got(KEY, 4, 0), None, "for a reader of the past it may be too new");
        assert_eq!(got(KEY, 9, 6), None, "a range was deleted since");
        assert_eq!(got(b"l", 9, 0), None, "another key of the same hash");
        let other = Wanted { tree: TreeId(4), ..wanted(KEY) };
        assert_eq!(rows.get(&cache, &other, 9, 0), None);
    }

    #[test]
    fn who_read_before_a_write_does_not_bring_it_back() {
        let rows = Rows::with(5, NO_TIMESTAMP, b"old");
        rows.write(6, 0, None, b"new");
        assert_eq!(rows.get(5), None);
        rows.put(5, NO_TIMESTAMP, 0, b"old");
        assert_eq!(rows.get(6), None);
        rows.put(6, NO_TIMESTAMP, 7, b"covered by a deletion that is not shown");
        assert_eq!(rows.get(7), None);
        rows.put(6, NO_TIMESTAMP, 0, b"new");
        assert_eq!(rows.get(6).as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_write_is_folded_in_for_those_who_see_it() {
        let rows = Rows::with(5, NO_TIMESTAMP, &cell(20));
        rows.write(6, 0, Some(&RULE), &cell(30));
        assert_eq!((rows.get(5), rows.get(6)), (None, Some(cell(30))));
        rows.write(7, 0, Some(&RULE), &cell(10));
        assert_eq!(rows.get(7), Some(cell(30)), "the later timestamp stands");
        rows.put(6, NO_TIMESTAMP, 0, &cell(30));
        assert_eq!(rows.get(7), Some(cell(30)));
        assert_eq!(rows.get(6), None, "nobody puts back what a write has changed");
        rows.write(8, 8, Some(&RULE), &cell(40));
        assert_eq!(rows.get(8), None, "it may be covered by a range deleted since");
        rows.write(9, 0, Some(&RULE), &cell(50));
        assert_eq!(rows.get(9), None, "what was written before is not here any more");
    }

    #[test]
    fn a_row_that_nobody_reads_is_not_folded_for_ever() {
        let rows = Rows::with(5, NO_TIMESTAMP, &cell(1));
        for n in 6..16 {
            rows.write(n, 0, Some(&RULE), &cell(n as i64));
            assert_eq!(rows.get(n), Some(cell(n as i64)));
        }
        (16..20).for_each(|n| rows.write(n, 0, Some(&RULE), &cell(n as i64)));
        assert_eq!(rows.get(19), None);
    }

    #[test]
    fn what_is_folded_in_is_covered_too() {
        let rows = Rows::with(5, 25, &cell(30));
        rows.write(6, 5, Some(&RULE), &cell(40));
        assert_eq!(rows.get(6), Some(cell(40)));
        let rows = Rows::with(5, 25, &cell(30));
        rows.write(6, 5, Some(&RULE), &encode_cell(&Cell::tombstone(25)));
        assert_eq!(rows.get(6), Some(cell(30)), "it came too late");
        rows.write(7, 5, Some(&RULE), b"what is no cell");
        assert_eq!(rows.get(7), None);
    }

    #[test]
    fn where_the_newest_stands_it_does_here() {
        let value = |byte: u8| encode_latest(Some(&[byte]));
        let rows = Rows::with(5, NO_TIMESTAMP, &value(1));
        rows.write(6, 0, Some(&Latest), &value(2));
        assert_eq!(rows.get(6), Some(value(2)));
        rows.write(7, 0, Some(&Latest), &encode_latest(Some(&[3; MOST_FOLDED_BYTES])));
        assert_eq!(rows.get(7), None, "too long to be folded in by who writes");
    }
}
