//! The readers of what stands in the log and of the catalog's state, for tests and fuzzers.

use base::{Cell, ColumnId, GroupId, Hlc, Mutation, NodeId, Reader, TableId, Writer};
use bytes::Bytes;
use core_quorum::paxos::Acceptor;
use raft::eraftpb::{Entry, HardState};
use store::{Column, ColumnKind, Locality, Node, NodeState, Replicas, SchemaChange, TableDraft, Versions};
use world::garbage::Target;

use crate::{
    catalog::Command,
    group::message::{self, Frame, GroupMessage, Life},
    records::{Base, GroupRecord, decode_clock_bound, encode_clock_bound, group_of, stream_of, voters_only},
    snapshot::{Pull, SnapshotMessage},
};

/// Every reader. What they have in common is the law: what is read is written and read again as the same.
pub const TARGETS: [Target; 5] = [
    Target { name: "fabric_record", samples: records, read: record },
    Target { name: "fabric_mutation", samples: mutations, read: mutation },
    Target { name: "fabric_catalog", samples: commands, read: command },
    Target { name: "fabric_paxos", samples: acceptors, read: acceptor },
    Target { name: "fabric_frame", samples: frames, read: frame },
];

fn records() -> Vec<Vec<u8>> {
    let hard_state = HardState { term: 3, vote: 1, commit: 9, ..HardState::default() };
    let mut entry = Entry { index: 9, term: 3, ..Entry::default() };
    entry.data = b"what a door proposed".to_vec().into();
    let mut asked = entry.clone();
    asked.context = b"who asked for it".to_vec().into();
    let base = |generation| Base {
        index: 9,
        term: 3,
        members: voters_only(&[1]),
        hard_state: hard_state.clone(),
        generation,
    };
    let all = [
        GroupRecord::Born { members: voters_only(&[1, 2, 300]) },
        GroupRecord::Entry(asked),
        GroupRecord::Entry(entry),
        GroupRecord::HardState(hard_state.clone()),
        GroupRecord::Base(base(0)),
        GroupRecord::Installed(base(7)),
    ];
    let bound = encode_clock_bound(Hlc(77 << 20));
    all.iter().map(GroupRecord::encode).chain([bound]).collect()
}

/// A record of a Raft group, or of the node.
fn record(bytes: &[u8]) -> bool {
    let record = GroupRecord::decode(bytes);
    if let Ok(record) = &record {
        assert_eq!(GroupRecord::decode(&record.encode()).as_ref(), Ok(record));
    }
    let bound = decode_clock_bound(bytes);
    if let Ok(bound) = bound {
        assert_eq!(encode_clock_bound(bound), bytes);
    }
    assert_eq!(group_of(stream_of(GroupId(7))), Some(GroupId(7)));
    record.is_ok() || bound.is_ok()
}

fn mutations() -> Vec<Vec<u8>> {
    let live = Cell::live(70, Bytes::from_static(b"value"));
    let brief = Cell { ttl_seconds: 9, expires_at_seconds: 1000, ..live.clone() };
    let gone = Cell { value: None, ..Cell::live(65, Bytes::new()) };
    let cells = vec![(ColumnId(1), live), (ColumnId(4), brief), (ColumnId(9), gone)];
    let changes = vec![
        base::Change::Row { clustering: Bytes::from_static(b"c"), cells },
        base::Change::DeleteRows { from: Bytes::new(), to: Some(Bytes::from_static(b"z")), timestamp: 5 },
        base::Change::DeleteRows { from: Bytes::from_static(b"a"), to: None, timestamp: 5 },
        base::Change::DeletePartition { timestamp: -1 },
    ];
    let mut out = Writer::new();
    Mutation { table: TableId(7), key: Bytes::from_static(b"key"), changes }.encode(&mut out);
    vec![out.into_vec()]
}

/// A mutation. It takes no more memory than its bytes let one expect.
fn mutation(bytes: &[u8]) -> bool {
    let Ok(mutation) = Mutation::decode(&mut Reader::new(bytes)) else { return false };
    // The smallest cell is two bytes and some more of flags and timestamp.
    assert!(mutation.weight() <= 64 + 32 * bytes.len(), "{} of {}", mutation.weight(), bytes.len());
    // A time to live without an end is read, and not written again: so the second writing is compared.
    let written = |mutation: &Mutation| {
        let mut out = Writer::new();
        mutation.encode(&mut out);
        out.into_vec()
    };
    let once = written(&mutation);
    let again = Mutation::decode(&mut Reader::new(&once)).map(|mutation| written(&mutation));
    assert_eq!(again, Ok(once));
    true
}

