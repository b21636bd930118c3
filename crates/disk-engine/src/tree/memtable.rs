//! [`Memtable`]: what was written and is in no file yet.
//!
//! Keys in order, each with the values that batches wrote to it ([`Values`]). One writer, many
//! readers; a reader names the sequence up to which it sees, so it does not meet half a batch.
//!
//! They are in one ordered map under a lock as long as they are few, which they stay in most trees.
//! Then they are split by their highest bits over some such maps, so that readers and the writer
//! seldom want the same one. Keys of tables begin with a token and spread evenly; keys that do not
//! merely share a lock. Maps under locks and not a skip list: measured, a skip list takes three times
//! as long for both (see `docs/engine.md`).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::{
        OnceLock, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Release},
    },
};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    key::{Headed, Key, Wanted},
    ranges::{Mark, Ranges},
    rule::Merge,
    values::Values,
};

/// Values of one key with their sequences. Most keys have one or two.
pub(crate) type Versions = SmallVec<[(u64, Bytes); 2]>;

#[derive(Debug)]
pub(crate) struct Memtable {
    /// The keys, until they are split.
    few: Shard,
    /// The keys, once they are. Set under the lock of `few`.
    shards: OnceLock<Box<[Shard]>>,
    deletions: RwLock<Deletions>,
    /// Whether `deletions` has any: readers of a memtable without do not take its lock.
    has_deletions: AtomicBool,
    bytes: AtomicUsize,
    /// The lowest timestamp of a value, `i64::MAX` if there is none.
    oldest: AtomicI64,
    /// The lowest position of a change, `u64::MAX` if there is none.
    first_position: AtomicU64,
    last_position: AtomicU64,
    last_sequence: AtomicU64,
}

type Keys = BTreeMap<Key, Values>;
type Shard = RwLock<Keys>;

/// Where the keys are.
enum Where<'m> {
    Few(RwLockReadGuard<'m, Keys>),
    /// Ascending.
    Shards(&'m [Shard]),
}

#[derive(Debug, Default)]
struct Deletions {
    ranges: Ranges,
    /// Memory they take.
    bytes: isize,
    /// The same, at which marks that no reader tells apart are folded.
    fold_at: isize,
}

/// The number of shards is 2 to the power of this.
const SHARD_BITS: u32 = 6;
/// Keys that are few.
const FEW: usize = if cfg!(test) { 8 } else { 1024 };

/// What a shared slice of bytes takes beside its bytes: the allocator's rounding and header, and the
/// count of those who share it.
pub(crate) const SHARED_COST: isize = 48;
/// What a key with one value takes beside their bytes: its place in a node of a map that is 70 %
/// full, and two shared slices. The test of weights compares it with what the allocator says.
const KEY_COST: isize = (size_of::<(Key, Values)>() * 10 / 7) as isize + 2 * SHARED_COST;
/// Memory of deletions below which nothing is folded.
const FOLD_BYTES: isize = 4 << 10;

/// What changes a memtable: the sequence and position of a batch, and what to ask for the sequences
/// that readers are at.
#[derive(Clone, Copy)]
pub(crate) struct Writing<'w> {
    pub(crate) sequence: u64,
    pub(crate) position: u64,
    pub(crate) watched: &'w dyn Fn() -> Vec<u64>,
}

impl Default for Memtable {
    fn default() -> Memtable {
        Memtable {
            few: Shard::default(),
            shards: OnceLock::new(),
            deletions: RwLock::default(),
            has_deletions: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            oldest: AtomicI64::new(i64::MAX),
            first_position: AtomicU64::new(u64::MAX),
            last_position: AtomicU64::new(0),
            last_sequence: AtomicU64::new(0),
        }
    }
}

