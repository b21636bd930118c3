//! The bytes of the log, version 1.
//!
//! The log is the folder `log/` of a disk: segments `00000001.seg`, `00000002.seg`, ... and at
//! most one `reserve`, a segment that has its room but no name yet. A segment is preallocated with
//! zeros and filled from the front. All integers are little-endian; `varint` is LEB128; a checksum
//! is CRC-64/NVME.
//!
//! ```text
//! segment = header, batch, batch, ..., zeros
//!
//! segment header, 64 bytes
//!      0   8  magic "HOLDLOG\n"
//!      8   4  version u32, 1
//!     12   4  lower half of the checksum of bytes 0..12; 0..16 mean the same in every version,
//!             so that an unknown version and a flipped bit can be told apart
//!     16   8  log id u64, random, the same in all segments of a log
//!     24   8  segment id u64; the first segment is 1
//!     32   8  position of the first record in or after this segment u64
//!     40   8  checksum of the last batch before this segment (links do not count) u64, 0 for none
//!     48   8  length of the segment in bytes u64
//!     56   8  checksum of bytes 0..56
//!
//! batch header, 64 bytes, then the body
//!      0   4  magic 0xC1 'B' 'A' 'T'
//!      4   1  kind: 1 data, 2 control, 3 seal, 4 link
//!      5   3  zeros
//!      8   8  log id u64
//!     16   8  segment id u64
//!     24   8  offset of this header in the segment u64
//!     32   8  position of the first record in or after this batch u64
//!     40   4  number of records u32, 0 unless data
//!     44   4  length of the body in bytes u32
//!     48   8  checksum of the batch before (links do not count) u64, 0 for none
//!     56   8  checksum of bytes 0..56 and the body
//!
//! body of data    = record...          record = stream varint | length varint | payload
//! body of control = see `control`      the first batch of every segment is a control batch
//! body of seal    = nothing            the log was stopped cleanly here
//! body of link    = nothing            the log goes on in the next segment
//! ```
//!
//! A batch is what one fsync made durable, and the unit of recovery. It names its log, its segment
//! and its place, so neither the remains of another log nor a user's payload that happens to hold
//! a copy of a batch can pass for one (the log id is random and never leaves the disk). It names
//! the batch before it, so a batch that vanished without a trace is noticed by its successor.

use std::collections::BTreeSet;

use base::{Malformed, Position, Reader, StreamId};
use crc_fast::{CrcAlgorithm, Digest};

/// The version this code writes, and the only one it reads.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a segment header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Bytes of a batch header.
pub(crate) const BATCH_HEADER: usize = 64;

const SEGMENT_MAGIC: [u8; 8] = *b"HOLDLOG\n";
const BATCH_MAGIC: [u8; 4] = [0xc1, b'B', b'A', b'T'];

/// The beginning of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u64,
    pub(crate) segment: u64,
    pub(crate) first: Position,
    /// The checksum of the last batch before.
    pub(crate) previous: u64,
    pub(crate) segment_bytes: u64,
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSegment {
    /// Not the beginning of a segment of any version.
    Foreign,
    /// A segment of another version.
    Version(u32),
    /// A segment header of this version with a wrong checksum.
    Checksum,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let check = checksum(&[&bytes[..12]]) as u32;
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        put_u64(&mut bytes, 16, self.log_id);
        put_u64(&mut bytes, 24, self.segment);
        put_u64(&mut bytes, 32, self.first.0);
        put_u64(&mut bytes, 40, self.previous);
        put_u64(&mut bytes, 48, self.segment_bytes);
        let check = checksum(&[&bytes[..56]]);
        put_u64(&mut bytes, 56, check);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, NoSegment> {
        let bytes = bytes.get(..SEGMENT_HEADER).ok_or(NoSegment::Foreign)?;
        if bytes[..8] != SEGMENT_MAGIC || get_u32(bytes, 12) != checksum(&[&bytes[..12]]) as u32 {
            return Err(NoSegment::Foreign);
        }
        match get_u32(bytes, 8) {
            VERSION => {}
            version => return Err(NoSegment::Version(version)),
        }
        if get_u64(bytes, 56) != checksum(&[&bytes[..56]]) {
            return Err(NoSegment::Checksum);
        }
        Ok(SegmentHeader {
            log_id: get_u64(bytes, 16),
            segment: get_u64(bytes, 24),
            first: Position(get_u64(bytes, 32)),
            previous: get_u64(bytes, 40),
            segment_bytes: get_u64(bytes, 48),
        })
    }
}

/// What a batch is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Records.
    Data = 1,
    /// The log's own state.
    Control = 2,
    /// A clean stop.
    Seal = 3,
    /// The log goes on in the next segment.
    Link = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Data, Kind::Control, Kind::Seal, Kind::Link].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A batch header but for its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    pub(crate) kind: Kind,
    pub(crate) log_id: u64,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) first: Position,
    pub(crate) records: u32,
    pub(crate) previous: u64,
}

/// A batch that passed its checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoredBatch<'a> {
    pub(crate) header: BatchHeader,
    pub(crate) body: &'a [u8],
    pub(crate) checksum: u64,
}

