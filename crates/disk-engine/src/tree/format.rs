//! The bytes of the tree, version 3.
//!
//! A forest is the folder `tree/` of a disk: `MANIFEST` (drawn in `manifest`) and data files
//! `00000001.tree`, `00000002.tree`, ... that are written once and never changed. All integers are
//! little-endian; `varint` is LEB128; a checksum is CRC-64/NVME.
//!
//! ```text
//! file = blocks of the entries, each index block behind the blocks below it, the root last
//!      | blocks of the range deletions, likewise; none if there are none
//!      | pages of the filter over whole keys | pages of the filter over prefixes
//!      | footer
//!
//! block, as stored
//!      0   n  payload, compressed as the tag says
//!      n   1  tag: 0 as it is, 1 LZ4 block, 2 Zstandard frame
//!    n+1   4  length of the payload before compression u32, at most 1 GiB
//!    n+5   8  checksum of: file id u64, offset of the block u64, bytes 0..n+5
//!
//! payload of a leaf or index block
//!      entry...                                by key ascending, within a key by sequence descending
//!      offset of each restart point u32...     an entry that shares nothing: in a leaf the 16th after
//!                                              one or the first 512 bytes behind it; every one of
//!                                              an index block
//!      head of each restart point u32...       4 bytes of its key big-endian, behind what the keys of
//!                                              all of them have in common; zeros where it is shorter
//!      bytes in common u32
//!      number of restart points u32
//!
//! entry = shared varint       bytes of the key that equal the entry before: as many as do
//!       | rest varint         bytes of the key that follow
//!       | value length varint
//!       | rest of the key
//!       | sequence varint     of the batch that wrote it (the latest one, after a merge)
//!       | value
//!
//! leaf of entries             value = what the tree's rule knows
//! leaf of range deletions     a step function over keys, see `ranges`: the key where it changes,
//!                             sequence 0, value = (sequence varint | timestamp i64)...
//! index block                 one entry for each block below: (key, sequence) is at or behind that
//!                             block's last entry and before the next block's first; value = its place
//! place = offset u64 | stored length u32       of a block, its 13 last bytes included
//!
//! page of a filter, see `filter`: stored as a block, all pages of a filter equally long
//!      probes u8 | bits, eight a byte, lowest first
//!
//! footer, 128 bytes, at the end
//!      0   8  magic "HOLDTREE"
//!      8   4  version u32, 3
//!     12   4  lower half of the checksum of bytes 0..12; 0..16 mean the same in every version
//!     16   8  file id u64
//!     24   8  tree u64
//!     32  12  place of the root over the entries, zeros for none
//!     44   4  blocks from this root down to a leaf u32, 1 if the root is one; 0 for none
//!     48  12  place of the root over the range deletions, zeros for none
//!     60   4  blocks from this root down u32
//!     64   8  offset of the filter over whole keys
//!     72   4  its pages u32, 0 for none
//!     76   4  stored length of each u32
//!     80  16  the filter over prefixes, likewise
//!     96   8  entries u64
//!    104   8  lowest timestamp of a value i64
//!    112   8  zeros
//!    120   8  checksum of bytes 0..120
//! ```
//!
//! A block's checksum covers where it stands, so a block that a disk returns for another one is
//! noticed like one that changed.

use base::Malformed;
use crc_fast::{CrcAlgorithm, Digest};

use super::TreeId;

/// The version this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 3;
/// Bytes of a footer.
pub(crate) const FOOTER: usize = 128;
/// Bytes behind the payload of a stored block.
pub(crate) const TRAILER: usize = 13;
/// The longest payload: one value of the largest size, beside small entries.
pub(crate) const MAX_PAYLOAD: usize = 1 << 30;
/// The longest value that merging may make of values.
pub(crate) const MAX_MERGED: usize = 512 << 20;
/// The longest key: that of a row, two keys of up to 65,535 bytes that may double when escaped, and
/// room beside.
pub(crate) const MAX_KEY: usize = 512 << 10;
/// The longest value of one batch.
pub(crate) const MAX_VALUE: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"HOLDTREE";

/// Where a block stands. No block is shorter than its trailer, so length 0 is "none".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Place {
    pub(crate) fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Place, Malformed> {
        let mut reader = base::Reader::new(bytes);
        let place = Place { offset: reader.u64("place")?, len: reader.u32("place")? };
        reader.end("place")?;
        Ok(place)
    }
}

pub(crate) fn tail<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The root of ordered blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Root {
    pub(crate) place: Place,
    /// Blocks from here down to a leaf, this one included; 0 for no blocks at all.
    pub(crate) height: u32,
}

/// The most blocks there may be from a root down to a leaf: an index block has two entries at least.
const MAX_HEIGHT: u32 = 48;

/// Where the pages of a filter stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FilterPlace {
    pub(crate) offset: u64,
    /// None if there are 0.
    pub(crate) pages: u32,
    /// The stored length of each.
    pub(crate) page_len: u32,
}

