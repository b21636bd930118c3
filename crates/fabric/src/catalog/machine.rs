//! The catalog's state machine: what exists and which changes are allowed.

use std::{collections::BTreeMap, sync::Arc};

use base::{Cause, ColumnId, SpaceId, TableId, Writer, token_of};
use bytes::Bytes;
use store::{Changes, Column, Machine, Node, Schema, SchemaChange, SchemaEvent, Space, Table, TableDraft};

use super::codec::{Command, State, encode_result};
use crate::shared::{Shared, TableFacts};

/// The state, and where it is published.
pub(crate) struct CatalogMachine {
    state: State,
    shared: Arc<Shared>,
}

impl CatalogMachine {
    pub(crate) fn new(shared: Arc<Shared>) -> CatalogMachine {
        CatalogMachine { state: State::default(), shared }
    }

    fn run(&mut self, command: Command) -> Result<(), Cause> {
        match command {
            Command::Change(change) => {
                let dropped = self.change(&change)?;
                self.state.epoch += 1;
                let schema = self.publish();
                // Only now: who finds a table empty can tell whether it is gone.
                dropped.into_iter().for_each(|table| self.shared.drop_table(table));
                self.shared.published.announce(SchemaEvent { change, schema });
            }
            Command::RegisterNode { cluster_name, node } => {
                if self.state.cluster_name.is_empty() {
                    self.state.cluster_name = cluster_name;
                }
                self.register(node);
                self.publish();
            }
        }
        Ok(())
    }

    /// Makes a change; returns the tables whose data is no more.
    fn change(&mut self, change: &SchemaChange) -> Result<Vec<TableId>, Cause> {
        match change {
            SchemaChange::CreateSpace { name, replication, durable_writes } => {
                self.create_space(name, replication, *durable_writes)?;
                Ok(Vec::new())
            }
            SchemaChange::DropSpace { name } => {
                let space = self.state.spaces.remove(name).ok_or_else(|| no_space(name))?;
                Ok(space.tables.values().map(|table| table.id).collect())
            }
            SchemaChange::CreateTable(draft) => {
                self.create_table(draft)?;
                Ok(Vec::new())
            }
            SchemaChange::DropTable { space, name } => {
                let tables = &mut self.space_mut(space)?.tables;
                let table = tables.remove(name).ok_or_else(|| no_table(space, name))?;
                Ok(vec![table.id])
            }
            SchemaChange::TruncateTable { space, name } => Ok(vec![self.truncate_table(space, name)?]),
        }
    }

    fn create_space(
        &mut self,
        name: &str,
        replication: &BTreeMap<String, String>,
        durable_writes: bool,
    ) -> Result<(), Cause> {
        if self.state.spaces.contains_key(name) {
            return Err(Cause::exists(format!("{name} exists already")));
        }
        self.state.next_space += 1;
        let space = Space {
            id: SpaceId(self.state.next_space),
            name: name.to_owned(),
            replication: replication.clone(),
            durable_writes,
            tables: BTreeMap::new(),
        };
        self.state.spaces.insert(name.to_owned(), Arc::new(space));
        Ok(())
    }

    fn create_table(&mut self, draft: &TableDraft) -> Result<(), Cause> {
        let id = TableId(self.state.next_table + 1);
        let space = self.space_mut(&draft.space)?;
        if space.tables.contains_key(&draft.name) {
            return Err(Cause::exists(format!("{}.{} exists already", draft.space, draft.name)));
        }
        let columns = draft.columns.iter().zip(1..);
        let table = Table {
            id,
            uuid: draft.uuid,
            space: draft.space.clone(),
            name: draft.name.clone(),
            columns: columns.map(|(column, id)| Column { id: ColumnId(id), ..column.clone() }).collect(),
            options: draft.options.clone(),
        };
        space.tables.insert(draft.name.clone(), Arc::new(table));
        self.state.next_table = id.0;
        Ok(())
    }

    /// Gives a table new, empty data; returns the id of the old.
    fn truncate_table(&mut self, space: &str, name: &str) -> Result<TableId, Cause> {
        let id = TableId(self.state.next_table + 1);
        let tables = &mut self.space_mut(space)?.tables;
        let table = tables.get_mut(name).ok_or_else(|| no_table(space, name))?;
        let old = std::mem::replace(&mut Arc::make_mut(table).id, id);
        self.state.next_table = id.0;
        Ok(old)
    }

    fn space_mut(&mut self, name: &str) -> Result<&mut Space, Cause> {
        self.state.spaces.get_mut(name).map(Arc::make_mut).ok_or_else(|| no_space(name))
    }

    fn register(&mut self, node: Node) {
        match self.state.nodes.iter_mut().find(|known| known.id == node.id) {
            // Identity and tokens are for life; addresses may change at every start.
            Some(known) => known.addresses = node.addresses,
            None => self.state.nodes.push(node),
        }
    }

    fn publish(&self) -> Arc<Schema> {
        let schema = Arc::new(Schema {
            epoch: self.state.epoch,
            version: self.version(),
            spaces: self.state.spaces.clone(),
        });
        let facts = |space: &Space, table: &Table| TableFacts {
            factor: space.replication_factor(),
            deletions_kept_seconds: table.options.get("gc_grace_seconds").and_then(|kept| kept.parse().ok()),
        };
        let tables = schema
            .spaces
            .values()
            .flat_map(|space| space.tables.values().map(|table| (table.id, facts(space, table))));
        self.shared.publish_tables(tables.collect());
        self.shared.published.publish_schema(schema.clone());
        self.shared.published.publish_cluster(self.state.cluster_name.clone(), self.state.nodes.clone());
        schema
    }

    /// A UUID (version 3 in form) that is a function of the definitions alone: clients who see it
    /// change read them all again, which they need not when a table was truncated.
    fn version(&self) -> u128 {
        let mut out = Writer::new();
        self.state.put_definitions(&mut out);
        let mut bytes = out.into_vec();
        let high = token_of(&bytes) as u64;
        bytes.push(1);
        let digest = u128::from(high) << 64 | u128::from(token_of(&bytes) as u64);
        digest & !(0xf << 76) & !(0x3 << 62) | (3 << 76) | (2 << 62)
    }
}

/// The one key of the catalog's tree.
const STATE: &[u8] = b"catalog";

impl Machine for CatalogMachine {
    fn apply(&mut self, _index: u64, entry: &[u8], changes: &mut Changes) -> Bytes {
        let result = match Command::decode(entry) {
            Ok(command) => self.run(command),
            // Proposed by a node that knows more than this one; the same answer everywhere.
            Err(malformed) => Err(Cause::invalid(malformed.to_string())),
        };
        if result.is_ok() {
            changes.put(STATE, self.state.encode());
        }
        encode_result(&result).into()
    }

    fn restore(
        &mut self,
        state: &mut dyn Iterator<Item = Result<(Bytes, Bytes), Cause>>,
    ) -> Result<(), Cause> {
        for entry in state {
            let (_, value) = entry?;
            self.state = State::decode(&value)?;
        }
        self.publish();
        Ok(())
    }

    fn weight(&self) -> usize {
        // Definitions are bounded by hand; an estimate of what a table takes is enough.
        self.state.spaces.values().map(|space| 256 + space.tables.len() * 2048).sum()
    }
}

fn no_table(space: &str, name: &str) -> Cause {
    Cause::absent(format!("{space}.{name} does not exist"))
}

fn no_space(name: &str) -> Cause {
    Cause::absent(format!("{name} does not exist"))
}
