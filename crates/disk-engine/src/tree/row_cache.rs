//! [`RowCache`]: values of keys that are read again and again, folded once.
//!
//! A value may lie in parts in several runs, and each of them has to be looked into; when it is read
//! again, it is here, whole. Folded values stand in the same [`Cache`] as blocks, under one budget: what is
//! used more stays. One that is read once in a while is not worth its copy, so a value comes in when its key
//! has been asked for before, as far as a small table remembers; and who asks for a key that the table
//! does not know need not look for its value.
//!
//! **Why no reader sees an old value.** With a value stands the sequence at which it was read. Who
//! writes a key first *notes* the batch's sequence in the slot of its hash, then takes the value out, and
//! only then shows the batch. Who puts a value in looks at the slot under the lock under which the
//! value would be taken out: if he is before the writer, the writer takes it out again; if he is behind, he
//! sees the note and lets it be, unless his sequence is not below it. So a value that is found was, at
//! its sequence, and is, as long as the lock is held, what the last batch that was shown left; readers of
//! that sequence and later ones take it, earlier ones look for themselves. The deletion of a range is noted for the
//! whole tree. What compaction purges may stay here: to a reader it is dead all the same.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use bytes::Bytes;

use super::{TreeId, cache::Cache};

/// Slots for notes. Two keys share one seldom, and nothing is lost then but that a value does not come in while
/// another is written.
const SLOTS: usize = 1 << 12;
/// Bytes of the budget for the four keys that a place remembers: it takes 8 bytes.
const BYTES_A_PLACE: usize = 1 << 10;
/// Bits of a key's mark in its place.
const MARK_BITS: u32 = 16;
/// The longest value that comes in: a copy of a long one costs more than it saves.
const MOST_BYTES: usize = 64 << 10;
/// Bytes before key and value: the sequence, the tree, and the length of the key.
const HEAD: usize = 20;
/// In names of values stands this for a file, which ids of files do not reach.
const NO_FILE: u64 = u64::MAX;

/// Which keys are written to, and which were asked for. The values are in the cache of the caller.
#[derive(Debug)]
pub(crate) struct RowCache {
    /// The sequence of the last batch that wrote a key of the slot.
    notes: Box<[AtomicU64]>,
    /// Marks of the last four keys that were asked for in each place, the last one lowest.
    asked: Box<[AtomicU64]>,
    /// Values that came in. As long as there is none, who writes has nothing to take out.
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

    fn head(&self, sequence: u64) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&sequence.to_le_bytes());
        head[8..16].copy_from_slice(&self.tree.0.to_le_bytes());
        head[16..].copy_from_slice(&(self.key.len() as u32).to_le_bytes());
        head
    }
}

impl RowCache {
    /// With a cache of this budget; a budget of 0 keeps nothing.
    pub(crate) fn new(budget_bytes: usize) -> RowCache {
        let places = if budget_bytes == 0 { 0 } else { (budget_bytes / BYTES_A_PLACE).next_power_of_two() };
        RowCache {
            notes: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            asked: (0..places).map(|_| AtomicU64::new(0)).collect(),
            came: AtomicUsize::new(0),
        }
    }

    fn note(&self, hash: u64) -> &AtomicU64 {
        // The lowest bits choose a place in `asked`, the highest a page of a filter.
        &self.notes[(hash >> 24) as usize % SLOTS]
    }

    /// Notes that a key is asked for. True if it was before, not long ago: its value may be here then, or
    /// should be.
    pub(crate) fn ask(&self, hash: u64) -> bool {
        let Some(last) = self.asked.len().checked_sub(1) else { return false };
        let (place, mark) = (&self.asked[hash as usize & last], hash >> (u64::BITS - MARK_BITS) | 1);
        let marks = place.load(Relaxed);
        let known = (0..u64::BITS / MARK_BITS).any(|nth| marks >> (nth * MARK_BITS) & 0xffff == mark);
        if !known {
            // Of two that do this at once one is forgotten.
            place.store(marks << MARK_BITS | mark, Relaxed);
        }
        known
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
        let found = cache.get(file, offset)?;
        let (head, rest) = found.split_first_chunk()?;
        let at = u64::from_le_bytes(*head.first_chunk()?);
        let same = *head == wanted.head(at) && rest.starts_with(wanted.key);
        (same && at <= sequence && at >= ranges_at).then(|| found.slice(HEAD + wanted.key.len()..))
    }

