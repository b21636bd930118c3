//! [`Cache`]: parts of files that were read and checked, under a budget in bytes.
//!
//! Least recently used goes first. One lock over two ordered maps: a lookup is two small changes
//! under it. (`quick_cache` would share the lock; it comes when a measurement asks for it.)

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{block::Block, filter::Filter, ranges::Ranges};

/// What a block of a file becomes.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Data or index.
    Block(Arc<Block>),
    Filter(Arc<Filter>),
    Ranges(Arc<Ranges>),
}

impl Part {
    fn memory_bytes(&self) -> usize {
        const HANDLES: usize = 200;
        HANDLES
            + match self {
                Part::Block(block) => block.memory_bytes(),
                Part::Filter(filter) => filter.memory_bytes(),
                Part::Ranges(ranges) => ranges.memory_bytes(),
            }
    }
}

/// File id and offset.
type Key = (u64, u64);

#[derive(Debug)]
pub(crate) struct Cache {
    budget_bytes: usize,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    by_key: BTreeMap<Key, (u64, Part)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(budget_bytes: usize) -> Cache {
        Cache { budget_bytes, parts: Mutex::default() }
    }

    pub(crate) fn get(&self, key: Key) -> Option<Part> {
        let mut parts = self.lock();
        parts.uses += 1;
        let now = parts.uses;
        let (used, part) = parts.by_key.get_mut(&key)?;
        let before = std::mem::replace(used, now);
        let part = part.clone();
        parts.by_use.remove(&before);
        parts.by_use.insert(now, key);
        Some(part)
    }

    pub(crate) fn put(&self, key: Key, part: Part) {
        let mut parts = self.lock();
        parts.uses += 1;
        let now = parts.uses;
        parts.bytes += part.memory_bytes();
        parts.by_use.insert(now, key);
        if let Some((used, old)) = parts.by_key.insert(key, (now, part)) {
            parts.bytes -= old.memory_bytes();
            parts.by_use.remove(&used);
        }
        while parts.bytes > self.budget_bytes
            && let Some((_, key)) = parts.by_use.pop_first()
        {
            parts.forget(key);
        }
    }

    /// Forgets the parts of a file that is gone.
    pub(crate) fn forget_file(&self, file_id: u64) {
        let mut parts = self.lock();
        let keys: Vec<Key> =
            parts.by_key.range((file_id, 0)..=(file_id, u64::MAX)).map(|part| *part.0).collect();
        for key in keys {
            if let Some((used, _)) = parts.by_key.get(&key) {
                let used = *used;
                parts.by_use.remove(&used);
            }
            parts.forget(key);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Parts> {
        // What a panicked thread leaves is plain values, at worst counted wrong.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn forget(&mut self, key: Key) {
        if let Some((_, part)) = self.by_key.remove(&key) {
            self.bytes -= part.memory_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(len: u64) -> Part {
        let range = vec![1; len as usize];
        let mut ranges = Ranges::default();
        ranges.add(&range, None, (1, 1));
        Part::Ranges(Arc::new(ranges))
    }

    #[test]
    fn it_keeps_what_is_used_within_its_budget() {
        let one = part(100).memory_bytes();
        let cache = Cache::new(3 * one);
        for offset in 0..3 {
            cache.put((1, offset), part(100));
        }
        assert!(cache.get((1, 0)).is_some());
        cache.put((2, 0), part(100));
        assert!(cache.get((1, 1)).is_none(), "the least recently used went");
        assert!(cache.get((1, 0)).is_some() && cache.get((1, 2)).is_some() && cache.get((2, 0)).is_some());
        assert_eq!(cache.bytes(), 3 * one);
        cache.put((2, 0), part(100));
        assert_eq!(cache.bytes(), 3 * one, "put again");
        cache.forget_file(1);
        assert_eq!(cache.bytes(), one);
        cache.put((3, 0), part(10_000));
        assert_eq!(cache.bytes(), 0, "larger than the budget");
    }
}
