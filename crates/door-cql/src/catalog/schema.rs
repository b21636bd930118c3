//! `system_schema` and `system_virtual_schema`: definitions as rows, of user tables and of the
//! system tables themselves.
//!
//! Drivers rebuild every table from these rows, and trip over less than one would think: flags
//! without `compound` mean a compact table, `clustering_order` must not be null, the position of a
//! column outside the key is -1, replication wants full class names.

use std::{collections::BTreeMap, ops::RangeFrom};

use store::{ColumnKind, Schema, Space, Table};

use super::{
    definitions::Definitions,
    values::{Row, blob, boolean, double, int, map_of, row, text, text_map, text_set, uuid},
};
use crate::{
    bind::{TableOptions, TableView},
    types::CqlType,
};

/// Keyspaces of system tables that are told in `system_schema`.
const SYSTEM_KEYSPACES: [&str; 2] = ["system", "system_schema"];
/// The keyspace whose tables are told in `system_virtual_schema`, which is itself.
const VIRTUAL_KEYSPACE: &str = "system_virtual_schema";
const STRATEGY_PACKAGE: &str = "org.apache.cassandra.locator.";

pub(super) fn keyspaces(view: &TableView, schema: &Schema) -> Vec<Row> {
    let system = SYSTEM_KEYSPACES.iter().map(|name| {
        let replication = map_of(&[("class", &format!("{STRATEGY_PACKAGE}LocalStrategy"))]);
        keyspace(view, name, true, &replication)
    });
    let users = schema
        .spaces
        .values()
        .map(|space| keyspace(view, &space.name, space.durable_writes, &replication(space)));
    system.chain(users).collect()
}

fn keyspace(view: &TableView, name: &str, durable: bool, replication: &BTreeMap<String, String>) -> Row {
    let values = [
        ("keyspace_name", text(name)),
        ("durable_writes", boolean(durable)),
        ("replication", text_map(replication)),
    ];
    row(view, values)
}

fn replication(space: &Space) -> BTreeMap<String, String> {
    let mut replication = space.replication.clone();
    if let Some(class) = replication.get_mut("class")
        && !class.contains('.')
    {
        class.insert_str(0, STRATEGY_PACKAGE);
    }
    replication
}

pub(super) fn tables(view: &TableView, schema: &Schema, system: &Definitions) -> Vec<Row> {
    let system = system.iter().filter_map(|(&(keyspace, name), definition)| {
        let options = map_of(&[
            ("comment", definition.comment),
            ("gc_grace_seconds", definition.gc_grace_seconds),
            ("memtable_flush_period_in_ms", "3600000"),
        ]);
        Some(table(view, keyspace, name, definition.id?, &options))
    });
    let users =
        user_tables(schema).map(|user| table(view, &user.space, &user.name, user.uuid, &user.options));
    system.chain(users).collect()
}

fn user_tables(schema: &Schema) -> impl Iterator<Item = &Table> {
    schema.spaces.values().flat_map(|space| space.tables.values()).map(AsRef::as_ref)
}

/// The row of a table that was made with `given` options.
fn table(view: &TableView, keyspace: &str, name: &str, id: u128, given: &BTreeMap<String, String>) -> Row {
    let options = TableOptions::read(given);
    // Cassandra tells these only where they were given.
    let flag = |name: &str, value: bool| given.contains_key(name).then_some(value).and_then(boolean);
    let memtable = given.contains_key("memtable").then_some(&options.memtable);
    let values = [
        ("keyspace_name", text(keyspace)),
        ("table_name", text(name)),
        ("additional_write_policy", text(&options.additional_write_policy)),
        ("allow_auto_snapshot", flag("allow_auto_snapshot", options.allow_auto_snapshot)),
        ("bloom_filter_fp_chance", double(options.bloom_filter_fp_chance)),
        ("caching", text_map(&options.caching)),
        ("cdc", flag("cdc", options.cdc)),
        ("comment", text(&options.comment)),
        ("compaction", text_map(&options.compaction)),
        ("compression", text_map(&options.compression)),
        ("crc_check_chance", double(options.crc_check_chance)),
        ("dclocal_read_repair_chance", double(0.0)),
        ("default_time_to_live", int(options.default_time_to_live)),
        ("extensions", text_map(&BTreeMap::new())),
        ("flags", text_set(vec!["compound".to_owned()])),
        ("gc_grace_seconds", int(options.gc_grace_seconds)),
        ("id", uuid(id)),
        ("incremental_backups", flag("incremental_backups", options.incremental_backups)),
        ("max_index_interval", int(options.max_index_interval)),
        ("memtable", memtable.and_then(|memtable| text(memtable))),
        ("memtable_flush_period_in_ms", int(options.memtable_flush_period_in_ms)),
        ("min_index_interval", int(options.min_index_interval)),
        ("read_repair", text(&options.read_repair)),
        ("read_repair_chance", double(0.0)),
        ("speculative_retry", text(&options.speculative_retry)),
    ];
    row(view, values)
}

