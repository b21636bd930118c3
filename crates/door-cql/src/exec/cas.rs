//! Conditional writes: `IF NOT EXISTS`, `IF EXISTS`, `IF column = ...`.
//!
//! The condition is judged by the store, within its Paxos round, through a closure that owns all
//! values. The result's first column is `[applied]`; when the condition was not met, what it looked
//! at follows: the whole row for `IF NOT EXISTS`, the columns of the conditions otherwise, nothing
//! when there is no row.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use base::Mutation;
use bytes::Bytes;
use store::{Action, Cas, CasOutcome, Consistency, Done, Page, Row, Slice, Target};

use super::{
    Again, Answer, BoundValue, ColumnSpec, Engine, Outcome, Request, ResultMetadata, Rows, failed, keys,
    rows, then::then, write::Edit,
};
use crate::{
    bind::{CqlError, Doing, Evaluated, Guard, InList, Modify, TableView, evaluate_list},
    lang::Operator,
    types::{CqlType, compare},
};

/// A condition with its values; one value unless it is IN.
struct Test {
    column: usize,
    operator: Operator,
    values: Vec<Option<Bytes>>,
}

/// Carries out a conditional change of a row.
pub(super) fn start(engine: &Arc<Engine>, modify: &Arc<Modify>, again: Again, done: Done<Outcome>) {
    let cas = match plan(engine, modify, &again.request, &again.values) {
        Ok(cas) => cas,
        Err(error) => return done.complete(Ok(Err(error))),
    };
    // It is the Paxos round that lacks replicas, so its consistency is the one to tell.
    let consistency = cas.serial;
    let permit = match engine.permit(Action::Write, Target::Table(modify.table)) {
        Ok(permit) => permit,
        Err(cause) => return done.complete(Ok(Err(failed(cause, Doing::Cas, consistency)))),
    };
    let (asker, modify) = (engine.clone(), modify.clone());
    let now_seconds = cas.now_seconds;
    let answer = then(move |result: Result<CasOutcome, base::Cause>| match result {
        Ok(outcome) => {
            let rows = told(&modify, &outcome, now_seconds);
            done.complete(Ok(Ok(Answer::Rows(rows).into())));
        }
        Err(cause) if asker.has_moved(&cause, &modify.view) => again.execute(&asker, done),
        Err(cause) => done.complete(Ok(Err(failed(cause, Doing::Cas, consistency)))),
    });
    engine.store.tables.compare_and_set(permit, cas, answer);
}

fn plan(
    engine: &Engine,
    modify: &Arc<Modify>,
    request: &Request,
    values: &[BoundValue],
) -> Result<Cas, CqlError> {
    let serial = request.serial_consistency.unwrap_or(Consistency::Serial);
    if !matches!(serial, Consistency::Serial | Consistency::LocalSerial) {
        return Err(CqlError::invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
        ));
    }
    if matches!(request.consistency, Consistency::Serial | Consistency::LocalSerial) {
        let name = if request.consistency == Consistency::Serial { "SERIAL" } else { "LOCAL_SERIAL" };
        return Err(CqlError::Invalid(format!(
            "{name} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is \
             accepted but I don't care how many replicas commit it for non-SERIAL reads\""
        )));
    }
    if request.consistency == Consistency::EachQuorum {
        refuse_without_datacenters(engine, &modify.view)?;
    }
    let environment = engine.environment(values);
    let mut partitions = keys::partition_keys(&modify.view, &modify.keys, &environment)?;
    let mut clusterings = keys::clustering_keys(&modify.view, &modify.clustering, &environment)?;
    let (Some(key), Some(clustering)) = (partitions.pop(), clusterings.pop()) else {
        return Err(CqlError::invalid("A conditional update needs a row"));
    };
    let edit = Edit::new(engine, modify, &environment)?;
    let mut tests = Vec::new();
    if let Guard::Columns(conditions) = &modify.guard {
        for condition in conditions {
            let name = &modify.view.columns[condition.column].name;
            let mut values = Vec::new();
            for value in evaluate_list(&condition.values, name, &environment)? {
                values.push(match value {
                    Evaluated::Value(bytes) => Some(bytes),
                    Evaluated::Null if condition.operator.is_range() => {
                        return Err(CqlError::Invalid(format!(
                            "Invalid comparison with null for operator \"{}\"",
                            condition.operator.text()
                        )));
                    }
                    Evaluated::Null => None,
                    // One of several alternatives may be missing.
                    Evaluated::Unset
                        if matches!(&condition.values, InList::Values(_))
                            && condition.operator == Operator::In =>
                    {
                        continue;
                    }
                    Evaluated::Unset => return Err(CqlError::invalid("Invalid 'unset' value in condition")),
                });
            }
            tests.push(Test { column: condition.column, operator: condition.operator, values });
        }
    }
    let judged = modify.clone();
    let mutated_key = key.clone();
    let decide = move |timestamp: i64, page: &Page| {
        let row = the_row(page);
        let met = match &judged.guard {
            Guard::None => true,
            Guard::NotExists => row.is_none(),
            Guard::Exists => row.is_some(),
            Guard::Columns(_) => tests.iter().all(|test| test.is_met(&judged.view, row)),
        };
        let mutation =
            || Mutation { table: judged.table, key: mutated_key.clone(), changes: edit.changes(timestamp) };
        Ok(met.then(mutation))
    };
    Ok(Cas {
        table: modify.table,
        key,
        slices: vec![Slice::row(clustering)],
        now_seconds: engine.now_seconds(),
        decide: Box::new(decide),
        serial,
        commit: request.consistency,
    })
}