impl Memtable {
    /// Merges a value into a key. The sequence is not below any before. Returns how much more memory
    /// it takes than before.
    pub(crate) fn put(
        &self,
        rule: &dyn Merge,
        writing: Writing<'_>,
        key: Bytes,
        value: Bytes,
    ) -> Result<isize, Malformed> {
        let oldest = rule.oldest(&value)?;
        let key = Key::new(key);
        let grown = if let Some(shards) = self.shards.get() {
            let mut keys = shards[shard_of(key.head())].write().expect(UNPOISONED);
            put(&mut keys, rule, writing, key, value)?
        } else {
            let mut keys = self.few.write().expect(UNPOISONED);
            let grown = put(&mut keys, rule, writing, key, value)?;
            if keys.len() >= FEW {
                self.shards.get_or_init(|| split(std::mem::take(&mut keys)));
            }
            grown
        };
        if oldest < self.oldest() {
            self.oldest.store(oldest, Release);
        }
        self.written(writing, grown);
        Ok(grown)
    }

    /// Deletes `from <= key < to`, as [`Memtable::put`] puts.
    pub(crate) fn delete_range(
        &self,
        writing: Writing<'_>,
        from: &[u8],
        to: Option<&[u8]>,
        timestamp: i64,
    ) -> isize {
        let mut deletions = self.deletions.write().expect(UNPOISONED);
        let before = deletions.bytes;
        deletions.bytes += deletions.ranges.add(from, to, (writing.sequence, timestamp));
        if deletions.bytes >= deletions.fold_at.max(FOLD_BYTES) {
            let watched = (writing.watched)();
            deletions.ranges.thin(|_, _, marks| last_of_stripes(marks, &watched));
            deletions.bytes = deletions.ranges.memory_bytes() as isize;
            deletions.fold_at = 2 * deletions.bytes;
        }
        let grown = deletions.bytes - before;
        drop(deletions);
        self.has_deletions.store(true, Release);
        self.written(writing, grown);
        grown
    }

    fn written(&self, writing: Writing<'_>, grown: isize) {
        // There is one writer, so nothing comes between a load and its store.
        self.bytes.store(self.bytes().wrapping_add_signed(grown), Release);
        if writing.position < self.first_position.load(Acquire) {
            self.first_position.store(writing.position, Release);
        }
        if writing.position > self.last_position() {
            self.last_position.store(writing.position, Release);
        }
        self.last_sequence.store(writing.sequence, Release);
    }