    /// Takes in the value that a reader at `sequence` has found.
    pub(crate) fn put(
        &self,
        cache: &Cache,
        wanted: &Wanted<'_>,
        sequence: u64,
        ranges_at: impl Fn() -> u64,
        value: &[u8],
    ) {
        if value.len() > MOST_BYTES || wanted.key.len() > MOST_BYTES {
            return;
        }
        let mut entry = Vec::with_capacity(HEAD + wanted.key.len() + value.len());
        entry.extend_from_slice(&wanted.head(sequence));
        entry.extend_from_slice(wanted.key);
        entry.extend_from_slice(value);
        self.came.fetch_add(1, SeqCst);
        cache.replace(wanted.name(), entry.into(), || {
            self.note(wanted.hash).load(SeqCst) <= sequence && ranges_at() <= sequence
        });
    }

    /// Before a batch with this sequence is shown: it writes a key with this hash.
    pub(crate) fn write(&self, cache: &Cache, wanted: &Wanted<'_>, sequence: u64) {
        self.note(wanted.hash).store(sequence, SeqCst);
        if self.came.load(SeqCst) > 0 {
            cache.hollow(wanted.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: TreeId = TreeId(3);

    fn wanted(key: &[u8]) -> Wanted<'_> {
        Wanted { tree: TREE, key, hash: 7 }
    }

    fn cached(sequence: u64, value: &[u8]) -> (Cache, RowCache) {
        let (cache, rows) = (Cache::new(1 << 20), RowCache::new(1 << 20));
        assert_eq!(rows.get(&cache, &wanted(b"k"), sequence, 0), None);
        rows.put(&cache, &wanted(b"k"), sequence, || 0, value);
        (cache, rows)
    }

    #[test]
    fn the_last_keys_that_were_asked_for_are_known() {
        let rows = RowCache::new(1 << 20);
        let key = |n: u64| n << 48 | 5;
        assert!((0..4).all(|n| !rows.ask(key(2 * n))));
        assert!((0..4).all(|n| rows.ask(key(2 * n))));
        assert!(!rows.ask(key(9)));
        assert!(!rows.ask(key(0)), "the oldest had to go");
        assert!(rows.ask(key(9)));
        assert!(!rows.ask(6), "another place");
        let none = RowCache::new(0);
        assert!(!none.ask(1) && !none.ask(1), "without a budget nothing is known");
    }

    #[test]
    fn a_value_is_for_its_key_and_its_time() {
        let (cache, rows) = cached(5, b"v");
        let got = |key: &'static [u8], sequence, ranges_at| {
            rows.get(&cache, &wanted(key), sequence, ranges_at).map(|value| value.to_vec())
        };
        assert_eq!(got(b"k", 5, 0), Some(b"v".to_vec()));
        assert_eq!(got(b"k", 9, 5), Some(b"v".to_vec()));
        assert_eq!(got(b"k", 4, 0), None, "for a reader of the past it may be too new");
        assert_eq!(got(b"k", 9, 6), None, "a range was deleted since");
        assert_eq!(got(b"l", 9, 0), None, "another key of the same hash");
        let other = Wanted { tree: TreeId(4), ..wanted(b"k") };
        assert_eq!(rows.get(&cache, &other, 9, 0), None);
    }

    #[test]
    fn who_read_before_a_write_does_not_bring_it_back() {
        let (cache, rows) = cached(5, b"old");
        rows.write(&cache, &wanted(b"k"), 6);
        assert_eq!(rows.get(&cache, &wanted(b"k"), 5, 0), None);
        rows.put(&cache, &wanted(b"k"), 5, || 0, b"old");
        assert_eq!(rows.get(&cache, &wanted(b"k"), 6, 0), None);
        rows.put(&cache, &wanted(b"k"), 6, || 7, b"covered by a deletion that is not shown");
        assert_eq!(rows.get(&cache, &wanted(b"k"), 7, 0), None);
        rows.put(&cache, &wanted(b"k"), 6, || 0, b"new");
        assert_eq!(rows.get(&cache, &wanted(b"k"), 6, 0).as_deref(), Some(&b"new"[..]));
    }
}
