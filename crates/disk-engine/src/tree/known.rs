//! [`Known`]: which names were met not long ago, in a few bytes for each.
//!
//! A place for every few names holds marks of those that came last. A mark is a part of a hash, so now and then
//! one name passes for another, and a busy place forgets earlier than the next. That is good enough to tell what comes
//! again from what comes once; it takes no lock, one line of memory, and moves nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of a name's mark in its place.
const MARK_BITS: u32 = 16;
/// Marks in a place.
pub(crate) const A_PLACE: usize = (u64::BITS / MARK_BITS) as usize;

#[derive(Debug)]
pub(crate) struct Known {
    /// Marks of the last names of each place, the last one lowest.
    places: Box<[AtomicU64]>,
}

impl Known {
    /// Of so many names, about: from one to two times as many. Of none, if none are wanted.
    pub(crate) fn of(names: usize) -> Known {
        let places = if names == 0 { 0 } else { names.div_ceil(A_PLACE).next_power_of_two() };
        Known { places: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        let last = self.places.len().checked_sub(1)?;
        Some(&self.places[hash as usize & last])
    }

    /// Whether a name with this hash was met.
    pub(crate) fn knows(&self, hash: u64) -> bool {
        let (mark, marks) = (mark_of(hash), self.place(hash).map_or(0, |place| place.load(Relaxed)));
        (0..A_PLACE as u32).any(|nth| marks >> (nth * MARK_BITS) & 0xffff == mark)
    }

    /// Remembers a name that is not known.
    pub(crate) fn remember(&self, hash: u64) {
        if let Some(place) = self.place(hash) {
            // Of two that do this at once one is forgotten.
            place.store(place.load(Relaxed) << MARK_BITS | mark_of(hash), Relaxed);
        }
    }
}

/// The mark of a name in its place; never 0, which is nobody's.
fn mark_of(hash: u64) -> u64 {
    hash >> (u64::BITS - MARK_BITS) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_names_of_a_place_are_known() {
        let known = Known::of(4_000);
        let name = |n: u64| n << 48 | 5;
        assert!((0..4).all(|n| !known.knows(name(2 * n))));
        (0..4).for_each(|n| known.remember(name(2 * n)));
        assert!((0..4).all(|n| known.knows(name(2 * n))));
        known.remember(name(9));
        assert!(!known.knows(name(0)), "the oldest had to go");
        assert!(known.knows(name(9)) && known.knows(name(2)));
        assert!(!known.knows(6), "another place");
        let none = Known::of(0);
        none.remember(1);
        assert!(!none.knows(1));
    }
}
