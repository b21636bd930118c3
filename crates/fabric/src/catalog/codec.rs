//! The catalog's bytes: commands in the log, their results, and the parts of definitions, of which
//! the durable state is made too.
//!
//! ```text
//! command = 1 name replication durable u8          create space
//!         | 2 name                                 drop space
//!         | 3 draft                                create table
//!         | 4 space name                           drop table
//!         | 5 cluster-id u128 cluster-name node    a node has started (the founder, or one that joined)
//!         | 6 space name                           truncate table
//!         | 7 node replaces varint                 a node is given an id (that in it is ignored)
//!         | 8 group name                           a group exists
//!         | 9 group voters learners                where its replicas should be
//!         | 10 version varint                      the cluster's version, when all nodes can
//!         | 11 node-id state u8                    what a node is to the cluster from now on
//!         | 12 (key value)...                      a part of a backup
//! draft   = space name uuid u128 columns options
//! column  = id varint | name | kind u8 | type      kind: 0 partition key, 1 clustering, 2 clustering
//!                                                  descending, 3 static, 4 regular
//! map     = count | (name value)...
//! node    = id | host u128 | region | zone | state u8 | version-min | version-max | tokens | addresses
//!           state: 0 joining, 1 member, 2 leaving, 3 gone
//! result  = 0 number varint | class u8 message     class: 1 exists, 2 absent, 3 invalid; the number is
//!                                                  the id given, if one was
//! ```
//! Strings are a varint length and UTF-8. Kinds are pinned.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use base::{Cause, Class, ColumnId, GroupId, Malformed, NodeId, Reader, Writer};
use bytes::Bytes;
use store::{Column, ColumnKind, Locality, Node, NodeState, Replicas, SchemaChange, TableDraft, Versions};

use crate::Addresses;

/// What can be done to the catalog.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Changes definitions.
    Change(SchemaChange),
    /// A node has started: the founder, or one that was given its id before; its addresses may be new.
    RegisterNode { cluster: u128, cluster_name: String, node: Node },
    /// Gives a node an id, by its host UUID the same each time; answered with it. The node that it
    /// replaces, whose disk was lost, is gone.
    JoinNode { node: Node, replaces: Option<NodeId> },
    /// Makes a group known.
    DefineGroup { id: GroupId, name: String },
    /// Says where a group's replicas should be.
    Place { group: GroupId, wanted: Replicas },
    /// Raises the cluster's version.
    RaiseVersion(u32),
    /// Says what a node is to the cluster.
    MarkNode { id: NodeId, state: NodeState },
    /// Takes up a part of a backup, in the order of its keys, into a catalog without definitions.
    Restore(Vec<(Bytes, Bytes)>),
}

/// States by number; pinned.
const STATES: [NodeState; 4] = [NodeState::Joining, NodeState::Member, NodeState::Leaving, NodeState::Gone];

