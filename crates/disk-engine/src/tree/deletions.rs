//! The deletions of ranges that a reader sees, for owners who have to tell them to others.
//!
//! Reads need them only to hide keys. A replica that is compared with another has to name them, or
//! the other would take what is deleted here for something that this one has missed.

use bytes::Bytes;

use super::{Patience, TreeError, file::overlapping, ranges::Ranges, ranges::seen, read::View};

/// A stretch of keys, `from <= key < to`, and the latest deletion that covers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Deletion {
    pub(crate) from: Bytes,
    pub(crate) to: Option<Bytes>,
    pub(crate) timestamp: i64,
}

impl View {
    /// The deletions of ranges that touch `from <= key < to`, cut to it, ascending and apart.
    /// Deletions of single keys are values, and not among them.
    pub(crate) fn deletions(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        patience: Patience,
    ) -> Result<Vec<Deletion>, TreeError> {
        let mut all = Ranges::default();
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        for memtable in &self.memtables {
            all.absorb(&memtable.ranges().cut(from, to));
        }
        for run in self.runs.iter() {
            for file in overlapping(&run.files, from, to).into_iter().filter(|file| file.meta.has_ranges) {
                all.absorb(&file.ranges(patience)?.cut(from, to));
            }
        }
        let mut found: Vec<Deletion> = Vec::new();
        for (from, to, marks) in all.spans() {
            let timestamp = seen(marks, self.position);
            if timestamp == base::NO_TIMESTAMP {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.timestamp == timestamp && last.to.as_ref() == Some(from) => {
                    last.to = to.cloned();
                }
                _ => found.push(Deletion { from: from.clone(), to: to.cloned(), timestamp }),
            }
        }
        Ok(found)
    }
}
