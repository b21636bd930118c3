//! [`FileHandle`]: a data file as readers see it. Every part is checked when it is read, and then
//! cached; what fails its check is named, and fails only the reads that need it.

use std::sync::{Arc, OnceLock};

use base::{Malformed, NO_TIMESTAMP};
use bytes::Bytes;
use world::DiskError;

use super::{
    Damage, Patience, TreeError, TreeId,
    block::Block,
    cursor::{Access, Cursor},
    files::{Files, OpenFile},
    filter,
    format::{FOOTER, FilterPlace, Footer, NoFooter, Place, Root, file_name},
    memtable::Versions,
    ranges::{Mark, Ranges, decode_marks, seen},
    rule::Lifetime,
    seal::open_block,
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
    pub(crate) spent: Spent,
}

/// How much of a file only waits to be purged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Spent {
    /// The highest timestamp of a value.
    pub(crate) newest: i64,
    /// Entries that are dead at any time: tombstones.
    pub(crate) dead: u64,
    /// Seconds since 1970 from which on all its values are dead; `u32::MAX` for never.
    pub(crate) dies_at: u32,
}

impl Spent {
    /// Of no value.
    pub(crate) const NONE: Spent = Spent { newest: i64::MIN, dead: 0, dies_at: 0 };

    /// Counts one more value.
    pub(crate) fn add(&mut self, lifetime: Lifetime) {
        self.newest = self.newest.max(lifetime.newest);
        self.dead += u64::from(lifetime.dies_at == Some(0));
        self.dies_at = self.dies_at.max(lifetime.dies_at.unwrap_or(u32::MAX));
    }
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

/// A file that can be read.
#[derive(Debug)]
pub(crate) struct FileHandle {
    pub(crate) meta: FileMeta,
    footer: OnceLock<Footer>,
    open: OpenFile,
    files: Arc<Files>,
}

pub(crate) fn damage(file: &str, offset: u64, tree: TreeId, why: &str) -> TreeError {
    TreeError::Damaged(Damage { file: file.to_owned(), offset, tree: Some(tree), why: why.to_owned() })
}

impl FileHandle {
    /// A file of a forest. Nothing is read yet; that it is missing is told to those who read it.
    pub(crate) fn new(meta: FileMeta, files: &Arc<Files>) -> FileHandle {
        FileHandle { meta, footer: OnceLock::new(), open: OpenFile::default(), files: files.clone() }
    }

    /// Opens it and reads its footer, so that the first reader who must not wait need not. What is
    /// wrong with it is told to those who read it.
    pub(crate) fn warm(&self) {
        let _ = self.footer(Patience::Wait);
    }

    pub(crate) fn damage(&self, offset: u64, why: &str) -> TreeError {
        damage(&file_name(self.meta.id), offset, self.meta.tree, why)
    }

    pub(crate) fn malformed(&self, place: Place, error: Malformed) -> TreeError {
        self.damage(place.offset, &error.to_string())
    }

    /// The bytes at `place`, not checked.
    pub(crate) fn read(&self, place: Place, patience: Patience) -> Result<Bytes, TreeError> {
        let end = place.offset.checked_add(u64::from(place.len));
        if end.is_none_or(|end| end > self.meta.bytes) {
            return Err(self.damage(place.offset, "a block beyond the end"));
        }
        let file = self.file(patience)?;
        let mut bytes = vec![0; place.len as usize];
        match patience {
            Patience::Wait => file.read_at(&mut bytes, place.offset)?,
            Patience::Now if file.read_now(&mut bytes, place.offset)? => {}
            Patience::Now => return Err(TreeError::NotNow),
        }
        Ok(bytes.into())
    }

    fn file(&self, patience: Patience) -> Result<Arc<world::File>, TreeError> {
        self.files.file(self.meta.id, &self.open, patience).map_err(|error| match error {
            TreeError::Disk(DiskError::NotFound { .. }) => self.damage(0, "the file is missing"),
            error => error,
        })
    }

    fn footer(&self, patience: Patience) -> Result<&Footer, TreeError> {
        if let Some(footer) = self.footer.get() {
            return Ok(footer);
        }
        let footer = self.read_footer(patience)?;
        Ok(self.footer.get_or_init(|| footer))
    }

    pub(crate) fn read_footer(&self, patience: Patience) -> Result<Footer, TreeError> {
        let len = self.file(patience)?.len()?;
        if len != self.meta.bytes || len < FOOTER as u64 {
            return Err(self.damage(len, &format!("it is {len} bytes long, not {}", self.meta.bytes)));
        }
        let at = len - FOOTER as u64;
        let bytes = self.read(Place { offset: at, len: FOOTER as u32 }, patience)?;
        let bytes = bytes.first_chunk().expect("it was read whole");
        let footer = Footer::decode(bytes).map_err(|error| match error {
            NoFooter::Version(version) => TreeError::Version { file: file_name(self.meta.id), version },
            NoFooter::Damaged => self.damage(at, "the footer fails its checksum"),
        })?;
        if (footer.file_id, footer.tree) != (self.meta.id, self.meta.tree) {
            return Err(self.damage(at, "the footer is of another file"));
        }
        Ok(footer)
    }

