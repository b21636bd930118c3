//! INSERT, UPDATE and DELETE.

use std::sync::Arc;

use base::{ColumnId, TableId};

use super::{
    CqlError, Plan, Scope, TableView, Value, ViewColumn,
    restrict::{Gathered, gather, in_list},
    rows::{Choice, ClusteringPlan},
    term::{InList, Markers},
};
use crate::{
    lang::{
        Access, Change, Condition, ConditionValue, Delete, DeleteTarget, Insert, Operator, RelationValue,
        TableName, Term, Update, quoted_name,
    },
    types::CqlType,
};

/// A change of rows.
#[derive(Clone, Debug)]
pub(crate) struct Modify {
    pub(crate) view: Arc<TableView>,
    pub(crate) table: TableId,
    /// One choice for each component of the partition key.
    pub(crate) keys: Vec<Choice>,
    pub(crate) clustering: ClusteringPlan,
    pub(crate) effect: Effect,
    pub(crate) timestamp: Option<Value>,
    pub(crate) ttl: Option<Value>,
    pub(crate) guard: Guard,
}

/// What becomes of the rows.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Cells are written; `marker` says that the row exists even if all of them are null.
    Write { marker: bool, cells: Vec<(ColumnId, Value)> },
    /// Cells are deleted.
    DeleteCells(Vec<ColumnId>),
    /// Rows are deleted, or the partition when the clustering plan is empty.
    DeleteRows,
}

/// The condition of a conditional write.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    None,
    NotExists,
    Exists,
    Columns(Vec<ColumnCondition>),
}

/// One condition of IF.
#[derive(Clone, Debug)]
pub(crate) struct ColumnCondition {
    /// The column's place in the view.
    pub(crate) column: usize,
    pub(crate) operator: Operator,
    /// Several for IN.
    pub(crate) values: InList,
}

type Planned = Result<(Plan, Option<Arc<TableView>>), CqlError>;

pub(super) fn insert(insert: &Insert, scope: &Scope<'_>, markers: &mut Markers) -> Planned {
    let (view, table) = target(&insert.table, scope)?;
    if insert.columns.len() != insert.values.len() {
        return Err(CqlError::invalid("Unmatched column names/values"));
    }
    let mut values: Vec<Option<Value>> = vec![None; view.columns.len()];
    for (name, term) in insert.columns.iter().zip(&insert.values) {
        let place = view.column(name)?;
        if values[place].is_some() {
            return Err(CqlError::invalid("The column names contains duplicates"));
        }
        values[place] = Some(markers.column_value(term, &view.columns[place])?);
    }
    let missing = |range: std::ops::Range<usize>| -> Vec<&str> {
        range.filter(|place| values[*place].is_none()).map(|place| &*view.columns[place].name).collect()
    };
    let absent = missing(0..view.partition_len);
    if !absent.is_empty() {
        return Err(CqlError::Invalid(format!(
            "Some partition key parts are missing: {}",
            absent.join(", ")
        )));
    }
    let absent = missing(view.partition_len..view.key_len());
    if !absent.is_empty() {
        return Err(CqlError::Invalid(format!("Some clustering keys are missing: {}", absent.join(", "))));
    }
    let mut key: Vec<Choice> =
        values[..view.key_len()].iter_mut().filter_map(Option::take).map(Choice::One).collect();
    let prefix = key.split_off(view.partition_len);
    let cells =
        view.columns.iter().zip(values).filter_map(|(column, value)| Some((column.id, value?))).collect();
    let (timestamp, ttl) = using(&insert.using.timestamp, &insert.using.ttl, markers)?;
    let modify = Modify {
        table,
        keys: key,
        clustering: ClusteringPlan { prefix, range: None },
        effect: Effect::Write { marker: true, cells },
        timestamp,
        ttl,
        guard: if insert.if_not_exists { Guard::NotExists } else { Guard::None },
        view,
    };
    finish(modify, markers)
}

