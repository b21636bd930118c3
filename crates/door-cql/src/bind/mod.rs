//! From a tree to a plan: names are looked up, types are given to markers and literals, and the
//! rules of the language are checked.
//!
//! A plan depends on the definitions it was made from and on nothing of one execution, so it is
//! made once for a prepared statement. What a plan leaves open (markers, functions) are
//! [`Value`]s, evaluated by the executor.

mod ddl;
mod error;
mod functions;
mod modify;
mod options;
mod restrict;
mod rows;
mod select;
mod term;
mod view;

use std::sync::Arc;

use store::{Cluster, Schema, SchemaChange};

use self::term::Markers;
pub(crate) use self::{
    ddl::exists_already,
    error::{CqlError, Doing},
    functions::{Environment, call as function_call},
    modify::{Effect, Guard, Modify},
    options::{MAX_TTL_SECONDS, TableOptions},
    restrict::NEEDS_ALLOW_FILTERING,
    rows::{Choice, ClusteringPlan, KeyPlan, Predicate, RangeBound, RangePlan, TokenPlan},
    select::{SelectPlan, Selected},
    term::{Evaluated, InList, Value, evaluate, evaluate_list},
    view::{TableView, ViewColumn, Views},
};
use crate::{
    exec::{MarkerMetadata, ResultMetadata, VirtualTables},
    lang::{Parsed, Statement, TableName},
};

/// What a statement is bound against.
pub(crate) struct Scope<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) views: &'a Views,
    pub(crate) cluster: &'a Cluster,
    pub(crate) virtual_tables: &'a dyn VirtualTables,
    /// The session's keyspace.
    pub(crate) keyspace: Option<&'a str>,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Use(String),
    Define(Define),
    Modify(Arc<Modify>),
    Select(Arc<SelectPlan>),
}

/// A change of definitions.
#[derive(Clone, Debug)]
pub(crate) struct Define {
    /// `None` when nothing is to be done, because it was made before.
    pub(crate) change: Option<SchemaChange>,
    /// Whether it is no error when the change was made before.
    pub(crate) forgiving: bool,
    pub(crate) warnings: Vec<String>,
}

/// A plan and what clients are told about it.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) plan: Plan,
    pub(crate) markers: MarkerMetadata,
    /// Columns of the result; `None` for statements that return none, or whose columns depend on
    /// what happens (conditional writes).
    pub(crate) result: Option<Arc<ResultMetadata>>,
}

/// The most markers of a statement: the protocol counts values in 16 bits.
const MAX_MARKERS: usize = u16::MAX as usize;

/// Binds a statement.
///
/// # Errors
/// The first rule that is broken.
pub(crate) fn bind(parsed: &Parsed, scope: &Scope<'_>) -> Result<Bound, CqlError> {
    if parsed.marker_count > MAX_MARKERS {
        return Err(CqlError::Invalid(format!(
            "Too many markers(?). {} markers exceed the allowed maximum of {MAX_MARKERS}",
            parsed.marker_count
        )));
    }
    let mut markers = Markers::new(parsed.marker_count);
    let (plan, view) = match &parsed.statement {
        Statement::Use(keyspace) => {
            scope.require_keyspace(keyspace)?;
            (Plan::Use(keyspace.clone()), None)
        }
        Statement::CreateKeyspace { .. }
        | Statement::DropKeyspace { .. }
        | Statement::CreateTable(_)
        | Statement::DropTable { .. }
        | Statement::Truncate(_) => {
            if parsed.marker_count > 0 {
                return Err(CqlError::invalid("Bind variables are not supported in definition statements"));
            }
            (Plan::Define(ddl::bind(&parsed.statement, scope)?), None)
        }
        Statement::Insert(insert) => modify::insert(insert, scope, &mut markers)?,
        Statement::Update(update) => modify::update(update, scope, &mut markers)?,
        Statement::Delete(delete) => modify::delete(delete, scope, &mut markers)?,
        Statement::Select(select) => select::bind(select, scope, &mut markers)?,
    };
    let result = match &plan {
        Plan::Select(select) => Some(select.result.clone()),
        _ => None,
    };
    Ok(Bound { plan, markers: markers.finish(view.as_deref())?, result })
}

impl Scope<'_> {
    /// The keyspace and the name a statement means.
    fn resolve<'n>(&'n self, table: &'n TableName) -> Result<(&'n str, &'n str), CqlError> {
        match table.keyspace.as_deref().or(self.keyspace) {
            Some(keyspace) => Ok((keyspace, &table.name)),
            None => Err(CqlError::invalid(
                "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename",
            )),
        }
    }

    /// The table a statement reads or writes.
    fn view(&self, table: &TableName) -> Result<Arc<TableView>, CqlError> {
        let (keyspace, name) = self.resolve(table)?;
        if let Some(table) = self.schema.table(keyspace, name) {
            return self.views.of(self.schema.epoch, table);
        }
        if let Some(view) = self.virtual_tables.table(keyspace, name) {
            return Ok(view);
        }
        if !self.schema.spaces.contains_key(keyspace) && !self.virtual_tables.has_keyspace(keyspace) {
            return Err(CqlError::Invalid(format!("keyspace {keyspace} does not exist")));
        }
        Err(CqlError::Invalid(format!("table {name} does not exist")))
    }

    fn require_keyspace(&self, keyspace: &str) -> Result<(), CqlError> {
        if self.schema.spaces.contains_key(keyspace) || self.virtual_tables.has_keyspace(keyspace) {
            Ok(())
        } else {
            Err(CqlError::Invalid(format!("Keyspace '{keyspace}' does not exist")))
        }
    }

    /// Refuses to change what belongs to the node.
    fn refuse_system(&self, keyspace: &str) -> Result<(), CqlError> {
        if self.virtual_tables.has_keyspace(keyspace) {
            Err(CqlError::Unauthorized(format!("{keyspace} keyspace is not user-modifiable.")))
        } else {
            Ok(())
        }
    }
}