    fn keys(&self) -> Where<'_> {
        if let Some(shards) = self.shards.get() {
            return Where::Shards(shards);
        }
        let few = self.few.read().expect(UNPOISONED);
        // They may have been split before this had the lock, but not while it has it.
        self.shards.get().map_or(Where::Few(few), |shards| Where::Shards(shards))
    }

    /// Values of `key` up to `sequence`, oldest first.
    pub(crate) fn collect(&self, key: &[u8], sequence: u64, into: &mut Versions) {
        let wanted = Wanted::new(key);
        let keys = match self.keys() {
            Where::Shards(shards) => shards[shard_of(wanted.head())].read().expect(UNPOISONED),
            Where::Few(few) => few,
        };
        if let Some(values) = keys.get(&wanted as &dyn Headed) {
            values.up_to(sequence, into);
        }
    }

    /// Up to `limit` keys within the bounds, from the front or from the back.
    pub(crate) fn chunk(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backward: bool,
        limit: usize,
    ) -> Vec<(Bytes, Versions)> {
        let mut chunk = Vec::new();
        let wanted = (bounds.0.map(Wanted::new), bounds.1.map(Wanted::new));
        let range = (wanted.0.as_ref().map(as_headed), wanted.1.as_ref().map(as_headed));
        let owned = |(key, values): (&Key, &Values)| (key.bytes.clone(), values.all());
        let mut add = |keys: &Keys| {
            let found = keys.range::<dyn Headed, _>(range);
            let left = limit - chunk.len();
            if backward {
                chunk.extend(found.rev().take(left).map(owned));
            } else {
                chunk.extend(found.take(left).map(owned));
            }
            chunk.len() < limit
        };
        match self.keys() {
            Where::Few(few) => {
                add(&few);
            }
            Where::Shards(shards) => {
                let first = head_of(&wanted.0).map_or(0, shard_of);
                let last = head_of(&wanted.1).map_or(shards.len() - 1, shard_of);
                let within = &shards[first..=last];
                let mut add = |shard: &Shard| add(&shard.read().expect(UNPOISONED));
                if backward {
                    within.iter().rev().all(&mut add)
                } else {
                    within.iter().all(&mut add)
                };
            }
        }
        chunk
    }

    /// See [`Ranges::at`].
    pub(crate) fn deleted_at(&self, key: &[u8], sequence: u64) -> i64 {
        if !self.has_deletions.load(Acquire) {
            return NO_TIMESTAMP;
        }
        self.deletions().ranges.at(key, sequence)
    }

    pub(crate) fn ranges(&self) -> Ranges {
        self.deletions().ranges.clone()
    }

    /// See [`Ranges::cut_some`].
    pub(crate) fn some_ranges(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> (Ranges, Option<Bytes>) {
        self.deletions().ranges.cut_some(from, to, limit)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first_position().is_none()
    }

    /// The lowest position of a change in it.
    pub(crate) fn first_position(&self) -> Option<u64> {
        Some(self.first_position.load(Acquire)).filter(|&first| first != u64::MAX)
    }

    /// The highest position of a change in it.
    pub(crate) fn last_position(&self) -> u64 {
        self.last_position.load(Acquire)
    }

    /// The highest sequence of a change in it.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Acquire)
    }

    /// The lowest timestamp of a value in it, `i64::MAX` if there is none.
    pub(crate) fn oldest(&self) -> i64 {
        self.oldest.load(Acquire)
    }

    /// Memory it takes, an estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Acquire)
    }

    fn deletions(&self) -> RwLockReadGuard<'_, Deletions> {
        self.deletions.read().expect(UNPOISONED)
    }
}

/// Merges a value into a key of one map; see [`Memtable::put`].
fn put(
    keys: &mut Keys,
    rule: &dyn Merge,
    writing: Writing<'_>,
    key: Key,
    value: Bytes,
) -> Result<isize, Malformed> {
    match keys.entry(key) {
        Entry::Vacant(entry) => {
            let bytes = entry.key().bytes.len() + value.len();
            entry.insert(Values::new(writing.sequence, value));
            Ok(bytes as isize + KEY_COST)
        }
        Entry::Occupied(mut entry) => entry.get_mut().push(rule, writing.sequence, value, writing.watched),
    }
}

/// The keys in shards.
fn split(keys: Keys) -> Box<[Shard]> {
    let mut shards: Vec<Vec<(Key, Values)>> = (0..1 << SHARD_BITS).map(|_| Vec::new()).collect();
    for (key, values) in keys {
        shards[shard_of(key.head())].push((key, values));
    }
    shards.into_iter().map(|keys| RwLock::new(keys.into_iter().collect())).collect()
}

fn shard_of(head: u64) -> usize {
    (head >> (u64::BITS - SHARD_BITS)) as usize
}

fn head_of(bound: &Bound<Wanted<'_>>) -> Option<u64> {
    match bound {
        Bound::Included(wanted) | Bound::Excluded(wanted) => Some(wanted.head()),
        Bound::Unbounded => None,
    }
}

fn as_headed<'k>(wanted: &'k Wanted<'_>) -> &'k dyn Headed {
    wanted
}

/// Of the marks between which no reader stands the last, which is the latest.
fn last_of_stripes(marks: &[Mark], watched: &[u64]) -> Vec<Mark> {
    let stripe = |mark: &Mark| watched.partition_point(|&moment| moment < mark.0);
    let stripes = marks.chunk_by(|a, b| stripe(a) == stripe(b));
    stripes.filter_map(|stripe| stripe.last().copied()).collect()
}

const UNPOISONED: &str = "no code panics while it holds this lock";
