//! [`FileHandle`]: a data file as readers see it. Every part is checked when it is read, and then
//! cached; what fails its check is named, and fails only the reads that need it.

use std::sync::{Arc, OnceLock};

use base::Malformed;
use bytes::Bytes;
use world::{Disk, DiskError, File};

use super::{
    Damage, Patience, TreeError, TreeId,
    block::{Block, BlockCursor},
    cache::{Cache, Part},
    filter::{self, Filter},
    format::{FOOTER, Footer, NoFooter, Place, file_name, open_block},
    memtable::Versions,
    ranges::Ranges,
    source::Source,
};

/// What the manifest keeps about a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileMeta {
    pub(crate) id: u64,
    pub(crate) tree: TreeId,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    /// The lowest timestamp of a value in it.
    pub(crate) oldest: i64,
    /// It says nothing about keys before this.
    pub(crate) from: Bytes,
    /// Nor about this and later ones.
    pub(crate) to: Option<Bytes>,
    pub(crate) has_ranges: bool,
}

impl FileMeta {
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.from.as_ref() <= key && self.to.as_deref().is_none_or(|to| key < to)
    }

    /// Whether it may say something about `from <= key < to`.
    pub(crate) fn overlaps(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        to.is_none_or(|to| self.from.as_ref() < to) && self.to.as_deref().is_none_or(|end| from < end)
    }
}

/// A file, open.
#[derive(Debug)]
pub(crate) struct FileHandle {
    pub(crate) meta: FileMeta,
    file: Result<File, DiskError>,
    footer: OnceLock<Footer>,
    cache: Arc<Cache>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Block,
    Filter,
    Ranges,
}

/// Fills `buffer`, or says that this would wait for the disk.
fn read(file: &File, buffer: &mut [u8], offset: u64, patience: Patience) -> Result<(), TreeError> {
    match patience {
        Patience::Wait => Ok(file.read_at(buffer, offset)?),
        Patience::Now if file.read_now(buffer, offset)? => Ok(()),
        Patience::Now => Err(TreeError::NotNow),
    }
}

pub(crate) fn damage(file: &str, offset: u64, tree: TreeId, why: &str) -> TreeError {
    TreeError::Damaged(Damage { file: file.to_owned(), offset, tree: Some(tree), why: why.to_owned() })
}

impl FileHandle {
    /// Opens a file; that it is missing is told to those who read it.
    pub(crate) fn open(disk: &Disk, meta: FileMeta, cache: &Arc<Cache>) -> FileHandle {
        let file = disk.open(&file_name(meta.id));
        FileHandle { meta, file, footer: OnceLock::new(), cache: cache.clone() }
    }

    pub(crate) fn damage(&self, offset: u64, why: &str) -> TreeError {
        damage(&file_name(self.meta.id), offset, self.meta.tree, why)
    }

    fn malformed(&self, place: Place, error: Malformed) -> TreeError {
        self.damage(place.offset, &error.to_string())
    }

    fn file(&self) -> Result<&File, TreeError> {
        match &self.file {
            Ok(file) => Ok(file),
            Err(DiskError::NotFound { .. }) => Err(self.damage(0, "the file is missing")),
            Err(error) => Err(error.clone().into()),
        }
    }

