//! Unconditional writes: a plan and its values become one mutation a partition.

use std::sync::Arc;

use base::{Cell, Change, ColumnId, Mutation, NO_TIMESTAMP};
use bytes::Bytes;
use store::{Action, Consistency, Done, Slice, Target, Write, waiter};

use super::{Again, Answer, BoundValue, Engine, Outcome, Request, cas, failed, keys, then::then};
use crate::bind::{
    CqlError, Doing, Effect, Environment, Evaluated, Guard, MAX_TTL_SECONDS, Modify, Value, evaluate,
};

/// Carries out a change of rows.
pub(super) fn start(engine: &Arc<Engine>, modify: &Arc<Modify>, again: Again, done: Done<Outcome>) {
    if !matches!(modify.guard, Guard::None) {
        return cas::start(engine, modify, again, done);
    }
    let consistency = again.request.consistency;
    let mut mutations = match mutations(engine, modify, &again.request, &again.values) {
        Ok(mutations) => mutations,
        Err(error) => return done.complete(Ok(Err(error))),
    };
    match mutations.len() {
        0 => done.complete(Ok(Ok(Answer::Void.into()))),
        1 => {
            let mutation = mutations.pop().expect("there is one");
            let permit = match engine.permit(Action::Write, Target::Table(modify.table)) {
                Ok(permit) => permit,
                Err(cause) => return done.complete(Ok(Err(failed(cause, Doing::Write, consistency)))),
            };
            let (asker, modify) = (engine.clone(), modify.clone());
            let answer = then(move |result: Result<(), base::Cause>| match result {
                Ok(()) => done.complete(Ok(Ok(Answer::Void.into()))),
                Err(cause) if asker.has_moved(&cause, &modify.view) => again.execute(&asker, done),
                Err(cause) => done.complete(Ok(Err(failed(cause, Doing::Write, consistency)))),
            });
            engine.store.tables.write(permit, Write { mutation, consistency }, answer);
        }
        _ => {
            let (engine, modify) = (engine.clone(), modify.clone());
            world::task::spawn(async move {
                match write_all(&engine, &modify, mutations, consistency).await {
                    Err(cause) if engine.has_moved(&cause, &modify.view) => again.execute(&engine, done),
                    Err(cause) => done.complete(Ok(Err(failed(cause, Doing::Write, consistency)))),
                    Ok(()) => done.complete(Ok(Ok(Answer::Void.into()))),
                }
            });
        }
    }
}

/// Writes to several partitions at once; all are tried, the first failure is told.
async fn write_all(
    engine: &Arc<Engine>,
    modify: &Modify,
    mutations: Vec<Mutation>,
    consistency: Consistency,
) -> Result<(), base::Cause> {
    let mut waiters = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        let permit = engine.permit(Action::Write, Target::Table(modify.table))?;
        let (done, waiter) = waiter();
        engine.store.tables.write(permit, Write { mutation, consistency }, done);
        waiters.push(waiter);
    }
    let mut outcome = Ok(());
    for waiter in waiters {
        // The first failure stands, but all are waited for.
        outcome = outcome.and(waiter.await);
    }
    outcome
}

fn mutations(
    engine: &Engine,
    modify: &Modify,
    request: &Request,
    values: &[BoundValue],
) -> Result<Vec<Mutation>, CqlError> {
    if matches!(request.consistency, Consistency::Serial | Consistency::LocalSerial) {
        return Err(CqlError::invalid("You must use conditional updates for serializable writes"));
    }
    let environment = engine.environment(values);
    if request.timestamp_micros == Some(NO_TIMESTAMP) {
        return Err(CqlError::Protocol(out_of_bound()));
    }
    let timestamp = match timestamp(modify.timestamp.as_ref(), &environment)? {
        Some(timestamp) => timestamp,
        None => request.timestamp_micros.unwrap_or_else(|| engine.next_timestamp()),
    };
    let partitions = keys::partition_keys(&modify.view, &modify.keys, &environment)?;
    let edit = Edit::new(engine, modify, &environment)?;
    let changes = edit.changes(timestamp);
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut mutations = Vec::with_capacity(partitions.len());
    let mut partitions = partitions.into_iter();
    let last = partitions.next_back();
    mutations.extend(partitions.map(|key| Mutation { table: modify.table, key, changes: changes.clone() }));
    mutations.extend(last.map(|key| Mutation { table: modify.table, key, changes }));
    Ok(mutations)
}

fn timestamp(value: Option<&Value>, environment: &Environment<'_>) -> Result<Option<i64>, CqlError> {
    let Some(value) = value else {
        return Ok(None);
    };
    match evaluate(value, environment)? {
        Evaluated::Unset => Ok(None),
        Evaluated::Null => Err(CqlError::invalid("Invalid null value of timestamp")),
        Evaluated::Value(bytes) => match bytes.as_ref().try_into().map(i64::from_be_bytes) {
            Ok(NO_TIMESTAMP) => Err(CqlError::Invalid(out_of_bound())),
            Ok(timestamp) => Ok(Some(timestamp)),
            Err(_) => Err(CqlError::invalid("Invalid empty value of timestamp")),
        },
    }
}

