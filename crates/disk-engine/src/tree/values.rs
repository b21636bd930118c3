//! [`Values`]: the values of one key of a memtable, each with the sequence of its batch.
//!
//! Most keys have one, so the newest stands in place and others on the heap. A key that is written
//! again and again would have one for each batch; when there are many, those that no reader tells
//! apart become one.

use base::Malformed;
use bytes::Bytes;

use super::{format::MAX_VALUE, memtable::Versions, rule::Merge};

/// The values of a key.
#[derive(Debug)]
pub(crate) struct Values {
    sequence: u64,
    value: Bytes,
    /// All but the newest, oldest first.
    older: Option<Box<Older>>,
}

#[derive(Debug, Default)]
struct Older(Vec<(u64, Bytes)>);

/// Values at which folding begins; it is tried again whenever their number has doubled, so that what
/// many readers keep apart is not looked through for each write.
const MANY: usize = if cfg!(test) { 2 } else { 8 };

/// What an older value takes beside its bytes.
const OLDER_COST: isize = size_of::<(u64, Bytes)>() as isize + super::memtable::SHARED_COST;

impl Values {
    pub(crate) fn new(sequence: u64, value: Bytes) -> Values {
        Values { sequence, value, older: None }
    }

    /// Adds the value of a batch that is not older than any before. `watched` are the sequences that
    /// readers are at or may begin at, ascending; it is asked for seldom. Returns how much more
    /// memory it takes than before.
    pub(crate) fn push(
        &mut self,
        rule: &dyn Merge,
        sequence: u64,
        value: Bytes,
        watched: &dyn Fn() -> Vec<u64>,
    ) -> Result<isize, Malformed> {
        let before = self.value.len() as isize;
        if sequence == self.sequence {
            // Twice in one batch is one value: no reader can stand between.
            self.value = rule.merge(&self.value, &value)?.into();
            return Ok(self.value.len() as isize - before);
        }
        let mut grown = value.len() as isize + OLDER_COST;
        let last = std::mem::replace(&mut self.value, value);
        let older = &mut self.older.get_or_insert_default().0;
        older.push((std::mem::replace(&mut self.sequence, sequence), last));
        if older.len() >= MANY && older.len().is_power_of_two() {
            grown -= fold(rule, older, &watched())?;
        }
        Ok(grown)
    }

    /// Values up to `sequence`, oldest first.
    pub(crate) fn up_to(&self, sequence: u64, into: &mut Versions) {
        if let Some(older) = &self.older {
            into.extend(older.0.iter().take_while(|version| version.0 <= sequence).cloned());
        }
        if self.sequence <= sequence {
            into.push((self.sequence, self.value.clone()));
        }
    }

    /// All values, oldest first.
    pub(crate) fn all(&self) -> Versions {
        let mut all = Versions::with_capacity(1 + self.older.as_ref().map_or(0, |older| older.0.len()));
        self.up_to(u64::MAX, &mut all);
        all
    }
}

/// Makes one value of neighbours between which nobody stands, unless it would be too large to be a
/// value. Returns the memory this frees.
fn fold(rule: &dyn Merge, versions: &mut Vec<(u64, Bytes)>, watched: &[u64]) -> Result<isize, Malformed> {
    let stripe = |sequence: u64| watched.partition_point(|&moment| moment < sequence);
    let mut freed = 0;
    let mut folded = Vec::<(u64, Bytes)>::new();
    for (sequence, value) in versions.iter().cloned() {
        match folded.last_mut() {
            Some(last) if stripe(last.0) == stripe(sequence) && rule.newest_stands() => {
                freed += last.1.len() as isize + OLDER_COST;
                *last = (sequence, value);
            }
            Some(last) if stripe(last.0) == stripe(sequence) && last.1.len() + value.len() <= MAX_VALUE => {
                let merged = rule.merge(&last.1, &value)?;
                freed += (last.1.len() + value.len()) as isize - merged.len() as isize + OLDER_COST;
                *last = (sequence, merged.into());
            }
            _ => folded.push((sequence, value)),
        }
    }
    folded.shrink_to_fit();
    *versions = folded;
    Ok(freed)
}