    fn footer(&self, patience: Patience) -> Result<&Footer, TreeError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let footer = self.read_footer(patience)?;
        Ok(self.footer.get_or_init(|| footer))
    }

    fn read_footer(&self, patience: Patience) -> Result<Footer, TreeError> {
        let file = self.file()?;
        let len = file.len()?;
        if len != self.meta.bytes || len < FOOTER as u64 {
            return Err(self.damage(len, &format!("it is {len} bytes long, not {}", self.meta.bytes)));
        }
        let at = len - FOOTER as u64;
        let mut bytes = [0; FOOTER];
        read(file, &mut bytes, at, patience)?;
        let footer = Footer::decode(&bytes).map_err(|error| match error {
            NoFooter::Version(version) => TreeError::Version { file: file_name(self.meta.id), version },
            NoFooter::Damaged => self.damage(at, "the footer fails its checksum"),
        })?;
        if (footer.file_id, footer.tree) != (self.meta.id, self.meta.tree) {
            return Err(self.damage(at, "the footer is of another file"));
        }
        Ok(footer)
    }

    fn part(&self, place: Place, kind: Kind, patience: Patience) -> Result<Part, TreeError> {
        let key = (self.meta.id, place.offset);
        if let Some(part) = self.cache.get(key) {
            return Ok(part);
        }
        let part = self.read_part(place, kind, patience)?;
        self.cache.put(key, part.clone());
        Ok(part)
    }

    /// Reads and checks a part, whatever the cache says.
    fn read_part(&self, place: Place, kind: Kind, patience: Patience) -> Result<Part, TreeError> {
        let end = place.offset.checked_add(u64::from(place.len));
        if end.is_none_or(|end| end > self.meta.bytes) {
            return Err(self.damage(place.offset, "a block beyond the end"));
        }
        let mut stored = vec![0; place.len as usize];
        read(self.file()?, &mut stored, place.offset, patience)?;
        let payload =
            open_block(stored, self.meta.id, place.offset).map_err(|why| self.damage(place.offset, why))?;
        let part = match kind {
            Kind::Block => Block::parse(payload).map(|block| Part::Block(Arc::new(block))),
            Kind::Filter => Filter::decode(payload).map(|filter| Part::Filter(Arc::new(filter))),
            Kind::Ranges => Ranges::decode(&payload).map(|ranges| Part::Ranges(Arc::new(ranges))),
        };
        part.map_err(|error| self.malformed(place, error))
    }

    fn block(&self, place: Place, patience: Patience) -> Result<BlockCursor, TreeError> {
        match self.part(place, Kind::Block, patience)? {
            Part::Block(block) => Ok(BlockCursor::new(block)),
            _ => Err(self.damage(place.offset, "a block of another kind")),
        }
    }

    fn may_hold(&self, filter: Place, key: &[u8], patience: Patience) -> Result<bool, TreeError> {
        if filter.len == 0 {
            return Ok(true);
        }
        match self.part(filter, Kind::Filter, patience)? {
            Part::Filter(found) => Ok(found.may_hold(filter::hash(key))),
            _ => Err(self.damage(filter.offset, "a block of another kind")),
        }
    }

    /// False if no key in it has this prefix.
    pub(crate) fn may_hold_prefix(&self, prefix: &[u8], patience: Patience) -> Result<bool, TreeError> {
        self.may_hold(self.footer(patience)?.prefix_filter, prefix, patience)
    }

    /// The deletions of ranges in it.
    pub(crate) fn ranges(&self, patience: Patience) -> Result<Arc<Ranges>, TreeError> {
        let place = self.footer(patience)?.ranges;
        if place.len == 0 {
            return Ok(Arc::default());
        }
        match self.part(place, Kind::Ranges, patience)? {
            Part::Ranges(ranges) => Ok(ranges),
            _ => Err(self.damage(place.offset, "a block of another kind")),
        }
    }

    /// Values of `key` up to `position`.
    pub(crate) fn collect(
        self: &Arc<Self>,
        key: &[u8],
        position: u64,
        into: &mut Versions,
        patience: Patience,
    ) -> Result<(), TreeError> {
        if !self.may_hold(self.footer(patience)?.key_filter, key, patience)? {
            return Ok(());
        }
        let mut cursor = FileCursor::new(self.clone(), patience)?;
        cursor.seek(key, position)?;
        while let Some((found, position, value)) = cursor.entry()
            && found == key
        {
            into.push((position, value));
            cursor.next()?;
        }
        Ok(())
    }

    /// Of its data blocks that may hold some of `from <= key < to` the last keys, each with the bytes
    /// of its block: what it holds, told from the index alone.
    pub(crate) fn outline(
        self: &Arc<Self>,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Vec<(Bytes, u64)>, TreeError> {
        let mut cursor = FileCursor::new(self.clone(), Patience::Wait)?;
        cursor.index_step(|index| index.seek(from, u64::MAX))?;
        let mut outline = Vec::new();
        while let Some((key, _, place)) = cursor.index.entry() {
            let at = cursor.file.footer(Patience::Wait)?.index;
            let place = Place::decode(&place).map_err(|error| self.malformed(at, error))?;
            let key = Bytes::copy_from_slice(key);
            let last = to.is_some_and(|to| to <= key.as_ref());
            outline.push((key, u64::from(place.len)));
            if last {
                break;
            }
            cursor.index_step(BlockCursor::next)?;
        }
        Ok(outline)
    }

    /// Reads and checks all of it, past the cache. Returns what is wrong, place by place.
    pub(crate) fn verify(&self) -> Vec<TreeError> {
        let footer = match self.read_footer(Patience::Wait) {
            Ok(footer) => footer,
            Err(error) => return vec![error],
        };
        let mut faults = Vec::new();
        let others = [
            (footer.ranges, Kind::Ranges),
            (footer.key_filter, Kind::Filter),
            (footer.prefix_filter, Kind::Filter),
        ];
        for (place, kind) in others {
            if place.len > 0 {
                faults.extend(self.read_part(place, kind, Patience::Wait).err());
            }
        }
        match self.read_part(footer.index, Kind::Block, Patience::Wait) {
            Ok(Part::Block(index)) => self.verify_data(index, &footer, &mut faults),
            Ok(_) => {}
            Err(error) => faults.push(error),
        }
        faults
    }

    fn verify_data(&self, index: Arc<Block>, footer: &Footer, faults: &mut Vec<TreeError>) {
        let mut entries = 0;
        let sound = faults.len();
        let walk = || -> Result<(), TreeError> {
            let wrong = |error| self.malformed(footer.index, error);
            let mut index = BlockCursor::new(index);
            index.first().map_err(wrong)?;
            while let Some((_, _, place)) = index.entry() {
                let place = Place::decode(&place).map_err(wrong)?;
                match self.verify_block(place) {
                    Ok(count) => entries += count,
                    Err(error) => faults.push(error),
                }
                index.next().map_err(wrong)?;
            }
            Ok(())
        };
        let walked = walk();
        faults.extend(walked.err());
        if faults.len() == sound && entries != footer.entries {
            let why = format!("{entries} entries instead of {}", footer.entries);
            faults.push(self.damage(footer.index.offset, &why));
        }
    }

    /// The number of entries of a block.
    fn verify_block(&self, place: Place) -> Result<u64, TreeError> {
        let Part::Block(block) = self.read_part(place, Kind::Block, Patience::Wait)? else { return Ok(0) };
        let wrong = |error| self.malformed(place, error);
        let mut cursor = BlockCursor::new(block);
        let mut count = 0;
        cursor.first().map_err(wrong)?;
        while cursor.key().is_some() {
            count += 1;
            cursor.next().map_err(wrong)?;
        }
        Ok(count)
    }
}

