//! Definitions: keyspaces and tables.

use std::collections::{BTreeMap, BTreeSet};

use base::ColumnId;
use store::{Column, ColumnKind, SchemaChange, TableDraft};

use super::{CqlError, Define, Scope, options};
use crate::{
    lang::{CreateTable, Property, Statement, TableName, TypeExpr},
    types::{CqlType, Native},
};

/// The longest name of a keyspace (Cassandra's `NAME_LENGTH`).
const MAX_NAME_LEN: usize = 48;
/// The longest name of a table (Cassandra's `TABLE_NAME_LENGTH`).
const MAX_TABLE_NAME_LEN: usize = 222;
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
            let change = SchemaChange::DropSpace { name: name.clone() };
            Ok(define(exists.then_some(change), *if_exists))
        }
        Statement::CreateTable(create) => create_table(create, scope),
        Statement::DropTable { table, if_exists } => {
            let (space, name) = scope.resolve(table)?;
            scope.refuse_system(space)?;
            let exists = scope.schema.table(space, name).is_some();
            if !exists && !if_exists {
                return Err(CqlError::Invalid(format!("Table '{space}.{name}' doesn't exist")));
            }
            let change = SchemaChange::DropTable { space: space.to_owned(), name: name.to_owned() };
            Ok(define(exists.then_some(change), *if_exists))
        }
        Statement::Truncate(table) => truncate(table, scope),
        _ => Err(CqlError::invalid("not a definition")),
    }
}

fn truncate(table: &TableName, scope: &Scope<'_>) -> Result<Define, CqlError> {
    let view = scope.view(table)?;
    if view.id.is_none() {
        // What is computed has nothing to be truncated; what Cassandra stores is the node's own.
        if view.implicit_filtering {
            return Err(CqlError::Invalid(format!("Truncation is not supported by table {view}")));
        }
        scope.refuse_system(&view.keyspace)?;
    }
    let (space, name) = (view.keyspace.as_ref().to_owned(), view.name.as_ref().to_owned());
    Ok(define(Some(SchemaChange::TruncateTable { space, name }), false))
}