    /// The payload of the block at `place`, from the cache or else from the disk, and then cached.
    fn part(&self, place: Place, patience: Patience) -> Result<Bytes, TreeError> {
        if let Some(payload) = self.files.cache.get(self.meta.id, place.offset) {
            return Ok(payload);
        }
        let payload = self.read_part(place, patience)?;
        self.files.cache.put(self.meta.id, place.offset, &payload);
        Ok(payload)
    }

    /// Reads and checks a block, whatever the cache says.
    pub(crate) fn read_part(&self, place: Place, patience: Patience) -> Result<Bytes, TreeError> {
        let stored = self.read(place, patience)?;
        open_block(&stored, self.meta.id, place.offset).map_err(|why| self.damage(place.offset, why))
    }

    /// The block at `place`.
    pub(crate) fn block(&self, place: Place, patience: Patience) -> Result<Block, TreeError> {
        Block::parse(self.part(place, patience)?).map_err(|error| self.malformed(place, error))
    }

    /// The same, past the cache.
    pub(crate) fn read_block(&self, place: Place) -> Result<Block, TreeError> {
        let payload = self.read_part(place, Patience::Wait)?;
        Block::parse(payload).map_err(|error| self.malformed(place, error))
    }

    /// False if no key with this hash was put into the filter.
    fn may_hold(&self, place: FilterPlace, hash: u64, patience: Patience) -> Result<bool, TreeError> {
        if place.pages == 0 {
            return Ok(true);
        }
        let page = place.page(filter::page_of(hash, place.pages));
        let bits = self.part(page, patience)?;
        filter::may_hold(&bits, hash).map_err(|error| self.malformed(page, error))
    }

    /// False if no key in it has the prefix with this hash.
    pub(crate) fn may_hold_prefix(&self, hash: u64, patience: Patience) -> Result<bool, TreeError> {
        self.may_hold(self.footer(patience)?.prefix_filter, hash, patience)
    }

    /// Adds the values of `key`, whose hash this is, up to `sequence`.
    pub(crate) fn collect(
        &self,
        (key, hash): (&[u8], u64),
        mut sequence: u64,
        into: &mut Versions,
        patience: Patience,
    ) -> Result<(), TreeError> {
        let footer = self.footer(patience)?;
        if footer.data.height == 0 || !self.may_hold(footer.key_filter, hash, patience)? {
            return Ok(());
        }
        // Down to the leaf that the first of them is in; once more for each leaf they go on into.
        'leaf: loop {
            let mut place = footer.data.place;
            for _ in 1..footer.data.height {
                let block = self.block(place, patience)?;
                let found = block.find(key, sequence);
                let below = found.and_then(|value| value.map(Place::decode).transpose());
                match below.map_err(|error| self.malformed(place, error))? {
                    Some(below) => place = below,
                    None => break 'leaf,
                }
            }
            let leaf = self.block(place, patience)?;
            let last = leaf.collect(key, sequence, into).map_err(|error| self.malformed(place, error))?;
            match last {
                Some(last @ 1..) => sequence = last - 1,
                _ => break,
            }
        }
        Ok(())
    }

    /// A cursor over its entries, at none.
    pub(crate) fn entries(self: &Arc<Self>, access: Access) -> Result<Cursor, TreeError> {
        Ok(Cursor::new(self.clone(), self.footer(access.patience())?.data, access))
    }

    /// The latest timestamp of a deletion of a range with `key` in it, as a reader at `sequence` sees
    /// it.
    pub(crate) fn deleted_at(
        self: &Arc<Self>,
        key: &[u8],
        sequence: u64,
        patience: Patience,
    ) -> Result<i64, TreeError> {
        if !self.meta.has_ranges {
            return Ok(NO_TIMESTAMP);
        }
        let mut steps = Steps::new(self, patience)?;
        steps.at(key, sequence)
    }

    /// The deletions of ranges in it that touch `from <= key < to`, and perhaps some beside; of more
    /// than `limit` that many and a few more.
    pub(crate) fn ranges(
        self: &Arc<Self>,
        (from, to): (&[u8], Option<&[u8]>),
        limit: usize,
        access: Access,
    ) -> Result<Ranges, TreeError> {
        let mut ranges = Ranges::default();
        if !self.meta.has_ranges {
            return Ok(ranges);
        }
        let root = self.footer(access.patience())?.ranges;
        let mut cursor = Cursor::new(self.clone(), root, access);
        // The step that holds at `from` is the last one at or before it.
        cursor.seek(from, 0)?;
        if cursor.key() != Some(from) {
            cursor.prev_or_last()?;
            if cursor.key().is_none() {
                cursor.seek(from, 0)?;
            }
        }
        let mut count = 0;
        while let (Some(key), Some((_, marks))) = (cursor.key(), cursor.value()) {
            let marks = decode_marks(&marks).map_err(|error| self.malformed(root.place, error))?;
            count += usize::from(!marks.is_empty());
            ranges.push_step(key, marks);
            if count > limit.saturating_add(1) || to.is_some_and(|to| to <= key) {
                break;
            }
            cursor.next()?;
        }
        Ok(ranges)
    }

