//! Sealing: a payload becomes a stored block, compressed and checked, and comes back. The bytes are
//! drawn in `format`.

use std::{cell::RefCell, fmt};

use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use zstd::{bulk, zstd_safe::compress_bound};

use super::format::{MAX_PAYLOAD, TRAILER, checksum, tail};

/// How blocks are compressed, each where it makes the block smaller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4: so cheap that it pays by what need not be read.
    Lz4,
    /// Zstandard: a third less room than LZ4 for several times the work, when written and when read.
    Zstd {
        /// 1 to 19; higher ones write slower and read alike.
        level: u8,
    },
}

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// Makes stored blocks of payloads, with tables to work with that are used again.
pub(crate) struct Sealer {
    squeezer: Squeezer,
}

/// A compressor with its tables.
enum Squeezer {
    None,
    Lz4(CompressTable),
    Zstd(bulk::Compressor<'static>),
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.squeezer {
            Squeezer::None => "Sealer",
            Squeezer::Lz4(_) => "Sealer with LZ4",
            Squeezer::Zstd(_) => "Sealer with Zstandard",
        })
    }
}

impl Sealer {
    pub(crate) fn new(compression: Compression) -> Sealer {
        let squeezer = match compression {
            Compression::None => Squeezer::None,
            Compression::Lz4 => Squeezer::Lz4(CompressTable::default()),
            // Without memory for its tables, blocks are stored as they are.
            Compression::Zstd { level } => {
                bulk::Compressor::new(i32::from(level)).map_or(Squeezer::None, Squeezer::Zstd)
            }
        };
        Sealer { squeezer }
    }

    /// Adds a block to `out` as it is stored at `offset` of file `file_id`; returns its length.
    pub(crate) fn seal(&mut self, payload: &[u8], (file_id, offset): (u64, u64), out: &mut Vec<u8>) -> usize {
        let start = out.len();
        match self.squeeze(payload, out) {
            Some(tag) => finish_block(tag, payload.len(), (file_id, offset), start, out),
            None => {
                out.truncate(start);
                seal_plain(payload, (file_id, offset), out)
            }
        }
    }

    /// Adds the payload compressed, and returns how, if that makes it smaller; else what it added is of
    /// no use.
    fn squeeze(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Option<u8> {
        let most = match &self.squeezer {
            Squeezer::None => return None,
            Squeezer::Lz4(_) => get_maximum_output_size(payload.len()),
            Squeezer::Zstd(_) => compress_bound(payload.len()),
        };
        let start = out.len();
        out.resize(start + most, 0);
        let room = &mut out[start..];
        // What cannot be compressed is stored as it is.
        let (tag, len) = match &mut self.squeezer {
            Squeezer::None => return None,
            Squeezer::Lz4(table) => (LZ4, compress_into_with_table(payload, room, table).ok()?),
            Squeezer::Zstd(zstd) => (ZSTD, zstd.compress_to_buffer(payload, room).ok()?),
        };
        out.truncate(start + len);
        (len < payload.len()).then_some(tag)
    }
}

/// Adds a block that is not compressed.
pub(crate) fn seal_plain(payload: &[u8], at: (u64, u64), out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(payload);
    finish_block(PLAIN, payload.len(), at, start, out)
}

/// Ends a block that begins at `start`; returns its length.
fn finish_block(
    tag: u8,
    raw: usize,
    (file_id, offset): (u64, u64),
    start: usize,
    out: &mut Vec<u8>,
) -> usize {
    out.push(tag);
    out.extend_from_slice(&(raw as u32).to_le_bytes());
    let check = block_checksum(&out[start..], file_id, offset);
    out.extend_from_slice(&check.to_le_bytes());
    out.len() - start
}

/// Puts the checksum of a stored block right, whatever the block is. Too few bytes are left alone.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn reseal(stored: &mut [u8], (file_id, offset): (u64, u64)) {
    if let Some(at) = stored.len().checked_sub(8) {
        let check = block_checksum(&stored[..at], file_id, offset);
        stored[at..].copy_from_slice(&check.to_le_bytes());
    }
}

/// The payload of a stored block, checked.
pub(crate) fn open_block(stored: &Bytes, file_id: u64, offset: u64) -> Result<Bytes, &'static str> {
    let Some(len) = stored.len().checked_sub(TRAILER) else { return Err("the block is too short") };
    let check = u64::from_le_bytes(tail(stored, len + 5));
    if check != block_checksum(&stored[..len + 5], file_id, offset) {
        return Err("the block fails its checksum");
    }
    let raw = u32::from_le_bytes(tail(stored, len + 1)) as usize;
    if raw > MAX_PAYLOAD {
        return Err("the block claims to be too large");
    }
    match stored[len] {
        PLAIN if raw == len => Ok(stored.slice(..len)),
        // A byte of LZ4 says 255 bytes at most: a length that lies takes no memory.
        LZ4 if raw / 255 <= len => match lz4_flex::block::decompress(&stored[..len], raw) {
            Ok(payload) if payload.len() == raw => Ok(payload.into()),
            _ => Err("the block does not decompress"),
        },
        ZSTD => match unzstd(&stored[..len], raw) {
            Some(payload) if payload.len() == raw => Ok(payload.into()),
            _ => Err("the block does not decompress"),
        },
        _ => Err("the block has an unknown tag"),
    }
}

thread_local! {
    /// Its tables are 160 KiB: too much to make for each block.
    static UNZSTD: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unzstd(stored: &[u8], raw: usize) -> Option<Vec<u8>> {
    UNZSTD.with_borrow_mut(|zstd| {
        if zstd.is_none() {
            *zstd = bulk::Decompressor::new().ok();
        }
        zstd.as_mut()?.decompress(stored, raw).ok()
    })
}

fn block_checksum(bytes: &[u8], file_id: u64, offset: u64) -> u64 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&file_id.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    checksum(&[&place, bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_good_only_where_it_was_written() {
        let payload = b"abc".repeat(50);
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }] {
            let mut stored = Vec::new();
            let len = Sealer::new(compression).seal(&payload, (7, 100), &mut stored);
            assert_eq!(len, stored.len());
            assert_eq!(stored.len() < payload.len(), compression != Compression::None);
            let opened =
                |stored: &[u8], file_id, offset| open_block(&Bytes::copy_from_slice(stored), file_id, offset);
            assert_eq!(opened(&stored, 7, 100).as_deref(), Ok(payload.as_slice()));
            assert!(opened(&stored, 7, 101).is_err());
            assert!(opened(&stored, 8, 100).is_err());
            for bit in 0..stored.len() * 8 {
                let mut stored = stored.clone();
                stored[bit / 8] ^= 1 << (bit % 8);
                assert!(opened(&stored, 7, 100).is_err());
            }
        }
        for compression in [Compression::Lz4, Compression::Zstd { level: 19 }] {
            let (mut stored, mut plain) = (Vec::new(), Vec::new());
            Sealer::new(compression).seal(b"short", (7, 100), &mut stored);
            seal_plain(b"short", (7, 100), &mut plain);
            assert_eq!(stored, plain, "it would only become longer");
        }
        assert!(open_block(&Bytes::from_static(&[0; 12]), 7, 100).is_err());
    }
}