impl Command {
    /// Whether it takes memory for good. What does not goes on when memory is used up: dropping a
    /// table is the way out of that, and a start must not depend on it.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Command::Change(SchemaChange::CreateSpace { .. } | SchemaChange::CreateTable(_))
            | Command::Restore(_) => true,
            Command::Change(
                SchemaChange::DropSpace { .. }
                | SchemaChange::DropTable { .. }
                | SchemaChange::TruncateTable { .. },
            )
            | Command::RegisterNode { .. }
            | Command::JoinNode { .. }
            | Command::DefineGroup { .. }
            | Command::Place { .. }
            | Command::RaiseVersion(_)
            | Command::MarkNode { .. } => false,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Command::Change(SchemaChange::CreateSpace { name, replication, durable_writes }) => {
                out.u8(1);
                out.str(name);
                put_map(&mut out, replication);
                out.u8(u8::from(*durable_writes));
            }
            Command::Change(SchemaChange::DropSpace { name }) => {
                out.u8(2);
                out.str(name);
            }
            Command::Change(SchemaChange::CreateTable(draft)) => {
                out.u8(3);
                out.str(&draft.space);
                out.str(&draft.name);
                out.u128(draft.uuid);
                put_columns(&mut out, &draft.columns);
                put_map(&mut out, &draft.options);
            }
            Command::Change(SchemaChange::DropTable { space, name }) => {
                out.u8(4);
                out.str(space);
                out.str(name);
            }
            Command::RegisterNode { cluster, cluster_name, node } => {
                out.u8(5);
                out.u128(*cluster);
                out.str(cluster_name);
                put_node(&mut out, node);
            }
            Command::Change(SchemaChange::TruncateTable { space, name }) => {
                out.u8(6);
                out.str(space);
                out.str(name);
            }
            Command::JoinNode { node, replaces } => {
                out.u8(7);
                put_node(&mut out, node);
                out.varint(replaces.map_or(0, |node| node.0));
            }
            Command::DefineGroup { id, name } => {
                out.u8(8);
                out.varint(id.0);
                out.str(name);
            }
            Command::Place { group, wanted } => {
                out.u8(9);
                out.varint(group.0);
                put_replicas(&mut out, wanted);
            }
            Command::RaiseVersion(version) => {
                out.u8(10);
                out.varint(u64::from(*version));
            }
            Command::MarkNode { id, state } => {
                out.u8(11);
                out.varint(id.0);
                put_state(&mut out, *state);
            }
            Command::Restore(records) => {
                out.u8(12);
                for (key, value) in records {
                    out.bytes(key);
                    out.bytes(value);
                }
            }
        }
        out.into_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Command, Malformed> {
        let mut reader = Reader::new(bytes);
        let command = match reader.u8("command")? {
            1 => Command::Change(SchemaChange::CreateSpace {
                name: take_string(&mut reader)?,
                replication: take_map(&mut reader)?,
                durable_writes: reader.u8("durable writes")? != 0,
            }),
            2 => Command::Change(SchemaChange::DropSpace { name: take_string(&mut reader)? }),
            3 => Command::Change(SchemaChange::CreateTable(TableDraft {
                space: take_string(&mut reader)?,
                name: take_string(&mut reader)?,
                uuid: reader.u128("uuid")?,
                columns: take_columns(&mut reader)?,
                options: take_map(&mut reader)?,
            })),
            4 => Command::Change(SchemaChange::DropTable {
                space: take_string(&mut reader)?,
                name: take_string(&mut reader)?,
            }),
            5 => Command::RegisterNode {
                cluster: reader.u128("cluster id")?,
                cluster_name: take_string(&mut reader)?,
                node: take_node(&mut reader)?,
            },
            6 => Command::Change(SchemaChange::TruncateTable {
                space: take_string(&mut reader)?,
                name: take_string(&mut reader)?,
            }),
            7 => Command::JoinNode {
                node: take_node(&mut reader)?,
                replaces: Some(reader.varint("node id")?).filter(|id| *id != 0).map(NodeId),
            },
            8 => Command::DefineGroup {
                id: GroupId(reader.varint("group id")?),
                name: take_string(&mut reader)?,
            },
            9 => Command::Place {
                group: GroupId(reader.varint("group id")?),
                wanted: take_replicas(&mut reader)?,
            },
            10 => Command::RaiseVersion(take_version(&mut reader)?),
            11 => {
                Command::MarkNode { id: NodeId(reader.varint("node id")?), state: take_state(&mut reader)? }
            }
            12 => Command::Restore(take_records(&mut reader)?),
            _ => return Err(Malformed("command")),
        };
        reader.end("command")?;
        Ok(command)
    }
}

/// The result of a command, for its proposer: an id that was given, or 0.
pub(crate) fn encode_result(result: &Result<u64, Cause>) -> Vec<u8> {
    let mut out = Writer::new();
    match result {
        Ok(number) => {
            out.u8(0);
            out.varint(*number);
        }
        Err(cause) => {
            out.u8(match cause.class {
                Class::Exists => 1,
                Class::Absent => 2,
                _ => 3,
            });
            out.str(&cause.message);
        }
    }
    out.into_vec()
}

/// The inverse of [`encode_result`].
pub(crate) fn decode_result(bytes: &[u8]) -> Result<Result<u64, Cause>, Malformed> {
    let mut reader = Reader::new(bytes);
    let class = match reader.u8("result")? {
        0 => return Ok(Ok(reader.varint("result")?)),
        1 => Class::Exists,
        2 => Class::Absent,
        3 => Class::Invalid,
        _ => return Err(Malformed("result")),
    };
    Ok(Err(Cause::new(class, take_string(&mut reader)?)))
}

pub(super) fn take_string(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(reader.str("text")?.to_owned())
}