    /// Of its leaves that may hold some of `from <= key < to` the last keys, or ones that part them
    /// from the next, each with the bytes of its leaf: what it holds, told from the index alone.
    pub(crate) fn outline(
        self: &Arc<Self>,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Vec<(Bytes, u64)>, TreeError> {
        let root = self.footer(Patience::Wait)?.data;
        let access = Access::Cached(Patience::Wait);
        if root.height <= 1 {
            let mut cursor = Cursor::new(self.clone(), root, access);
            cursor.seek_below(None)?;
            let last = cursor.key().map(Bytes::copy_from_slice);
            return Ok(last.map(|key| (key, u64::from(root.place.len))).into_iter().collect());
        }
        // The blocks above the leaves are the leaves of a tree that is lower by one.
        let mut cursor = Cursor::new(self.clone(), Root { height: root.height - 1, ..root }, access);
        cursor.seek(from, u64::MAX)?;
        let mut outline = Vec::new();
        while let (Some(key), Some((_, place))) = (cursor.key(), cursor.value()) {
            let place = Place::decode(&place).map_err(|error| self.malformed(root.place, error))?;
            outline.push((Bytes::copy_from_slice(key), u64::from(place.len)));
            if to.is_some_and(|to| to <= key) {
                break;
            }
            cursor.next()?;
        }
        Ok(outline)
    }

    /// Forgets what is at hand of it: it is to be removed.
    pub(crate) fn forget(&self) {
        self.files.forget(self.meta.id);
    }
}

/// The deletions of ranges in a file, asked for one key after another.
#[derive(Debug)]
pub(crate) struct Steps {
    file: Arc<FileHandle>,
    cursor: Cursor,
    /// The stretch of keys that was asked for last, and what holds there.
    stretch: Option<(Bytes, Option<Bytes>, Vec<Mark>)>,
}

impl Steps {
    pub(crate) fn new(file: &Arc<FileHandle>, patience: Patience) -> Result<Steps, TreeError> {
        let root = file.footer(patience)?.ranges;
        let cursor = Cursor::new(file.clone(), root, Access::Cached(patience));
        Ok(Steps { file: file.clone(), cursor, stretch: None })
    }

    /// The latest timestamp of a deletion of `key` that a reader at `sequence` sees.
    pub(crate) fn at(&mut self, key: &[u8], sequence: u64) -> Result<i64, TreeError> {
        let holds = |from: &Bytes, to: &Option<Bytes>| {
            from.as_ref() <= key && to.as_deref().is_none_or(|to| key < to)
        };
        if let Some((from, to, marks)) = &self.stretch
            && holds(from, to)
        {
            return Ok(seen(marks, sequence));
        }
        let stretch = self.stretch_of(key)?;
        let (.., marks) = self.stretch.insert(stretch);
        Ok(seen(marks, sequence))
    }

    /// From the last step at or before `key` to the first behind it.
    fn stretch_of(&mut self, key: &[u8]) -> Result<(Bytes, Option<Bytes>, Vec<Mark>), TreeError> {
        self.cursor.seek(key, 0)?;
        if self.cursor.key() == Some(key) {
            self.cursor.next()?;
        }
        let to = self.cursor.key().map(Bytes::copy_from_slice);
        if to.is_some() {
            self.cursor.prev()?
        } else {
            self.cursor.seek_below(None)?
        }
        let (Some(from), Some((_, marks))) = (self.cursor.key(), self.cursor.value()) else {
            return Ok((Bytes::new(), to, Vec::new()));
        };
        let place = self.file.footer(Patience::Now)?.ranges.place;
        let marks = decode_marks(&marks).map_err(|error| self.file.malformed(place, error))?;
        Ok((Bytes::copy_from_slice(from), to, marks))
    }
}

/// The files of a run, which ascend and do not overlap, that may say something of `from <= key < to`.
pub(crate) fn overlapping<'f>(
    files: &'f [Arc<FileHandle>],
    from: &[u8],
    to: Option<&[u8]>,
) -> &'f [Arc<FileHandle>] {
    let first = files.partition_point(|file| file.meta.to.as_deref().is_some_and(|end| end <= from));
    let files = &files[first..];
    &files[..files.partition_point(|file| to.is_none_or(|to| file.meta.from.as_ref() < to))]
}
