//! [`Cache`]: blocks that were read and checked, under a budget in bytes.
//!
//! What stays is decided as in S3-FIFO (Yang et al., SOSP 2023): a block comes into a small queue, a
//! tenth of the budget; if it was asked for again by the time it reaches the end of that, it goes
//! into the large one, where it gets another turn for each time it was asked for. So a scan of
//! everything flows through the small queue and leaves the large one alone; a lookup moves
//! nothing, it raises a number. Blocks that left the small queue are remembered by name for a while:
//! if one comes back, it goes into the large one at once.
//!
//! There are up to 16 parts by the hash of the name, each under its own lock. (The crate `quick_cache`
//! does much the same, but draws its hashes from the entropy of the process, so that no run of the
//! simulation would be like another.)

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// File id and offset; or what `row_cache` calls a value.
type Name = (u64, u64);

/// Memory of a block beside its bytes: its handle, its place in the map and in a queue.
const ENTRY_COST: usize = 128;
/// The least budget for which a part of its own pays.
const PART_BYTES: usize = 4 << 20;
const MAX_PARTS: usize = 16;
/// Turns in the large queue that a block can save up.
const MAX_USES: u8 = 3;

#[derive(Debug)]
pub(crate) struct Cache {
    parts: Vec<Mutex<Part>>,
}

impl Cache {
    pub(crate) fn new(budget_bytes: usize) -> Cache {
        let count = (budget_bytes / PART_BYTES).clamp(1, MAX_PARTS);
        let part = || Mutex::new(Part { budget_bytes: budget_bytes / count, ..Part::default() });
        Cache { parts: (0..count).map(|_| part()).collect() }
    }

    fn part(&self, name: Name) -> MutexGuard<'_, Part> {
        // The upper bits: the map of the part goes by the lower ones.
        lock(&self.parts[(mix(name) >> 32) as usize % self.parts.len()])
    }

    pub(crate) fn get(&self, file_id: u64, offset: u64) -> Option<Bytes> {
        let mut part = self.part((file_id, offset));
        let entry = part.entries.get_mut(&(file_id, offset))?;
        entry.uses = (entry.uses + 1).min(MAX_USES);
        Some(entry.block.clone())
    }

    pub(crate) fn put(&self, file_id: u64, offset: u64, block: Bytes) {
        self.part((file_id, offset)).put((file_id, offset), block);
    }

    /// Puts a block in, in the place of the one with its name if there is one, if `still` says so: under the
    /// lock under which [`Cache::hollow`] would empty it. The caller knows that it is used again and again:
    /// a new one begins in the large queue.
    pub(crate) fn replace(&self, name: Name, block: Bytes, still: impl FnOnce() -> bool) {
        let mut part = self.part(name);
        if !still() {
            return;
        }
        if part.entries.contains_key(&name) {
            part.exchange(name, block);
        } else {
            part.insert(name, Entry { block, uses: 0, large: true });
        }
    }

    /// Empties a block, if it is there: it keeps its turn, so that one which is emptied and filled for ever
    /// does not stand in a queue for each time.
    pub(crate) fn hollow(&self, name: Name) {
        self.part(name).exchange(name, Bytes::new());
    }

    /// Forgets the blocks of a file that is gone.
    pub(crate) fn forget_file(&self, file_id: u64) {
        for part in &self.parts {
            lock(part).forget_file(file_id);
        }
    }

    /// Memory of all blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).bytes()).sum()
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    // What a panicked thread leaves is plain values, at worst counted wrong.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Entry {
    block: Bytes,
    uses: u8,
    large: bool,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.block.len() + ENTRY_COST
    }
}

/// Its order is that of the queues: the maps only say what is where.
#[derive(Debug, Default)]
struct Part {
    budget_bytes: usize,
    entries: HashMap<Name, Entry, BuildHasherDefault<Mixer>>,
    /// New ones, the oldest in front.
    small: VecDeque<Name>,
    small_bytes: usize,
    large: VecDeque<Name>,
    large_bytes: usize,
    /// Names of blocks that left the small queue, as many as there are blocks in the large one.
    gone: VecDeque<Name>,
    gone_names: HashSet<Name, BuildHasherDefault<Mixer>>,
}

impl Part {
    fn bytes(&self) -> usize {
        self.small_bytes + self.large_bytes
    }

    fn put(&mut self, name: Name, block: Bytes) {
        if let Some(entry) = self.entries.get_mut(&name) {
            // Two readers have missed it: it is the same block.
            entry.uses = (entry.uses + 1).min(MAX_USES);
            return;
        }
        let large = self.gone_names.contains(&name);
        self.insert(name, Entry { block, uses: 0, large });
    }

    /// Takes in one that is not there.
    fn insert(&mut self, name: Name, entry: Entry) {
        if entry.bytes() > self.budget_bytes {
            return;
        }
        if entry.large {
            self.large.push_back(name);
            self.large_bytes += entry.bytes();
        } else {
            self.small.push_back(name);
            self.small_bytes += entry.bytes();
        }
        self.entries.insert(name, entry);
        self.shrink();
    }