fn out_of_bound() -> String {
    format!("Out of bound timestamp, must be in [{}, {}]", i64::MIN + 1, i64::MAX)
}

/// The time to live in seconds; 0 is for ever.
fn ttl(modify: &Modify, environment: &Environment<'_>) -> Result<u32, CqlError> {
    let default = modify.view.default_ttl_seconds;
    let Some(value) = &modify.ttl else {
        return Ok(default);
    };
    match evaluate(value, environment)? {
        Evaluated::Unset => Ok(default),
        Evaluated::Null => Ok(0),
        Evaluated::Value(bytes) => {
            // An empty value is none, as in Cassandra.
            let Ok(ttl) = bytes.as_ref().try_into().map(i32::from_be_bytes) else {
                return Ok(0);
            };
            if ttl > MAX_TTL_SECONDS {
                return Err(CqlError::Invalid(format!(
                    "ttl is too large. requested ({ttl}) maximum ({MAX_TTL_SECONDS})"
                )));
            }
            u32::try_from(ttl)
                .map_err(|_| CqlError::Invalid(format!("A TTL must be greater or equal to 0, but was {ttl}")))
        }
    }
}

/// What is done to a partition, all values known; only the timestamp is open.
pub(super) struct Edit {
    rows: Rows,
    cells: Vec<(ColumnId, Option<Bytes>)>,
    ttl_seconds: u32,
    expires_at_seconds: u32,
}

enum Rows {
    /// Cells of these rows.
    Cells(Vec<Bytes>),
    Delete(Vec<Slice>),
    DeletePartition,
}

impl Edit {
    /// Evaluates the effect of a plan.
    ///
    /// # Errors
    /// Values that do not fit; keys that are null.
    pub(super) fn new(
        engine: &Engine,
        modify: &Modify,
        environment: &Environment<'_>,
    ) -> Result<Edit, CqlError> {
        let view = &modify.view;
        let mut edit =
            Edit { rows: Rows::DeletePartition, cells: Vec::new(), ttl_seconds: 0, expires_at_seconds: 0 };
        match &modify.effect {
            Effect::Write { marker, cells } => {
                edit.ttl_seconds = ttl(modify, environment)?;
                if edit.ttl_seconds > 0 {
                    edit.expires_at_seconds = engine.now_seconds().saturating_add(edit.ttl_seconds);
                }
                if *marker {
                    edit.cells.push((ColumnId::ROW, Some(Bytes::new())));
                }
                for (column, value) in cells {
                    match evaluate(value, environment)? {
                        Evaluated::Unset => {}
                        Evaluated::Null => edit.cells.push((*column, None)),
                        Evaluated::Value(bytes) => edit.cells.push((*column, Some(bytes))),
                    }
                }
                edit.rows = Rows::Cells(keys::clustering_keys(view, &modify.clustering, environment)?);
            }
            Effect::DeleteCells(columns) => {
                edit.cells = columns.iter().map(|column| (*column, None)).collect();
                edit.rows = Rows::Cells(keys::clustering_keys(view, &modify.clustering, environment)?);
            }
            Effect::DeleteRows
                if modify.clustering.prefix.is_empty() && modify.clustering.range.is_none() => {}
            Effect::DeleteRows => {
                edit.rows = Rows::Delete(keys::slices_to_delete(view, &modify.clustering, environment)?);
            }
        }
        Ok(edit)
    }

    /// The changes, made at `timestamp`.
    pub(super) fn changes(&self, timestamp: i64) -> Vec<Change> {
        match &self.rows {
            Rows::DeletePartition => vec![Change::DeletePartition { timestamp }],
            Rows::Delete(slices) => {
                let delete = |slice: &Slice| Change::DeleteRows {
                    from: slice.from.clone(),
                    to: slice.to.clone(),
                    timestamp,
                };
                slices.iter().map(delete).collect()
            }
            Rows::Cells(_) if self.cells.is_empty() => Vec::new(),
            Rows::Cells(rows) => {
                let cells =
                    || self.cells.iter().map(|(column, value)| (*column, self.cell(value, timestamp)));
                let row = |row: &Bytes| Change::Row { clustering: row.clone(), cells: cells().collect() };
                rows.iter().map(row).collect()
            }
        }
    }

    fn cell(&self, value: &Option<Bytes>, timestamp: i64) -> Cell {
        match value {
            None => Cell::tombstone(timestamp),
            Some(value) => Cell {
                timestamp,
                ttl_seconds: self.ttl_seconds,
                expires_at_seconds: self.expires_at_seconds,
                value: Some(value.clone()),
            },
        }
    }
}
