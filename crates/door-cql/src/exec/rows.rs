//! One row: its values, the tests it must pass, and its cells on the wire.

use std::cmp::Ordering;

use base::{Cell, ColumnId, token_of};
use bytes::Bytes;
use store::Row;

use super::{BoundValue, Engine, keys};
use crate::{
    bind::{
        CqlError, Environment, Evaluated, Predicate, SelectPlan, Selected, TableView, evaluate,
        evaluate_list, function_call,
    },
    lang::Operator,
    types::compare,
};

/// The cell of a column; cells are ascending by column.
pub(super) fn cell(cells: &[(ColumnId, Cell)], column: ColumnId) -> Option<&Cell> {
    let found = cells.binary_search_by_key(&column, |(id, _)| *id).ok()?;
    Some(&cells[found].1)
}

/// Whether an order satisfies a comparison.
pub(super) fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Eq => order == Ordering::Equal,
        Operator::Ne => order != Ordering::Equal,
        Operator::Lt => order == Ordering::Less,
        Operator::Le => order != Ordering::Greater,
        Operator::Gt => order == Ordering::Greater,
        Operator::Ge => order != Ordering::Less,
        Operator::In | Operator::Contains | Operator::ContainsKey | Operator::Like | Operator::IsNotNull => {
            false
        }
    }
}

/// Appends a cell of a result: length as i32, -1 for null, and the bytes.
pub(super) fn put_cell(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Some(value) => {
            // Values come from the wire or from literals, whose lengths fit.
            let len = i32::try_from(value.len()).unwrap_or(i32::MAX);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// A row, its keys taken apart.
pub(super) struct RowParts<'a> {
    partition: &'a [Bytes],
    clustering: Vec<Vec<u8>>,
    cells: &'a [(ColumnId, Cell)],
    now_seconds: u32,
}

impl<'a> RowParts<'a> {
    /// A row of the partition whose key has these components. `None` when its clustering key is
    /// none of this table, which is damage.
    pub(super) fn new(
        view: &TableView,
        partition: &'a [Bytes],
        row: &'a Row,
        now_seconds: u32,
    ) -> Option<RowParts<'a>> {
        Some(RowParts {
            partition,
            clustering: keys::split_clustering(view.clustering(), &row.clustering)?,
            cells: &row.cells,
            now_seconds,
        })
    }

    /// The value of the column at `place`.
    pub(super) fn value(&self, view: &TableView, place: usize) -> Option<&[u8]> {
        if let Some(component) = self.partition.get(place) {
            return Some(component);
        }
        if let Some(component) = self.clustering.get(place - view.partition_len) {
            return Some(component);
        }
        self.cell(view, place)?.value.as_deref()
    }

    fn cell(&self, view: &TableView, place: usize) -> Option<&Cell> {
        cell(self.cells, view.columns[place].id).filter(|cell| cell.is_live(self.now_seconds))
    }
}

/// A [`Predicate`] with its values.
pub(super) struct Test {
    column: usize,
    operator: Operator,
    values: Vec<Bytes>,
}

/// Evaluates the predicates of a plan.
///
/// # Errors
/// A value that is null or unset.
pub(super) fn tests(plan: &SelectPlan, environment: &Environment<'_>) -> Result<Vec<Test>, CqlError> {
    let mut tests = Vec::with_capacity(plan.predicates.len());
    for predicate in &plan.predicates {
        let column = predicate.column();
        let name = &plan.view.columns[column].name;
        let (operator, evaluated) = match predicate {
            Predicate::Compare { operator, value, .. } => (*operator, vec![evaluate(value, environment)?]),
            Predicate::In { list, .. } => (Operator::In, evaluate_list(list, name, environment)?),
        };
        let mut values = Vec::with_capacity(evaluated.len());
        for value in evaluated {
            values.push(match value {
                Evaluated::Value(bytes) => bytes,
                // Nothing equals null.
                Evaluated::Null if operator == Operator::In => continue,
                Evaluated::Null => {
                    return Err(CqlError::Invalid(format!("Unsupported null value for column {name}")));
                }
                Evaluated::Unset => {
                    return Err(CqlError::Invalid(format!("Unsupported unset value for column {name}")));
                }
            });
        }
        tests.push(Test { column, operator, values });
    }
    Ok(tests)
}

