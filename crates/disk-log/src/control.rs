//! [`Control`]: what the log must know about itself, kept in its own control batches.
//!
//! Each control batch holds the whole state, and every segment begins with one, so only the last
//! is ever needed and old ones die with their segments.
//!
//! ```text
//! body = count varint | (from varint | to varint | before u64)...    dropped segments
//!      | count varint | (stream varint | up to varint)...            trim points
//! ```

use std::collections::BTreeMap;

use base::{Malformed, Position, Reader, StreamId, Writer};

/// The log's own state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Control {
    /// Segments that were removed on purpose, as ranges that neither touch nor overlap, by their
    /// first id. There are at most as many as segments, plus one. A segment that is missing and
    /// not in here was lost.
    dropped: BTreeMap<u64, Dropped>,
    /// Records of a stream up to here are dead. Kept for as long as some segment has such a
    /// record: without it, those would come back when later ones are gone.
    pub(crate) trims: BTreeMap<StreamId, Position>,
}

/// A range of dropped segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dropped {
    /// The last id.
    pub(crate) to: u64,
    /// The checksum of the last batch before the range, which its successor, being gone, can't
    /// vouch for any more.
    pub(crate) before: u64,
}

impl Control {
    /// The range that holds `segment`, as its first id and the rest.
    pub(crate) fn dropped(&self, segment: u64) -> Option<(u64, Dropped)> {
        let (&from, &range) = self.dropped.range(..=segment).next_back()?;
        (segment <= range.to).then_some((from, range))
    }

    /// Adds a segment, whose header says `before`.
    pub(crate) fn drop_segment(&mut self, segment: u64, before: u64) {
        let (mut from, mut range) = (segment, Dropped { to: segment, before });
        if let Some(next) = self.dropped.remove(&(segment + 1)) {
            range.to = next.to;
        }
        let previous = segment.checked_sub(1).and_then(|previous| self.dropped(previous));
        if let Some((start, earlier)) = previous {
            (from, range.before) = (start, earlier.before);
        }
        self.dropped.insert(from, range);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.varint(self.dropped.len() as u64);
        for (from, range) in &self.dropped {
            out.varint(*from);
            out.varint(range.to);
            out.u64(range.before);
        }
        out.varint(self.trims.len() as u64);
        for (stream, up_to) in &self.trims {
            out.varint(stream.0);
            out.varint(up_to.0);
        }
        out.into_vec()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Control, Malformed> {
        let mut reader = Reader::new(body);
        let mut control = Control::default();
        for _ in 0..reader.count("dropped segments")? {
            let from = reader.varint("dropped segment")?;
            let to = reader.varint("dropped segment")?;
            if to < from {
                return Err(Malformed("dropped segment"));
            }
            control.dropped.insert(from, Dropped { to, before: reader.u64("dropped segment")? });
        }
        for _ in 0..reader.count("trim points")? {
            let stream = StreamId(reader.varint("trim point")?);
            control.trims.insert(stream, Position(reader.varint("trim point")?));
        }
        reader.end("control batch")?;
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dropped_segments_merge_in_any_order(mut ids in proptest::collection::vec(1u64..40, 0..40)) {
            ids.sort_unstable();
            ids.dedup();
            let sorted = ids.iter().fold(Control::default(), |mut control, &id| {
                control.drop_segment(id, id * 100);
                control
            });
            let control = ids.iter().rev().fold(Control::default(), |mut control, &id| {
                control.drop_segment(id, id * 100);
                control
            });
            prop_assert_eq!(&sorted, &control);
            for id in 0..42 {
                let range = control.dropped(id);
                prop_assert_eq!(range.is_some(), ids.contains(&id));
                if let Some((from, range)) = range {
                    prop_assert!(from <= id && id <= range.to);
                    prop_assert!(!ids.contains(&(from - 1)) && !ids.contains(&(range.to + 1)));
                    prop_assert_eq!(range.before, from * 100);
                }
            }
        }

        #[test]
        fn it_comes_back(
            ids in proptest::collection::btree_set(1u64..1000, 0..40),
            trims in proptest::collection::btree_map(any::<u64>(), any::<u64>(), 0..40),
        ) {
            let mut control = Control::default();
            for id in ids {
                control.drop_segment(id, id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            control.trims = trims.into_iter().map(|(s, p)| (StreamId(s), Position(p))).collect();
            prop_assert_eq!(Control::decode(&control.encode()), Ok(control));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = Control::decode(&bytes);
        }
    }

    #[test]
    fn bytes_that_must_not_change() {
        let mut control = Control::default();
        control.drop_segment(1, 0);
        control.drop_segment(2, 9);
        control.drop_segment(200, 0x0102_0304_0506_0708);
        control.trims.insert(StreamId(5), Position(300));
        let bytes = [2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 200, 1, 8, 7, 6, 5, 4, 3, 2, 1, 1, 5, 172, 2];
        assert_eq!(control.encode(), bytes);
    }
}