/// EACH_QUORUM means something only where replicas are placed by datacenter. Cassandra asks this of
/// conditional writes alone.
fn refuse_without_datacenters(engine: &Engine, view: &TableView) -> Result<(), CqlError> {
    let schema = engine.store.catalog.schema();
    let space = schema.spaces.get(&*view.keyspace);
    let strategy = space.and_then(|space| space.replication.get("class")).map_or("", String::as_str);
    if strategy == "NetworkTopologyStrategy" {
        return Ok(());
    }
    Err(CqlError::Invalid(format!(
        "consistency level EACH_QUORUM not compatible with replication strategy (org.apache.cassandra.locator.{strategy})"
    )))
}

/// The row the condition is about, if it exists.
fn the_row(page: &Page) -> Option<&Row> {
    page.partitions.first()?.rows.first()
}

impl Test {
    /// Cassandra's rule: null equals null and differs from every value, and is in no range.
    fn is_met(&self, view: &TableView, row: Option<&Row>) -> bool {
        let column = &view.columns[self.column];
        let stored =
            row.and_then(|row| rows::cell(&row.cells, column.id)).and_then(|cell| cell.value.as_ref());
        let equals = |wanted: &Option<Bytes>| match (wanted, stored) {
            (None, None) => true,
            (Some(wanted), Some(stored)) => compare(&column.ty, stored, wanted) == Ordering::Equal,
            _ => false,
        };
        let one = self.values.first();
        match self.operator {
            Operator::In => self.values.iter().any(equals),
            Operator::Eq => one.is_some_and(equals),
            Operator::Ne => one.is_some_and(|wanted| !equals(wanted)),
            operator => match (one, stored) {
                (Some(Some(wanted)), Some(stored)) => {
                    rows::holds(operator, compare(&column.ty, stored, wanted))
                }
                _ => false,
            },
        }
    }
}

/// The result set of an outcome.
fn told(modify: &Modify, outcome: &CasOutcome, now_seconds: u32) -> Rows {
    let view = &modify.view;
    let mut columns = vec![ColumnSpec { name: "[applied]".into(), ty: CqlType::BOOLEAN }];
    let mut cells = Vec::new();
    rows::put_cell(&mut cells, Some(&[u8::from(outcome.applied)]));
    let shown: Vec<usize> = match &modify.guard {
        Guard::NotExists => (0..view.columns.len()).collect(),
        Guard::Columns(conditions) => {
            let mut seen = BTreeSet::new();
            conditions.iter().map(|condition| condition.column).filter(|place| seen.insert(*place)).collect()
        }
        Guard::Exists | Guard::None => Vec::new(),
    };
    let partition = outcome.page.partitions.first().filter(|_| !outcome.applied);
    let components =
        partition.and_then(|partition| keys::split_partition_key(&partition.key, view.partition_len));
    let row = the_row(&outcome.page).zip(components.as_ref());
    if let Some(row) = row.and_then(|(row, key)| rows::RowParts::new(view, key, row, now_seconds)) {
        for place in shown {
            let column = &view.columns[place];
            columns.push(ColumnSpec { name: column.name.clone(), ty: column.ty.clone() });
            rows::put_cell(&mut cells, row.value(view, place));
        }
    }
    let metadata = ResultMetadata { keyspace: view.keyspace.clone(), table: view.name.clone(), columns };
    Rows { metadata: Arc::new(metadata), count: 1, cells, paging_state: None }
}
