//! Deletions of ranges of rows, as one step function over clustering keys.
//!
//! One row is the range from its key to its key with a zero behind. Rows that are deleted are then
//! no rows that a read has to step over.
//!
//! A list of ranges grows with every delete and has to be searched whole. All that matters of it
//! is, for each key, the latest deletion that covers it: a function that is constant between
//! finitely many keys. The map holds, for each key where it changes, its value from there on;
//! neighbours of one value are joined. So deleting the same range for ever, or ranges within one
//! that was deleted later, takes no more room, and the form depends only on the set of deletions.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use base::{Bound, NO_TIMESTAMP};
use bytes::Bytes;

use super::weight::{self, Meter};

/// For each clustering key the timestamp of the latest deletion of a range that holds it.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    steps: BTreeMap<Bytes, i64>,
}

impl Steps {
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The latest deletion covering `key`, [`NO_TIMESTAMP`] if there is none.
    pub(crate) fn at(&self, key: &[u8]) -> i64 {
        self.steps
            .range::<[u8], _>((Unbounded, Included(key)))
            .next_back()
            .map_or(NO_TIMESTAMP, |step| *step.1)
    }

    /// The value just before `key`.
    fn before(&self, key: &[u8]) -> i64 {
        self.steps
            .range::<[u8], _>((Unbounded, Excluded(key)))
            .next_back()
            .map_or(NO_TIMESTAMP, |step| *step.1)
    }

    /// Adds the deletion of `from <= key < to` at `timestamp`; `to` is above `from`.
    pub(crate) fn raise(&mut self, from: &[u8], to: Option<&[u8]>, timestamp: i64, meter: &mut Meter) {
        if let Some(to) = to {
            self.split(to, meter);
        }
        self.split(from, meter);
        let upper = to.map_or(Unbounded, Excluded);
        for (_, step) in self.steps.range_mut::<[u8], _>((Included(from), upper)) {
            *step = timestamp.max(*step);
        }
        self.join(from, to, meter);
    }

    /// Makes `key` a step without changing the function.
    fn split(&mut self, key: &[u8], meter: &mut Meter) {
        if !self.steps.contains_key(key) {
            let value = self.at(key);
            meter.add(step_weight(key));
            self.steps.insert(Bytes::copy_from_slice(key), value);
        }
    }

    /// Removes steps in `from..=to` that do not change the function.
    fn join(&mut self, from: &[u8], to: Option<&[u8]>, meter: &mut Meter) {
        let mut last = self.before(from);
        let upper = to.map_or(Unbounded, Included);
        let mut level = Vec::new();
        for (key, &value) in self.steps.range::<[u8], _>((Included(from), upper)) {
            if value == last {
                level.push(key.clone());
            }
            last = value;
        }
        for key in level {
            meter.sub(step_weight(&key));
            self.steps.remove(&key);
        }
    }

    /// Forgets every deletion at or before `timestamp`: one of the whole partition covers it.
    pub(crate) fn prune(&mut self, timestamp: i64, meter: &mut Meter) {
        for value in self.steps.values_mut().filter(|value| **value <= timestamp) {
            *value = NO_TIMESTAMP;
        }
        self.join(&[], None, meter);
    }

    /// The deletions that touch `from <= key < to`, cut to it, ascending: (from, to, timestamp).
    pub(crate) fn within(&self, from: &Bytes, to: &Bound) -> Vec<(Bytes, Bound, i64)> {
        if to.as_ref().is_some_and(|to| to <= from) {
            return Vec::new();
        }
        let upper = to.as_deref().map_or(Unbounded, Excluded);
        let mut found = Vec::new();
        let (mut start, mut value) = (from.clone(), self.at(from));
        for (key, &next) in self.steps.range::<[u8], _>((Excluded(from.as_ref()), upper)) {
            found.push((std::mem::replace(&mut start, key.clone()), Some(key.clone()), value));
            value = next;
        }
        found.push((start, to.clone(), value));
        found.retain(|(.., value)| *value != NO_TIMESTAMP);
        found
    }
}

fn step_weight(key: &[u8]) -> usize {
    weight::tree_entry(size_of::<(Bytes, i64)>()) + weight::owned_bytes(key.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a flat array of 32 keys; and the form is the same in any order, without a step
        /// too many.
        #[test]
        fn it_is_the_pointwise_maximum(ranges in prop::collection::vec((0u8..32, prop::option::of(0u8..32), 0i64..6), 0..12)) {
            let ranges: Vec<_> = ranges.into_iter().filter(|(from, to, _)| to.is_none_or(|to| to > *from)).collect();
            let build = |order: &mut dyn Iterator<Item = &(u8, Option<u8>, i64)>| {
                let (mut steps, mut meter) = (Steps::default(), Meter::default());
                for (from, to, timestamp) in order {
                    steps.raise(&[*from], to.map(|to| [to]).as_ref().map(|to| &to[..]), *timestamp, &mut meter);
                }
                (steps, meter)
            };
            let (steps, meter) = build(&mut ranges.iter());
            let mut last = NO_TIMESTAMP;
            let mut changes = 0;
            for key in 0u8..40 {
                let covers = |range: &&(u8, Option<u8>, i64)| range.0 <= key && range.1.is_none_or(|to| key < to);
                let expected = ranges.iter().filter(covers).map(|range| range.2).max().unwrap_or(NO_TIMESTAMP);
                prop_assert_eq!(steps.at(&[key]), expected);
                changes += usize::from(expected != last);
                last = expected;
            }
            prop_assert_eq!(steps.steps.len(), changes);
            prop_assert_eq!(meter.bytes as usize, steps.steps.keys().map(|key| step_weight(key)).sum::<usize>());
            let (other, _) = build(&mut ranges.iter().rev());
            prop_assert_eq!(other.steps, steps.steps);
        }
    }
}
