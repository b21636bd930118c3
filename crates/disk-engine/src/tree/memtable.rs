//! [`Memtable`]: what was written and is in no file yet.
//!
//! Keys in order, each with the values that batches wrote to it, oldest first. One writer, many
//! readers; a reader names the position up to which it sees, so it does not meet half a batch.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{RwLock, RwLockReadGuard},
};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;

use super::{batch::Change, ranges::Ranges, rule::Merge};

/// Values of one key with their positions.
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
}

/// What a key and a value cost beside their bytes: handles, headers, their share of tree nodes.
const KEY_COST: usize = 120;
const VALUE_COST: usize = 72;

impl Memtable {
    /// Adds a change of the batch at `position`, which is not below any before.
    pub(crate) fn apply(&self, rule: &dyn Merge, position: u64, change: &Change) -> Result<(), Malformed> {
        let mut content = self.content.write().expect(UNPOISONED);
        match change {
            Change::Put { key, value } => {
                let oldest = rule.oldest(value)?;
                let versions = content.keys.get(key);
                let cost =
                    value.len() + VALUE_COST + if versions.is_none() { key.len() + KEY_COST } else { 0 };
                // Twice in one batch is one value: no reader can stand between.
                match versions.and_then(|versions| versions.last()) {
                    Some((last, older)) if *last == position => {
                        let merged = rule.merge(older, value)?;
                        let versions = content.keys.get_mut(key).expect("it was just found");
                        versions.pop();
                        versions.push((position, merged.into()));
                    }
                    _ => content.keys.entry(key.clone()).or_default().push((position, value.clone())),
                }
                content.bytes += cost;
                content.oldest = Some(content.oldest.map_or(oldest, |before| before.min(oldest)));
            }
            Change::DeleteRange { from, to, timestamp } => {
                content.ranges.add(from, to.as_deref(), (position, *timestamp));
                content.bytes += from.len() + to.as_ref().map_or(0, Bytes::len) + 2 * KEY_COST;
            }
        }
        content.first_position.get_or_insert(position);
        Ok(())
    }

    /// Values of `key` up to `position`, oldest first.
    pub(crate) fn collect(&self, key: &[u8], position: u64, into: &mut Versions) {
        if let Some(versions) = self.read().keys.get(key) {
            into.extend(versions.iter().filter(|version| version.0 <= position).cloned());
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
    pub(crate) fn deleted_at(&self, key: &[u8], position: u64) -> i64 {
        let content = self.read();
        if content.ranges.is_empty() { NO_TIMESTAMP } else { content.ranges.at(key, position) }
    }

    pub(crate) fn ranges(&self) -> Ranges {
        self.read().ranges.clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first_position().is_none()
    }

    /// The position of the first change in it.
    pub(crate) fn first_position(&self) -> Option<u64> {
        self.read().first_position
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
