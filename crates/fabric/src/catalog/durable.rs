//! The catalog's durable state: a key for each thing that exists, so that a change writes what it
//! changes, however much else there is.
//!
//! ```text
//! key                        value
//! g  group id u64            1 | name | voters | learners
//! m                          1 | epoch varint | last space id varint | last table id varint | last node id varint
//!                              | cluster id u128 | cluster name | cluster version varint
//! n  node id u64             1 | node, as in commands
//! s  space id u64            1 | name | replication map | durable u8
//! t  space id u64  name      1 | table id varint | uuid u128 | columns | options map
//! ```
//! Numbers in keys are big-endian, the name of a table is its bytes without a length. The 1 is the
//! version of the value; parts are written as in [`codec`]. Keys come back ascending, so a space
//! comes before its tables.

use std::{collections::BTreeMap, sync::Arc};

use base::{Cause, GroupId, Malformed, Reader, SpaceId, TableId, Writer};
use bytes::Bytes;
use store::{Changes, Group, Node, Space, Table};

use super::{codec, state::State};

const GROUP: u8 = b'g';
const COUNTERS: u8 = b'm';
const NODE: u8 = b'n';
const SPACE: u8 = b's';
const TABLE: u8 = b't';

const VERSION: u8 = 1;

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn table_key(space: SpaceId, name: &str) -> Vec<u8> {
    let mut key = numbered(TABLE, space.0);
    key.extend_from_slice(name.as_bytes());
    key
}

/// A value in the making.
fn value() -> Writer {
    let mut out = Writer::new();
    out.u8(VERSION);
    out
}

/// Writes what counts up, and the cluster's id and name.
pub(super) fn put_counters(state: &State, changes: &mut Changes) {
    let mut out = value();
    out.varint(state.epoch);
    out.varint(state.last_space);
    out.varint(state.last_table);
    out.varint(state.last_node);
    out.u128(state.cluster);
    out.str(&state.cluster_name);
    out.varint(u64::from(state.version));
    changes.put(vec![COUNTERS], out.into_vec());
}

/// Writes a node.
pub(super) fn put_node(node: &Node, changes: &mut Changes) {
    let mut out = value();
    codec::put_node(&mut out, node);
    changes.put(numbered(NODE, node.id.0), out.into_vec());
}

/// Writes a group.
pub(super) fn put_group(group: &Group, changes: &mut Changes) {
    let mut out = value();
    out.str(&group.name);
    codec::put_replicas(&mut out, &group.wanted);
    changes.put(numbered(GROUP, group.id.0), out.into_vec());
}

/// Writes a space without its tables.
pub(super) fn put_space(space: &Space, changes: &mut Changes) {
    let mut out = value();
    out.str(&space.name);
    codec::put_map(&mut out, &space.replication);
    out.u8(u8::from(space.durable_writes));
    changes.put(numbered(SPACE, space.id.0), out.into_vec());
}

/// Removes a space; its tables are removed one by one.
pub(super) fn delete_space(space: SpaceId, changes: &mut Changes) {
    changes.delete(numbered(SPACE, space.0));
}

/// Writes a table of a space.
pub(super) fn put_table(space: SpaceId, table: &Table, changes: &mut Changes) {
    let mut out = value();
    out.varint(table.id.0);
    out.u128(table.uuid);
    codec::put_columns(&mut out, &table.columns);
    codec::put_map(&mut out, &table.options);
    changes.put(table_key(space, &table.name), out.into_vec());
}

/// Removes a table.
pub(super) fn delete_table(space: SpaceId, name: &str, changes: &mut Changes) {
    changes.delete(table_key(space, name));
}

/// Reads all of it.
///
/// # Errors
/// What reading says; `Corrupt` for what was not written by this file.
pub(super) fn restore(
    entries: &mut dyn Iterator<Item = Result<(Bytes, Bytes), Cause>>,
) -> Result<State, Cause> {
    let mut state = State::default();
    let mut names: BTreeMap<SpaceId, String> = BTreeMap::new();
    for entry in entries {
        let (key, value) = entry?;
        take(&mut state, &mut names, &key, &value)?;
    }
    Ok(state)
}