/// A place in a file.
#[derive(Debug)]
pub(crate) struct FileCursor {
    file: Arc<FileHandle>,
    patience: Patience,
    index: BlockCursor,
    data: Option<(Place, BlockCursor)>,
}

impl FileCursor {
    /// At no entry.
    fn new(file: Arc<FileHandle>, patience: Patience) -> Result<FileCursor, TreeError> {
        let index = file.block(file.footer(patience)?.index, patience)?;
        Ok(FileCursor { file, patience, index, data: None })
    }

    fn entry(&self) -> Option<(&[u8], u64, Bytes)> {
        self.data.as_ref()?.1.entry()
    }

    fn key(&self) -> Option<&[u8]> {
        self.data.as_ref()?.1.key()
    }

    fn index_step(
        &mut self,
        step: impl FnOnce(&mut BlockCursor) -> Result<(), Malformed>,
    ) -> Result<(), TreeError> {
        let place = self.file.footer(self.patience)?.index;
        step(&mut self.index).map_err(|error| self.file.malformed(place, error))
    }

    fn data_step(
        &mut self,
        step: impl FnOnce(&mut BlockCursor) -> Result<(), Malformed>,
    ) -> Result<(), TreeError> {
        match &mut self.data {
            Some((place, data)) => step(data).map_err(|error| self.file.malformed(*place, error)),
            None => Ok(()),
        }
    }

