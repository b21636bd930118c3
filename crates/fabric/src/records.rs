//! What stands in the log: the streams, and the records of each.
//!
//! | stream | records |
//! |---|---|
//! | 0 | the log's own |
//! | 1 node | upper bound of the hybrid logical clock: `hlc u64` |
//! | 2 tables | one [`base::Mutation`] a record |
//! | 3 starts | the highest start heard of each other node: `(node varint, start varint)...` |
//! | 16 + group | Raft: see [`GroupRecord`] |
//!
//! Kinds are pinned: a number is never given to another meaning. Records carry ids, not names, so
//! replay needs no catalog.

use base::{GroupId, Malformed, NodeId, Reader, StreamId, Writer};
use raft::eraftpb::{ConfState, Entry, EntryType, HardState};

/// The node's own records.
pub(crate) const NODE: StreamId = StreamId(1);
/// Mutations of all tables.
pub(crate) const TABLES: StreamId = StreamId(2);
/// What is known of other nodes' starts; the last record counts.
pub(crate) const STARTS: StreamId = StreamId(3);
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
/// 1 born           members                                        the group's first members
/// 2 entry          index | term | type u8 | data                  replaces every entry from `index` on
/// 3 hard state     term | vote | commit
/// 7 base           index | term | members | hard state | generation   the first members, once more
/// 8 entry          index | term | type u8 | bytes context | data  the same, with a context
/// 9 installed      as a base                                      replaces all before
/// members = voters | learners | outgoing voters | learners to be | leaves by itself u8
/// each a count | varint...
/// ```
/// Integers are varints unless said otherwise. A group is born with the entry [`BORN_INDEX`] behind it.
/// Who is a member now stands in the Machine's tree, once it has anything; until then the first
/// members are. A base says that the Machine's tree holds, durably,
/// everything up to the entry at `index`; the log may then forget what stands before, hence it
/// repeats what must survive. Where another replica's state was installed, the tree is that of another
/// generation from there on, and none of the entries before counts (see [`crate::snapshot`]). (4 to 6 were snapshots, which disk format 1 kept in the log.)
#[derive(Debug, PartialEq)]
pub(crate) enum GroupRecord {
    Born { members: ConfState },
    Entry(Entry),
    HardState(HardState),
    Base(Base),
    Installed(Base),
}

/// Where the log of a group begins.
#[derive(Debug, PartialEq)]
pub(crate) struct Base {
    /// The last entry that the tree holds, and its term.
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) members: ConfState,
    pub(crate) hard_state: HardState,
    /// Of the tree.
    pub(crate) generation: u64,
}

/// The entry that a group has behind it when it is born, and its term. Nobody has it: whoever comes later
/// and has nothing must therefore begin with a snapshot, which tells it the members as well.
pub(crate) const BORN_INDEX: u64 = 1;
pub(crate) const BORN_TERM: u64 = 1;

/// The term and vote of a replica that is born with its group.
pub(crate) fn born_hard_state() -> HardState {
    HardState { term: BORN_TERM, commit: BORN_INDEX, ..HardState::default() }
}

const BORN: u8 = 1;
const ENTRY: u8 = 2;
const HARD_STATE: u8 = 3;
const BASE: u8 = 7;
const ENTRY_WITH_CONTEXT: u8 = 8;
const INSTALLED: u8 = 9;

/// Members of a group at most, of each kind. Far above what anybody places.
const MEMBERS_MAX: usize = 64;

impl GroupRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            GroupRecord::Born { members } => {
                out.u8(BORN);
                put_members(&mut out, members);
            }
            GroupRecord::Entry(entry) => return encode_entry(entry),
            GroupRecord::HardState(hard_state) => {
                out.u8(HARD_STATE);
                put_hard_state(&mut out, hard_state);
            }
            GroupRecord::Base(base) => base.put(BASE, &mut out),
            GroupRecord::Installed(base) => base.put(INSTALLED, &mut out),
        }
        out.into_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<GroupRecord, Malformed> {
        let mut reader = Reader::new(bytes);
        let record = match reader.u8("group record kind")? {
            BORN => GroupRecord::Born { members: take_members(&mut reader)? },
            kind @ (ENTRY | ENTRY_WITH_CONTEXT) => {
                GroupRecord::Entry(take_entry(&mut reader, kind == ENTRY_WITH_CONTEXT)?)
            }
            HARD_STATE => GroupRecord::HardState(take_hard_state(&mut reader)?),
            BASE => GroupRecord::Base(Base::take(&mut reader)?),
            INSTALLED => GroupRecord::Installed(Base::take(&mut reader)?),
            _ => return Err(Malformed("group record kind")),
        };
        reader.end("group record")?;
        Ok(record)
    }
}