impl Test {
    /// Whether a row passes. Null passes nothing.
    pub(super) fn passes(&self, view: &TableView, row: &RowParts<'_>) -> bool {
        let Some(stored) = row.value(view, self.column) else {
            return false;
        };
        let ty = &view.columns[self.column].ty;
        match self.operator {
            Operator::In => self.values.iter().any(|wanted| compare(ty, stored, wanted) == Ordering::Equal),
            operator => self.values.iter().all(|wanted| holds(operator, compare(ty, stored, wanted))),
        }
    }
}

/// Turns rows into cells of the result.
pub(super) struct Projector<'a> {
    pub(super) engine: &'a Engine,
    pub(super) plan: &'a SelectPlan,
    pub(super) values: &'a [BoundValue],
}

impl Projector<'_> {
    /// Appends the cells of one row; `counts` are those of the aggregates, in order.
    ///
    /// # Errors
    /// What a function says to its arguments.
    pub(super) fn put(
        &self,
        out: &mut Vec<u8>,
        key: &Bytes,
        row: Option<&RowParts<'_>>,
        counts: &[u64],
    ) -> Result<(), CqlError> {
        let view = &self.plan.view;
        let mut counts = counts.iter();
        for selected in &self.plan.selected {
            match (selected, row) {
                (Selected::CountRows | Selected::Count(_), _) => {
                    let count = counts.next().copied().unwrap_or(0);
                    put_cell(out, Some(&count.to_be_bytes()));
                }
                (Selected::Column(place), Some(row)) => put_cell(out, row.value(view, *place)),
                (Selected::Column(_), None) => put_cell(out, None),
                _ => put_cell(out, self.value(selected, key, row)?.as_deref()),
            }
        }
        Ok(())
    }

    /// The value of one selector.
    pub(super) fn value(
        &self,
        selected: &Selected,
        key: &Bytes,
        row: Option<&RowParts<'_>>,
    ) -> Result<Option<Bytes>, CqlError> {
        let view = &self.plan.view;
        let environment = || self.engine.environment(self.values);
        let big = |number: i64| Some(Bytes::copy_from_slice(&number.to_be_bytes()));
        Ok(match selected {
            Selected::Column(place) => {
                row.and_then(|row| row.value(view, *place)).map(Bytes::copy_from_slice)
            }
            Selected::Writetime(place) => {
                row.and_then(|row| row.cell(view, *place)).and_then(|c| big(c.timestamp))
            }
            Selected::Ttl(place) => {
                let cell = row.and_then(|row| Some((row.cell(view, *place)?, row.now_seconds)));
                let left = cell.filter(|(cell, _)| cell.expires_at_seconds != 0).map(|(cell, now)| {
                    i32::try_from(cell.expires_at_seconds.saturating_sub(now)).unwrap_or(i32::MAX)
                });
                left.map(|left| Bytes::copy_from_slice(&left.to_be_bytes()))
            }
            Selected::Token => row.and_then(|_| big(token_of(key))),
            Selected::Value(value) => match evaluate(value, &environment())? {
                Evaluated::Value(bytes) => Some(bytes),
                Evaluated::Null | Evaluated::Unset => None,
            },
            Selected::Call { function, args } => {
                let args = args.iter().map(|arg| self.value(arg, key, row)).collect::<Result<Vec<_>, _>>()?;
                function_call(*function, &args, &environment())?
            }
            Selected::CountRows | Selected::Count(_) => None,
        })
    }
}
