//! The bytes of the tree, version 2.
//!
//! A forest is the folder `tree/` of a disk: `MANIFEST` (drawn in `manifest`) and data files
//! `00000001.tree`, `00000002.tree`, ... that are written once and never changed. All integers are
//! little-endian; `varint` is LEB128; a checksum is CRC-64/NVME.
//!
//! ```text
//! file = data block... | ranges block? | key filter? | prefix filter? | index block | footer
//!
//! block, as stored
//!      0   n  payload, compressed as the tag says
//!      n   1  tag: 0 as it is, 1 LZ4 block
//!    n+1   4  length of the payload before compression u32, at most 1 GiB
//!    n+5   8  checksum of: file id u64, offset of the block u64, bytes 0..n+5
//!
//! payload of data and index blocks
//!      entry...                                by key ascending, within a key by sequence descending
//!      offset of each restart point u32...     every 16th entry, which shares nothing
//!      number of restart points u32
//!
//! entry = shared varint       bytes of the key that equal the entry before
//!       | rest varint         bytes of the key that follow
//!       | sequence varint     of the batch that wrote it (the latest one, after a merge)
//!       | value length varint
//!       | rest of the key | value
//!
//! index entry: key and sequence of a data block's last entry, value = its place
//! place = offset u64 | stored length u32       of a block, its 13 last bytes included
//!
//! payload of the ranges block                  a step function over keys, see `ranges`
//!      number of steps varint
//!    | (key length varint | key | number of marks varint | (sequence varint | timestamp i64)...)...
//!
//! payload of a filter block, see `filter`
//!      probes u8 | bits, eight a byte, lowest first
//!
//! footer, 128 bytes, at the end
//!      0   8  magic "HOLDTREE"
//!      8   4  version u32, 2
//!     12   4  lower half of the checksum of bytes 0..12; 0..16 mean the same in every version
//!     16   8  file id u64
//!     24   8  tree u64
//!     32  12  place of the index block
//!     44  12  place of the ranges block, zeros for none
//!     56  12  place of the filter over whole keys, zeros for none
//!     68  12  place of the filter over prefixes, zeros for none
//!     80   8  entries u64
//!     88   8  lowest timestamp of a value i64
//!     96  24  zeros
//!    120   8  checksum of bytes 0..120
//! ```
//!
//! A block's checksum covers where it stands, so a block that a disk returns for another one is
//! noticed like one that changed.

use base::Malformed;
use crc_fast::{CrcAlgorithm, Digest};

use super::TreeId;

/// The version this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 2;
/// Bytes of a footer.
pub(crate) const FOOTER: usize = 128;
/// Bytes behind the payload of a stored block.
pub(crate) const TRAILER: usize = 13;
/// The longest payload: one value of the largest size, beside small entries. A filter takes 10 bits
/// a key, an index some 30 bytes a block, so a file of 1 GiB stays far below.
const MAX_PAYLOAD: usize = 1 << 30;
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

/// How blocks are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4, where it makes a block smaller.
    Lz4,
}

/// A block as it is stored at `offset` of file `file_id`.
pub(crate) fn seal_block(payload: &[u8], compression: Compression, file_id: u64, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if compression == Compression::Lz4 {
        out = lz4_flex::block::compress(payload);
    }
    let squeezed = !out.is_empty() && out.len() < payload.len();
    if !squeezed {
        out.clear();
        out.extend_from_slice(payload);
    }
    out.push(u8::from(squeezed));
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let check = block_checksum(&out, file_id, offset);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

/// The payload of a stored block, checked.
pub(crate) fn open_block(mut stored: Vec<u8>, file_id: u64, offset: u64) -> Result<Vec<u8>, &'static str> {
    let Some(len) = stored.len().checked_sub(TRAILER) else { return Err("the block is too short") };
    let check = u64::from_le_bytes(tail(&stored, len + 5));
    if check != block_checksum(&stored[..len + 5], file_id, offset) {
        return Err("the block fails its checksum");
    }
    let raw = u32::from_le_bytes(tail(&stored, len + 1)) as usize;
    if raw > MAX_PAYLOAD {
        return Err("the block claims to be too large");
    }
    let tag = stored[len];
    stored.truncate(len);
    match tag {
        0 if raw == len => Ok(stored),
        1 => match lz4_flex::block::decompress(&stored, raw) {
            Ok(payload) if payload.len() == raw => Ok(payload),
            _ => Err("the block does not decompress"),
        },
        _ => Err("the block has an unknown tag"),
    }
}

fn tail<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn block_checksum(bytes: &[u8], file_id: u64, offset: u64) -> u64 {
    checksum(&[&file_id.to_le_bytes(), &offset.to_le_bytes(), bytes])
}

/// What a file says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) file_id: u64,
    pub(crate) tree: TreeId,
    pub(crate) index: Place,
    pub(crate) ranges: Place,
    pub(crate) key_filter: Place,
    pub(crate) prefix_filter: Place,
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
        for place in [self.index, self.ranges, self.key_filter, self.prefix_filter] {
            out.raw(&place.encode());
        }
        out.u64(self.entries);
        out.raw(&self.oldest.to_le_bytes());
        out.raw(&[0; 24]);
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
        let place = |at: usize| Place {
            offset: u64::from_le_bytes(tail(bytes, at)),
            len: u32::from_le_bytes(tail(bytes, at + 8)),
        };
        Ok(Footer {
            file_id: u64::from_le_bytes(tail(bytes, 16)),
            tree: TreeId(u64::from_le_bytes(tail(bytes, 24))),
            index: place(32),
            ranges: place(44),
            key_filter: place(56),
            prefix_filter: place(68),
            entries: u64::from_le_bytes(tail(bytes, 80)),
            oldest: i64::from_le_bytes(tail(bytes, 88)),
        })
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
pub(crate) const FOLDER: &str = "tree";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_good_only_where_it_was_written() {
        let payload = b"abc".repeat(50);
        for compression in [Compression::None, Compression::Lz4] {
            let stored = seal_block(&payload, compression, 7, 100);
            assert_eq!(stored.len() < payload.len(), compression == Compression::Lz4);
            assert_eq!(open_block(stored.clone(), 7, 100), Ok(payload.clone()));
            assert!(open_block(stored.clone(), 7, 101).is_err());
            assert!(open_block(stored.clone(), 8, 100).is_err());
            for bit in 0..stored.len() * 8 {
                let mut stored = stored.clone();
                stored[bit / 8] ^= 1 << (bit % 8);
                assert!(open_block(stored, 7, 100).is_err());
            }
        }
        assert!(open_block(vec![0; 12], 7, 100).is_err());
    }

    #[test]
    fn a_footer_comes_back_and_another_version_is_told_from_damage() {
        let place = |offset| Place { offset, len: 20 };
        let footer = Footer {
            file_id: 3,
            tree: TreeId(9),
            index: place(1),
            ranges: place(2),
            key_filter: place(3),
            prefix_filter: Place::default(),
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
        let mut next = bytes;
        next[8] = 3;
        let check = checksum(&[&next[..12]]) as u32;
        next[12..16].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Footer::decode(&next), Err(NoFooter::Version(3)));
    }
}