fn commands() -> Vec<Vec<u8>> {
    let map = || [("class".to_owned(), "SimpleStrategy".to_owned())].into();
    let column =
        |id, kind| Column { id: ColumnId(id), name: "c".to_owned(), kind, type_name: "int".to_owned() };
    let columns = vec![
        column(0, ColumnKind::PartitionKey),
        column(1, ColumnKind::Clustering { descending: true }),
        column(2, ColumnKind::Static),
        column(300, ColumnKind::Regular),
    ];
    let (space, name) = ("s".to_owned(), "t".to_owned());
    let node = Node {
        id: NodeId(1),
        host_uuid: 7,
        locality: Locality::default(),
        state: NodeState::Member,
        versions: Versions::BUILD,

        tokens: vec![-5, 9],
        addresses: [("cql".to_owned(), ([127, 0, 0, 1].into(), 9042))].into(),
    };
    let draft = TableDraft { space: space.clone(), name: name.clone(), uuid: 9, columns, options: map() };
    let all = [
        Command::Change(SchemaChange::CreateSpace {
            name: space.clone(),
            replication: map(),
            durable_writes: true,
        }),
        Command::Change(SchemaChange::CreateTable(draft)),
        Command::Change(SchemaChange::TruncateTable { space: space.clone(), name: name.clone() }),
        Command::Change(SchemaChange::DropTable { space: space.clone(), name }),
        Command::Change(SchemaChange::DropSpace { name: space }),
        Command::RegisterNode { cluster: 7, cluster_name: "c".to_owned(), node: node.clone() },
        Command::JoinNode { node, replaces: Some(NodeId(3)) },
        Command::DefineGroup { id: GroupId(5), name: "tally".to_owned() },
        Command::Place {
            group: GroupId(5),
            wanted: Replicas { voters: vec![NodeId(1)], learners: vec![NodeId(2)] },
        },
        Command::RaiseVersion(2),
        Command::MarkNode { id: NodeId(2), state: NodeState::Gone },
        Command::Restore(vec![(Bytes::from_static(b"m"), Bytes::from_static(b"1"))]),
    ];
    all.iter().map(Command::encode).collect()
}

/// A command to the catalog.
fn command(bytes: &[u8]) -> bool {
    let Ok(command) = Command::decode(bytes) else { return false };
    let _ = command.grows();
    assert_eq!(Command::decode(&command.encode()), Ok(command));
    true
}

/// One that only promised, and one with both votes.
fn acceptors() -> Vec<Vec<u8>> {
    let ballot = |out: &mut Writer, time| {
        out.u64(time);
        out.u64(1);
    };
    let vote = |out: &mut Writer, time| {
        out.u8(1);
        for time in [time, time, 1] {
            ballot(out, time);
        }
        out.bytes(b"value");
    };
    let (mut promised, mut voted) = (Writer::new(), Writer::new());
    for out in [&mut promised, &mut voted] {
        out.u8(1);
        ballot(out, 9);
    }
    promised.raw(&[0, 0]);
    vote(&mut voted, 8);
    vote(&mut voted, 5);
    vec![promised.into_vec(), voted.into_vec()]
}

/// What an acceptor of Paxos has promised, accepted and committed.
fn acceptor(bytes: &[u8]) -> bool {
    let Ok(acceptor) = Acceptor::decode(bytes) else { return false };
    let again = acceptor.encode();
    assert!(Acceptor::decode(&again).is_ok_and(|acceptor| acceptor.encode() == again));
    true
}

/// What nodes say to each other about states that one takes over from another.
fn frames() -> Vec<Vec<u8>> {
    let life = Life { start: 3, life: 77, found: 300 };
    let pull = Pull { cut: 9, number: 2, chain: 5, from: Bytes::from_static(b"key") };
    let mut records = Writer::new();
    records.bytes(b"key");
    records.bytes(b"value");
    let chunk = pull.answer(records.into_vec().into(), true);
    let all = [SnapshotMessage::Pull(pull), SnapshotMessage::Chunk(chunk), SnapshotMessage::Gone { cut: 9 }];
    let groups = all.into_iter().map(|message| (GroupId(7), GroupMessage::Snapshot(message))).collect();
    let alive = Frame::Alive { durable: 9, stalled: true };
    [Frame::Groups(groups), alive].iter().map(|frame| life.frame(frame).to_vec()).collect()
}

/// A frame from another node.
fn frame(bytes: &[u8]) -> bool {
    let Ok((life, frame)) = message::decode(bytes) else { return false };
    if let Frame::Groups(messages) = &frame {
        for (_, message) in messages {
            if let GroupMessage::Snapshot(SnapshotMessage::Chunk(chunk)) = message {
                let bytes = |entries: Vec<(Bytes, Bytes)>| -> usize {
                    entries.iter().map(|(key, value)| key.len() + value.len()).sum()
                };
                assert!(chunk.entries().map_or(0, bytes) <= chunk.records.len());
            }
        }
    }
    assert_eq!(message::decode(&life.frame(&frame)), Ok((life, frame)));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reader_of_the_spine_panics_whatever_the_bytes() {
        for target in TARGETS {
            target.attack(5, 20_000);
        }
    }
}
