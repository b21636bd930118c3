//! What stands in the log: the streams, and the records of each.
//!
//! | stream | records |
//! |---|---|
//! | 0 | the log's own |
//! | 1 node | upper bound of the hybrid logical clock: `hlc u64` |
//! | 2 tables | one [`base::Mutation`] a record |
//! | 16 + group | Raft: see [`GroupRecord`] |
//!
//! Kinds are pinned: a number is never given to another meaning. Records carry ids, not names, so
//! replay needs no catalog.

use base::{GroupId, Malformed, Reader, StreamId, Writer};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState};

/// The node's own records.
pub(crate) const NODE: StreamId = StreamId(1);
/// Mutations of all tables.
pub(crate) const TABLES: StreamId = StreamId(2);
const FIRST_GROUP: u64 = 16;

/// The stream of a Raft group.
pub(crate) fn stream_of(group: GroupId) -> StreamId {
    StreamId(FIRST_GROUP + group.0)
}

/// The Raft group of a stream.
pub(crate) fn group_of(stream: StreamId) -> Option<GroupId> {
    stream.0.checked_sub(FIRST_GROUP).map(GroupId)
}

/// A record of a Raft group.
///
/// ```text
/// 1 born           voters                              the group's first configuration
/// 2 entry          index | term | type u8 | data       replaces every entry from `index` on
/// 3 hard state     term | vote | commit
/// 7 base           index | term | voters | hard state
/// voters = count | varint...
/// ```
/// Integers are varints unless said otherwise. A base says that the Machine's tree holds, durably,
/// everything up to the entry at `index`; the log may then forget what stands before, hence it
/// repeats what must survive. (4 to 6 were snapshots, which disk format 1 kept in the log.)
#[derive(Debug, PartialEq)]
pub(crate) enum GroupRecord {
    Born { voters: Vec<u64> },
    Entry(Entry),
    HardState(HardState),
    Base { index: u64, term: u64, voters: Vec<u64>, hard_state: HardState },
}

const BORN: u8 = 1;
const ENTRY: u8 = 2;
const HARD_STATE: u8 = 3;
const BASE: u8 = 7;

impl GroupRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            GroupRecord::Born { voters } => {
                out.u8(BORN);
                put_voters(&mut out, voters);
            }
            GroupRecord::Entry(entry) => return encode_entry(entry),
            GroupRecord::HardState(hard_state) => {
                out.u8(HARD_STATE);
                put_hard_state(&mut out, hard_state);
            }
            GroupRecord::Base { index, term, voters, hard_state } => {
                out.u8(BASE);
                out.varint(*index);
                out.varint(*term);
                put_voters(&mut out, voters);
                put_hard_state(&mut out, hard_state);
            }
        }
        out.into_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<GroupRecord, Malformed> {
        let mut reader = Reader::new(bytes);
        let record = match reader.u8("group record kind")? {
            BORN => GroupRecord::Born { voters: take_voters(&mut reader)? },
            ENTRY => GroupRecord::Entry(take_entry(&mut reader)?),
            HARD_STATE => GroupRecord::HardState(take_hard_state(&mut reader)?),
            BASE => GroupRecord::Base {
                index: reader.varint("base index")?,
                term: reader.varint("base term")?,
                voters: take_voters(&mut reader)?,
                hard_state: take_hard_state(&mut reader)?,
            },
            _ => return Err(Malformed("group record kind")),
        };
        reader.end("group record")?;
        Ok(record)
    }
}

/// As [`GroupRecord::Entry`], without cloning the entry.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Writer::with_capacity(entry.data.len() + 24);
    out.u8(ENTRY);
    out.varint(entry.index);
    out.varint(entry.term);
    out.u8(match entry.entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    });
    out.raw(&entry.data);
    out.into_vec()
}

fn take_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let mut entry = Entry { index: reader.varint("entry index")?, ..Entry::default() };
    entry.term = reader.varint("entry term")?;
    entry.entry_type = match reader.u8("entry type")? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(Malformed("entry type")),
    };
    let data = reader.rest();
    entry.data = bytes::Bytes::copy_from_slice(reader.take(data.len(), "entry data")?);
    Ok(entry)
}

fn put_hard_state(out: &mut Writer, hard_state: &HardState) {
    out.varint(hard_state.term);
    out.varint(hard_state.vote);
    out.varint(hard_state.commit);
}

fn take_hard_state(reader: &mut Reader<'_>) -> Result<HardState, Malformed> {
    let mut hard_state = HardState { term: reader.varint("term")?, ..HardState::default() };
    hard_state.vote = reader.varint("vote")?;
    hard_state.commit = reader.varint("commit")?;
    Ok(hard_state)
}

fn put_voters(out: &mut Writer, voters: &[u64]) {
    out.varint(voters.len() as u64);
    voters.iter().for_each(|voter| out.varint(*voter));
}

fn take_voters(reader: &mut Reader<'_>) -> Result<Vec<u64>, Malformed> {
    let count = reader.count("voters")?;
    (0..count).map(|_| reader.varint("voter")).collect()
}

/// The configuration of a group with these voters.
pub(crate) fn conf_state(voters: &[u64]) -> ConfState {
    ConfState { voters: voters.to_vec(), ..ConfState::default() }
}

/// The clock's upper bound as a record of [`NODE`].
pub(crate) fn encode_clock_bound(bound: base::Hlc) -> Vec<u8> {
    bound.0.to_le_bytes().to_vec()
}

/// The inverse of [`encode_clock_bound`].
pub(crate) fn decode_clock_bound(bytes: &[u8]) -> Result<base::Hlc, Malformed> {
    let mut reader = Reader::new(bytes);
    let bound = base::Hlc(reader.u64("clock bound")?);
    reader.end("clock bound")?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
        HardState { term, vote, commit, ..HardState::default() }
    }

    proptest! {
        #[test]
        fn records_round_trip(a: u64, b: u64, c: u64, voters: Vec<u64>, data: Vec<u8>) {
            let mut entry = Entry { index: a, term: b, ..Entry::default() };
            entry.data = data.into();
            for record in [
                GroupRecord::Born { voters: voters.clone() },
                GroupRecord::Entry(entry),
                GroupRecord::HardState(hard_state(a, b, c)),
                GroupRecord::Base { index: a, term: b, voters, hard_state: hard_state(a, b, c) },
            ] {
                let bytes = record.encode();
                prop_assert_eq!(GroupRecord::decode(&bytes), Ok(record));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = GroupRecord::decode(&bytes);
            let _ = decode_clock_bound(&bytes);
        }
    }
}