impl StoredBatch<'_> {
    /// The offset after it.
    pub(crate) fn end(&self) -> u64 {
        self.header.offset + (BATCH_HEADER + self.body.len()) as u64
    }
}

impl BatchHeader {
    /// Appends the header and `body` to `out`; returns the checksum.
    pub(crate) fn encode(&self, body: &[u8], out: &mut Vec<u8>) -> u64 {
        let mut bytes = [0; BATCH_HEADER];
        bytes[..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4] = self.kind as u8;
        put_u64(&mut bytes, 8, self.log_id);
        put_u64(&mut bytes, 16, self.segment);
        put_u64(&mut bytes, 24, self.offset);
        put_u64(&mut bytes, 32, self.first.0);
        bytes[40..44].copy_from_slice(&self.records.to_le_bytes());
        let len = u32::try_from(body.len()).expect("a body fits a segment, and a segment is below 4 GiB");
        bytes[44..48].copy_from_slice(&len.to_le_bytes());
        put_u64(&mut bytes, 48, self.previous);
        let check = checksum(&[&bytes[..56], body]);
        put_u64(&mut bytes, 56, check);
        out.extend_from_slice(&bytes);
        out.extend_from_slice(body);
        check
    }
}

/// The batch at `offset` of a segment whose bytes are `bytes`, or why there is none. Checks all
/// that can be said of a batch alone; its place in the chain is the caller's to check.
pub(crate) fn read_batch(
    bytes: &[u8],
    offset: usize,
    log_id: u64,
    segment: u64,
) -> Result<StoredBatch<'_>, &'static str> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some((head, rest)) = rest.split_at_checked(BATCH_HEADER) else {
        return Err("no room for a batch");
    };
    if head[..4] != BATCH_MAGIC || head[5..8] != [0; 3] {
        return Err("no batch begins here");
    }
    let kind = Kind::from_byte(head[4]).ok_or("the batch is of an unknown kind")?;
    let Some(body) = rest.get(..get_u32(head, 44) as usize) else {
        return Err("the batch is longer than the segment");
    };
    let check = checksum(&[&head[..56], body]);
    if get_u64(head, 56) != check {
        return Err("the batch fails its checksum");
    }
    let header = BatchHeader {
        kind,
        log_id: get_u64(head, 8),
        segment: get_u64(head, 16),
        offset: get_u64(head, 24),
        first: Position(get_u64(head, 32)),
        records: get_u32(head, 40),
        previous: get_u64(head, 48),
    };
    if (header.log_id, header.segment, header.offset) != (log_id, segment, offset as u64) {
        return Err("the batch belongs elsewhere");
    }
    Ok(StoredBatch { header, body, checksum: check })
}

/// The streams of which a batch that fails its checks seems to hold records, as far as its bytes
/// can be followed: a hint for a person, nothing to act on.
pub(crate) fn claimed_streams(bytes: &[u8]) -> BTreeSet<StreamId> {
    match bytes.split_at_checked(BATCH_HEADER) {
        Some((head, body)) if Kind::from_byte(head[4]) == Some(Kind::Data) => {
            claimed_streams_of(&body[..body.len().min(get_u32(head, 44) as usize)])
        }
        _ => BTreeSet::new(),
    }
}

/// The same, of a body.
pub(crate) fn claimed_streams_of(body: &[u8]) -> BTreeSet<StreamId> {
    let mut streams = BTreeSet::new();
    let mut reader = Reader::new(body);
    while streams.len() < 16
        && let Ok((stream, _)) = take_record(&mut reader)
    {
        streams.insert(stream);
    }
    streams
}