fn define(change: Option<SchemaChange>, forgiving: bool) -> Define {
    Define { change, forgiving, warnings: Vec::new() }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn create_keyspace(
    name: &str,
    if_not_exists: bool,
    properties: &[(String, Property)],
    scope: &Scope<'_>,
) -> Result<Define, CqlError> {
    if !is_name(name) {
        return Err(CqlError::Invalid(format!(
            "Keyspace name must not be empty and must contain alphanumeric or underscore characters only (got \"{name}\")"
        )));
    }
    if name.len() > MAX_NAME_LEN {
        return Err(CqlError::Invalid(format!(
            "Keyspace name must not be more than {MAX_NAME_LEN} characters long (got {} characters for \"{name}\")",
            name.len()
        )));
    }
    if matches!(name, "system" | "system_schema") {
        return Err(CqlError::Invalid(format!("System keyspace '{name}' is not user-modifiable")));
    }
    scope.refuse_system(name)?;
    let exists = scope.schema.spaces.contains_key(name);
    let mut durable_writes = Ok(true);
    let mut replication = None;
    let mut seen = BTreeSet::new();
    for (property, value) in properties {
        if !seen.insert(property) {
            return Err(CqlError::Syntax(format!("Multiple definitions for property '{property}'")));
        }
        match (property.as_str(), value) {
            ("replication", Property::Map(entries)) => replication = Some(entries),
            ("durable_writes", Property::Text(text)) => {
                durable_writes = options::boolean(property, text);
            }
            ("replication", _) => return Err(options::not_a_map(property)),
            ("durable_writes", _) => durable_writes = Err(options::not_a_string(property)),
            ("fast_path", _) => return Err(CqlError::unsupported("fast_path")),
            _ => return Err(CqlError::Syntax(format!("Unknown property '{property}'"))),
        }
    }
    let Some(given) = replication else {
        return Err(CqlError::invalid("Missing mandatory option 'replication'"));
    };
    if exists && !if_not_exists {
        return Err(exists_already(name, ""));
    }
    if exists {
        return Ok(define(None, if_not_exists));
    }
    let durable_writes = durable_writes?;
    let mut datacenters: BTreeMap<String, u32> = BTreeMap::new();
    for node in &scope.cluster.nodes {
        *datacenters.entry(node.locality.region.clone()).or_default() += 1;
    }
    let (replication, warnings) = options::replication(name, given, &datacenters)?;
    let change = SchemaChange::CreateSpace { name: name.to_owned(), replication, durable_writes };
    Ok(Define { change: Some(change), forgiving: if_not_exists, warnings })
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
    only_primary_key(create, name)?;
    let mut ordered = BTreeSet::new();
    if let Some((twice, _)) = create.clustering_order.iter().find(|(column, _)| !ordered.insert(column)) {
        return Err(CqlError::Invalid(format!(
            "Duplicate column '{twice}' in CLUSTERING ORDER BY clause for table '{name}'"
        )));
    }
    options::refuse_duplicates(&create.properties)?;
    if !scope.schema.spaces.contains_key(space) {
        return Err(CqlError::Invalid(format!("Keyspace '{space}' doesn't exist")));
    }
    let exists = scope.schema.table(space, name).is_some();
    if exists && !create.if_not_exists {
        return Err(exists_already(space, name));
    }
    if exists {
        return Ok(define(None, true));
    }
    if create.compact_storage {
        return Err(CqlError::unsupported("COMPACT STORAGE"));
    }
    let options = options::table_options(&create.properties)?;
    let types = column_types(create, space, name)?;
    let columns = columns(create, name, types)?;
    if !is_name(name) {
        return Err(CqlError::Config(format!(
            "{space}.{name}: Table name must not be empty or not contain non-alphanumeric-underscore characters (got \"{name}\")"
        )));
    }
    if name.len() > MAX_TABLE_NAME_LEN {
        return Err(CqlError::Config(format!(
            "{space}.{name}: Table name must not be more than {MAX_TABLE_NAME_LEN} characters long (got {} characters for \"{name}\")",
            name.len()
        )));
    }
    let draft = TableDraft { space: space.to_owned(), name: name.to_owned(), columns, options, uuid: 0 };
    Ok(define(Some(SchemaChange::CreateTable(draft)), create.if_not_exists))
}

/// The types of the columns, by name; refuses those that tables cannot have yet.
fn column_types(
    create: &CreateTable,
    space: &str,
    table: &str,
) -> Result<BTreeMap<String, CqlType>, CqlError> {
    if create.columns.len() > MAX_COLUMNS {
        return Err(CqlError::Invalid(format!("a table may have at most {MAX_COLUMNS} columns")));
    }
    let mut types = BTreeMap::new();
    for column in &create.columns {
        if let TypeExpr::Named { keyspace: Some(other), .. } = &column.ty
            && other != space
        {
            return Err(CqlError::Invalid(format!(
                "Statement on keyspace {space} cannot refer to a user type in keyspace {other}; user types can only be used in the keyspace they are defined in"
            )));
        }
        let ty = CqlType::from_expr(&column.ty)?;
        if let CqlType::Udt(udt) = &ty {
            return Err(CqlError::Invalid(format!("Unknown type {space}.{}", udt.name)));
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

/// The PRIMARY KEY: its partition and clustering columns.
fn only_primary_key<'c>(
    create: &'c CreateTable,
    table: &str,
) -> Result<&'c (Vec<String>, Vec<String>), CqlError> {
    match create.primary_keys.as_slice() {
        [one] => Ok(one),
        [] => Err(CqlError::Invalid(format!(
            "No PRIMARY KEY specifed for table '{table}' (exactly one required)"
        ))),
        _ => Err(CqlError::Invalid(format!(
            "Multiple PRIMARY KEY specified for table '{table}' (exactly one required)"
        ))),
    }
}

/// The columns in the order of a draft.
fn columns(
    create: &CreateTable,
    table: &str,
    mut types: BTreeMap<String, CqlType>,
) -> Result<Vec<Column>, CqlError> {
    let (partition, clustering) = only_primary_key(create, table)?;
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
    let others: Vec<&str> = given
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !clustering.iter().any(|c| c == name))
        .collect();
    if !others.is_empty() {
        return Err(CqlError::Invalid(format!(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive: [{}] are not clustering columns",
            others.join(", ")
        )));
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
