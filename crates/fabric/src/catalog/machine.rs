//! The catalog as a Machine: commands are carried out, and what comes of them is published.

use std::{collections::BTreeMap, sync::Arc};

use base::{Cause, TableId};
use bytes::Bytes;
use store::{Changes, Machine, MachineState, Patience, Schema, SchemaEvent, Space, Table};

use super::{
    codec::{Command, encode_result},
    durable,
    state::State,
};
use crate::shared::{Shared, TableFacts};

/// Bytes of the largest command. What it makes takes hardly more, and must fit a durable value.
const MAX_COMMAND_BYTES: usize = Changes::MAX_VALUE_BYTES / 2;

/// The state, and where it is published.
pub(crate) struct CatalogMachine {
    state: State,
    shared: Arc<Shared>,
}

impl CatalogMachine {
    pub(crate) fn new(shared: Arc<Shared>) -> CatalogMachine {
        CatalogMachine { state: State::default(), shared }
    }

    /// Carries out a command; returns the id it has given, or 0.
    fn run(&mut self, command: Command, changes: &mut Changes) -> Result<u64, Cause> {
        let state = &mut self.state;
        let mut given = 0;
        match command {
            Command::Change(change) => {
                let gone = state.change(&change, changes)?;
                let schema = self.publish();
                // Only now: who finds a table empty can tell whether it is gone.
                gone.into_iter().for_each(|table| self.shared.drop_table(table));
                self.shared.published.announce(SchemaEvent { change, schema });
                return Ok(0);
            }
            Command::RegisterNode { cluster, cluster_name, node } => {
                state.register(cluster, cluster_name, node, changes)?;
            }
            Command::JoinNode { node, replaces } => given = state.join(node, replaces, changes)?.0,
            Command::DefineGroup { id, name } => state.define_group(id, name, changes)?,
            Command::Place { group, wanted } => state.place(group, wanted, changes)?,
            Command::RaiseVersion(version) => state.raise_version(version, changes)?,
            Command::MarkNode { id, state: mark } => state.mark_node(id, mark, changes)?,
            Command::Restore(records) => {
                *state = durable::take_up(state, &records, changes)?;
            }
        }
        self.publish();
        Ok(given)
    }

    /// What is new can be used before it is told of, and what is gone is told to be gone before it
    /// cannot be used any more: whoever is refused for want of a table finds what has come in its
    /// place. So for a moment there is both.
    fn publish(&self) -> Arc<Schema> {
        let published = &self.shared.published;
        let schema = Arc::new(self.state.schema());
        let mut both = tables_of(&published.schema());
        both.extend(tables_of(&schema));
        self.shared.publish_tables(both);
        published.publish_schema(schema.clone());
        published.publish_cluster(self.state.cluster(published.local));
        self.shared.publish_tables(tables_of(&schema));
        schema
    }
}

fn tables_of(schema: &Schema) -> BTreeMap<TableId, TableFacts> {
    let facts = |space: &Space, table: &Table| TableFacts {
        factor: space.replication_factor(),
        deletions_kept_seconds: table.options.get("gc_grace_seconds").and_then(|kept| kept.parse().ok()),
    };
    let tables = |space: &Arc<Space>| -> Vec<(TableId, TableFacts)> {
        space.tables.values().map(|table| (table.id, facts(space, table))).collect()
    };
    schema.spaces.values().flat_map(tables).collect()
}

impl Machine for CatalogMachine {
    fn apply(&mut self, _index: u64, entry: &[u8], changes: &mut Changes) -> Result<Bytes, Cause> {
        let result = match Command::decode(entry) {
            // A backup is many definitions.
            Ok(command) if entry.len() > MAX_COMMAND_BYTES && !matches!(command, Command::Restore(_)) => {
                Err(Cause::invalid(format!("a definition has at most {MAX_COMMAND_BYTES} bytes")))
            }
            Ok(command) => self.run(command, changes),
            // Proposed by a node that knows more than this one; the same answer everywhere.
            Err(malformed) => Err(Cause::invalid(malformed.to_string())),
        };
        Ok(encode_result(&result).into())
    }

    fn restore(&mut self, state: Arc<dyn MachineState>) -> Result<(), Cause> {
        let mut records = state.scan(&[], None, Patience::Wait)?.map(|record| record.map_err(Cause::from));
        self.state = durable::restore(&mut records)?;
        self.publish();
        Ok(())
    }

    fn weight(&self) -> usize {
        // Definitions are bounded by hand; an estimate of what a table takes is enough.
        self.state.spaces.values().map(|space| 256 + space.tables.len() * 2048).sum()
    }
}
