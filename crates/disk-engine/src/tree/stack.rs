//! [`Stack`]: entries in order become leaf blocks, with index blocks above them up to one root: a
//! B-tree that is built once, from its leaves up, in memory for one block of each height.
//!
//! An index entry names the block below it and a key that parts it from the next one: the shortest
//! that does, not the whole last key, so that more fit in a block.

use super::{
    TreeError,
    block::{BlockBuilder, common},
    format::{Place, Root},
};

/// Entries of a leaf from one restart point to the next, at most. LevelDB's figure.
const LEAF_INTERVAL: usize = 16;

/// Where blocks go.
pub(crate) trait Blocks {
    /// Adds a block with this payload.
    fn block(&mut self, payload: &[u8]) -> Result<Place, TreeError>;
}

/// Ordered blocks that are being built.
#[derive(Debug)]
pub(crate) struct Stack {
    block_bytes: usize,
    leaf: BlockBuilder,
    last_sequence: u64,
    /// From the lowest up.
    index: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    block: BlockBuilder,
    /// The last block below it, and the sequence that parts it from the next.
    last: (u64, Place),
}

impl Stack {
    /// Blocks end when they have this many bytes.
    pub(crate) fn new(block_bytes: usize) -> Stack {
        Stack { block_bytes, leaf: BlockBuilder::new(LEAF_INTERVAL), last_sequence: 0, index: Vec::new() }
    }

    /// Bytes of the leaf that is not written yet.
    pub(crate) fn pending_bytes(&self) -> usize {
        if self.leaf.entries() == 0 { 0 } else { self.leaf.len() }
    }

    /// Adds an entry, which is behind the one before.
    pub(crate) fn push(
        &mut self,
        out: &mut impl Blocks,
        key: &[u8],
        sequence: u64,
        value: &[u8],
    ) -> Result<(), TreeError> {
        if self.leaf.entries() > 0 && self.leaf.len() >= self.block_bytes {
            self.end_leaf(out, Some(key))?;
        }
        self.leaf.push(key, sequence, value);
        self.last_sequence = sequence;
        Ok(())
    }

    /// Ends the leaf, behind which `next` comes.
    fn end_leaf(&mut self, out: &mut impl Blocks, next: Option<&[u8]>) -> Result<(), TreeError> {
        let last = self.leaf.last_key();
        let (key, sequence) = match next.and_then(|next| between(last, next)) {
            // Nothing has this key, so any sequence will do.
            Some(key) => (key.to_vec(), 0),
            None => (last.to_vec(), self.last_sequence),
        };
        let place = self.leaf.finish(|payload| out.block(payload))?;
        self.name(out, 0, (&key, sequence), place)
    }

    /// Names a block in the index block above it.
    fn name(
        &mut self,
        out: &mut impl Blocks,
        level: usize,
        (key, sequence): (&[u8], u64),
        place: Place,
    ) -> Result<(), TreeError> {
        if level == self.index.len() {
            self.index.push(Level { block: BlockBuilder::new(1), last: (0, Place::default()) });
        }
        let above = &mut self.index[level];
        above.block.push(key, sequence, &place.encode());
        above.last = (sequence, place);
        // Two at least, or long keys would make the stack infinitely high.
        let full = above.block.len() >= self.block_bytes && above.block.entries() >= 2;
        if full { self.end_index(out, level) } else { Ok(()) }
    }

    fn end_index(&mut self, out: &mut impl Blocks, level: usize) -> Result<(), TreeError> {
        let Level { block, last: (sequence, _) } = &mut self.index[level];
        let (key, sequence) = (block.last_key().to_vec(), *sequence);
        let place = block.finish(|payload| out.block(payload))?;
        self.name(out, level + 1, (&key, sequence), place)
    }

    /// Writes what is left. The root is the last block then.
    pub(crate) fn finish(mut self, out: &mut impl Blocks) -> Result<Root, TreeError> {
        if self.leaf.entries() == 0 {
            // A leaf ends when something comes behind it, so there never was anything.
            return Ok(Root::default());
        }
        self.end_leaf(out, None)?;
        for level in 0.. {
            let top = level + 1 == self.index.len();
            let Level { block, last: (_, place) } = &self.index[level];
            if top && block.entries() == 1 {
                return Ok(Root { place: *place, height: level as u32 + 1 });
            }
            if block.entries() > 0 {
                self.end_index(out, level)?;
            }
        }
        unreachable!("each level has at most half as many blocks as the one below")
    }
}

/// A key with `last < key < next` that is shorter than `next` and no longer than `last`, if there is
/// one that is easily found.
fn between<'k>(last: &[u8], next: &'k [u8]) -> Option<&'k [u8]> {
    let shared = common(last, next);
    (shared < last.len() && shared + 1 < next.len()).then(|| &next[..=shared])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_between_parts_two(
            a in prop::collection::vec(0u8..3, 0..6),
            b in prop::collection::vec(0u8..3, 0..6),
        ) {
            let (last, next) = (a.clone().min(b.clone()), a.max(b));
            if let Some(key) = between(&last, &next) {
                prop_assert!(last.as_slice() < key && key < next.as_slice() && key.len() <= last.len());
            }
        }
    }
}
