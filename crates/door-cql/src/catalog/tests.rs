//! Rows of system tables against what Cassandra 5.0.6 says of the like.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::tests::Still;

fn tables_with(options: &[(&str, &str)]) -> SystemTables {
    SystemTables::new(Still::with(options), Arc::default())
}

/// The rows of a table, as maps from column name to bytes.
fn rows(system: &SystemTables, keyspace: &str, name: &str) -> Vec<BTreeMap<String, Option<Bytes>>> {
    let view = system.table(keyspace, name).unwrap();
    let names = || view.columns.iter().map(|column| column.name.to_string());
    system
        .rows(&view)
        .into_iter()
        .map(|row| {
            assert_eq!(row.len(), view.columns.len());
            names().zip(row).collect()
        })
        .collect()
}

/// The rows whose columns have these texts.
fn having(
    rows: Vec<BTreeMap<String, Option<Bytes>>>,
    texts: &[(&str, &str)],
) -> Vec<BTreeMap<String, Option<Bytes>>> {
    let has = |row: &BTreeMap<String, Option<Bytes>>| {
        texts.iter().all(|(name, value)| row[*name] == values::text(value))
    };
    rows.into_iter().filter(has).collect()
}

#[test]
fn the_tables_drivers_read_are_there_and_scylla_s_are_not() {
    let system = tables_with(&[]);
    for name in ["local", "peers", "peers_v2", "prepared_statements"] {
        assert!(system.table("system", name).is_some(), "{name}");
    }
    for name in [
        "keyspaces",
        "tables",
        "columns",
        "types",
        "functions",
        "aggregates",
        "triggers",
        "indexes",
        "views",
        "column_masks",
        "dropped_columns",
    ] {
        assert!(system.table("system_schema", name).is_some(), "{name}");
    }
    for name in ["keyspaces", "tables", "columns"] {
        assert!(system.table("system_virtual_schema", name).is_some(), "{name}");
    }
    // With one of these a driver would take us for Scylla.
    assert!(system.table("system_schema", "scylla_keyspaces").is_none());
    assert!(system.table("system_schema", "scylla_tables").is_none());
    assert!(system.has_keyspace("system") && !system.has_keyspace("sample"));
}

#[test]
fn local_is_this_node_and_peers_are_the_others() {
    let system = tables_with(&[]);
    let local = rows(&system, "system", "local");
    assert_eq!(local.len(), 1);
    let local = &local[0];
    let address = values::inet("127.0.0.1".parse().unwrap());
    for column in ["rpc_address", "broadcast_address", "listen_address"] {
        assert_eq!(local[column], address, "{column}");
    }
    assert_eq!(local["tokens"], values::text_set(vec!["300".to_owned(), "-5".to_owned()]));
    assert_eq!(local["partitioner"], values::text("org.apache.cassandra.dht.Murmur3Partitioner"));
    assert_eq!(local["schema_version"], values::uuid(0xfeed));
    assert_eq!(local["native_protocol_version"], values::text("4"));

    for name in ["peers", "peers_v2"] {
        let peers = rows(&system, "system", name);
        assert_eq!(peers.len(), 1, "no row of this node's own");
        assert_eq!(peers[0]["peer"], values::inet("127.0.0.2".parse().unwrap()));
        for column in ["host_id", "data_center", "rack", "tokens", "schema_version", "release_version"] {
            assert!(peers[0][column].is_some(), "{name}.{column}");
        }
    }
}

#[test]
fn columns_of_a_table_are_told_as_cassandra_does() {
    let columns = having(rows(&tables_with(&[]), "system_schema", "columns"), &[("keyspace_name", "sample")]);
    let expected = [
        ("a", "partition_key", 0, "none", "int"),
        ("b", "partition_key", 1, "none", "text"),
        ("c", "clustering", 0, "desc", "timeuuid"),
        ("d", "regular", -1, "none", "inet"),
        ("s", "static", -1, "none", "int"),
    ];
    assert_eq!(columns.len(), expected.len());
    for (row, (name, kind, position, order, ty)) in columns.iter().zip(expected) {
        assert_eq!(row["column_name"], values::text(name));
        assert_eq!(row["column_name_bytes"], values::blob(name.as_bytes()));
        assert_eq!(row["kind"], values::text(kind));
        assert_eq!(row["position"], values::int(position));
        assert_eq!(row["clustering_order"], values::text(order));
        assert_eq!(row["type"], values::text(ty));
    }
}

#[test]
fn system_tables_tell_of_themselves() {
    let columns = rows(&tables_with(&[]), "system_schema", "columns");
    let own = having(columns, &[("keyspace_name", "system_schema"), ("table_name", "columns")]);
    assert_eq!(own.len(), 8);
    let place = having(own, &[("column_name", "column_name")]);
    assert_eq!(place[0]["kind"], values::text("clustering"));
    assert_eq!(place[0]["position"], values::int(1));
    let virtuals = rows(&tables_with(&[]), "system_virtual_schema", "tables");
    assert_eq!(virtuals.len(), 3);
    assert_eq!(rows(&tables_with(&[]), "system_virtual_schema", "columns").len(), 12);
}

#[test]
fn keyspaces_have_full_class_names() {
    let keyspaces = rows(&tables_with(&[]), "system_schema", "keyspaces");
    let names: Vec<_> = keyspaces.iter().map(|row| row["keyspace_name"].clone()).collect();
    assert_eq!(names, ["system", "system_schema", "sample"].map(values::text));
    let class = "org.apache.cassandra.locator.SimpleStrategy";
    let replication = values::text_map(&values::map_of(&[("class", class), ("replication_factor", "1")]));
    assert_eq!(keyspaces[2]["replication"], replication);
}

#[test]
fn tables_have_cassandra_s_defaults_until_told_otherwise() {
    let of = |options: &[(&str, &str)]| {
        having(rows(&tables_with(options), "system_schema", "tables"), &[("keyspace_name", "sample")])
            .remove(0)
    };
    let plain = of(&[]);
    assert_eq!(plain["flags"], values::text_set(vec!["compound".to_owned()]));
    assert_eq!(plain["id"], values::uuid(7));
    assert_eq!(plain["gc_grace_seconds"], values::int(864_000));
    assert_eq!(plain["comment"], values::text(""));
    assert_eq!(plain["cdc"], None);
    assert_eq!(plain["speculative_retry"], values::text("99p"));
    let caching = [("keys", "ALL"), ("rows_per_partition", "NONE")];
    assert_eq!(plain["caching"], values::text_map(&values::map_of(&caching)));

    let given = of(&[
        ("comment", "mine"),
        ("default_time_to_live", "60"),
        ("gc_grace_seconds", "3600"),
        ("bloom_filter_fp_chance", "0.5"),
        ("compaction", ""),
        ("compaction.class", "LeveledCompactionStrategy"),
        ("compaction.sstable_size_in_mb", "160"),
    ]);
    assert_eq!(given["comment"], values::text("mine"));
    assert_eq!(given["default_time_to_live"], values::int(60));
    assert_eq!(given["gc_grace_seconds"], values::int(3600));
    assert_eq!(given["bloom_filter_fp_chance"], values::double(0.5));
    let class = "org.apache.cassandra.db.compaction.LeveledCompactionStrategy";
    let compaction = [("class", class), ("sstable_size_in_mb", "160")];
    assert_eq!(given["compaction"], values::text_map(&values::map_of(&compaction)));
}