pub(super) fn update(update: &Update, scope: &Scope<'_>, markers: &mut Markers) -> Planned {
    let (view, table) = target(&update.table, scope)?;
    let (timestamp, ttl) = using(&update.using.timestamp, &update.using.ttl, markers)?;
    let mut cells: Vec<(ColumnId, Value)> = Vec::with_capacity(update.assignments.len());
    for assignment in &update.assignments {
        let column = &view.columns[view.column(&assignment.column)?];
        let name = &column.name;
        if column.is_key() {
            return Err(CqlError::Invalid(format!("PRIMARY KEY part {name} found in SET part")));
        }
        let term = match (&assignment.access, &assignment.change) {
            (Access::Whole, Change::Set(term)) => term,
            (Access::Whole, Change::Append(term)) => {
                return Err(refuse(column, &format!("{name} = {name} + {term}")));
            }
            (Access::Whole, Change::Remove(term)) => {
                return Err(refuse(column, &format!("{name} = {name} - {term}")));
            }
            (Access::Whole, Change::Prepend(term)) => {
                return Err(refuse(column, &format!("{name} = {term} + {name}")));
            }
            (Access::Element(_), _) => {
                return Err(CqlError::Invalid(format!(
                    "Invalid operation ({name}{}) for non collection column {name}",
                    assignment.access
                )));
            }
            (Access::Field(_), _) => {
                return Err(CqlError::Invalid(format!(
                    "Invalid operation ({name}{}) for non-UDT column {name}",
                    assignment.access
                )));
            }
        };
        if cells.iter().any(|(id, _)| *id == column.id) {
            return Err(CqlError::Invalid(format!(
                "Multiple incompatible setting of column {}",
                quoted_name(name)
            )));
        }
        cells.push((column.id, markers.column_value(term, column)?));
    }
    let gathered = gather(&update.relations, &view, markers)?;
    let keys = gathered.whole_partition_key("UPDATE")?;
    let clustering = whole_rows(&gathered, &view, "UPDATE")?;
    refuse_other_columns(&gathered)?;
    let guard = guard(&update.condition, &view, markers)?;
    let effect = Effect::Write { marker: false, cells };
    finish(Modify { table, keys, clustering, effect, timestamp, ttl, guard, view: view.clone() }, markers)
}

/// What Cassandra says to arithmetic on a column that has none.
fn refuse(column: &ViewColumn, operation: &str) -> CqlError {
    CqlError::Invalid(format!("Invalid operation ({operation}) for non counter column {}", column.name))
}

pub(super) fn delete(delete: &Delete, scope: &Scope<'_>, markers: &mut Markers) -> Planned {
    let (view, table) = target(&delete.table, scope)?;
    let (timestamp, _) = using(&delete.timestamp, &None, markers)?;
    let mut columns = Vec::with_capacity(delete.targets.len());
    for DeleteTarget { column, access } in &delete.targets {
        let column = &view.columns[view.column(column)?];
        let name = &column.name;
        if column.is_key() {
            return Err(CqlError::Invalid(format!(
                "Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)"
            )));
        }
        match access {
            Access::Whole => columns.push(column.id),
            Access::Element(_) => {
                return Err(CqlError::Invalid(format!(
                    "Invalid deletion operation for non collection column {name}"
                )));
            }
            Access::Field(_) => {
                return Err(CqlError::Invalid(format!(
                    "Invalid deletion operation for non-UDT column {name}"
                )));
            }
        }
    }
    let gathered = gather(&delete.relations, &view, markers)?;
    let keys = gathered.whole_partition_key("DELETE")?;
    let (clustering, _, refusal) = gathered.clustering()?;
    if let Some(refusal) = refusal {
        return Err(CqlError::Invalid(refusal));
    }
    refuse_other_columns(&gathered)?;
    let guard = guard(&delete.condition, &view, markers)?;
    let is_whole_row = clustering.range.is_none() && clustering.prefix_width() == view.clustering_len;
    if !columns.is_empty() && !is_whole_row {
        if clustering.range.is_some() {
            return Err(CqlError::invalid("Range deletions are not supported for specific columns"));
        }
        return Err(missing_clustering(&view, clustering.prefix_width()));
    }
    if !matches!(guard, Guard::None) && !is_whole_row {
        return Err(CqlError::invalid(
            "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to \
             delete non static columns",
        ));
    }
    let effect = if columns.is_empty() { Effect::DeleteRows } else { Effect::DeleteCells(columns) };
    finish(
        Modify { table, keys, clustering, effect, timestamp, ttl: None, guard, view: view.clone() },
        markers,
    )
}

/// The table that is changed.
fn target(name: &TableName, scope: &Scope<'_>) -> Result<(Arc<TableView>, TableId), CqlError> {
    let view = scope.view(name)?;
    match view.id {
        Some(id) => Ok((view, id)),
        None => {
            scope.refuse_system(&view.keyspace)?;
            Err(CqlError::Unauthorized(format!("{} keyspace is not user-modifiable.", view.keyspace)))
        }
    }
}

