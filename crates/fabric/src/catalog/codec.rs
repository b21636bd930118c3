//! The catalog's bytes: commands in the log, their results, and the parts of definitions, of which
//! the durable state is made too.
//!
//! ```text
//! command = 1 name replication durable u8          create space
//!         | 2 name                                 drop space
//!         | 3 draft                                create table
//!         | 4 space name                           drop table
//!         | 5 cluster-name node                    register node (new, or with new addresses)
//!         | 6 space name                           truncate table
//! draft   = space name uuid u128 columns options
//! column  = id varint | name | kind u8 | type      kind: 0 partition key, 1 clustering, 2 clustering
//!                                                  descending, 3 static, 4 regular
//! map     = count | (name value)...
//! result  = 0 | class u8 message                   class: 1 exists, 2 absent, 3 invalid
//! ```
//! Strings are a varint length and UTF-8. Kinds are pinned.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use base::{Cause, Class, ColumnId, Malformed, NodeId, Reader, Writer};
use store::{Column, ColumnKind, Node, SchemaChange, TableDraft};

/// What can be done to the catalog.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    /// Changes definitions.
    Change(SchemaChange),
    /// Makes a node known, or its new addresses.
    RegisterNode { cluster_name: String, node: Node },
}

impl Command {
    /// Whether it takes memory for good. What does not goes on when memory is used up: dropping a
    /// table is the way out of that, and a start must not depend on it.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Command::Change(SchemaChange::CreateSpace { .. } | SchemaChange::CreateTable(_)) => true,
            Command::Change(
                SchemaChange::DropSpace { .. }
                | SchemaChange::DropTable { .. }
                | SchemaChange::TruncateTable { .. },
            )
            | Command::RegisterNode { .. } => false,
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
            Command::RegisterNode { cluster_name, node } => {
                out.u8(5);
                out.str(cluster_name);
                put_node(&mut out, node);
            }
            Command::Change(SchemaChange::TruncateTable { space, name }) => {
                out.u8(6);
                out.str(space);
                out.str(name);
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
                cluster_name: take_string(&mut reader)?,
                node: take_node(&mut reader)?,
            },
            6 => Command::Change(SchemaChange::TruncateTable {
                space: take_string(&mut reader)?,
                name: take_string(&mut reader)?,
            }),
            _ => return Err(Malformed("command")),
        };
        reader.end("command")?;
        Ok(command)
    }
}

/// The result of a command, for its proposer.
pub(crate) fn encode_result(result: &Result<(), Cause>) -> Vec<u8> {
    let mut out = Writer::new();
    match result {
        Ok(()) => out.u8(0),
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
pub(crate) fn decode_result(bytes: &[u8]) -> Result<Result<(), Cause>, Malformed> {
    let mut reader = Reader::new(bytes);
    let class = match reader.u8("result")? {
        0 => return Ok(Ok(())),
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

pub(super) fn put_node(out: &mut Writer, node: &Node) {
    out.varint(node.id.0);
    out.u128(node.host_uuid);
    out.str(&node.datacenter);
    out.str(&node.rack);
    out.varint(node.tokens.len() as u64);
    node.tokens.iter().for_each(|token| out.i64(*token));
    out.varint(node.addresses.len() as u64);
    for (door, (ip, port)) in &node.addresses {
        out.str(door);
        match ip {
            IpAddr::V4(ip) => out.bytes(&ip.octets()),
            IpAddr::V6(ip) => out.bytes(&ip.octets()),
        }
        out.varint(u64::from(*port));
    }
}

pub(super) fn take_node(reader: &mut Reader<'_>) -> Result<Node, Malformed> {
    let mut node = Node {
        id: NodeId(reader.varint("node id")?),
        host_uuid: reader.u128("host uuid")?,
        datacenter: take_string(reader)?,
        rack: take_string(reader)?,
        tokens: Vec::new(),
        addresses: BTreeMap::new(),
    };
    for _ in 0..reader.count("tokens")? {
        node.tokens.push(reader.i64("token")?);
    }
    for _ in 0..reader.count("addresses")? {
        let door = take_string(reader)?;
        let octets = reader.bytes("address")?;
        let ip = if let Ok(v4) = <[u8; 4]>::try_from(octets) {
            IpAddr::V4(Ipv4Addr::from(v4))
        } else {
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).map_err(|_| Malformed("address"))?))
        };
        let port = u16::try_from(reader.varint("port")?).map_err(|_| Malformed("port"))?;
        node.addresses.insert(door, (ip, port));
    }
    Ok(node)
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
            datacenter: "datacenter1".into(),
            rack: "rack1".into(),
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
            Command::RegisterNode { cluster_name: name(), node: node() },
        ] {
            let bytes = command.encode();
            assert_eq!(Command::decode(&bytes), Ok(command));
            assert!((0..bytes.len()).all(|cut| Command::decode(&bytes[..cut]).is_err()));
        }
    }

    #[test]
    fn results_round_trip() {
        for result in [Ok(()), Err(Cause::exists("a")), Err(Cause::absent("b")), Err(Cause::invalid("c"))] {
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