/// The offset of the first sound batch at or after `from`.
pub(crate) fn find_batch(bytes: &[u8], from: usize, log_id: u64, segment: u64) -> Option<usize> {
    const PAGE: usize = 4096;
    (from..bytes.len()).step_by(PAGE).find_map(|page| {
        let end = (page + PAGE).min(bytes.len());
        // A batch begins with a byte that is not zero, and most of an unfinished segment is zeros.
        if is_zero(&bytes[page..end]) {
            return None;
        }
        (page..end).find(|&at| bytes[at] == BATCH_MAGIC[0] && read_batch(bytes, at, log_id, segment).is_ok())
    })
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// Appends one record to the body of a data batch.
pub(crate) fn put_record(body: &mut Vec<u8>, stream: StreamId, payload: &[u8]) {
    put_varint(body, stream.0);
    put_varint(body, payload.len() as u64);
    body.extend_from_slice(payload);
}

/// The bytes [`put_record`] appends.
pub(crate) fn record_len(stream: StreamId, payload_bytes: usize) -> usize {
    varint_len(stream.0) + varint_len(payload_bytes as u64) + payload_bytes
}

/// Reads the next record of a data batch's body.
pub(crate) fn take_record<'a>(body: &mut Reader<'a>) -> Result<(StreamId, &'a [u8]), Malformed> {
    Ok((StreamId(body.varint("record stream")?), body.bytes("record payload")?))
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn checksum(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn header(log_id: u64, segment: u64, first: u64, previous: u64) -> SegmentHeader {
        SegmentHeader { log_id, segment, first: Position(first), previous, segment_bytes: 1 << 20 }
    }

    /// A batch of `records` at `offset` of a segment, with zeros before and after.
    fn segment(offset: usize, kind: Kind, records: &[(u64, Vec<u8>)]) -> (Vec<u8>, BatchHeader, u64) {
        let mut body = Vec::new();
        for (stream, payload) in records {
            let before = body.len();
            put_record(&mut body, StreamId(*stream), payload);
            assert_eq!(body.len() - before, record_len(StreamId(*stream), payload.len()));
        }
        let (log_id, segment, first) = (7, 3, Position(40));
        let records = records.len() as u32;
        let offset_u64 = offset as u64;
        let header = BatchHeader { kind, log_id, segment, offset: offset_u64, first, records, previous: 9 };
        let mut bytes = vec![0; offset];
        let checksum = header.encode(&body, &mut bytes);
        bytes.resize(bytes.len() + 100, 0);
        (bytes, header, checksum)
    }

    fn kind() -> impl Strategy<Value = Kind> {
        prop_oneof![Just(Kind::Data), Just(Kind::Control), Just(Kind::Seal), Just(Kind::Link)]
    }

    proptest! {
        #[test]
        fn a_segment_header_comes_back(log_id: u64, segment: u64, first: u64, previous: u64, at in 0usize..64, bit in 0u8..8) {
            let header = header(log_id, segment, first, previous);
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
            bytes[at] ^= 1 << bit;
            let expected = if at < 16 { NoSegment::Foreign } else { NoSegment::Checksum };
            prop_assert_eq!(SegmentHeader::decode(&bytes), Err(expected));
        }

        #[test]
        fn a_batch_comes_back_and_no_changed_byte_passes(
            offset in 0usize..10_000,
            kind in kind(),
            records in proptest::collection::vec((any::<u64>(), any::<Vec<u8>>()), 0..5),
            at: proptest::sample::Index,
            bit in 0u8..8,
        ) {
            let (mut bytes, header, checksum) = segment(offset, kind, &records);
            let batch = read_batch(&bytes, offset, 7, 3).unwrap();
            prop_assert_eq!((batch.header, batch.checksum), (header, checksum));
            let mut reader = Reader::new(batch.body);
            for (stream, payload) in &records {
                prop_assert_eq!(take_record(&mut reader), Ok((StreamId(*stream), &payload[..])));
            }
            prop_assert!(reader.is_empty());
            let end = batch.end() as usize;
            prop_assert_eq!(find_batch(&bytes, 0, 7, 3), Some(offset));
            prop_assert_eq!(find_batch(&bytes, offset + 1, 7, 3), None);
            prop_assert!(read_batch(&bytes, offset, 8, 3).is_err(), "another log's");
            prop_assert!(read_batch(&bytes, offset, 7, 4).is_err(), "another segment's");
            bytes.insert(0, 0);
            prop_assert!(read_batch(&bytes, offset + 1, 7, 3).is_err(), "moved");
            bytes.remove(0);
            bytes[offset + at.index(end - offset)] ^= 1 << bit;
            prop_assert!(read_batch(&bytes, offset, 7, 3).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_batch_and_do_no_harm(mut bytes: Vec<u8>, len: u32, offset: proptest::sample::Index) {
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
            prop_assert!(find_batch(&bytes, 0, 7, 3).is_none());
            // One that looks right but for its length and checksum.
            let at = offset.index(bytes.len() + 1);
            let mut fake = segment(at, Kind::Data, &[]).0.split_off(at);
            fake[44..48].copy_from_slice(&len.to_le_bytes());
            fake[56] ^= 1;
            bytes.splice(at..at, fake);
            prop_assert!(find_batch(&bytes, 0, 7, 3).is_none());
            let mut reader = Reader::new(&bytes);
            while take_record(&mut reader).is_ok() {}
        }

        #[test]
        fn zeros_are_seen(mut bytes in proptest::collection::vec(Just(0u8), 0..20_000), at: proptest::sample::Index) {
            prop_assert!(is_zero(&bytes));
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = 1;
                prop_assert!(!is_zero(&bytes));
            }
        }
    }

    #[test]
    fn numbers_that_must_not_change() {
        assert_eq!((VERSION, SEGMENT_HEADER, BATCH_HEADER), (1, 64, 64));
        assert_eq!((&SEGMENT_MAGIC, &BATCH_MAGIC), (b"HOLDLOG\n", &[0xc1, 0x42, 0x41, 0x54]));
        assert_eq!([Kind::Data as u8, Kind::Control as u8, Kind::Seal as u8, Kind::Link as u8], [1, 2, 3, 4]);
        // The check value of CRC-64/NVME, in the catalogue of parametrised CRC algorithms.
        assert_eq!(checksum(&[b"12345", b"6789"]), 0xae8b_1486_0a79_9888);
    }
}