impl FilterPlace {
    /// Where page `nth` stands.
    pub(crate) fn page(self, nth: u32) -> Place {
        let offset = self.offset.saturating_add(u64::from(nth) * u64::from(self.page_len));
        Place { offset, len: self.page_len }
    }
}

/// What a file says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) file_id: u64,
    pub(crate) tree: TreeId,
    pub(crate) data: Root,
    pub(crate) ranges: Root,
    pub(crate) key_filter: FilterPlace,
    pub(crate) prefix_filter: FilterPlace,
    pub(crate) entries: u64,
    pub(crate) oldest: i64,
}

/// Why bytes are no footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoFooter {
    /// A file of another version.
    Version(u32),
    /// No footer of any version, or one that fails its checksum.
    Damaged,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER] {
        let mut out = base::Writer::with_capacity(FOOTER);
        out.raw(&MAGIC);
        out.u32(VERSION);
        out.u32(checksum(&[&MAGIC, &VERSION.to_le_bytes()]) as u32);
        out.u64(self.file_id);
        out.u64(self.tree.0);
        for root in [self.data, self.ranges] {
            out.raw(&root.place.encode());
            out.u32(root.height);
        }
        for filter in [self.key_filter, self.prefix_filter] {
            out.u64(filter.offset);
            out.u32(filter.pages);
            out.u32(filter.page_len);
        }
        out.u64(self.entries);
        out.raw(&self.oldest.to_le_bytes());
        out.raw(&[0; 8]);
        let mut bytes = [0; FOOTER];
        bytes[..FOOTER - 8].copy_from_slice(&out.into_vec());
        let check = checksum(&[&bytes[..FOOTER - 8]]);
        bytes[FOOTER - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FOOTER]) -> Result<Footer, NoFooter> {
        if bytes[..8] != MAGIC || tail(bytes, 12) != (checksum(&[&bytes[..12]]) as u32).to_le_bytes() {
            return Err(NoFooter::Damaged);
        }
        match u32::from_le_bytes(tail(bytes, 8)) {
            VERSION => {}
            version => return Err(NoFooter::Version(version)),
        }
        if tail(bytes, FOOTER - 8) != checksum(&[&bytes[..FOOTER - 8]]).to_le_bytes() {
            return Err(NoFooter::Damaged);
        }
        let long = |at: usize| u64::from_le_bytes(tail(bytes, at));
        let short = |at: usize| u32::from_le_bytes(tail(bytes, at));
        let root = |at: usize| Root {
            place: Place { offset: long(at), len: short(at + 8) },
            height: short(at + 12),
        };
        let filter =
            |at: usize| FilterPlace { offset: long(at), pages: short(at + 8), page_len: short(at + 12) };
        let footer = Footer {
            file_id: long(16),
            tree: TreeId(long(24)),
            data: root(32),
            ranges: root(48),
            key_filter: filter(64),
            prefix_filter: filter(80),
            entries: long(96),
            oldest: long(104) as i64,
        };
        let flat = |root: &Root| root.height <= MAX_HEIGHT;
        let paged = |filter: &FilterPlace| filter.pages == 0 || filter.page_len > TRAILER as u32;
        let sound = [footer.data, footer.ranges].iter().all(flat)
            && [footer.key_filter, footer.prefix_filter].iter().all(paged);
        if sound { Ok(footer) } else { Err(NoFooter::Damaged) }
    }
}

pub(crate) fn checksum(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The name of a data file, with its folder.
pub(crate) fn file_name(id: u64) -> String {
    format!("{FOLDER}/{id:08}.tree")
}

/// The folder of a forest.
pub const FOLDER: &str = "tree";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_comes_back_and_another_version_is_told_from_damage() {
        let root = |offset, height| Root { place: Place { offset, len: 20 }, height };
        let footer = Footer {
            file_id: 3,
            tree: TreeId(9),
            data: root(1, 3),
            ranges: root(2, 1),
            key_filter: FilterPlace { offset: 4, pages: 5, page_len: 60 },
            prefix_filter: FilterPlace::default(),
            entries: 5,
            oldest: -1,
        };
        let bytes = footer.encode();
        assert_eq!(Footer::decode(&bytes), Ok(footer));
        for bit in 0..FOOTER * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&bytes), Err(NoFooter::Damaged));
        }
        let high = Footer { data: root(1, MAX_HEIGHT + 1), ..footer };
        assert_eq!(Footer::decode(&high.encode()), Err(NoFooter::Damaged));
        let empty = FilterPlace { page_len: 13, ..footer.key_filter };
        let empty = Footer { key_filter: empty, ..footer };
        assert_eq!(Footer::decode(&empty.encode()), Err(NoFooter::Damaged));
        let mut next = bytes;
        next[8] = VERSION as u8 + 1;
        let check = checksum(&[&next[..12]]) as u32;
        next[12..16].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Footer::decode(&next), Err(NoFooter::Version(VERSION + 1)));
    }
}
