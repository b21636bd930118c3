//! What nodes say to each other about groups, as bytes.
//!
//! ```text
//! frame   = kind u8 | start varint | life u64 | found varint | content
//! 0 groups     (group varint | length varint | message)...
//! 1 alive      durable varint | stalled u8
//! 2 refused    start varint | life u64          of the frame that was refused
//! message = tag u8 | ...
//!  1.. a message of the Raft core               see [`put_raft`]
//! 64 proposal   request | entry                 a follower asks its leader to propose
//! 65 change     members                         the same for a change of members
//! 66 sleep      term varint | index varint      everybody has everything up to `index`
//! 67 snapshot   see [`crate::snapshot`]
//! ```
//! Every frame says which life of which start of a node it is from, so that what a dead process has sent,
//! and a disk that was set back, are recognised without any order between frames ([`crate::peers`]).
//!
//! The codec is our own: the protobuf that the Raft core brings along never sees bytes from a socket.
//! A frame carries messages of many groups, so that many groups cost few frames.

use base::{GroupId, Malformed, Reader, Writer};
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot, SnapshotMetadata};

use crate::{
    group::requests::RequestId,
    records::{entry_type, entry_type_code, put_members, take_members},
    snapshot::SnapshotMessage,
};

/// Which process a frame is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// How often the node has started.
    pub(crate) start: u64,
    /// Drawn at this start: two processes with one start differ in it.
    pub(crate) life: u64,
    /// Up to where the start has found the log.
    pub(crate) found: u64,
}

/// A frame without its life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// Messages of groups, in order.
    Groups(Vec<(GroupId, GroupMessage)>),
    /// The node lives.
    Alive {
        /// Its log is durable up to here; 0 if it has not written yet.
        durable: u64,
        /// A sync of its disk is under way and does not return.
        stalled: bool,
    },
    /// The receiver's frames of this life are refused: its disk is older than what was heard of it.
    Refused { start: u64, life: u64 },
}

/// A message between two replicas of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GroupMessage {
    /// Of the Raft core. Sender and receiver are told by the link.
    Raft(Box<Message>),
    /// To the leader: propose this.
    Propose { id: RequestId, entry: Bytes },
    /// To the leader: make these the members.
    Change { members: ConfState },
    /// From a leader whose group has nothing to do: stop counting time.
    Sleep { term: u64, index: u64 },
    /// About the state that a snapshot of the core stands for.
    Snapshot(SnapshotMessage),
}

const GROUPS: u8 = 0;
const ALIVE: u8 = 1;
const REFUSED: u8 = 2;

const PROPOSE: u8 = 64;
const CHANGE: u8 = 65;
const SLEEP: u8 = 66;
const SNAPSHOT: u8 = 67;

/// The messages that replicas may send each other, by their code. What the core sends to itself only
/// is not among them.
const RAFT_TYPES: [(u8, MessageType); 13] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgSnapshot),
    (6, MessageType::MsgHeartbeat),
    (7, MessageType::MsgHeartbeatResponse),
    (8, MessageType::MsgTransferLeader),
    (9, MessageType::MsgTimeoutNow),
    (10, MessageType::MsgReadIndex),
    (11, MessageType::MsgReadIndexResp),
    (12, MessageType::MsgRequestPreVote),
    (13, MessageType::MsgRequestPreVoteResponse),
];

impl Life {
    fn put(&self, kind: u8, out: &mut Writer) {
        out.u8(kind);
        out.varint(self.start);
        out.u64(self.life);
        out.varint(self.found);
    }

    /// The beginning of a frame for messages of groups, to which [`put_message`] adds.
    pub(crate) fn begin_groups(&self) -> Writer {
        let mut out = Writer::new();
        self.put(GROUPS, &mut out);
        out
    }

    /// A frame.
    pub(crate) fn frame(&self, frame: &Frame) -> Bytes {
        let mut out = Writer::new();
        match frame {
            Frame::Groups(messages) => {
                self.put(GROUPS, &mut out);
                for (group, message) in messages {
                    put_message(&mut out, *group, message);
                }
            }
            Frame::Alive { durable, stalled } => {
                self.put(ALIVE, &mut out);
                out.varint(*durable);
                out.u8(u8::from(*stalled));
            }
            Frame::Refused { start, life } => {
                self.put(REFUSED, &mut out);
                out.varint(*start);
                out.u64(*life);
            }
        }
        out.into_vec().into()
    }
}

