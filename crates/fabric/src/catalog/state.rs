//! What the catalog knows, and which changes of it are allowed.
//!
//! A change is made in memory and told to the durable state in the same breath ([`durable`]); one
//! that is refused has done neither. Nodes and groups are in [`members`](super::members).

use std::{collections::BTreeMap, sync::Arc};

use base::{Cause, ColumnId, SpaceId, TableId, Writer, token_of};
use store::{Changes, Column, Group, Node, Schema, SchemaChange, Space, Table, TableDraft};

use super::{codec, durable};

/// Bytes of the longest name: far more than any door takes, and less than what a key may have.
const MAX_NAME_BYTES: usize = 1024;

/// Everything the catalog knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// Rises with every change of definitions.
    pub(super) epoch: u64,
    /// The last ids given, which are never given again.
    pub(super) last_space: u64,
    pub(super) last_table: u64,
    pub(super) last_node: u64,
    /// The cluster's id; 0 before its founder has started.
    pub(super) cluster: u128,
    pub(super) cluster_name: String,
    /// What all nodes can work with; 0 before the founder has started.
    pub(super) version: u32,
    /// By id, ascending; also those that are gone, so that their ids stay theirs.
    pub(super) nodes: Vec<Node>,
    /// By id, ascending.
    pub(super) groups: Vec<Group>,
    pub(super) spaces: BTreeMap<String, Arc<Space>>,
}

impl State {
    /// Makes a change of definitions; returns the tables whose data is no more.
    ///
    /// # Errors
    /// It does not fit what exists.
    pub(super) fn change(
        &mut self,
        change: &SchemaChange,
        changes: &mut Changes,
    ) -> Result<Vec<TableId>, Cause> {
        let gone = match change {
            SchemaChange::CreateSpace { name, replication, durable_writes } => {
                self.create_space(name, replication, *durable_writes, changes)?;
                Vec::new()
            }
            SchemaChange::DropSpace { name } => self.drop_space(name, changes)?,
            SchemaChange::CreateTable(draft) => {
                self.create_table(draft, changes)?;
                Vec::new()
            }
            SchemaChange::DropTable { space, name } => vec![self.drop_table(space, name, changes)?],
            SchemaChange::TruncateTable { space, name } => vec![self.truncate_table(space, name, changes)?],
        };
        self.epoch += 1;
        durable::put_counters(self, changes);
        Ok(gone)
    }

    fn create_space(
        &mut self,
        name: &str,
        replication: &BTreeMap<String, String>,
        durable_writes: bool,
        changes: &mut Changes,
    ) -> Result<(), Cause> {
        bounded(name)?;
        if self.spaces.contains_key(name) {
            return Err(Cause::exists(format!("{name} exists already")));
        }
        self.last_space += 1;
        let space = Space {
            id: SpaceId(self.last_space),
            name: name.to_owned(),
            replication: replication.clone(),
            durable_writes,
            tables: BTreeMap::new(),
        };
        durable::put_space(&space, changes);
        self.spaces.insert(name.to_owned(), Arc::new(space));
        Ok(())
    }

    fn drop_space(&mut self, name: &str, changes: &mut Changes) -> Result<Vec<TableId>, Cause> {
        let space = self.spaces.remove(name).ok_or_else(|| no_space(name))?;
        for table in space.tables.keys() {
            durable::delete_table(space.id, table, changes);
        }
        durable::delete_space(space.id, changes);
        Ok(space.tables.values().map(|table| table.id).collect())
    }

    fn create_table(&mut self, draft: &TableDraft, changes: &mut Changes) -> Result<(), Cause> {
        bounded(&draft.name)?;
        let id = TableId(self.last_table + 1);
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
        durable::put_table(space.id, &table, changes);
        space.tables.insert(draft.name.clone(), Arc::new(table));
        self.last_table = id.0;
        Ok(())
    }

    fn drop_table(&mut self, space: &str, name: &str, changes: &mut Changes) -> Result<TableId, Cause> {
        let within = self.space_mut(space)?;
        let table = within.tables.remove(name).ok_or_else(|| no_table(space, name))?;
        durable::delete_table(within.id, name, changes);
        Ok(table.id)
    }

    /// Gives a table new, empty data; returns the id of the old.
    fn truncate_table(&mut self, space: &str, name: &str, changes: &mut Changes) -> Result<TableId, Cause> {
        let id = TableId(self.last_table + 1);
        let within = self.space_mut(space)?;
        let table = within.tables.get_mut(name).ok_or_else(|| no_table(space, name))?;
        let old = std::mem::replace(&mut Arc::make_mut(table).id, id);
        durable::put_table(within.id, table, changes);
        self.last_table = id.0;
        Ok(old)
    }

    fn space_mut(&mut self, name: &str) -> Result<&mut Space, Cause> {
        self.spaces.get_mut(name).map(Arc::make_mut).ok_or_else(|| no_space(name))
    }

    /// The definitions as others see them.
    pub(super) fn schema(&self) -> Schema {
        Schema { epoch: self.epoch, version: self.version(), spaces: self.spaces.clone() }
    }

    /// A UUID (version 3 in form) that is a function of the definitions alone: clients who see it
    /// change read them all again, which they need not when a table was truncated.
    fn version(&self) -> u128 {
        let mut out = Writer::new();
        for space in self.spaces.values() {
            out.str(&space.name);
            out.varint(space.id.0);
            codec::put_map(&mut out, &space.replication);
            out.u8(u8::from(space.durable_writes));
            out.varint(space.tables.len() as u64);
            for table in space.tables.values() {
                out.str(&table.name);
                out.u128(table.uuid);
                codec::put_columns(&mut out, &table.columns);
                codec::put_map(&mut out, &table.options);
            }
        }
        let mut bytes = out.into_vec();
        let high = token_of(&bytes) as u64;
        bytes.push(1);
        let digest = u128::from(high) << 64 | u128::from(token_of(&bytes) as u64);
        digest & !(0xf << 76) & !(0x3 << 62) | (3 << 76) | (2 << 62)
    }
}

pub(super) fn bounded(name: &str) -> Result<(), Cause> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Cause::invalid(format!("a name has at most {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
}

fn no_table(space: &str, name: &str) -> Cause {
    Cause::absent(format!("{space}.{name} does not exist"))
}

fn no_space(name: &str) -> Cause {
    Cause::absent(format!("{name} does not exist"))
}