pub(super) fn put_map(out: &mut Writer, map: &BTreeMap<String, String>) {
    out.varint(map.len() as u64);
    for (name, value) in map {
        out.str(name);
        out.str(value);
    }
}

pub(super) fn take_map(reader: &mut Reader<'_>) -> Result<BTreeMap<String, String>, Malformed> {
    let count = reader.count("map")?;
    (0..count).map(|_| Ok((take_string(reader)?, take_string(reader)?))).collect()
}

pub(super) fn put_columns(out: &mut Writer, columns: &[Column]) {
    out.varint(columns.len() as u64);
    for column in columns {
        out.varint(u64::from(column.id.0));
        out.str(&column.name);
        out.u8(match column.kind {
            ColumnKind::PartitionKey => 0,
            ColumnKind::Clustering { descending: false } => 1,
            ColumnKind::Clustering { descending: true } => 2,
            ColumnKind::Static => 3,
            ColumnKind::Regular => 4,
        });
        out.str(&column.type_name);
    }
}

pub(super) fn take_columns(reader: &mut Reader<'_>) -> Result<Vec<Column>, Malformed> {
    let count = reader.count("columns")?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(Column {
            id: ColumnId(u32::try_from(reader.varint("column id")?).map_err(|_| Malformed("column id"))?),
            name: take_string(reader)?,
            kind: match reader.u8("column kind")? {
                0 => ColumnKind::PartitionKey,
                1 => ColumnKind::Clustering { descending: false },
                2 => ColumnKind::Clustering { descending: true },
                3 => ColumnKind::Static,
                4 => ColumnKind::Regular,
                _ => return Err(Malformed("column kind")),
            },
            type_name: take_string(reader)?,
        });
    }
    Ok(columns)
}

/// The records of a part of a backup, to the end.
fn take_records(reader: &mut Reader<'_>) -> Result<Vec<(Bytes, Bytes)>, Malformed> {
    let mut records = Vec::new();
    while !reader.is_empty() {
        let key = Bytes::copy_from_slice(reader.bytes("backup key")?);
        records.push((key, Bytes::copy_from_slice(reader.bytes("backup value")?)));
    }
    Ok(records)
}

pub(super) fn put_replicas(out: &mut Writer, replicas: &Replicas) {
    for nodes in [&replicas.voters, &replicas.learners] {
        out.varint(nodes.len() as u64);
        nodes.iter().for_each(|node| out.varint(node.0));
    }
}

pub(super) fn take_replicas(reader: &mut Reader<'_>) -> Result<Replicas, Malformed> {
    let mut nodes = || -> Result<Vec<NodeId>, Malformed> {
        let count = reader.count("replicas")?;
        (0..count).map(|_| reader.varint("replica").map(NodeId)).collect()
    };
    Ok(Replicas { voters: nodes()?, learners: nodes()? })
}

fn put_state(out: &mut Writer, state: NodeState) {
    let number = STATES.iter().position(|known| *known == state);
    out.u8(number.expect("every state has a number") as u8);
}

fn take_state(reader: &mut Reader<'_>) -> Result<NodeState, Malformed> {
    STATES.get(usize::from(reader.u8("node state")?)).copied().ok_or(Malformed("node state"))
}

pub(super) fn take_version(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.varint("version")?).map_err(|_| Malformed("version"))
}

pub(super) fn put_node(out: &mut Writer, node: &Node) {
    out.varint(node.id.0);
    out.u128(node.host_uuid);
    out.str(&node.locality.region);
    out.str(&node.locality.zone);
    put_state(out, node.state);
    out.varint(u64::from(node.versions.min));
    out.varint(u64::from(node.versions.max));
    out.varint(node.tokens.len() as u64);
    node.tokens.iter().for_each(|token| out.i64(*token));
    put_addresses(out, &node.addresses);
}

pub(super) fn take_node(reader: &mut Reader<'_>) -> Result<Node, Malformed> {
    let mut node = Node {
        id: NodeId(reader.varint("node id")?),
        host_uuid: reader.u128("host uuid")?,
        locality: Locality { region: take_string(reader)?, zone: take_string(reader)? },
        state: take_state(reader)?,
        versions: Versions { min: take_version(reader)?, max: take_version(reader)? },
        tokens: Vec::new(),
        addresses: BTreeMap::new(),
    };
    for _ in 0..reader.count("tokens")? {
        node.tokens.push(reader.i64("token")?);
    }
    node.addresses = take_addresses(reader)?;
    Ok(node)
}