/// Reads a frame.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Life, Frame), Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8("frame kind")?;
    let life = Life {
        start: reader.varint("start")?,
        life: reader.u64("life")?,
        found: reader.varint("found position")?,
    };
    let frame = match kind {
        GROUPS => {
            let mut messages = Vec::new();
            while !reader.is_empty() {
                let group = GroupId(reader.varint("group")?);
                messages.push((group, take_message(reader.bytes("message")?)?));
            }
            Frame::Groups(messages)
        }
        ALIVE => Frame::Alive { durable: reader.varint("durable")?, stalled: flag(&mut reader, "stalled")? },
        REFUSED => Frame::Refused { start: reader.varint("start")?, life: reader.u64("life")? },
        _ => return Err(Malformed("frame kind")),
    };
    reader.end("frame")?;
    Ok((life, frame))
}

fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, Malformed> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed(what)),
    }
}

/// Adds a message to a frame; returns its bytes.
pub(crate) fn put_message(out: &mut Writer, group: GroupId, message: &GroupMessage) -> usize {
    out.varint(group.0);
    let mut body = Writer::new();
    match message {
        GroupMessage::Raft(message) => put_raft(&mut body, message),
        GroupMessage::Propose { id, entry } => {
            body.u8(PROPOSE);
            id.put(&mut body);
            body.raw(entry);
        }
        GroupMessage::Change { members } => {
            body.u8(CHANGE);
            put_members(&mut body, members);
        }
        GroupMessage::Sleep { term, index } => {
            body.u8(SLEEP);
            body.varint(*term);
            body.varint(*index);
        }
        GroupMessage::Snapshot(message) => {
            body.u8(SNAPSHOT);
            message.put(&mut body);
        }
    }
    let body = body.into_vec();
    out.bytes(&body);
    body.len()
}

fn take_message(bytes: &[u8]) -> Result<GroupMessage, Malformed> {
    let mut reader = Reader::new(bytes);
    let message = match reader.u8("message tag")? {
        PROPOSE => {
            let id = RequestId::take(&mut reader)?;
            let entry = Bytes::copy_from_slice(reader.take(reader.rest().len(), "entry")?);
            GroupMessage::Propose { id, entry }
        }
        SNAPSHOT => GroupMessage::Snapshot(SnapshotMessage::take(&mut reader)?),
        CHANGE => GroupMessage::Change { members: take_members(&mut reader)? },
        SLEEP => GroupMessage::Sleep { term: reader.varint("term")?, index: reader.varint("index")? },
        tag => GroupMessage::Raft(Box::new(take_raft(tag, &mut reader)?)),
    };
    reader.end("message")?;
    Ok(message)
}

/// ```text
/// type u8 | reject u8 | term | log term | index | commit | commit term | reject hint | request snapshot
///         | context bytes | entries | snapshot if the type says so
/// entries  = count | (index | term | type u8 | context bytes | data bytes)...
/// snapshot = index | term | members | data bytes
/// ```
/// Integers are varints unless said otherwise.
fn put_raft(out: &mut Writer, message: &Message) {
    let code = RAFT_TYPES.iter().find(|(_, kind)| *kind == message.msg_type).map(|(code, _)| *code);
    out.u8(code.expect("the core sends other replicas only what is for them"));
    out.u8(u8::from(message.reject));
    for number in [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ] {
        out.varint(number);
    }
    out.bytes(&message.context);
    out.varint(message.entries.len() as u64);
    for entry in &message.entries {
        out.varint(entry.index);
        out.varint(entry.term);
        out.u8(entry_type_code(entry.entry_type));
        out.bytes(&entry.context);
        out.bytes(&entry.data);
    }
    if message.msg_type == MessageType::MsgSnapshot {
        let snapshot = message.get_snapshot();
        out.varint(snapshot.get_metadata().index);
        out.varint(snapshot.get_metadata().term);
        put_members(out, snapshot.get_metadata().get_conf_state());
        out.bytes(&snapshot.data);
    }
}

fn take_raft(tag: u8, reader: &mut Reader<'_>) -> Result<Message, Malformed> {
    let kind = RAFT_TYPES.iter().find(|(code, _)| *code == tag).map(|(_, kind)| *kind);
    let msg_type = kind.ok_or(Malformed("message tag"))?;
    let mut message = Message { msg_type, reject: flag(reader, "reject")?, ..Message::default() };
    message.term = reader.varint("term")?;
    message.log_term = reader.varint("log term")?;
    message.index = reader.varint("index")?;
    message.commit = reader.varint("commit")?;
    message.commit_term = reader.varint("commit term")?;
    message.reject_hint = reader.varint("reject hint")?;
    message.request_snapshot = reader.varint("request snapshot")?;
    message.context = Bytes::copy_from_slice(reader.bytes("context")?);
    let count = reader.count("entries")?;
    // One that asks for a read has its context there, and the core takes it for granted.
    if msg_type == MessageType::MsgReadIndex && count == 0 {
        return Err(Malformed("entries"));
    }
    if matches!(msg_type, MessageType::MsgReadIndexResp) && count == 0 {
        return Err(Malformed("entries"));
    }
    for _ in 0..count {
        message.entries.push(take_wire_entry(reader)?);
    }
    // The core takes it for granted that entries follow what they are said to follow.
    let dense = (message.index.saturating_add(1)..).zip(&message.entries).all(|(i, entry)| entry.index == i);
    if msg_type == MessageType::MsgAppend && (!dense || message.index.checked_add(count as u64).is_none()) {
        return Err(Malformed("entries"));
    }
    if msg_type == MessageType::MsgSnapshot {
        let mut metadata = SnapshotMetadata { index: reader.varint("snapshot index")?, ..Default::default() };
        metadata.term = reader.varint("snapshot term")?;
        metadata.set_conf_state(take_members(reader)?);
        let mut snapshot =
            Snapshot { data: Bytes::copy_from_slice(reader.bytes("cut")?), ..Default::default() };
        snapshot.set_metadata(metadata);
        message.set_snapshot(snapshot);
    }
    Ok(message)
}