impl Base {
    fn put(&self, kind: u8, out: &mut Writer) {
        out.u8(kind);
        out.varint(self.index);
        out.varint(self.term);
        put_members(out, &self.members);
        put_hard_state(out, &self.hard_state);
        out.varint(self.generation);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Base, Malformed> {
        let base = Base {
            index: reader.varint("base index")?,
            term: reader.varint("base term")?,
            members: take_members(reader)?,
            hard_state: take_hard_state(reader)?,
            generation: reader.varint("generation")?,
        };
        let is_one = base.generation < disk_engine::Engine::MAX_GENERATIONS;
        if is_one { Ok(base) } else { Err(Malformed("generation")) }
    }
}

/// As [`GroupRecord::Entry`], without cloning the entry.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Writer::with_capacity(entry.data.len() + entry.context.len() + 24);
    out.u8(if entry.context.is_empty() { ENTRY } else { ENTRY_WITH_CONTEXT });
    out.varint(entry.index);
    out.varint(entry.term);
    out.u8(entry_type_code(entry.entry_type));
    if !entry.context.is_empty() {
        out.bytes(&entry.context);
    }
    out.raw(&entry.data);
    out.into_vec()
}

fn take_entry(reader: &mut Reader<'_>, with_context: bool) -> Result<Entry, Malformed> {
    let mut entry = Entry { index: reader.varint("entry index")?, ..Entry::default() };
    entry.term = reader.varint("entry term")?;
    entry.entry_type = entry_type(reader.u8("entry type")?)?;
    if with_context {
        entry.context = bytes::Bytes::copy_from_slice(reader.bytes("entry context")?);
        // One without has the other kind, so that each entry is written in one way.
        if entry.context.is_empty() {
            return Err(Malformed("entry context"));
        }
    }
    let data = reader.rest();
    entry.data = bytes::Bytes::copy_from_slice(reader.take(data.len(), "entry data")?);
    Ok(entry)
}

/// The code of an entry's type, in the log and on the wire.
pub(crate) fn entry_type_code(entry_type: EntryType) -> u8 {
    match entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    }
}

/// The inverse of [`entry_type_code`].
pub(crate) fn entry_type(code: u8) -> Result<EntryType, Malformed> {
    match code {
        0 => Ok(EntryType::EntryNormal),
        1 => Ok(EntryType::EntryConfChange),
        2 => Ok(EntryType::EntryConfChangeV2),
        _ => Err(Malformed("entry type")),
    }
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

/// Writes who the members of a group are.
pub(crate) fn put_members(out: &mut Writer, members: &ConfState) {
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, .. } = members;
    for ids in [voters, learners, voters_outgoing, learners_next] {
        out.varint(ids.len() as u64);
        ids.iter().for_each(|id| out.varint(*id));
    }
    out.u8(u8::from(*auto_leave));
}

/// The inverse of [`put_members`].
pub(crate) fn take_members(reader: &mut Reader<'_>) -> Result<ConfState, Malformed> {
    let mut ids = || {
        let count = reader.count("members")?;
        if count > MEMBERS_MAX {
            return Err(Malformed("members"));
        }
        (0..count).map(|_| reader.varint("member")).collect::<Result<Vec<u64>, _>>()
    };
    let members = ConfState {
        voters: ids()?,
        learners: ids()?,
        voters_outgoing: ids()?,
        learners_next: ids()?,
        ..ConfState::default()
    };
    let auto_leave = match reader.u8("members")? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("members")),
    };
    Ok(ConfState { auto_leave, ..members })
}

/// A group with these voters and nobody else.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn voters_only(voters: &[u64]) -> ConfState {
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

/// Other nodes' starts as a record of [`STARTS`].
pub(crate) fn encode_starts(starts: impl Iterator<Item = (NodeId, u64)>) -> Vec<u8> {
    let mut out = Writer::new();
    for (node, start) in starts {
        out.varint(node.0);
        out.varint(start);
    }
    out.into_vec()
}

/// The inverse of [`encode_starts`].
pub(crate) fn decode_starts(bytes: &[u8]) -> Result<Vec<(NodeId, u64)>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut starts = Vec::new();
    while !reader.is_empty() {
        starts.push((NodeId(reader.varint("node")?), reader.varint("start")?));
    }
    Ok(starts)
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
        fn records_round_trip(
            a: u64, b: u64, c: u64, data: Vec<u8>, context: Vec<u8>, leaves: bool,
            ids in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..5), 4),
        ) {
            let mut entry = Entry { index: a, term: b, ..Entry::default() };
            entry.data = data.into();
            entry.context = context.into();
            let mut members = voters_only(&ids[0]);
            members.learners = ids[1].clone();
            members.voters_outgoing = ids[2].clone();
            members.learners_next = ids[3].clone();
            members.auto_leave = leaves;
            let base = |generation| {
                let (members, hard_state) = (members.clone(), hard_state(a, b, c));
                Base { index: a, term: b, members, hard_state, generation }
            };
            for record in [
                GroupRecord::Born { members: members.clone() },
                GroupRecord::Entry(entry),
                GroupRecord::HardState(hard_state(a, b, c)),
                GroupRecord::Base(base(0)),
                GroupRecord::Installed(base(c % disk_engine::Engine::MAX_GENERATIONS)),
            ] {
                let bytes = record.encode();
                prop_assert_eq!(GroupRecord::decode(&bytes), Ok(record));
            }
        }

        #[test]
        fn starts_round_trip(starts: Vec<(u64, u64)>) {
            let starts: Vec<_> = starts.into_iter().map(|(node, start)| (NodeId(node), start)).collect();
            prop_assert_eq!(decode_starts(&encode_starts(starts.iter().copied())), Ok(starts));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_starts(&bytes);
            let _ = GroupRecord::decode(&bytes);
            let _ = decode_clock_bound(&bytes);
        }
    }
}
