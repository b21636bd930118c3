//! Definitions: keyspaces and tables.

use std::collections::{BTreeMap, BTreeSet};

use base::ColumnId;
use store::{Column, ColumnKind, SchemaChange, TableDraft};

use super::{CqlError, Define, Scope, options};
use crate::{
    lang::{CreateTable, Property, Statement},
    types::{CqlType, Native},
};

/// The longest name of a keyspace or table (Cassandra's `NAME_LENGTH`).
const MAX_NAME_LEN: usize = 48;
/// The most columns a table may have: what fits the protocol's counts with room to spare.
const MAX_COLUMNS: usize = 10_000;

pub(super) fn bind(statement: &Statement, scope: &Scope<'_>) -> Result<Define, CqlError> {
    match statement {
        Statement::CreateKeyspace { name, if_not_exists, properties } => {
            create_keyspace(name, *if_not_exists, properties, scope)
        }
        Statement::DropKeyspace { name, if_exists } => {
            scope.refuse_system(name)?;
            let exists = scope.schema.spaces.contains_key(name);
            if !exists && !if_exists {
                return Err(CqlError::Invalid(format!("Keyspace '{name}' doesn't exist")));
            }
            Ok(define(SchemaChange::DropSpace { name: name.clone() }, *if_exists, !exists))
        }
        Statement::CreateTable(create) => create_table(create, scope),
        Statement::DropTable { table, if_exists } => {
            let (space, name) = scope.resolve(table)?;
            scope.refuse_system(space)?;
            let exists = scope.schema.table(space, name).is_some();
            if !exists && !if_exists {
                return Err(CqlError::Invalid(if scope.schema.spaces.contains_key(space) {
                    format!("Table '{space}.{name}' doesn't exist")
                } else {
                    format!("Keyspace '{space}' doesn't exist")
                }));
            }
            let change = SchemaChange::DropTable { space: space.to_owned(), name: name.to_owned() };
            Ok(define(change, *if_exists, !exists))
        }
        _ => Err(CqlError::invalid("not a definition")),
    }
}

fn define(change: SchemaChange, forgiving: bool, done_already: bool) -> Define {
    Define { change, forgiving, done_already, warnings: Vec::new() }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_LEN
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn create_keyspace(
    name: &str,
    if_not_exists: bool,
    properties: &[(String, Property)],
    scope: &Scope<'_>,
) -> Result<Define, CqlError> {
    if !is_name(name) {
        return Err(CqlError::Invalid(format!(
            "Keyspace name must not be empty, more than {MAX_NAME_LEN} characters long, or contain non-alphanumeric-underscore characters (got \"{name}\")"
        )));
    }
    scope.refuse_system(name)?;
    let mut durable_writes = true;
    let mut replication = None;
    let mut seen = BTreeSet::new();
    for (property, value) in properties {
        if !seen.insert(property) {
            return Err(CqlError::Syntax(format!("Multiple definition for property '{property}'")));
        }
        match (property.as_str(), value) {
            ("replication", Property::Map(entries)) => replication = Some(entries),
            ("durable_writes", Property::Text(text)) => {
                durable_writes = match text.to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" => true,
                    "false" | "0" | "no" => false,
                    _ => {
                        return Err(CqlError::Syntax(format!(
                            "Invalid boolean value {text} for 'durable_writes'"
                        )));
                    }
                };
            }
            ("replication" | "durable_writes", _) => {
                return Err(CqlError::Syntax(format!("Invalid value for property '{property}'")));
            }
            ("fast_path", _) => return Err(CqlError::unsupported("fast_path")),
            _ => return Err(CqlError::Syntax(format!("Unknown property '{property}'"))),
        }
    }
    let Some(given) = replication else {
        return Err(CqlError::invalid("Missing mandatory option 'replication'"));
    };
    let mut datacenters: BTreeMap<String, u32> = BTreeMap::new();
    for node in &scope.cluster.nodes {
        *datacenters.entry(node.datacenter.clone()).or_default() += 1;
    }
    let (replication, warnings) = options::replication(name, given, &datacenters)?;
    let exists = scope.schema.spaces.contains_key(name);
    if exists && !if_not_exists {
        return Err(exists_already(name, ""));
    }
    let change = SchemaChange::CreateSpace { name: name.to_owned(), replication, durable_writes };
    let warnings = if exists { Vec::new() } else { warnings };
    Ok(Define { change, forgiving: if_not_exists, done_already: exists, warnings })
}

/// Cassandra's error for a keyspace, or a table, that is there.
pub(crate) fn exists_already(keyspace: &str, table: &str) -> CqlError {
    let message = if table.is_empty() {
        format!("Cannot add existing keyspace \"{keyspace}\"")
    } else {
        format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\"")
    };
    CqlError::AlreadyExists { message, keyspace: keyspace.to_owned(), table: table.to_owned() }
}

