//! [`Ranges`]: deletions of ranges of keys, as one step function.
//!
//! A deletion covers `from <= key < to`, was written in a batch with a sequence, and takes what is at
//! or before its timestamp. What matters of many of them is, for each key and each sequence a reader may
//! stand at, the latest timestamp: a function that is constant between finitely many keys. The map
//! holds, for each key where it changes, the *marks* that hold from there on: sequences and
//! timestamps both ascending, since a mark that is both later written and not later in time says
//! nothing new. (Pebble and RocksDB call the same cut a fragment.)

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use base::{Malformed, NO_TIMESTAMP, Reader, Writer};
use bytes::Bytes;

/// One deletion as seen from a key: the sequence that wrote it, and its timestamp.
pub(crate) type Mark = (u64, i64);

/// A set of deletions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    steps: BTreeMap<Bytes, Vec<Mark>>,
}

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The latest timestamp of a deletion of `key` that a reader at `sequence` sees;
    /// [`NO_TIMESTAMP`] for none.
    pub(crate) fn at(&self, key: &[u8], sequence: u64) -> i64 {
        let step = self.steps.range::<[u8], _>((Unbounded, Included(key))).next_back();
        step.map_or(NO_TIMESTAMP, |(_, marks)| seen(marks, sequence))
    }

    /// Adds the deletion of `from <= key < to`; nothing if the range is empty. Returns how much more
    /// memory it takes than before.
    pub(crate) fn add(&mut self, from: &[u8], to: Option<&[u8]>, mark: Mark) -> isize {
        if to.is_some_and(|to| to <= from) {
            return 0;
        }
        let mut grown = to.map_or(0, |to| self.split(to)) + self.split(from);
        let upper = to.map_or(Unbounded, Excluded);
        for (_, marks) in self.steps.range_mut::<[u8], _>((Included(from), upper)) {
            let before = marks.len() as isize;
            raise(marks, mark);
            grown += (marks.len() as isize - before) * size_of::<Mark>() as isize;
        }
        grown
    }

    /// Makes `key` a step without changing the function. Returns the memory it takes.
    fn split(&mut self, key: &[u8]) -> isize {
        if self.steps.contains_key(key) {
            return 0;
        }
        let before = self.steps.range::<[u8], _>((Unbounded, Excluded(key))).next_back();
        let marks = before.map_or_else(Vec::new, |(_, marks)| marks.clone());
        let bytes = step_bytes(key, &marks);
        self.steps.insert(Bytes::copy_from_slice(key), marks);
        bytes as isize
    }

    /// Adds all of `other`.
    pub(crate) fn absorb(&mut self, other: &Ranges) {
        for (from, to, marks) in other.spans() {
            for &mark in marks {
                self.add(from, to.map(AsRef::as_ref), mark);
            }
        }
    }

    /// The steps that have marks, ascending: from, to, marks.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>, &Vec<Mark>)> {
        let ends = self.steps.keys().skip(1).map(Some).chain([None]);
        let spans = self.steps.iter().zip(ends).map(|((from, marks), to)| (from, to, marks));
        spans.filter(|(.., marks)| !marks.is_empty())
    }

    /// The part within `from <= key < to`.
    pub(crate) fn cut(&self, from: &[u8], to: Option<&[u8]>) -> Ranges {
        self.cut_some(from, to, usize::MAX).0
    }

    /// The part within `from <= key < to`, but not more than `limit` steps of it; and where it ends
    /// if there are more.
    pub(crate) fn cut_some(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> (Ranges, Option<Bytes>) {
        let mut steps: BTreeMap<Bytes, Vec<Mark>> = BTreeMap::new();
        if to.is_some_and(|to| to <= from) {
            return (Ranges::default(), None);
        }
        let at_from = self.steps.range::<[u8], _>((Unbounded, Included(from))).next_back();
        if let Some((_, marks)) = at_from.filter(|(_, marks)| !marks.is_empty()) {
            steps.insert(Bytes::copy_from_slice(from), marks.clone());
        }
        let mut more = None;
        for (key, marks) in self.steps.range::<[u8], _>((Excluded(from), to.map_or(Unbounded, Excluded))) {
            if steps.len() >= limit && !marks.is_empty() {
                more = Some(key.clone());
                break;
            }
            if !marks.is_empty() || !steps.is_empty() {
                steps.insert(key.clone(), marks.clone());
            }
        }
        let end = more.clone().or_else(|| to.map(Bytes::copy_from_slice));
        if let Some(end) = end.filter(|_| steps.last_key_value().is_some_and(|(_, marks)| !marks.is_empty()))
        {
            steps.insert(end, Vec::new());
        }
        (Ranges { steps }, more)
    }

    /// Keeps of the marks of each step what `keep` leaves, given the step and its marks.
    pub(crate) fn thin(&mut self, mut keep: impl FnMut(&[u8], Option<&[u8]>, &[Mark]) -> Vec<Mark>) {
        let mut thinned: BTreeMap<Bytes, Vec<Mark>> = BTreeMap::new();
        for (from, to, marks) in self.spans() {
            let marks = keep(from, to.map(AsRef::as_ref), marks);
            // Neighbours that have become equal are one step.
            if thinned.last_key_value().is_none_or(|(_, before)| *before != marks) {
                thinned.insert(from.clone(), marks);
            }
            if let Some(to) = to {
                let gap = self.steps.get(to).is_none_or(Vec::is_empty);
                if gap && thinned.last_key_value().is_some_and(|(_, last)| !last.is_empty()) {
                    thinned.insert(to.clone(), Vec::new());
                }
            }
        }
        if thinned.values().all(Vec::is_empty) {
            thinned.clear();
        }
        self.steps = thinned;
    }

    /// The first key that is covered, and the end of the last range (`Some(None)`: no end).
    pub(crate) fn extent(&self) -> Option<(Bytes, Option<Bytes>)> {
        let from = self.spans().next()?.0.clone();
        let to = self.spans().last()?.1.cloned();
        Some((from, to))
    }

    /// All steps, ascending: where the function changes, and what holds from there on.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Bytes, &[Mark])> {
        self.steps.iter().map(|(key, marks)| (key, marks.as_slice()))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.steps.iter().map(|(key, marks)| step_bytes(key, marks)).sum()
    }

    /// Adds a step behind all others.
    pub(crate) fn push_step(&mut self, key: &[u8], marks: Vec<Mark>) {
        self.steps.insert(Bytes::copy_from_slice(key), marks);
    }
}