    /// Loads the data block that the index is at, if it is at one.
    fn load(&mut self) -> Result<(), TreeError> {
        self.data = None;
        if let Some((_, _, place)) = self.index.entry() {
            let at = self.file.footer(self.patience)?.index;
            let place = Place::decode(&place).map_err(|error| self.file.malformed(at, error))?;
            self.data = Some((place, self.file.block(place, self.patience)?));
        }
        Ok(())
    }

    /// Goes to the first entry at or behind (`key`, `position`).
    fn seek(&mut self, key: &[u8], position: u64) -> Result<(), TreeError> {
        self.index_step(|index| index.seek(key, position))?;
        self.load()?;
        self.data_step(|data| data.seek(key, position))
    }

    /// Goes to the last entry with a key below `to`.
    fn seek_below(&mut self, to: Option<&[u8]>) -> Result<(), TreeError> {
        if let Some(to) = to {
            self.seek(to, u64::MAX)?;
            if self.entry().is_some() {
                return self.prev();
            }
        }
        self.index_step(BlockCursor::last)?;
        self.load()?;
        self.data_step(BlockCursor::last)
    }

    fn next(&mut self) -> Result<(), TreeError> {
        self.data_step(BlockCursor::next)?;
        if self.data.is_some() && self.key().is_none() {
            self.index_step(BlockCursor::next)?;
            self.load()?;
            self.data_step(BlockCursor::first)?;
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<(), TreeError> {
        self.data_step(BlockCursor::prev)?;
        if self.data.is_some() && self.key().is_none() {
            self.index_step(BlockCursor::prev)?;
            self.load()?;
            self.data_step(BlockCursor::last)?;
        }
        Ok(())
    }
}

/// Files that follow each other, as one [`Source`] of `from <= key < to`.
#[derive(Debug)]
pub(crate) struct FilesSource {
    /// In the order in which they are read, the next one last.
    files: Vec<Arc<FileHandle>>,
    from: Bytes,
    to: Option<Bytes>,
    backward: bool,
    patience: Patience,
    cursor: Option<FileCursor>,
}

impl FilesSource {
    /// `files` ascend and do not overlap.
    pub(crate) fn new(
        mut files: Vec<Arc<FileHandle>>,
        from: Bytes,
        to: Option<Bytes>,
        backward: bool,
        patience: Patience,
    ) -> Result<FilesSource, TreeError> {
        if !backward {
            files.reverse();
        }
        let mut source = FilesSource { files, from, to, backward, patience, cursor: None };
        source.settle()?;
        Ok(source)
    }

    /// Goes on to the next file while there is no entry.
    fn settle(&mut self) -> Result<(), TreeError> {
        while self.cursor.as_ref().is_none_or(|cursor| cursor.key().is_none()) {
            let Some(file) = self.files.pop() else {
                self.cursor = None;
                return Ok(());
            };
            let mut cursor = FileCursor::new(file, self.patience)?;
            if self.backward {
                cursor.seek_below(self.to.as_deref())?;
            } else {
                cursor.seek(&self.from, u64::MAX)?;
            }
            self.cursor = Some(cursor);
        }
        Ok(())
    }
}

impl Source for FilesSource {
    fn key(&self) -> Option<&[u8]> {
        let key = self.cursor.as_ref()?.key()?;
        let within = if self.backward {
            self.from.as_ref() <= key
        } else {
            self.to.as_deref().is_none_or(|to| key < to)
        };
        within.then_some(key)
    }

    fn take(&mut self, into: &mut Versions) -> Result<(), TreeError> {
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        let Some(key) = cursor.key().map(Bytes::copy_from_slice) else { return Ok(()) };
        while let Some((found, position, value)) = cursor.entry()
            && found == key
        {
            into.push((position, value));
            if self.backward { cursor.prev()? } else { cursor.next()? }
        }
        self.settle()
    }
}

/// The files of a run that may hold some of `from <= key < to`.
pub(crate) fn overlapping(files: &[Arc<FileHandle>], from: &[u8], to: Option<&[u8]>) -> Vec<Arc<FileHandle>> {
    files.iter().filter(|file| file.meta.overlaps(from, to)).cloned().collect()
}