/// The state with a part of a backup, in the order of its keys, taken up. Of the cluster itself only its
/// name is: nodes and groups are those there are.
///
/// # Errors
/// `Exists` if there are definitions that did not come from it, `Corrupt` for what is no backup.
pub(super) fn take_up(
    state: &State,
    records: &[(Bytes, Bytes)],
    changes: &mut Changes,
) -> Result<State, Cause> {
    let mut now = state.clone();
    let mut names: BTreeMap<SpaceId, String> =
        now.spaces.values().map(|space| (space.id, space.name.clone())).collect();
    let mut taken = Vec::new();
    for (key, value) in records {
        match key.first() {
            Some(&COUNTERS) => {
                if !state.spaces.is_empty() || state.epoch > 0 {
                    return Err(Cause::exists("a backup is restored into an empty catalog only"));
                }
                let mut old = State::default();
                take(&mut old, &mut BTreeMap::new(), key, value)?;
                (now.epoch, now.last_space, now.last_table) = (old.epoch, old.last_space, old.last_table);
                now.cluster_name = old.cluster_name;
            }
            Some(&(SPACE | TABLE)) => {
                take(&mut now, &mut names, key, value)?;
                taken.push((key, value));
            }
            Some(&(NODE | GROUP)) => {}
            _ => return Err(Malformed("catalog key").into()),
        }
    }
    put_counters(&now, changes);
    taken.into_iter().for_each(|(key, value)| changes.put(key, value));
    Ok(now)
}

fn take(
    state: &mut State,
    names: &mut BTreeMap<SpaceId, String>,
    key: &[u8],
    value: &[u8],
) -> Result<(), Malformed> {
    let mut key = Reader::new(key);
    let mut value = Reader::new(value);
    let kind = key.u8("catalog key")?;
    if value.u8("catalog version")? != VERSION {
        return Err(Malformed("catalog version"));
    }
    match kind {
        COUNTERS => {
            state.epoch = value.varint("epoch")?;
            state.last_space = value.varint("last space")?;
            state.last_table = value.varint("last table")?;
            state.last_node = value.varint("last node")?;
            state.cluster = value.u128("cluster id")?;
            state.cluster_name = codec::take_string(&mut value)?;
            state.version = codec::take_version(&mut value)?;
        }
        GROUP => {
            let group = Group {
                id: GroupId(take_number(&mut key)?),
                name: codec::take_string(&mut value)?,
                wanted: codec::take_replicas(&mut value)?,
            };
            state.groups.push(group);
        }
        NODE => {
            let node = codec::take_node(&mut value)?;
            if take_number(&mut key)? != node.id.0 {
                return Err(Malformed("node id"));
            }
            state.nodes.push(node);
        }
        SPACE => {
            let space = Space {
                id: SpaceId(take_number(&mut key)?),
                name: codec::take_string(&mut value)?,
                replication: codec::take_map(&mut value)?,
                durable_writes: value.u8("durable writes")? != 0,
                tables: BTreeMap::new(),
            };
            names.insert(space.id, space.name.clone());
            if state.spaces.insert(space.name.clone(), Arc::new(space)).is_some() {
                return Err(Malformed("space name"));
            }
        }
        TABLE => {
            let id = SpaceId(take_number(&mut key)?);
            let space = names.get(&id).and_then(|name| state.spaces.get_mut(name));
            let space = space.ok_or(Malformed("space of a table"))?;
            let name = key.take(key.rest().len(), "table name")?;
            let name = std::str::from_utf8(name).map_err(|_| Malformed("table name"))?;
            let table = Table {
                space: space.name.clone(),
                name: name.to_owned(),
                id: TableId(value.varint("table id")?),
                uuid: value.u128("uuid")?,
                columns: codec::take_columns(&mut value)?,
                options: codec::take_map(&mut value)?,
            };
            Arc::make_mut(space).tables.insert(name.to_owned(), Arc::new(table));
        }
        _ => return Err(Malformed("catalog key")),
    }
    key.end("catalog key")?;
    value.end("catalog value")
}