/// Marks as they are stored: `(sequence varint | timestamp i64)...`.
pub(crate) fn encode_marks(marks: &[Mark]) -> Vec<u8> {
    let mut out = Writer::new();
    for (sequence, timestamp) in marks {
        out.varint(*sequence);
        out.raw(&timestamp.to_le_bytes());
    }
    out.into_vec()
}

/// The mirror of [`encode_marks`].
pub(crate) fn decode_marks(bytes: &[u8]) -> Result<Vec<Mark>, Malformed> {
    const WHAT: &str = "range deletion";
    let mut reader = Reader::new(bytes);
    let mut marks: Vec<Mark> = Vec::new();
    while !reader.is_empty() {
        let mark = (reader.varint(WHAT)?, reader.i64(WHAT)?);
        if marks.last().is_some_and(|last| last.0 >= mark.0 || last.1 >= mark.1) {
            return Err(Malformed(WHAT));
        }
        marks.push(mark);
    }
    Ok(marks)
}

/// Memory of a step. Beside key and marks that is its place in a node of a map that is 70 % full, and
/// what the allocator adds to two pieces. The test of weights compares it with what that says.
fn step_bytes(key: &[u8], marks: &[Mark]) -> usize {
    const COST: usize = size_of::<(Bytes, Vec<Mark>)>() * 10 / 7 + 40;
    key.len() + size_of_val(marks) + COST
}

/// The timestamp of the last mark at or before `sequence`.
pub(crate) fn seen(marks: &[Mark], sequence: u64) -> i64 {
    let count = marks.partition_point(|mark| mark.0 <= sequence);
    count.checked_sub(1).map_or(NO_TIMESTAMP, |last| marks[last].1)
}

fn raise(marks: &mut Vec<Mark>, mark: Mark) {
    let at = marks.partition_point(|other| other.0 < mark.0);
    if seen(marks, mark.0) >= mark.1 {
        return;
    }
    // Later marks that are not later in time say nothing any more.
    let end = at + marks[at..].iter().take_while(|other| other.1 <= mark.1).count();
    marks.splice(at..end, [mark]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    type Range = (u8, Option<u8>, u64, i64);

    fn of(ranges: &[Range]) -> Ranges {
        let mut built = Ranges::default();
        for (from, to, position, timestamp) in ranges {
            built.add(&[*from], to.map(|to| [to]).as_ref().map(|to| &to[..]), (*position, *timestamp));
        }
        built
    }

    fn naive(ranges: &[Range], key: u8, position: u64) -> i64 {
        let covers =
            |range: &&Range| range.0 <= key && range.1.is_none_or(|to| key < to) && range.2 <= position;
        ranges.iter().filter(covers).map(|range| range.3).max().unwrap_or(NO_TIMESTAMP)
    }

    proptest! {
        #[test]
        fn it_is_the_pointwise_maximum(
            ranges in prop::collection::vec((0u8..20, prop::option::of(0u8..20), 0u64..8, 0i64..8), 0..12),
            cut in (0u8..20, prop::option::of(0u8..20)),
            limit in 1usize..4,
        ) {
            let built = of(&ranges);
            let mut other = Ranges::default();
            other.absorb(&of(&ranges[ranges.len() / 2..]));
            other.absorb(&of(&ranges[..ranges.len() / 2]));
            let part = built.cut(&[cut.0], cut.1.map(|to| [to]).as_ref().map(|to| &to[..]));
            let (some, more) = built.cut_some(&[cut.0], cut.1.map(|to| [to]).as_ref().map(|to| &to[..]), limit);
            prop_assert!(some.spans().count() <= limit);
            let mut same = built.clone();
            same.thin(|_, _, marks| marks.to_vec());
            let mut late = built.clone();
            late.thin(|_, _, marks| marks.iter().copied().filter(|mark| mark.1 >= 4).collect());
            for key in 0..24 {
                for position in 0..9 {
                    let expected = naive(&ranges, key, position);
                    prop_assert_eq!(built.at(&[key], position), expected);
                    prop_assert_eq!(other.at(&[key], position), expected);
                    prop_assert_eq!(same.at(&[key], position), expected);
                    prop_assert_eq!(late.at(&[key], position), if expected >= 4 { expected } else { NO_TIMESTAMP });
                    let within = cut.0 <= key && cut.1.is_none_or(|to| key < to);
                    prop_assert_eq!(part.at(&[key], position), if within { expected } else { NO_TIMESTAMP });
                    let told = within && more.as_ref().is_none_or(|more| more[..] > [key][..]);
                    prop_assert_eq!(some.at(&[key], position), if told { expected } else { NO_TIMESTAMP });
                }
            }
            let mut stored = Ranges::default();
            for (key, marks) in built.steps() {
                stored.push_step(key, decode_marks(&encode_marks(marks)).unwrap());
            }
            prop_assert_eq!(stored, built);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = decode_marks(&bytes);
        }
    }
}