pub(super) fn put_addresses(out: &mut Writer, addresses: &Addresses) {
    out.varint(addresses.len() as u64);
    for (door, (ip, port)) in addresses {
        out.str(door);
        match ip {
            IpAddr::V4(ip) => out.bytes(&ip.octets()),
            IpAddr::V6(ip) => out.bytes(&ip.octets()),
        }
        out.varint(u64::from(*port));
    }
}

pub(super) fn take_addresses(reader: &mut Reader<'_>) -> Result<Addresses, Malformed> {
    let mut addresses = Addresses::new();
    for _ in 0..reader.count("addresses")? {
        let door = take_string(reader)?;
        let octets = reader.bytes("address")?;
        let ip = if let Ok(v4) = <[u8; 4]>::try_from(octets) {
            IpAddr::V4(Ipv4Addr::from(v4))
        } else {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).map_err(|_| Malformed("address"))?))
        };
        let port = u16::try_from(reader.varint("port")?).map_err(|_| Malformed("port"))?;
        addresses.insert(door, (ip, port));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<Column> {
        let kinds = [
            ColumnKind::PartitionKey,
            ColumnKind::Clustering { descending: false },
            ColumnKind::Clustering { descending: true },
            ColumnKind::Static,
            ColumnKind::Regular,
        ];
        let column = |(i, kind): (usize, &ColumnKind)| Column {
            id: ColumnId(i as u32 + 1),
            name: format!("c{i}"),
            kind: *kind,
            type_name: "int".to_owned(),
        };
        kinds.iter().enumerate().map(column).collect()
    }

    fn node() -> Node {
        let v6 = "::1".parse().expect("an address");
        Node {
            id: NodeId(1),
            host_uuid: 7,
            locality: Locality::default(),
            state: NodeState::Leaving,
            versions: Versions { min: 1, max: 300 },
            tokens: vec![i64::MIN + 1, 0, 5],
            addresses: [("cql".into(), (v6, 9042))].into(),
        }
    }

    #[test]
    fn commands_round_trip() {
        let name = || "test".to_owned();
        let options: BTreeMap<_, _> = [("class".to_owned(), "SimpleStrategy".to_owned())].into();
        let draft =
            TableDraft { space: name(), name: name(), columns: columns(), options: options.clone(), uuid: 9 };
        for command in [
            Command::Change(SchemaChange::CreateSpace {
                name: name(),
                replication: options,
                durable_writes: true,
            }),
            Command::Change(SchemaChange::DropSpace { name: name() }),
            Command::Change(SchemaChange::CreateTable(draft)),
            Command::Change(SchemaChange::DropTable { space: name(), name: name() }),
            Command::Change(SchemaChange::TruncateTable { space: name(), name: name() }),
            Command::RegisterNode { cluster: 1 << 90, cluster_name: name(), node: node() },
            Command::JoinNode { node: node(), replaces: None },
            Command::JoinNode { node: node(), replaces: Some(NodeId(2)) },
            Command::DefineGroup { id: GroupId(7), name: name() },
            Command::Place {
                group: GroupId(7),
                wanted: Replicas { voters: vec![NodeId(1)], learners: vec![NodeId(2)] },
            },
            Command::RaiseVersion(9),
            Command::MarkNode { id: NodeId(3), state: NodeState::Gone },
        ] {
            let bytes = command.encode();
            assert_eq!(Command::decode(&bytes), Ok(command));
            assert!((0..bytes.len()).all(|cut| Command::decode(&bytes[..cut]).is_err()));
        }
    }

    #[test]
    fn a_part_of_a_backup_round_trips() {
        let record = |text: &'static str| (Bytes::from_static(text.as_bytes()), Bytes::from_static(b"1"));
        let command = Command::Restore(vec![record("m"), record("n2")]);
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn results_round_trip() {
        for result in
            [Ok(0), Ok(300), Err(Cause::exists("a")), Err(Cause::absent("b")), Err(Cause::invalid("c"))]
        {
            assert_eq!(decode_result(&encode_result(&result)), Ok(result));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Command::decode(&bytes);
            let _ = decode_result(&bytes);
        }
    }
}