    /// Puts another block in the place of one that is there.
    fn exchange(&mut self, name: Name, block: Bytes) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        let bytes = if entry.large { &mut self.large_bytes } else { &mut self.small_bytes };
        *bytes -= entry.bytes();
        entry.block = block;
        *bytes += entry.bytes();
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes() > self.budget_bytes {
            if self.small_bytes > self.budget_bytes / 10 || self.large.is_empty() {
                self.end_small();
            } else {
                self.end_large();
            }
        }
    }

    /// The oldest of the small queue leaves it.
    fn end_small(&mut self) {
        let name = self.small.pop_front().expect("its bytes are above 0");
        let entry = self.entries.get_mut(&name).expect("what is in a queue is there");
        let bytes = entry.bytes();
        self.small_bytes -= bytes;
        if entry.uses > 0 {
            (entry.uses, entry.large) = (0, true);
            self.large.push_back(name);
            self.large_bytes += bytes;
            return;
        }
        self.entries.remove(&name);
        if self.gone_names.insert(name) {
            self.gone.push_back(name);
        }
        while self.gone.len() > self.large.len() + 16
            && let Some(name) = self.gone.pop_front()
        {
            self.gone_names.remove(&name);
        }
    }

    /// The oldest of the large queue leaves it, or gets another turn.
    fn end_large(&mut self) {
        let name = self.large.pop_front().expect("its bytes are above 0");
        let entry = self.entries.get_mut(&name).expect("what is in a queue is there");
        if entry.uses > 0 {
            entry.uses -= 1;
            self.large.push_back(name);
            return;
        }
        self.large_bytes -= entry.bytes();
        self.entries.remove(&name);
    }

    fn forget_file(&mut self, file_id: u64) {
        let of_file = |name: &Name| name.0 == file_id;
        for (queue, bytes) in
            [(&mut self.small, &mut self.small_bytes), (&mut self.large, &mut self.large_bytes)]
        {
            queue.retain(|name| {
                if of_file(name) {
                    let entry = self.entries.remove(name).expect("what is in a queue is there");
                    *bytes -= entry.bytes();
                }
                !of_file(name)
            });
        }
    }
}

fn mix((file_id, offset): Name) -> u64 {
    let product = u128::from(file_id ^ 0x243f_6a88_85a3_08d3) * u128::from(offset ^ 0x1319_8a2e_0370_7344);
    product as u64 ^ (product >> 64) as u64
}

/// A hasher for names that is the same in every process. Nobody chooses names to make them collide.
#[derive(Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a name is two numbers")
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix((self.0, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(len: usize) -> Bytes {
        Bytes::from(vec![1; len])
    }

    const ONE: usize = 100 + ENTRY_COST;

    #[test]
    fn it_keeps_what_is_used_and_lets_a_scan_pass() {
        let cache = Cache::new(100 * ONE);
        for offset in 0..80 {
            cache.put(1, offset, block(100));
            assert!(cache.get(1, offset).is_some());
        }
        for offset in 0..10_000 {
            cache.put(2, offset, block(100));
        }
        let kept = (0..80).filter(|&offset| cache.get(1, offset).is_some()).count();
        assert_eq!(kept, 80, "each was asked for after it came");
        assert!(cache.bytes() <= 100 * ONE && cache.bytes() > 95 * ONE);
    }

    #[test]
    fn what_is_not_used_any_more_goes() {
        let cache = Cache::new(100 * ONE);
        for file in 0..10 {
            for _ in 0..3 {
                for offset in 0..80 {
                    cache.put(file, offset, block(100));
                    cache.get(file, offset);
                }
            }
            let kept = (0..80).filter(|&offset| cache.get(file, offset).is_some()).count();
            assert!(kept > 70, "{kept} of the last 80 that were in use");
        }
    }

    #[test]
    fn a_block_is_emptied_and_filled_in_its_place() {
        let cache = Cache::new(10 * ONE);
        cache.replace((1, 1), block(100), || false);
        assert!(cache.get(1, 1).is_none());
        for len in 0..10_000 {
            cache.replace((1, 1), block(len % 1000), || true);
            assert_eq!(cache.get(1, 1).map(|block| block.len()), Some(len % 1000));
            cache.hollow((1, 1));
            assert_eq!(cache.get(1, 1).map(|block| block.len()), Some(0));
            assert_eq!(cache.bytes(), ENTRY_COST);
        }
        let part = lock(&cache.parts[0]);
        assert_eq!((part.small.len(), part.large.len()), (0, 1));
        drop(part);
        cache.replace((1, 1), block(10 * ONE), || true);
        assert_eq!(cache.bytes(), 0, "it was over the budget");
    }

    #[test]
    fn what_comes_back_soon_stays() {
        let cache = Cache::new(100 * ONE);
        for offset in 0..200 {
            cache.put(1, offset, block(100));
        }
        // The first half had to go; 95 was one of the last.
        cache.put(1, 95, block(100));
        for offset in 0..1_000 {
            cache.put(2, offset, block(100));
        }
        assert!(cache.get(1, 95).is_some());
    }

    #[test]
    fn its_budget_holds_and_files_are_forgotten() {
        for budget in [0, 1_000, 1 << 20, 100 << 20] {
            let cache = Cache::new(budget);
            for offset in 0..3_000 {
                cache.put(offset % 7, offset, block(offset as usize));
                cache.get(offset % 7, offset / 2);
            }
            cache.put(1, 1 << 40, block(200 << 20));
            assert!(cache.get(1, 1 << 40).is_none(), "larger than the budget");
            assert!(cache.bytes() <= budget);
            for file in 0..7 {
                cache.forget_file(file);
                assert!((0..3_000).filter(|n| n % 7 == file).all(|n| cache.get(file, n).is_none()));
            }
            assert_eq!(cache.bytes(), 0);
        }
    }
}
