//! [`Cursor`]: a place among the ordered blocks below a root of a file.
//!
//! It holds a block of each height on its way down. Who reads for somebody goes through the cache;
//! a compaction reads everything once, so it goes past it, and ahead.

use std::sync::Arc;

use base::Malformed;
use bytes::Bytes;

use super::{
    Patience, TreeError,
    block::{Block, BlockCursor},
    file::FileHandle,
    format::{Place, Root},
    seal::open_block,
};

/// How a cursor reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Through the cache.
    Cached(Patience),
    /// Leaves past the cache, many at a time.
    Ahead,
}

impl Access {
    pub(crate) fn patience(self) -> Patience {
        match self {
            Access::Cached(patience) => patience,
            Access::Ahead => Patience::Wait,
        }
    }
}

/// Bytes that are read at a time by who reads ahead: enough for the device to be busy, few enough
/// for a compaction of a dozen files.
const AHEAD_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct Cursor {
    file: Arc<FileHandle>,
    root: Root,
    access: Access,
    /// Bytes that were read ahead, and where they begin.
    ahead: (u64, Bytes),
    /// From the root down.
    path: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    place: Place,
    block: BlockCursor,
}

/// Where to go below a block.
#[derive(Clone, Copy)]
enum Goal<'k> {
    First,
    Last,
    /// The first entry at or behind this one.
    At(&'k [u8], u64),
}

impl Cursor {
    /// At no entry.
    pub(crate) fn new(file: Arc<FileHandle>, root: Root, access: Access) -> Cursor {
        Cursor { file, root, access, ahead: (0, Bytes::new()), path: Vec::new() }
    }

    /// How many blocks there are from the root down to a leaf.
    fn height(&self) -> usize {
        self.root.height as usize
    }

    /// The leaf it is in; `None` if it never went anywhere, or there are no blocks.
    fn leaf(&self) -> Option<&BlockCursor> {
        self.path.get(self.height().checked_sub(1)?).map(|level| &level.block)
    }

    /// The key of the entry it is at.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.leaf()?.key()
    }

    /// Sequence and value of the entry it is at.
    pub(crate) fn value(&self) -> Option<(u64, Bytes)> {
        self.leaf()?.value()
    }

    /// Goes to the first entry at or behind (`key`, `sequence`).
    pub(crate) fn seek(&mut self, key: &[u8], sequence: u64) -> Result<(), TreeError> {
        self.begin(Goal::At(key, sequence))
    }

    /// Goes to the last entry with a key below `to`.
    pub(crate) fn seek_below(&mut self, to: Option<&[u8]>) -> Result<(), TreeError> {
        match to {
            Some(to) => {
                self.seek(to, u64::MAX)?;
                self.prev_or_last()
            }
            None => self.begin(Goal::Last),
        }
    }

    pub(crate) fn next(&mut self) -> Result<(), TreeError> {
        self.step(true)
    }

    pub(crate) fn prev(&mut self) -> Result<(), TreeError> {
        self.step(false)
    }

    /// Goes to the entry before; from behind all entries to the last one.
    pub(crate) fn prev_or_last(&mut self) -> Result<(), TreeError> {
        if self.key().is_some() { self.step(false) } else { self.begin(Goal::Last) }
    }

    fn begin(&mut self, goal: Goal<'_>) -> Result<(), TreeError> {
        if self.height() == 0 {
            return Ok(());
        }
        self.load(0, self.root.place)?;
        let below = self.descend(0, goal)?;
        // The index parts blocks by keys that need not be in them: the entry may be the next leaf's.
        if below && self.key().is_none() && matches!(goal, Goal::At(..)) { self.step(true) } else { Ok(()) }
    }

    /// Goes to the goal from the block at `depth` down; false, and at no entry, if all is before it.
    fn descend(&mut self, mut depth: usize, goal: Goal<'_>) -> Result<bool, TreeError> {
        loop {
            self.go(depth, |block| match goal {
                Goal::First => block.first(),
                Goal::Last => block.last(),
                Goal::At(key, sequence) => block.seek(key, sequence),
            })?;
            if depth + 1 == self.height() {
                return Ok(true);
            }
            let Some(below) = self.below(depth)? else {
                if let Some(leaf) = self.path.get_mut(self.root.height as usize - 1) {
                    leaf.block.leave();
                }
                return Ok(false);
            };
            depth += 1;
            self.load(depth, below)?;
        }
    }

    fn step(&mut self, forward: bool) -> Result<(), TreeError> {
        if self.path.len() < self.height() {
            return Ok(());
        }
        // Up to the lowest block that has one more entry, and from there down to the leaf.
        for depth in (0..self.height()).rev() {
            self.go(depth, if forward { BlockCursor::next } else { BlockCursor::prev })?;
            if depth + 1 == self.height() {
                if self.key().is_some() {
                    return Ok(());
                }
            } else if let Some(below) = self.below(depth)? {
                self.load(depth + 1, below)?;
                self.descend(depth + 1, if forward { Goal::First } else { Goal::Last })?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Moves in the block at `depth`.
    fn go(
        &mut self,
        depth: usize,
        step: impl FnOnce(&mut BlockCursor) -> Result<(), Malformed>,
    ) -> Result<(), TreeError> {
        let level = &mut self.path[depth];
        step(&mut level.block).map_err(|error| self.file.malformed(level.place, error))
    }

    /// The block that the entry of the index block at `depth` names.
    fn below(&self, depth: usize) -> Result<Option<Place>, TreeError> {
        let level = &self.path[depth];
        let place = level.block.value().map(|(_, place)| Place::decode(&place)).transpose();
        place.map_err(|error| self.file.malformed(level.place, error))
    }

    /// Has the block at `depth` be the one at `place`.
    fn load(&mut self, depth: usize, place: Place) -> Result<(), TreeError> {
        if self.path.get(depth).is_some_and(|level| level.place == place) {
            return Ok(());
        }
        let block = match self.access {
            Access::Cached(patience) => self.file.block(place, patience)?,
            Access::Ahead if depth + 1 == self.height() => self.block_ahead(place)?,
            Access::Ahead => self.file.read_block(place)?,
        };
        match self.path.get_mut(depth) {
            Some(level) => {
                level.place = place;
                level.block.reset(block);
            }
            None => self.path.push(Level { place, block: BlockCursor::new(block) }),
        }
        Ok(())
    }

    fn block_ahead(&mut self, place: Place) -> Result<Block, TreeError> {
        let within = |(start, bytes): &(u64, Bytes)| {
            let at = usize::try_from(place.offset.checked_sub(*start)?).ok()?;
            let end = at.checked_add(place.len as usize)?;
            (end <= bytes.len()).then(|| bytes.slice(at..end))
        };
        let stored = match within(&self.ahead) {
            Some(stored) => stored,
            None => {
                let most = self.file.meta.bytes.saturating_sub(place.offset).min(AHEAD_BYTES) as u32;
                let more = Place { offset: place.offset, len: place.len.max(most) };
                self.ahead = (place.offset, self.file.read(more, Patience::Wait)?);
                within(&self.ahead).expect("it was just read")
            }
        };
        let payload = open_block(&stored, self.file.meta.id, place.offset)
            .map_err(|why| self.file.damage(place.offset, why))?;
        Block::parse(payload).map_err(|error| self.file.malformed(place, error))
    }
}