pub(super) fn columns(view: &TableView, schema: &Schema, system: &Definitions) -> Vec<Row> {
    let stored = system.values().filter(|definition| definition.id.is_some());
    let mut rows: Vec<Row> = stored.flat_map(|definition| view_columns(view, &definition.view)).collect();
    for table in user_tables(schema) {
        let columns =
            table.columns.iter().map(|column| (column.name.as_str(), column.kind, &column.type_name));
        rows.extend(table_columns(view, &table.space, &table.name, columns));
    }
    rows
}

fn view_columns(view: &TableView, table: &TableView) -> Vec<Row> {
    let types: Vec<String> = table.columns.iter().map(|column| CqlType::to_string(&column.ty)).collect();
    let columns = table.columns.iter().zip(&types).map(|(column, ty)| (&*column.name, column.kind, ty));
    table_columns(view, &table.keyspace, &table.name, columns)
}

/// Rows for the columns of one table, which come with the key's columns in key order.
fn table_columns<'a>(
    view: &TableView,
    keyspace: &str,
    table: &str,
    columns: impl Iterator<Item = (&'a str, ColumnKind, &'a String)>,
) -> Vec<Row> {
    let (mut partition, mut clustering) = (0.., 0..);
    let next = |places: &mut RangeFrom<i32>| places.next().expect("a range without end");
    columns
        .map(|(name, kind, ty)| {
            let (kind, position, order) = match kind {
                ColumnKind::PartitionKey => ("partition_key", next(&mut partition), "none"),
                ColumnKind::Clustering { descending: false } => ("clustering", next(&mut clustering), "asc"),
                ColumnKind::Clustering { descending: true } => ("clustering", next(&mut clustering), "desc"),
                ColumnKind::Static => ("static", -1, "none"),
                ColumnKind::Regular => ("regular", -1, "none"),
            };
            let values = [
                ("keyspace_name", text(keyspace)),
                ("table_name", text(table)),
                ("column_name", text(name)),
                ("clustering_order", text(order)),
                ("column_name_bytes", blob(name.as_bytes())),
                ("kind", text(kind)),
                ("position", int(position)),
                ("type", text(ty)),
            ];
            row(view, values)
        })
        .collect()
}

pub(super) fn virtual_keyspaces(view: &TableView) -> Vec<Row> {
    vec![row(view, [("keyspace_name", text(VIRTUAL_KEYSPACE))])]
}

pub(super) fn virtual_tables(view: &TableView, system: &Definitions) -> Vec<Row> {
    let virtuals = system.iter().filter(|(_, definition)| definition.id.is_none());
    virtuals
        .map(|(&(keyspace, name), definition)| {
            let values = [
                ("keyspace_name", text(keyspace)),
                ("table_name", text(name)),
                ("comment", text(definition.comment)),
            ];
            row(view, values)
        })
        .collect()
}

pub(super) fn virtual_columns(view: &TableView, system: &Definitions) -> Vec<Row> {
    let virtuals = system.values().filter(|definition| definition.id.is_none());
    virtuals.flat_map(|definition| view_columns(view, &definition.view)).collect()
}