fn using(
    timestamp: &Option<Term>,
    ttl: &Option<Term>,
    markers: &mut Markers,
) -> Result<(Option<Value>, Option<Value>), CqlError> {
    let timestamp =
        timestamp.as_ref().map(|term| markers.value(term, "[timestamp]", &CqlType::BIGINT)).transpose()?;
    let ttl = ttl.as_ref().map(|term| markers.value(term, "[ttl]", &CqlType::INT)).transpose()?;
    Ok((timestamp, ttl))
}

/// The rows of an UPDATE: every clustering column must have its values.
fn whole_rows(gathered: &Gathered<'_>, view: &TableView, verb: &str) -> Result<ClusteringPlan, CqlError> {
    let (clustering, _, _) = gathered.clustering()?;
    if clustering.range.is_some() {
        return Err(CqlError::Invalid(format!(
            "Slice restrictions are not supported on the clustering columns in {verb} statements"
        )));
    }
    if clustering.prefix_width() != view.clustering_len {
        return Err(missing_clustering(view, clustering.prefix_width()));
    }
    Ok(clustering)
}

fn missing_clustering(view: &TableView, from: usize) -> CqlError {
    let missing: Vec<&str> = view.clustering()[from..].iter().map(|column| &*column.name).collect();
    CqlError::Invalid(format!("Some clustering keys are missing: {}", missing.join(", ")))
}

fn refuse_other_columns(gathered: &Gathered<'_>) -> Result<(), CqlError> {
    let others = gathered.restricted_values();
    if others.is_empty() {
        return Ok(());
    }
    Err(CqlError::Invalid(format!("Non PRIMARY KEY columns found in where clause: {} ", others.join(", "))))
}

fn guard(condition: &Condition, view: &TableView, markers: &mut Markers) -> Result<Guard, CqlError> {
    let conditions = match condition {
        Condition::None => return Ok(Guard::None),
        Condition::Exists => return Ok(Guard::Exists),
        Condition::Columns(conditions) => conditions,
    };
    let mut planned = Vec::with_capacity(conditions.len());
    for (DeleteTarget { column, access }, operator, value) in conditions {
        let place = view.column(column)?;
        let column = &view.columns[place];
        let name = &column.name;
        if column.is_key() {
            return Err(CqlError::Invalid(format!("PRIMARY KEY column '{name}' cannot have IF conditions")));
        }
        if *access != Access::Whole {
            return Err(CqlError::Invalid(format!(
                "Invalid element access syntax for non-collection column {name}"
            )));
        }
        if column.ty.references_duration() && operator.is_range() {
            return Err(CqlError::invalid("Slice conditions are not supported on durations"));
        }
        let values = match value {
            ConditionValue::One(term) => InList::Values(vec![markers.column_value(term, column)?]),
            ConditionValue::List(terms) => {
                let list = RelationValue::List(terms.clone());
                in_list(&list, "", name, &column.ty, markers)?
            }
            ConditionValue::Marker(marker) => {
                let marker = RelationValue::Marker(marker.clone());
                in_list(&marker, &format!("in({name})"), name, &column.ty, markers)?
            }
        };
        planned.push(ColumnCondition { column: place, operator: *operator, values });
    }
    Ok(Guard::Columns(planned))
}

/// Checks what holds for all three, and tells drivers how to route.
fn finish(modify: Modify, markers: &mut Markers) -> Planned {
    if !matches!(modify.guard, Guard::None) {
        let several = |choices: &[Choice]| choices.iter().any(|choice| !matches!(choice, Choice::One(_)));
        if modify.timestamp.is_some() {
            return Err(CqlError::invalid("Cannot provide custom timestamp for conditional updates"));
        }
        if several(&modify.keys) {
            return Err(CqlError::invalid(
                "IN on the partition key is not supported with conditional updates",
            ));
        }
        if several(&modify.clustering.prefix) {
            return Err(CqlError::invalid(
                "IN on the clustering key columns is not supported with conditional updates",
            ));
        }
    }
    markers.route_by(modify.keys.iter().map(marker_of));
    let view = modify.view.clone();
    Ok((Plan::Modify(Arc::new(modify)), Some(view)))
}

/// The marker that gives a component of the partition key, if one does.
pub(super) fn marker_of(choice: &Choice) -> Option<usize> {
    match choice {
        Choice::One(Value::Marker { index, .. }) => Some(*index),
        // Cassandra tells the last of several, which is right for nobody but does no harm.
        Choice::In(InList::Values(values)) => values.iter().rev().find_map(|value| match value {
            Value::Marker { index, .. } => Some(*index),
            _ => None,
        }),
        _ => None,
    }
}