fn create_table(create: &CreateTable, scope: &Scope<'_>) -> Result<Define, CqlError> {
    let (space, name) = scope.resolve(&create.table)?;
    scope.refuse_system(space)?;
    if !is_name(name) {
        return Err(CqlError::Invalid(format!(
            "Table name must not be empty, more than {MAX_NAME_LEN} characters long, or contain non-alphanumeric-underscore characters (got \"{name}\")"
        )));
    }
    if !scope.schema.spaces.contains_key(space) {
        return Err(CqlError::Invalid(format!("Keyspace '{space}' doesn't exist")));
    }
    let exists = scope.schema.table(space, name).is_some();
    if exists && !create.if_not_exists {
        return Err(exists_already(space, name));
    }
    if create.compact_storage {
        return Err(CqlError::unsupported("COMPACT STORAGE"));
    }
    let options = options::table_options(&create.properties)?;
    let types = column_types(create, name)?;
    let columns = columns(create, name, types)?;
    let draft = TableDraft { space: space.to_owned(), name: name.to_owned(), columns, options, uuid: 0 };
    Ok(define(SchemaChange::CreateTable(draft), create.if_not_exists, exists))
}

/// The types of the columns, by name; refuses those that tables cannot have yet.
fn column_types(create: &CreateTable, table: &str) -> Result<BTreeMap<String, CqlType>, CqlError> {
    if create.columns.len() > MAX_COLUMNS {
        return Err(CqlError::Invalid(format!("a table may have at most {MAX_COLUMNS} columns")));
    }
    let mut types = BTreeMap::new();
    for column in &create.columns {
        let ty = CqlType::from_expr(&column.ty)?;
        if let CqlType::Udt(udt) = &ty {
            return Err(CqlError::Invalid(format!("Unknown type {}", udt.name)));
        }
        if column.is_static {
            return Err(CqlError::unsupported("a static column"));
        }
        if ty.native().is_none_or(|native| native == Native::Counter) {
            return Err(CqlError::unsupported(format!("a column of type {ty}")));
        }
        if types.insert(column.name.clone(), ty).is_some() {
            return Err(CqlError::Invalid(format!(
                "Duplicate column '{}' declaration for table '{table}'",
                column.name
            )));
        }
    }
    Ok(types)
}

/// The columns in the order of a draft.
fn columns(
    create: &CreateTable,
    table: &str,
    mut types: BTreeMap<String, CqlType>,
) -> Result<Vec<Column>, CqlError> {
    let (partition, clustering) = match create.primary_keys.as_slice() {
        [one] => one,
        [] => {
            return Err(CqlError::Invalid(format!(
                "No PRIMARY KEY specifed for table '{table}' (exactly one required)"
            )));
        }
        _ => {
            return Err(CqlError::Invalid(format!(
                "Multiple PRIMARY KEY specified for table '{table}' (exactly one required)"
            )));
        }
    };
    let mut seen = BTreeSet::new();
    for name in partition.iter().chain(clustering) {
        let Some(ty) = types.get(name) else {
            return Err(CqlError::Invalid(format!(
                "Unknown column '{name}' referenced in PRIMARY KEY for table '{table}'"
            )));
        };
        if !seen.insert(name) {
            return Err(CqlError::Invalid(format!(
                "Duplicate column '{name}' in PRIMARY KEY clause for table '{table}'"
            )));
        }
        if ty.references_duration() {
            return Err(CqlError::Invalid(format!(
                "duration type is not supported for PRIMARY KEY column '{name}'"
            )));
        }
    }
    let directions = clustering_order(&create.clustering_order, clustering)?;
    let mut columns = Vec::with_capacity(types.len());
    let mut push = |name: &str, kind: ColumnKind, ty: CqlType| {
        columns.push(Column { id: ColumnId(0), name: name.to_owned(), kind, type_name: ty.to_string() });
    };
    for name in partition {
        let ty = types.remove(name).expect("looked up above");
        push(name, ColumnKind::PartitionKey, ty);
    }
    for name in clustering {
        let ty = types.remove(name).expect("looked up above");
        let descending = directions.get(name).copied().unwrap_or(false);
        push(name, ColumnKind::Clustering { descending }, ty);
    }
    for (name, ty) in types {
        push(&name, ColumnKind::Regular, ty);
    }
    Ok(columns)
}

fn clustering_order(
    given: &[(String, bool)],
    clustering: &[String],
) -> Result<BTreeMap<String, bool>, CqlError> {
    let directions: BTreeMap<String, bool> = given.iter().cloned().collect();
    if directions.len() != given.len() {
        return Err(CqlError::invalid("A column may appear only once in the CLUSTERING ORDER directive"));
    }
    if given.len() > clustering.len() {
        return Err(CqlError::invalid(
            "Only clustering columns can be defined in CLUSTERING ORDER directive",
        ));
    }
    for ((name, _), column) in given.iter().zip(clustering) {
        if name == column {
            continue;
        }
        return Err(CqlError::Invalid(if directions.contains_key(column) {
            format!(
                "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns ({column} must appear before {name})"
            )
        } else {
            format!("Missing CLUSTERING ORDER for column {column}")
        }));
    }
    Ok(directions)
}
