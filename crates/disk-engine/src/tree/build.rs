//! [`FileBuilder`]: writes one data file, front to back, and makes its bytes durable.
//!
//! Its name is not durable when it is done: whoever names the file in the manifest syncs the folder
//! first.

use std::sync::Arc;

use base::Malformed;
use bytes::Bytes;
use world::{Disk, File};

use super::{
    TreeError, TreeId,
    file::{FileMeta, Spent},
    filter,
    format::{FilterPlace, Footer, MAX_MERGED, Place, Root, file_name},
    ranges::{Ranges, encode_marks},
    rule::Merge,
    seal::{Sealer, seal_plain},
    settings::TreeSettings,
    stack::{Blocks, Stack},
};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct FileBuilder {
    settings: Arc<TreeSettings>,
    rule: Arc<dyn Merge>,
    tree: TreeId,
    out: Output,
    data: Stack,
    key_hashes: Vec<u64>,
    prefix_hashes: Vec<u64>,
    first_key: Option<Bytes>,
    last_key: Vec<u8>,
    entries: u64,
    oldest: i64,
    spent: Spent,
}

/// The bytes of the file.
#[derive(Debug)]
struct Output {
    id: u64,
    sealer: Sealer,
    file: File,
    /// Bytes that are written.
    written: u64,
    buffer: Vec<u8>,
}

impl Output {
    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write(&mut self) -> Result<(), TreeError> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sealed(&mut self, payload: &[u8], plain: bool) -> Result<Place, TreeError> {
        let offset = self.offset();
        let len = if plain {
            seal_plain(payload, (self.id, offset), &mut self.buffer)
        } else {
            self.sealer.seal(payload, (self.id, offset), &mut self.buffer)
        };
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(Place { offset, len: len as u32 })
    }

    /// Adds the pages of a filter. They are as they are: their bits are as good as random, and equal
    /// lengths let a reader find a page without an index.
    fn filter(&mut self, hashes: &[u64]) -> Result<FilterPlace, TreeError> {
        let pages = filter::pages(hashes);
        let mut filter = FilterPlace { offset: self.offset(), pages: pages.len() as u32, page_len: 0 };
        if pages.is_empty() {
            filter.offset = 0;
        }
        for page in &pages {
            filter.page_len = self.sealed(page, true)?.len;
        }
        Ok(filter)
    }
}

impl Blocks for Output {
    fn block(&mut self, payload: &[u8]) -> Result<Place, TreeError> {
        self.sealed(payload, false)
    }
}

impl FileBuilder {
    pub(crate) fn create(
        disk: &Disk,
        settings: &Arc<TreeSettings>,
        rule: &Arc<dyn Merge>,
        tree: TreeId,
        id: u64,
    ) -> Result<FileBuilder, TreeError> {
        let (file, sealer) = (disk.create(&file_name(id), 0)?, Sealer::new(settings.compression));
        Ok(FileBuilder {
            settings: settings.clone(),
            rule: rule.clone(),
            tree,
            out: Output { id, sealer, file, written: 0, buffer: Vec::new() },
            data: Stack::new(settings.block_bytes),
            key_hashes: Vec::new(),
            prefix_hashes: Vec::new(),
            first_key: None,
            last_key: Vec::new(),
            entries: 0,
            oldest: i64::MAX,
            spent: Spent::NONE,
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.out.id
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.out.offset() + self.data.pending_bytes() as u64
    }

    /// Adds an entry, which is behind the one before.
    pub(crate) fn add(&mut self, key: &[u8], position: u64, value: &[u8]) -> Result<(), TreeError> {
        if value.len() > MAX_MERGED {
            return Err(TreeError::TooLarge { bytes: value.len(), limit: MAX_MERGED });
        }
        if self.first_key.is_none() {
            self.first_key = Some(Bytes::copy_from_slice(key));
        }
        if self.entries == 0 || self.last_key != key {
            self.key_hashes.push(filter::hash(key));
            if let Some(prefix) = self.filtered_prefix(key) {
                let hash = filter::hash(prefix);
                if self.prefix_hashes.last() != Some(&hash) {
                    self.prefix_hashes.push(hash);
                }
            }
        }
        let oldest = self.rule.oldest(value).map_err(|error| self.malformed(error))?;
        self.oldest = self.oldest.min(oldest);
        self.spent.add(self.rule.lifetime(value).map_err(|error| self.malformed(error))?);
        self.data.push(&mut self.out, key, position, value)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entries += 1;
        Ok(())
    }

    fn filtered_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let prefix = self.rule.prefix(key)?;
        #[cfg(test)]
        if self.settings.sabotaged(super::settings::Sabotage::WrongPrefix) {
            return Some(&key[..key.len().min(prefix.len() + 1)]);
        }
        Some(prefix)
    }

    fn malformed(&self, error: Malformed) -> TreeError {
        super::file::damage(&file_name(self.out.id), 0, self.tree, &format!("while it was written: {error}"))
    }

    /// Ends the file with the deletions of ranges that go into it. Its bytes are durable then.
    pub(crate) fn finish(mut self, ranges: &Ranges) -> Result<FileMeta, TreeError> {
        let (from, to) = self.bounds(ranges);
        let mut footer = Footer {
            file_id: self.out.id,
            tree: self.tree,
            data: self.data.finish(&mut self.out)?,
            ranges: Root::default(),
            key_filter: FilterPlace::default(),
            prefix_filter: FilterPlace::default(),
            entries: self.entries,
            oldest: self.oldest,
        };
        if !ranges.is_empty() {
            let mut steps = Stack::new(self.settings.block_bytes);
            for (key, marks) in ranges.steps() {
                steps.push(&mut self.out, key, 0, &encode_marks(marks))?;
            }
            footer.ranges = steps.finish(&mut self.out)?;
        }
        footer.key_filter = self.out.filter(&self.key_hashes)?;
        footer.prefix_filter = self.out.filter(&self.prefix_hashes)?;
        self.out.buffer.extend_from_slice(&footer.encode());
        self.out.write()?;
        if !sync_skipped(&self.settings) {
            self.out.file.sync_data()?;
        }
        Ok(FileMeta {
            id: self.out.id,
            tree: self.tree,
            bytes: self.out.written,
            entries: self.entries,
            spent: self.spent,
            oldest: self.oldest,
            from,
            to,
            has_ranges: !ranges.is_empty(),
        })
    }

    /// The keys it says anything about: from, and the key behind the last.
    fn bounds(&self, ranges: &Ranges) -> (Bytes, Option<Bytes>) {
        let keys = self.first_key.clone().map(|first| (first, Some(successor(&self.last_key))));
        match (keys, ranges.extent()) {
            (Some((from, to)), Some((start, end))) => {
                let to = to.zip(end).map(|(to, end)| to.max(end));
                (from.min(start), to)
            }
            (one, other) => one.or(other).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
fn sync_skipped(settings: &TreeSettings) -> bool {
    settings.sabotaged(super::settings::Sabotage::FileUnsynced)
}

#[cfg(not(test))]
fn sync_skipped(_: &TreeSettings) -> bool {
    false
}

/// The first key behind `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
