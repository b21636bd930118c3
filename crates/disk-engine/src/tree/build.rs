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
    block::BlockBuilder,
    file::FileMeta,
    filter,
    format::{Footer, MAX_MERGED, Place, file_name, seal_block},
    ranges::Ranges,
    rule::Merge,
    settings::TreeSettings,
};

/// Bytes gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct FileBuilder {
    settings: Arc<TreeSettings>,
    rule: Arc<dyn Merge>,
    id: u64,
    tree: TreeId,
    file: File,
    /// Bytes that are written.
    written: u64,
    buffer: Vec<u8>,
    data: BlockBuilder,
    last_position: u64,
    index: BlockBuilder,
    key_hashes: Vec<u64>,
    prefix_hashes: Vec<u64>,
    first_key: Option<Bytes>,
    last_key: Vec<u8>,
    entries: u64,
    oldest: i64,
}

impl FileBuilder {
    pub(crate) fn create(
        disk: &Disk,
        settings: &Arc<TreeSettings>,
        rule: &Arc<dyn Merge>,
        tree: TreeId,
        id: u64,
    ) -> Result<FileBuilder, TreeError> {
        Ok(FileBuilder {
            settings: settings.clone(),
            rule: rule.clone(),
            id,
            tree,
            file: disk.create(&file_name(id), 0)?,
            written: 0,
            buffer: Vec::new(),
            data: BlockBuilder::default(),
            last_position: 0,
            index: BlockBuilder::default(),
            key_hashes: Vec::new(),
            prefix_hashes: Vec::new(),
            first_key: None,
            last_key: Vec::new(),
            entries: 0,
            oldest: i64::MAX,
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.offset() + self.data.len() as u64
    }

    fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
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
        self.data.push(key, position, value);
        self.last_position = position;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entries += 1;
        if self.data.len() >= self.settings.block_bytes { self.end_data_block() } else { Ok(()) }
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
        super::file::damage(&file_name(self.id), 0, self.tree, &format!("while it was written: {error}"))
    }

    fn end_data_block(&mut self) -> Result<(), TreeError> {
        if self.data.is_empty() {
            return Ok(());
        }
        let key = Bytes::copy_from_slice(self.data.last_key());
        let payload = self.data.finish();
        let place = self.block(&payload)?;
        self.index.push(&key, self.last_position, &place.encode());
        Ok(())
    }

    fn block(&mut self, payload: &[u8]) -> Result<Place, TreeError> {
        let offset = self.offset();
        let stored = seal_block(payload, self.settings.compression, self.id, offset);
        self.buffer.extend_from_slice(&stored);
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(Place { offset, len: stored.len() as u32 })
    }

    fn write(&mut self) -> Result<(), TreeError> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file with the deletions of ranges that go into it. Its bytes are durable then.
    pub(crate) fn finish(mut self, ranges: &Ranges) -> Result<FileMeta, TreeError> {
        self.end_data_block()?;
        let mut footer = Footer {
            file_id: self.id,
            tree: self.tree,
            index: Place::default(),
            ranges: Place::default(),
            key_filter: Place::default(),
            prefix_filter: Place::default(),
            entries: self.entries,
            oldest: self.oldest,
        };
        if !ranges.is_empty() {
            footer.ranges = self.block(&ranges.encode())?;
        }
        if !self.key_hashes.is_empty() {
            footer.key_filter = self.block(&filter::encode(&self.key_hashes))?;
        }
        if !self.prefix_hashes.is_empty() {
            footer.prefix_filter = self.block(&filter::encode(&self.prefix_hashes))?;
        }
        let index = self.index.finish();
        footer.index = self.block(&index)?;
        self.buffer.extend_from_slice(&footer.encode());
        self.write()?;
        if !self.sync_skipped() {
            self.file.sync_data()?;
        }
        let (from, to) = self.bounds(ranges);
        Ok(FileMeta {
            id: self.id,
            tree: self.tree,
            bytes: self.written,
            entries: self.entries,
            oldest: self.oldest,
            from,
            to,
            has_ranges: !ranges.is_empty(),
        })
    }

    #[cfg(test)]
    fn sync_skipped(&self) -> bool {
        self.settings.sabotaged(super::settings::Sabotage::FileUnsynced)
    }

    #[cfg(not(test))]
    fn sync_skipped(&self) -> bool {
        false
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

/// The first key behind `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
