//! Sealing: a payload becomes a stored block, compressed and checked, and comes back. The bytes are
//! drawn in `format`.

use bytes::Bytes;

use super::format::{MAX_PAYLOAD, TRAILER, checksum, tail};

/// How blocks are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4, where it makes a block smaller.
    Lz4,
}

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

/// Adds a block to `out` as it is stored at `offset` of file `file_id`; returns its length.
pub(crate) fn seal_block(
    payload: &[u8],
    compression: Compression,
    (file_id, offset): (u64, u64),
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    let squeezed = match compression {
        Compression::None => None,
        Compression::Lz4 => Some((LZ4, lz4_flex::block::compress(payload))),
    };
    let (tag, stored) = match &squeezed {
        Some((tag, smaller)) if smaller.len() < payload.len() => (*tag, smaller.as_slice()),
        _ => (PLAIN, payload),
    };
    out.extend_from_slice(stored);
    out.push(tag);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let check = block_checksum(&out[start..], file_id, offset);
    out.extend_from_slice(&check.to_le_bytes());
    out.len() - start
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
        LZ4 => match lz4_flex::block::decompress(&stored[..len], raw) {
            Ok(payload) if payload.len() == raw => Ok(payload.into()),
            _ => Err("the block does not decompress"),
        },
        _ => Err("the block has an unknown tag"),
    }
}

fn block_checksum(bytes: &[u8], file_id: u64, offset: u64) -> u64 {
    checksum(&[&file_id.to_le_bytes(), &offset.to_le_bytes(), bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_good_only_where_it_was_written() {
        let payload = b"abc".repeat(50);
        for compression in [Compression::None, Compression::Lz4] {
            let mut stored = Vec::new();
            let len = seal_block(&payload, compression, (7, 100), &mut stored);
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
        assert!(open_block(&Bytes::from_static(&[0; 12]), 7, 100).is_err());
    }
}
