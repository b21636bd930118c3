//! [`Memtable`]: what was written and is in no file yet.
//!
//! Keys in order, each with the values that batches wrote to it, oldest first. One writer, many
//! readers; a reader names the sequence up to which it sees, so it does not meet half a batch.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{RwLock, RwLockReadGuard},
};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;

use super::{batch::Change, ranges::Ranges, rule::Merge};

/// Values of one key with their sequences.
pub(crate) type Versions = Vec<(u64, Bytes)>;

#[derive(Debug, Default)]
pub(crate) struct Memtable {
    content: RwLock<Content>,
}

#[derive(Debug, Default)]
struct Content {
    keys: BTreeMap<Bytes, Versions>,
    ranges: Ranges,
    bytes: usize,
    oldest: Option<i64>,
    first_position: Option<u64>,
    last_sequence: u64,
}

/// What a key and a value cost beside their bytes: handles, headers, their share of tree nodes.
const KEY_COST: usize = 120;
const VALUE_COST: usize = 72;

impl Memtable {
    /// Adds a change of the batch with this sequence, which is not below any before, and position.
    /// Returns the memory it takes.
    pub(crate) fn apply(
        &self,
        rule: &dyn Merge,
        (sequence, position): (u64, u64),
        change: &Change,
    ) -> Result<usize, Malformed> {
        let mut content = self.content.write().expect(UNPOISONED);
        let cost = match change {
            Change::Put { key, value } => {
                let oldest = rule.oldest(value)?;
                let versions = content.keys.get(key);
                let cost =
                    value.len() + VALUE_COST + if versions.is_none() { key.len() + KEY_COST } else { 0 };
                // Twice in one batch is one value: no reader can stand between.
                match versions.and_then(|versions| versions.last()) {
                    Some((last, older)) if *last == sequence => {
                        let merged = rule.merge(older, value)?;
                        let versions = content.keys.get_mut(key).expect("it was just found");
                        versions.pop();
                        versions.push((sequence, merged.into()));
                    }
                    _ => content.keys.entry(key.clone()).or_default().push((sequence, value.clone())),
                }
                content.oldest = Some(content.oldest.map_or(oldest, |before| before.min(oldest)));
                cost
            }
            Change::DeleteRange { from, to, timestamp } => {
                content.ranges.add(from, to.as_deref(), (sequence, *timestamp));
                from.len() + to.as_ref().map_or(0, Bytes::len) + 2 * KEY_COST
            }
        };
        content.bytes += cost;
        content.first_position = Some(content.first_position.map_or(position, |first| first.min(position)));
        content.last_sequence = sequence;
        Ok(cost)
    }

    /// Values of `key` up to `sequence`, oldest first.
    pub(crate) fn collect(&self, key: &[u8], sequence: u64, into: &mut Versions) {
        if let Some(versions) = self.read().keys.get(key) {
            into.extend(versions.iter().filter(|version| version.0 <= sequence).cloned());
        }
    }

    /// Up to `limit` keys within the bounds, from the front or from the back.
    pub(crate) fn chunk(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backward: bool,
        limit: usize,
    ) -> Vec<(Bytes, Versions)> {
        let content = self.read();
        let range = content.keys.range::<[u8], _>(bounds);
        let owned = |(key, versions): (&Bytes, &Versions)| (key.clone(), versions.clone());
        if backward {
            range.rev().take(limit).map(owned).collect()
        } else {
            range.take(limit).map(owned).collect()
        }
    }

    /// See [`Ranges::at`].
    pub(crate) fn deleted_at(&self, key: &[u8], sequence: u64) -> i64 {
        let content = self.read();
        if content.ranges.is_empty() { NO_TIMESTAMP } else { content.ranges.at(key, sequence) }
    }

    pub(crate) fn ranges(&self) -> Ranges {
        self.read().ranges.clone()
    }

    /// See [`Ranges::cut_some`].
    pub(crate) fn some_ranges(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> (Ranges, Option<Bytes>) {
        self.read().ranges.cut_some(from, to, limit)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first_position().is_none()
    }

    /// The lowest position of a change in it.
    pub(crate) fn first_position(&self) -> Option<u64> {
        self.read().first_position
    }

    /// The highest sequence of a change in it.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.read().last_sequence
    }

    /// The lowest timestamp of a value in it, `i64::MAX` if there is none.
    pub(crate) fn oldest(&self) -> i64 {
        self.read().oldest.unwrap_or(i64::MAX)
    }

    /// Memory it takes, an estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.read().bytes
    }

    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";
