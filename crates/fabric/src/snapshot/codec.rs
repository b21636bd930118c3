//! What a follower and a leader say to each other about a cut, as bytes.
//!
//! ```text
//! 0 pull    cut u64 | number varint | chain u64 | from, to the end
//! 1 chunk   cut u64 | number varint | chain u64 | last u8 | record...
//! 2 gone    cut u64
//! record  = key | value                      each a length and bytes
//! ```
//! `chain` is a checksum over all chunks so far: a pull tells that of the chunks it has, the chunk that
//! of these and itself. So a chunk is damaged, or of another place or another cut, and told from the
//! right one. A key of a record is never repeated, so whatever is asked for goes on behind the last key.

use base::{Malformed, Reader, Writer};
use bytes::Bytes;

/// Asks for the next chunk of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) cut: u64,
    /// How many chunks came before.
    pub(crate) number: u64,
    /// The checksum of those.
    pub(crate) chain: u64,
    /// The lowest key that is wanted.
    pub(crate) from: Bytes,
}

/// A part of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) cut: u64,
    pub(crate) number: u64,
    /// The checksum of the chunks before and this one.
    pub(crate) chain: u64,
    /// None comes after it.
    pub(crate) last: bool,
    /// The records, as bytes.
    pub(crate) records: Bytes,
}

/// A message about a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotMessage {
    /// To whoever has the cut.
    Pull(Pull),
    /// The answer.
    Chunk(Chunk),
    /// The other answer: there is no such cut (any more).
    Gone { cut: u64 },
}

const PULL: u8 = 0;
const CHUNK: u8 = 1;
const GONE: u8 = 2;

impl Pull {
    /// The answer to it.
    pub(crate) fn answer(&self, records: Bytes, last: bool) -> Chunk {
        let chain = chain(self.chain, self.cut, self.number, last, &records);
        Chunk { cut: self.cut, number: self.number, chain, last, records }
    }

    /// Whether `chunk` is whole, and the answer to this.
    pub(crate) fn is_answered_by(&self, chunk: &Chunk) -> bool {
        let Chunk { cut, number, last, records, .. } = chunk;
        (*cut, *number) == (self.cut, self.number)
            && chunk.chain == chain(self.chain, *cut, *number, *last, records)
    }
}

fn chain(before: u64, cut: u64, number: u64, last: bool, records: &[u8]) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    for part in [before, cut, number, u64::from(last)] {
        digest.update(&part.to_le_bytes());
    }
    digest.update(records);
    digest.finalize()
}

impl Chunk {
    /// Its keys and values, which share its memory.
    pub(crate) fn entries(&self) -> Result<Vec<(Bytes, Bytes)>, Malformed> {
        let mut reader = Reader::new(&self.records);
        let mut entries = Vec::new();
        while !reader.is_empty() {
            let (key, value) = (reader.bytes("key")?, reader.bytes("value")?);
            entries.push((self.records.slice_ref(key), self.records.slice_ref(value)));
        }
        Ok(entries)
    }
}

/// Adds a record to those of a chunk.
pub(crate) fn put_record(out: &mut Writer, key: &[u8], value: &[u8]) {
    out.bytes(key);
    out.bytes(value);
}

impl SnapshotMessage {
    /// Writes it, to the end of a message.
    pub(crate) fn put(&self, out: &mut Writer) {
        match self {
            SnapshotMessage::Pull(Pull { cut, number, chain, from }) => {
                put_head(out, PULL, *cut, *number, *chain);
                out.raw(from);
            }
            SnapshotMessage::Chunk(Chunk { cut, number, chain, last, records }) => {
                put_head(out, CHUNK, *cut, *number, *chain);
                out.u8(u8::from(*last));
                out.raw(records);
            }
            SnapshotMessage::Gone { cut } => {
                out.u8(GONE);
                out.u64(*cut);
            }
        }
    }

    /// The mirror of [`SnapshotMessage::put`].
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<SnapshotMessage, Malformed> {
        let kind = reader.u8("snapshot message kind")?;
        let cut = reader.u64("cut")?;
        if kind == GONE {
            return Ok(SnapshotMessage::Gone { cut });
        }
        let (number, chain) = (reader.varint("number of a chunk")?, reader.u64("checksum of chunks")?);
        match kind {
            PULL => Ok(SnapshotMessage::Pull(Pull { cut, number, chain, from: take_rest(reader)? })),
            CHUNK => {
                let last = match reader.u8("last chunk")? {
                    0 => false,
                    1 => true,
                    _ => return Err(Malformed("last chunk")),
                };
                Ok(SnapshotMessage::Chunk(Chunk { cut, number, chain, last, records: take_rest(reader)? }))
            }
            _ => Err(Malformed("snapshot message kind")),
        }
    }
}

fn put_head(out: &mut Writer, kind: u8, cut: u64, number: u64, chain: u64) {
    out.u8(kind);
    out.u64(cut);
    out.varint(number);
    out.u64(chain);
}

fn take_rest(reader: &mut Reader<'_>) -> Result<Bytes, Malformed> {
    let bytes = reader.rest().len();
    Ok(Bytes::copy_from_slice(reader.take(bytes, "snapshot message")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(message: &SnapshotMessage) -> Result<SnapshotMessage, Malformed> {
        let mut out = Writer::new();
        message.put(&mut out);
        let bytes = out.into_vec();
        let mut reader = Reader::new(&bytes);
        let again = SnapshotMessage::take(&mut reader);
        assert!(reader.is_empty());
        again
    }

    proptest! {
        #[test]
        fn messages_come_back_and_a_chunk_answers_one_pull(
            cut: u64, number: u64, before: u64, from: Vec<u8>, last: bool, flip: usize,
            entries: Vec<(Vec<u8>, Vec<u8>)>,
        ) {
            let pull = Pull { cut, number, chain: before, from: from.into() };
            let mut out = Writer::new();
            entries.iter().for_each(|(key, value)| put_record(&mut out, key, value));
            let chunk = pull.answer(out.into_vec().into(), last);
            let read = chunk.entries().map(|read| read.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect());
            prop_assert_eq!(read, Ok(entries));
            for message in [
                SnapshotMessage::Pull(pull.clone()),
                SnapshotMessage::Chunk(chunk.clone()),
                SnapshotMessage::Gone { cut },
            ] {
                prop_assert_eq!(round_trip(&message), Ok(message));
            }
            prop_assert!(pull.is_answered_by(&chunk));
            for other in [
                Pull { cut: cut ^ 1, ..pull.clone() },
                Pull { number: number ^ 1, ..pull.clone() },
                Pull { chain: before ^ 1, ..pull.clone() },
            ] {
                prop_assert!(!other.is_answered_by(&chunk));
            }
            let answers = |chunk: Chunk| pull.is_answered_by(&chunk);
            let other = Chunk { last: !last, ..chunk.clone() };
            prop_assert!(!answers(other));
            let mut bytes = chunk.records.to_vec();
            if !bytes.is_empty() {
                let at = flip % (8 * bytes.len());
                bytes[at / 8] ^= 1 << (at % 8);
                let damaged = Chunk { records: bytes.into(), ..chunk };
                prop_assert!(!answers(damaged));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(SnapshotMessage::Chunk(chunk)) = SnapshotMessage::take(&mut Reader::new(&bytes)) {
                let _ = chunk.entries();
            }
        }
    }
}
