//! The deletions of ranges that a reader sees, for owners who have to tell them to others.
//!
//! Reads need them only to hide keys. A replica that is compared with another has to name them, or
//! the other would take what is deleted here for something that this one has missed.

use bytes::Bytes;

use super::{
    Patience, TreeError, cursor::Access, file::overlapping, ranges::Ranges, ranges::seen, read::View,
};

/// A stretch of keys, `from <= key < to`, and the latest deletion that covers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Deletion {
    pub(crate) from: Bytes,
    pub(crate) to: Option<Bytes>,
    pub(crate) timestamp: i64,
}

/// Deletions of a stretch of keys, ascending and apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Deletions {
    pub(crate) found: Vec<Deletion>,
    /// From here on nothing was looked at: there may be more.
    pub(crate) more: Option<Bytes>,
}

impl View {
    /// The deletions of ranges that touch `from <= key < to`, cut to it. Deletions of single keys are
    /// values, and not among them. `limit` bounds what is taken from each memtable and file, so a
    /// few times as many may be returned.
    pub(crate) fn deletions(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        patience: Patience,
    ) -> Result<Deletions, TreeError> {
        let mut parts = Vec::new();
        for memtable in &self.parts.memtables {
            parts.push(memtable.some_ranges(from, to, limit));
        }
        for run in self.parts.runs.iter() {
            for file in overlapping(&run.files, from, to) {
                let ranges = file.ranges((from, to), limit, Access::Cached(patience))?;
                parts.push(ranges.cut_some(from, to, limit));
            }
        }
        parts.retain(|(ranges, _)| !ranges.is_empty());
        // Behind where one of them ends, the others do not say all.
        let more = parts.iter().filter_map(|(_, more)| more.clone()).min();
        let mut all = Ranges::default();
        for (ranges, _) in &parts {
            all.absorb(&ranges.cut(from, more.as_deref().or(to)));
        }
        Ok(Deletions { found: seen_at(&all, self.position), more })
    }
}

/// What a reader at `sequence` sees: neighbours that are alike to him are one.
fn seen_at(ranges: &Ranges, sequence: u64) -> Vec<Deletion> {
    let mut found: Vec<Deletion> = Vec::new();
    for (from, to, marks) in ranges.spans() {
        let timestamp = seen(marks, sequence);
        match found.last_mut() {
            _ if timestamp == base::NO_TIMESTAMP => {}
            Some(last) if last.timestamp == timestamp && last.to.as_ref() == Some(from) => {
                last.to = to.cloned();
            }
            _ => found.push(Deletion { from: from.clone(), to: to.cloned(), timestamp }),
        }
    }
    found
}
