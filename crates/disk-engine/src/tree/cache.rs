//! [`Cache`]: blocks that were read and checked, under a budget in bytes.
//!
//! As long as there is room, what comes stays. Then a block comes in when it was asked for before, not long ago:
//! about as many names are remembered ([`Known`]) as there are blocks in the budget. Those that are in stand in a
//! queue, and one that was asked for since it joined gets another turn at its end, up to three of them. So a scan of
//! everything leaves alone what is in use, a lookup moves nothing but a number, and a block that is asked for once
//! costs its reader neither a place nor memory that nothing has touched lately. The price: a block that is asked for a
//! second time is read a second time.
//!
//! S3-FIFO (Yang et al., SOSP 2023), which was here before, lets each block in, into a small queue before the large
//! one: random reads of more data than fits filled and emptied it, which took them a tenth of their time. And it
//! remembered as many names as the large queue had: once rows, which are small, were in that, every block was
//! remembered, came in, and drove out rows.
//!
//! There are up to 16 parts by the hash of the name, each under its own lock. (The crate `quick_cache`
//! does much the same, but draws its hashes from the entropy of the process, so that no run of the
//! simulation would be like another.)

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::known::Known;

/// File id and offset; or what `row_cache` calls a value.
type Name = (u64, u64);

/// Memory of a block beside its bytes: its handle, its place in the map and in a queue.
const ENTRY_COST: usize = 128;
/// The least budget for which a part of its own pays.
const PART_BYTES: usize = 4 << 20;
const MAX_PARTS: usize = 16;
/// Turns in the queue that a block can save up.
const MAX_USES: u8 = 3;
/// Bytes of the budget for each name that is remembered: those of a block.
const BYTES_A_NAME: usize = if cfg!(test) { 128 } else { 4 << 10 };

#[derive(Debug)]
pub(crate) struct Cache {
    parts: Vec<Mutex<Part>>,
    /// Names of blocks that found no room.
    met: Known,
}

impl Cache {
    pub(crate) fn new(budget_bytes: usize) -> Cache {
        let count = (budget_bytes / PART_BYTES).clamp(1, MAX_PARTS);
        let part = || Mutex::new(Part { budget_bytes: budget_bytes / count, ..Part::default() });
        let met = Known::of(budget_bytes.div_ceil(BYTES_A_NAME));
        Cache { parts: (0..count).map(|_| part()).collect(), met }
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

    /// Takes in a block that was read, if it is worth it.
    pub(crate) fn put(&self, file_id: u64, offset: u64, block: &Bytes) {
        let (name, hash) = ((file_id, offset), mix((file_id, offset)));
        if !self.part(name).put(name, block, self.met.knows(hash)) {
            self.met.remember(hash);
        }
    }

    /// A block that is to be exchanged, for one of the turns that it has saved up; one that has none, because
    /// nobody asked for it lately, is not worth it and is emptied instead.
    pub(crate) fn spend(&self, name: Name) -> Option<Bytes> {
        let mut part = self.part(name);
        let entry = part.entries.get_mut(&name).filter(|entry| !entry.block.is_empty())?;
        if entry.uses > 0 {
            entry.uses -= 1;
            return Some(entry.block.clone());
        }
        part.exchange(name, Bytes::new());
        None
    }

    /// Puts a block in, in the place of the one with its name if there is one, if `still` says so: under the
    /// lock under which [`Cache::exchange`] would take it out. The caller knows that it is used again and again:
    /// it comes in, and a new one has a turn saved up.
    pub(crate) fn replace(&self, name: Name, block: Bytes, still: impl FnOnce() -> bool) {
        let mut part = self.part(name);
        if !still() {
            return;
        }
        if part.entries.contains_key(&name) {
            part.exchange(name, block);
        } else {
            part.insert(name, Entry { block, uses: 1 });
        }
    }

    /// Puts another block, or an empty one, in the place of the one with this name, if there is one. It keeps its
    /// turn, so that one which is emptied and filled for ever does not stand in a queue for each time.
    pub(crate) fn exchange(&self, name: Name, block: Bytes) {
        self.part(name).exchange(name, block);
    }

    /// Forgets the blocks of a file that is gone.
    pub(crate) fn forget_file(&self, file_id: u64) {
        for part in &self.parts {
            lock(part).forget_file(file_id);
        }
    }

    /// Memory of all blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| lock(part).bytes).sum()
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
}

impl Entry {
    fn bytes(&self) -> usize {
        self.block.len() + ENTRY_COST
    }
}

/// Its order is that of the queue: the map only says what is where.
#[derive(Debug, Default)]
struct Part {
    budget_bytes: usize,
    entries: HashMap<Name, Entry, BuildHasherDefault<Mixer>>,
    /// The one whose turn ends next in front.
    queue: VecDeque<Name>,
    bytes: usize,
}

impl Part {
    /// Takes in a block if it is `known` or there is room. False if it is not there afterwards.
    fn put(&mut self, name: Name, block: &Bytes, known: bool) -> bool {
        if let Some(entry) = self.entries.get_mut(&name) {
            // Two readers have missed it: it is the same block.
            entry.uses = (entry.uses + 1).min(MAX_USES);
            return true;
        }
        let entry = Entry { block: block.clone(), uses: 0 };
        let fits = known || self.bytes + entry.bytes() <= self.budget_bytes;
        fits && self.insert(name, entry)
    }

