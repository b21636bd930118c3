//! What drivers ask before they work: the system tables.
//!
//! Their rows are computed from the definitions that queries use, at each SELECT; nothing is kept
//! that could go stale. `definitions.txt` lists the tables with Cassandra 5.0's full sets of
//! columns: a table reduced to what today's drivers read breaks with tomorrow's.

mod cluster;
mod definitions;
mod schema;
mod values;

use std::sync::Arc;

use bytes::Bytes;
use store::Catalog;

use crate::{
    bind::TableView,
    catalog::{definitions::Definitions, values::Row},
    exec::VirtualTables,
    statements::Statements,
};

/// The Cassandra whose behaviour this door follows. Drivers switch on it (`peers_v2`, virtual
/// tables), so it is a promise.
const RELEASE_VERSION: &str = "5.0.6";
/// The version of the language.
pub(crate) const CQL_VERSION: &str = "3.4.7";
/// Drivers compute tokens by this name.
const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// The system tables.
pub(crate) struct SystemTables {
    catalog: Arc<dyn Catalog>,
    statements: Arc<Statements>,
    definitions: Definitions,
}

impl SystemTables {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, statements: Arc<Statements>) -> SystemTables {
        SystemTables { catalog, statements, definitions: definitions::definitions() }
    }

    fn prepared_statements(&self, view: &TableView) -> Vec<Row> {
        let row = |(id, keyspace, text): ([u8; 16], Option<Arc<str>>, Arc<str>)| {
            let values = [
                ("prepared_id", values::blob(&id)),
                ("logged_keyspace", keyspace.and_then(|keyspace| values::text(&keyspace))),
                ("query_string", values::text(&text)),
            ];
            values::row(view, values)
        };
        self.statements.list().into_iter().map(row).collect()
    }
}

impl VirtualTables for SystemTables {
    fn has_keyspace(&self, keyspace: &str) -> bool {
        self.definitions.keys().any(|&(known, _)| known == keyspace)
    }

    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<TableView>> {
        Some(self.definitions.get(&(keyspace, name))?.view.clone())
    }

    fn rows(&self, view: &TableView) -> Vec<Vec<Option<Bytes>>> {
        let (catalog, system) = (&self.catalog, &self.definitions);
        let version = || catalog.schema().version;
        match (&*view.keyspace, &*view.name) {
            ("system", "local") => cluster::local(view, &catalog.cluster(), version()),
            ("system", "peers") => cluster::peers(view, &catalog.cluster(), version()),
            ("system", "peers_v2") => cluster::peers_v2(view, &catalog.cluster(), version()),
            ("system", "prepared_statements") => self.prepared_statements(view),
            ("system_schema", "keyspaces") => schema::keyspaces(view, &catalog.schema()),
            ("system_schema", "tables") => schema::tables(view, &catalog.schema(), system),
            ("system_schema", "columns") => schema::columns(view, &catalog.schema(), system),
            ("system_virtual_schema", "keyspaces") => schema::virtual_keyspaces(view),
            ("system_virtual_schema", "tables") => schema::virtual_tables(view, system),
            ("system_virtual_schema", "columns") => schema::virtual_columns(view, system),
            // Types, functions, views and the like: what they tell of cannot be made here yet.
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
