//! [`Moments`]: which moments of a forest somebody looks at.
//!
//! A moment is a sequence: what was written up to it is seen. Compaction has to leave alone what
//! snapshots tell apart. Memtables fold the versions of a key while they are written, or a key that
//! is written a million times would take memory a million times until the flush; for that they have
//! to know of every reader, also of one that looks up a single key. So a reader leaves its moment in
//! one of some slots for as long as it reads, which costs it two writes to a line of memory that is
//! mostly its own.
//!
//! **Why no reader is missed.** The applier folds versions up to the visible sequence `v` only, and
//! counts `v` itself as looked at. A reader writes `s`, which was visible, into its slot, and then
//! looks whether `s` still is. If it is, either the applier reads the slot afterwards and finds it;
//! or it had read the slot before, and then nothing later than `s` was visible at that time either:
//! `v <= s`, and the reader sees all that was folded. (All of these are sequentially consistent, so
//! there is an order to argue by.)

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use super::forest::lock;

/// Readers that may be under way before the next has to take the lock: far more than threads that
/// read at the same time.
const SLOTS: usize = 64;

/// A reader's moment plus one; 0 is nobody's. Alone on its line of memory.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot(AtomicU64);

#[derive(Debug)]
pub(crate) struct Moments {
    /// The sequence of the last batch that new readers see.
    visible: AtomicU64,
    slots: [Slot; SLOTS],
    /// Of snapshots, and of readers that found no slot, with their number.
    held: Mutex<BTreeMap<u64, usize>>,
}

/// A reader, until it is dropped.
#[derive(Debug)]
pub(crate) struct Look {
    moments: Arc<Moments>,
    sequence: u64,
    /// `None`: it is held like a snapshot.
    slot: Option<usize>,
}

impl Moments {
    pub(crate) fn new(visible: u64) -> Arc<Moments> {
        let slots = std::array::from_fn(|_| Slot::default());
        Arc::new(Moments { visible: AtomicU64::new(visible), slots, held: Mutex::default() })
    }

    /// What a new reader sees.
    pub(crate) fn visible(&self) -> u64 {
        self.visible.load(SeqCst)
    }

    /// Shows a batch, which is whole. Only the applier calls this, with ascending sequences.
    pub(crate) fn show(&self, sequence: u64) {
        self.visible.store(sequence, SeqCst);
    }

    /// Begins to read what is visible now.
    pub(crate) fn look(self: &Arc<Self>) -> Look {
        let mut sequence = self.visible();
        let Some(slot) = self.take_slot(sequence) else { return self.hold(None) };
        loop {
            let now = self.visible();
            if now == sequence {
                return Look { moments: self.clone(), sequence, slot: Some(slot) };
            }
            sequence = now;
            self.slots[slot].0.store(sequence + 1, SeqCst);
        }
    }

    /// Begins to read at a moment that is looked at already, by whom the caller knows.
    pub(crate) fn look_at(self: &Arc<Self>, sequence: u64) -> Look {
        match self.take_slot(sequence) {
            Some(slot) => Look { moments: self.clone(), sequence, slot: Some(slot) },
            None => self.hold(Some(sequence)),
        }
    }

    /// Holds a moment, or what is visible now, so that compaction keeps it too.
    pub(crate) fn hold(self: &Arc<Self>, sequence: Option<u64>) -> Look {
        let mut held = lock(&self.held);
        // Under the lock: who lists them later finds it, who did before has shown no more than this.
        let sequence = sequence.unwrap_or_else(|| self.visible());
        *held.entry(sequence).or_default() += 1;
        drop(held);
        Look { moments: self.clone(), sequence, slot: None }
    }

    fn take_slot(&self, sequence: u64) -> Option<usize> {
        let first = favourite();
        (0..SLOTS)
            .map(|nth| (first + nth) % SLOTS)
            .find(|&slot| self.slots[slot].0.compare_exchange(0, sequence + 1, SeqCst, Relaxed).is_ok())
    }

    /// What compaction keeps apart, ascending.
    pub(crate) fn held(&self) -> Vec<u64> {
        lock(&self.held).keys().copied().collect()
    }

    /// All that anybody looks at or may begin to look at, ascending.
    pub(crate) fn watched(&self) -> Vec<u64> {
        // First, as the module says: whoever is not in a slot yet sees at least this much.
        let mut watched = vec![self.visible()];
        watched.extend(self.slots.iter().filter_map(|slot| slot.0.load(SeqCst).checked_sub(1)));
        watched.extend(lock(&self.held).keys());
        watched.sort_unstable();
        watched.dedup();
        watched
    }
}

/// The slot that this thread tries first.
fn favourite() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed));
    }
    MINE.with(Cell::get)
}

impl Look {
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Clone for Look {
    fn clone(&self) -> Look {
        self.moments.look_at(self.sequence)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.moments.slots[slot].0.store(0, SeqCst);
            return;
        }
        let mut held = lock(&self.moments.held);
        if let Some(count) = held.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.sequence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_is_known_until_it_ends() {
        let moments = Moments::new(3);
        let first = moments.look();
        moments.show(5);
        // More than there are slots.
        let many: Vec<Look> = (0..SLOTS + 3).map(|_| moments.look()).collect();
        let snapshot = moments.hold(None);
        moments.show(9);
        assert_eq!((first.sequence(), snapshot.sequence()), (3, 5));
        assert_eq!(moments.watched(), [3, 5, 9]);
        assert_eq!(moments.held(), [5]);
        let again = first.clone();
        drop((first, many));
        assert_eq!(moments.watched(), [3, 5, 9]);
        drop((again, snapshot));
        assert_eq!((moments.watched(), moments.held()), (vec![9], vec![]));
    }
}