    /// Takes in one that is not there, unless it alone is too large.
    fn insert(&mut self, name: Name, entry: Entry) -> bool {
        if entry.bytes() > self.budget_bytes {
            return false;
        }
        self.bytes += entry.bytes();
        self.queue.push_back(name);
        self.entries.insert(name, entry);
        self.shrink();
        true
    }

    /// Puts another block in the place of one that is there.
    fn exchange(&mut self, name: Name, block: Bytes) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        self.bytes -= entry.bytes();
        entry.block = block;
        self.bytes += entry.bytes();
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes > self.budget_bytes {
            let name = self.queue.pop_front().expect("its bytes are above 0");
            let entry = self.entries.get_mut(&name).expect("what is in the queue is there");
            if entry.uses > 0 {
                entry.uses -= 1;
                self.queue.push_back(name);
            } else {
                self.bytes -= entry.bytes();
                self.entries.remove(&name);
            }
        }
    }

    fn forget_file(&mut self, file_id: u64) {
        let of_file = |name: &Name| name.0 == file_id;
        self.queue.retain(|name| {
            if of_file(name) {
                let entry = self.entries.remove(name).expect("what is in the queue is there");
                self.bytes -= entry.bytes();
            }
            !of_file(name)
        });
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

    /// Asks for a block as a reader does; true if it was there.
    fn read(cache: &Cache, file_id: u64, offset: u64) -> bool {
        let found = cache.get(file_id, offset).is_some();
        if !found {
            cache.put(file_id, offset, &block(100));
        }
        found
    }

    #[test]
    fn it_keeps_what_is_used_and_lets_a_scan_pass() {
        let cache = Cache::new(100 * ONE);
        for offset in 0..100 {
            assert!(!read(&cache, 1, offset));
            assert!(offset >= 80 || read(&cache, 1, offset), "there is room");
        }
        for offset in 0..10_000 {
            assert!(!read(&cache, 2, offset));
        }
        let kept = (0..80).filter(|&offset| cache.get(1, offset).is_some()).count();
        assert_eq!(kept, 80, "each was asked for after it came");
        assert!(cache.bytes() <= 100 * ONE && cache.bytes() > 95 * ONE);
    }

    #[test]
    fn what_is_not_used_any_more_goes() {
        let cache = Cache::new(100 * ONE);
        for file in 0..10 {
            for _ in 0..5 {
                for offset in 0..80 {
                    read(&cache, file, offset);
                }
            }
            let kept = (0..80).filter(|&offset| cache.get(file, offset).is_some()).count();
            assert!(kept > 60, "{kept} of the last 80 that were in use");
        }
    }

    #[test]
    fn a_block_is_emptied_and_filled_in_its_place() {
        let cache = Cache::new(10 * ONE);
        cache.replace((1, 1), block(100), || false);
        assert!(cache.get(1, 1).is_none());
        for len in 1..10_000 {
            cache.replace((1, 1), block(len % 1000), || true);
            assert_eq!(cache.get(1, 1).map(|block| block.len()), Some(len % 1000));
            cache.exchange((1, 1), Bytes::new());
            assert_eq!(cache.get(1, 1).map(|block| block.len()), Some(0));
            assert_eq!(cache.bytes(), ENTRY_COST);
        }
        assert_eq!(lock(&cache.parts[0]).queue.len(), 1);
        cache.replace((1, 1), block(10 * ONE), || true);
        assert_eq!(cache.bytes(), 0, "it was over the budget");
    }

    #[test]
    fn a_block_is_exchanged_as_often_as_it_was_used() {
        let cache = Cache::new(10 * ONE);
        assert_eq!(cache.spend((1, 1)), None);
        cache.replace((1, 1), block(7), || true);
        for _ in 0..9 {
            cache.get(1, 1);
        }
        for _ in 0..MAX_USES {
            assert_eq!(cache.spend((1, 1)), Some(block(7)));
        }
        assert_eq!(cache.spend((1, 1)), None);
        assert_eq!(cache.get(1, 1), Some(Bytes::new()), "it was emptied");
    }

    #[test]
    fn what_comes_back_soon_stays() {
        let cache = Cache::new(100 * ONE);
        for offset in 0..200 {
            assert!(!read(&cache, 1, offset));
        }
        // There was room for the first half; 195 is one of those that were met last.
        assert!(!read(&cache, 1, 195) && read(&cache, 1, 195));
    }

    #[test]
    fn its_budget_holds_and_files_are_forgotten() {
        for budget in [0, 1_000, 1 << 20, 100 << 20] {
            let cache = Cache::new(budget);
            for offset in 0..3_000 {
                cache.put(offset % 7, offset, &block(offset as usize));
                cache.get(offset % 7, offset / 2);
            }
            cache.put(1, 1 << 40, &block(200 << 20));
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