fn take_wire_entry(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    Ok(Entry {
        index: reader.varint("entry index")?,
        term: reader.varint("entry term")?,
        entry_type: entry_type(reader.u8("entry type")?)?,
        context: Bytes::copy_from_slice(reader.bytes("entry context")?),
        data: Bytes::copy_from_slice(reader.bytes("entry data")?),
        ..Entry::default()
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use base::NodeId;
    use proptest::prelude::*;

    use super::*;

    fn message_of(code: usize, numbers: &[u64], context: &[u8], data: &[Vec<u8>]) -> Message {
        let mut message = Message { msg_type: RAFT_TYPES[code % RAFT_TYPES.len()].1, ..Message::default() };
        message.reject = numbers[0] % 2 == 1;
        message.term = numbers[1];
        message.log_term = numbers[2];
        message.index = numbers[3] >> 1;
        message.commit = numbers[4];
        message.commit_term = numbers[5];
        message.reject_hint = numbers[6];
        message.request_snapshot = numbers[7];
        message.context = Bytes::copy_from_slice(context);
        for (nth, data) in (1..).zip(data) {
            let mut entry = Entry { index: message.index + nth, term: numbers[0], ..Entry::default() };
            entry.entry_type = entry_type((nth % 3) as u8).expect("one of three");
            entry.data = Bytes::copy_from_slice(data);
            entry.context = Bytes::copy_from_slice(context);
            message.entries.push(entry);
        }
        if message.msg_type == MessageType::MsgSnapshot {
            let mut metadata = SnapshotMetadata { index: numbers[1], term: numbers[2], ..Default::default() };
            metadata.set_conf_state(crate::records::voters_only(&numbers[..3]));
            let mut snapshot = Snapshot { data: Bytes::copy_from_slice(context), ..Default::default() };
            snapshot.set_metadata(metadata);
            message.set_snapshot(snapshot);
        }
        message
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            code: usize,
            numbers in proptest::collection::vec(any::<u64>(), 8),
            context: Vec<u8>,
            data in proptest::collection::vec(any::<Vec<u8>>(), 1..4),
            stalled: bool,
        ) {
            let life = Life { start: numbers[0], life: numbers[1], found: numbers[2] };
            let id = RequestId { origin: NodeId(numbers[0]), start: numbers[1], number: numbers[2], lowest: numbers[3] };
            let messages = vec![
                GroupMessage::Raft(Box::new(message_of(code, &numbers, &context, &data))),
                GroupMessage::Propose { id, entry: Bytes::from(context) },
                GroupMessage::Change { members: crate::records::voters_only(&numbers) },
                GroupMessage::Sleep { term: numbers[4], index: numbers[5] },
                GroupMessage::Snapshot(SnapshotMessage::Gone { cut: numbers[6] }),
            ];
            for frame in [
                Frame::Groups(messages.into_iter().map(|message| (GroupId(numbers[6]), message)).collect()),
                Frame::Alive { durable: numbers[3], stalled },
                Frame::Refused { start: numbers[4], life: numbers[5] },
            ] {
                prop_assert_eq!(decode(&life.frame(&frame)), Ok((life, frame)));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = take_message(&bytes);
        }
    }

    #[test]
    fn what_the_core_says_to_itself_and_entries_with_gaps_are_refused() {
        let mut append = message_of(0, &[1; 8], b"", &[vec![1], vec![2]]);
        append.entries[1].index += 1;
        let mut out = Writer::new();
        put_raft(&mut out, &append);
        assert_eq!(take_message(&out.into_vec()), Err(Malformed("entries")));
        for tag in (0..=u8::MAX).filter(|tag| !(1..=13).contains(tag) && !(PROPOSE..=SNAPSHOT).contains(tag))
        {
            assert!(take_message(&[tag; 40]).is_err(), "{tag}");
        }
    }
}