/// The number of a key.
fn take_number(key: &mut Reader<'_>) -> Result<u64, Malformed> {
    let bytes = key.take(8, "catalog key")?;
    Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base::{ColumnId, NodeId};
    use proptest::{collection::vec, prelude::*, sample::select};
    use store::{Column, ColumnKind, Locality, NodeState, Replicas, SchemaChange, TableDraft, Versions};

    use super::*;

    /// The tree that the spine keeps.
    type Tree = BTreeMap<Bytes, Bytes>;

    fn write(tree: &mut Tree, changes: &mut Changes) {
        for (key, value) in changes.drain() {
            match value {
                Some(value) => drop(tree.insert(key, value)),
                None => drop(tree.remove(&key)),
            }
        }
    }

    fn restored(tree: &Tree) -> Result<State, Cause> {
        restore(&mut tree.iter().map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn draft(space: &str, name: &str, uuid: u128) -> TableDraft {
        let column = |name: &str, kind| Column {
            id: ColumnId(0),
            name: name.to_owned(),
            kind,
            type_name: "int".to_owned(),
        };
        let kinds =
            [ColumnKind::PartitionKey, ColumnKind::Clustering { descending: true }, ColumnKind::Regular];
        TableDraft {
            space: space.to_owned(),
            name: name.to_owned(),
            columns: kinds.into_iter().zip(["a", "b", "c"]).map(|(kind, name)| column(name, kind)).collect(),
            options: [("gc_grace_seconds".to_owned(), uuid.to_string())].into(),
            uuid,
        }
    }

    fn node(id: u64, port: u16) -> Node {
        Node {
            id: NodeId(id),
            host_uuid: u128::from(id) + 5,
            locality: Locality::default(),
            state: NodeState::Joining,
            versions: Versions::BUILD,
            tokens: vec![-3, 5],
            addresses: [("cql".to_owned(), ("127.0.0.1".parse().unwrap(), port))].into(),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change(SchemaChange),
        Register(u64, u16),
        Join(u64, Option<NodeId>),
        Define(u64),
        Place(u64, Vec<u64>),
        Raise(u32),
        Mark(u64, NodeState),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || select(vec!["a", "b", "ab", "a_b"]).prop_map(str::to_owned);
        let replication = [("class".to_owned(), "SimpleStrategy".to_owned())];
        let create_space = (name(), any::<bool>()).prop_map(move |(name, durable_writes)| {
            SchemaChange::CreateSpace { name, replication: replication.clone().into(), durable_writes }
        });
        let create_table = (name(), name(), any::<u128>())
            .prop_map(|(space, name, uuid)| SchemaChange::CreateTable(draft(&space, &name, uuid)));
        prop_oneof![
            3 => create_space.prop_map(Step::Change),
            6 => create_table.prop_map(Step::Change),
            1 => name().prop_map(|name| Step::Change(SchemaChange::DropSpace { name })),
            2 => (name(), name())
                .prop_map(|(space, name)| Step::Change(SchemaChange::DropTable { space, name })),
            3 => (name(), name())
                .prop_map(|(space, name)| Step::Change(SchemaChange::TruncateTable { space, name })),
            1 => (1..4u64, 1..3u16).prop_map(|(id, port)| Step::Register(id, port)),
            1 => (1..6u64, proptest::option::of(1..4u64))
                .prop_map(|(host, replaces)| Step::Join(host, replaces.map(NodeId))),
            1 => (0..3u64).prop_map(Step::Define),
            1 => (0..3u64, vec(1..4u64, 0..3)).prop_map(|(group, voters)| Step::Place(group, voters)),
            1 => (0..3u32).prop_map(Step::Raise),
            1 => (1..4u64, select(vec![NodeState::Leaving, NodeState::Gone, NodeState::Member]))
                .prop_map(|(id, state)| Step::Mark(id, state)),
        ]
    }

    fn carry_out(state: &mut State, step: Step, changes: &mut Changes) -> Result<(), Cause> {
        match step {
            Step::Change(change) => state.change(&change, changes).map(drop),
            Step::Register(id, port) => state.register(9, "cluster".to_owned(), node(id, port), changes),
            Step::Join(host, replaces) => state.join(node(host, 1), replaces, changes).map(drop),
            Step::Define(id) => state.define_group(GroupId(id), "tally".to_owned(), changes),
            Step::Place(group, voters) => {
                let wanted = Replicas { voters: voters.into_iter().map(NodeId).collect(), learners: vec![] };
                state.place(GroupId(group), wanted, changes)
            }
            Step::Raise(version) => state.raise_version(version, changes),
            Step::Mark(id, mark) => state.mark_node(NodeId(id), mark, changes),
        }
    }

    proptest! {
        /// After each step the tree holds what is in memory, and what was refused has left no trace.
        #[test]
        fn the_tree_holds_what_is_known(steps in vec(step(), 1..60)) {
            let (mut state, mut tree, mut changes) = (State::default(), Tree::new(), Changes::new());
            for step in steps {
                let before = state.clone();
                if carry_out(&mut state, step, &mut changes).is_err() {
                    prop_assert!(changes.is_empty());
                    prop_assert_eq!(&state, &before);
                }
                write(&mut tree, &mut changes);
                prop_assert_eq!(restored(&tree), Ok(state.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_are_damage(key: Vec<u8>, value: Vec<u8>, kind in select(b"gmnst".to_vec())) {
            for key in [key.clone(), [&[kind], &key[..]].concat()] {
                for value in [value.clone(), [&[VERSION], &value[..]].concat()] {
                    if let Err(cause) = restored(&[(key.clone().into(), value.into())].into()) {
                        prop_assert_eq!(cause.class, base::Class::Corrupt);
                    }
                }
            }
        }
    }

    /// The bytes of version 1. They are on disks.
    #[test]
    fn state_is_as_drawn() {
        let (mut state, mut changes) = (State::default(), Changes::new());
        state.register(1, "c".to_owned(), node(2, 9042), &mut changes).unwrap();
        state.define_group(GroupId(5), "tally".to_owned(), &mut changes).unwrap();
        let replication = [("class".to_owned(), "S".to_owned())].into();
        let create = SchemaChange::CreateSpace { name: "s".to_owned(), replication, durable_writes: true };
        state.change(&create, &mut changes).unwrap();
        state.change(&SchemaChange::CreateTable(draft("s", "t", 9)), &mut changes).unwrap();
        let truncate = SchemaChange::TruncateTable { space: "s".to_owned(), name: "t".to_owned() };
        state.change(&truncate, &mut changes).unwrap();
        let mut tree = Tree::new();
        write(&mut tree, &mut changes);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let told: Vec<String> =
            tree.iter().map(|(key, value)| format!("{} = {}", hex(key), hex(value))).collect();
        assert_eq!(told, GOLDEN);
    }

    const GOLDEN: [&str; 5] = [
        "670000000000000005 = 010574616c6c79010200",
        "6d = 010301020201000000000000000000000000000000016301",
        "6e0000000000000002 = 0102070000000000000000000000000000000b6461746163656e74657231057261636b3101010102fdffffffffffffff0500000000000000010363716c047f000001d246",
        "730000000000000001 = 0101730105636c617373015301",
        "74000000000000000174 = 010209000000000000000000000000000000030101610003696e740201620203696e740301630403696e74011067635f67726163655f7365636f6e64730139",
    ];
}
