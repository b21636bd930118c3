//! Keys at the moment of execution: partition keys in Cassandra's serialized form, clustering keys
//! and slices of them as the store orders them.
//!
//! A partition key of one column is that column's value; of several, each is a u16 length, the
//! value and a zero byte (Cassandra's `CompositeType`), which is what drivers hash to find a
//! replica.

use base::{
    MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES, MIN_TOKEN, Token, keys::after_prefix, token_of,
};
use bytes::Bytes;
use store::Slice;

use crate::{
    bind::{
        Choice, ClusteringPlan, CqlError, Environment, Evaluated, RangeBound, RangePlan, TableView, Value,
        ViewColumn, evaluate, evaluate_list,
    },
    types::{compare, keys},
};

/// The most bytes of a partition key, and of the values of a clustering key together.
const MAX_KEY_BYTES: usize = MAX_PARTITION_KEY_BYTES;
/// The most keys or slices that the INs of one statement may make together, and their bytes.
const MAX_COMBINATIONS: usize = 65_536;
const MAX_COMBINATIONS_BYTES: usize = 64 << 20;

/// Refuses what is too long for a key, in Cassandra's words.
fn bounded(len: usize) -> Result<(), CqlError> {
    if len > MAX_KEY_BYTES {
        return Err(CqlError::Invalid(format!(
            "Key length of {len} is longer than maximum of {MAX_KEY_BYTES}"
        )));
    }
    Ok(())
}

/// The serialized key of these components, of which a token may be asked whether or not there can be
/// such a partition.
///
/// # Errors
/// Several components that are too long together.
pub(crate) fn partition_key(components: &[Bytes]) -> Result<Bytes, CqlError> {
    if let [one] = components {
        return Ok(one.clone());
    }
    let value_bytes: usize = components.iter().map(Bytes::len).sum();
    bounded(value_bytes)?;
    let mut key = Vec::with_capacity(value_bytes + 3 * components.len());
    for component in components {
        let len = u16::try_from(component.len()).expect("shorter than all of them, which fit");
        key.extend_from_slice(&len.to_be_bytes());
        key.extend_from_slice(component);
        key.push(0);
    }
    Ok(key.into())
}

/// The token of a serialized key. No partition has the empty one: it is where the ring begins.
pub(crate) fn partition_token(key: &[u8]) -> Token {
    if key.is_empty() { MIN_TOKEN } else { token_of(key) }
}

/// Checks the key of a partition that is read or written.
///
/// # Errors
/// An empty key; one that is too long.
pub(super) fn check_partition_key(key: &Bytes) -> Result<(), CqlError> {
    if key.is_empty() {
        return Err(CqlError::invalid("Key may not be empty"));
    }
    bounded(key.len())
}

/// The components of a serialized key; `None` when it is not one of `count` components.
pub(super) fn split_partition_key(key: &Bytes, count: usize) -> Option<Vec<Bytes>> {
    if count == 1 {
        return Some(vec![key.clone()]);
    }
    let mut components = Vec::with_capacity(count);
    let mut at = 0;
    for _ in 0..count {
        let len = usize::from(u16::from_be_bytes(*key.get(at..)?.first_chunk::<2>()?));
        let end = at + 2 + len;
        if key.get(end) != Some(&0) {
            return None;
        }
        components.push(key.slice(at + 2..end));
        at = end + 1;
    }
    (at == key.len()).then_some(components)
}

/// What follows these columns in a clustering key; `None` when it does not begin with them.
pub(super) fn after_columns<'k>(columns: &[ViewColumn], mut key: &'k [u8]) -> Option<&'k [u8]> {
    for column in columns {
        key = keys::take(&column.ty, is_descending(column), key)?.1;
    }
    Some(key)
}

/// The values of a clustering key; `None` when it is not one of these columns.
pub(super) fn split_clustering(columns: &[ViewColumn], mut key: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        let (value, rest) = keys::take(&column.ty, is_descending(column), key)?;
        values.push(value);
        key = rest;
    }
    key.is_empty().then_some(values)
}

fn is_descending(column: &ViewColumn) -> bool {
    matches!(column.kind, store::ColumnKind::Clustering { descending: true })
}

/// A value that must be one, for a column of the key.
fn required(evaluated: Evaluated, column: &ViewColumn) -> Result<Bytes, CqlError> {
    match evaluated {
        Evaluated::Value(bytes) => Ok(bytes),
        Evaluated::Null => {
            Err(CqlError::Invalid(format!("Invalid null value in condition for column {}", column.name)))
        }
        Evaluated::Unset => Err(CqlError::Invalid(format!("Invalid unset value for column {}", column.name))),
    }
}

/// The alternatives a choice gives, each with a value for every column it restricts.
fn alternatives(
    choice: &Choice,
    columns: &[ViewColumn],
    environment: &Environment<'_>,
) -> Result<Vec<Vec<Bytes>>, CqlError> {
    match choice {
        Choice::One(value) => Ok(vec![vec![required(evaluate(value, environment)?, &columns[0])?]]),
        Choice::In(list) => evaluate_list(list, &columns[0].name, environment)?
            .into_iter()
            .map(|value| Ok(vec![required(value, &columns[0])?]))
            .collect(),
        Choice::Rows(rows) => rows.iter().map(|row| tuple(row, columns, environment)).collect(),
    }
}

fn tuple(
    row: &[Value],
    columns: &[ViewColumn],
    environment: &Environment<'_>,
) -> Result<Vec<Bytes>, CqlError> {
    row.iter().zip(columns).map(|(value, column)| required(evaluate(value, environment)?, column)).collect()
}

/// The values of choices that leave none: nearly every statement, and so worth its own path.
fn single(choices: &[Choice]) -> Option<impl Iterator<Item = &Value>> {
    let one = |choice: &Choice| matches!(choice, Choice::One(_));
    choices.iter().all(one).then(|| {
        choices.iter().filter_map(|choice| match choice {
            Choice::One(value) => Some(value),
            Choice::In(_) | Choice::Rows(_) => None,
        })
    })
}

/// Every combination of the choices, as `start` extended by them.
fn combinations<T: Clone>(
    start: T,
    choices: &[Choice],
    columns: &[ViewColumn],
    environment: &Environment<'_>,
    mut extend: impl FnMut(&mut T, &ViewColumn, &Bytes) -> Result<(), CqlError>,
) -> Result<Vec<T>, CqlError> {
    let mut results = vec![start];
    let mut bytes = 0usize;
    let mut at = 0;
    for choice in choices {
        let columns = &columns[at..at + choice.width()];
        at += choice.width();
        let alternatives = alternatives(choice, columns, environment)?;
        let added: usize = alternatives.iter().flatten().map(Bytes::len).sum();
        bytes = bytes.saturating_mul(alternatives.len()).saturating_add(results.len().saturating_mul(added));
        if results.len().saturating_mul(alternatives.len()) > MAX_COMBINATIONS
            || bytes > MAX_COMBINATIONS_BYTES
        {
            return Err(CqlError::Invalid(format!(
                "IN restrictions make more than {MAX_COMBINATIONS} combinations of key values, or \
                 {MAX_COMBINATIONS_BYTES} bytes"
            )));
        }
        let mut extended = Vec::with_capacity(results.len() * alternatives.len());
        for result in &results {
            for alternative in &alternatives {
                let mut result = result.clone();
                for (column, value) in columns.iter().zip(alternative) {
                    extend(&mut result, column, value)?;
                }
                extended.push(result);
            }
        }
        results = extended;
    }
    Ok(results)
}

/// The keys of the partitions to be written, each once, in the order of their values.
pub(super) fn partition_keys(
    view: &TableView,
    choices: &[Choice],
    environment: &Environment<'_>,
) -> Result<Vec<Bytes>, CqlError> {
    let keys = unchecked_keys(view, choices, environment)?;
    keys.iter().try_for_each(check_partition_key)?;
    Ok(keys)
}

/// The keys that the choices give, each once, in the order of their values. That there can be such
/// partitions is not checked yet.
pub(super) fn unchecked_keys(
    view: &TableView,
    choices: &[Choice],
    environment: &Environment<'_>,
) -> Result<Vec<Bytes>, CqlError> {
    let columns = view.partition();
    if let Some(values) = single(choices) {
        let components =
            values.zip(columns).map(|(value, column)| required(evaluate(value, environment)?, column));
        return Ok(vec![partition_key(&components.collect::<Result<Vec<_>, _>>()?)?]);
    }
    let start = Vec::with_capacity(columns.len());
    let mut keys = combinations(start, choices, columns, environment, |key: &mut Vec<Bytes>, _, value| {
        key.push(value.clone());
        Ok(())
    })?;
    if keys.len() > 1 {
        keys.sort_by(|a, b| {
            let orders = a.iter().zip(b).zip(columns).map(|((a, b), column)| compare(&column.ty, a, b));
            orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        keys.dedup();
    }
    keys.iter().map(|key| partition_key(key)).collect()
}

/// A clustering key under construction, and how many bytes of values it holds.
#[derive(Clone, Default)]
struct Prefix {
    key: Vec<u8>,
    value_bytes: usize,
}

fn extend(prefix: &mut Prefix, column: &ViewColumn, value: &Bytes) -> Result<(), CqlError> {
    let most = keys::max_len(&column.ty).unwrap_or(usize::MAX);
    if value.len() > most {
        return Err(CqlError::Invalid(format!(
            "The value of clustering column {} is too long ({} > {most})",
            column.name,
            value.len()
        )));
    }
    prefix.value_bytes += value.len();
    keys::put(&column.ty, is_descending(column), value, &mut prefix.key);
    Ok(())
}

/// The clustering keys of rows to be written, which the prefix gives: ascending, each once.
///
/// # Errors
/// A key that is too long.
pub(super) fn clustering_keys(
    view: &TableView,
    plan: &ClusteringPlan,
    environment: &Environment<'_>,
) -> Result<Vec<Bytes>, CqlError> {
    let prefixes = prefixes(view, plan, environment)?;
    prefixes.iter().try_for_each(|prefix| bounded(prefix.value_bytes))?;
    Ok(ascending(prefixes))
}

/// What the leading columns may be. What is too long for a key is let through: no row has it, and
/// who asks for it finds none.
fn prefixes(
    view: &TableView,
    plan: &ClusteringPlan,
    environment: &Environment<'_>,
) -> Result<Vec<Prefix>, CqlError> {
    let columns = view.clustering();
    if let Some(values) = single(&plan.prefix) {
        let mut prefix = Prefix::default();
        for (value, column) in values.zip(columns) {
            extend(&mut prefix, column, &required(evaluate(value, environment)?, column)?)?;
        }
        return Ok(vec![prefix]);
    }
    combinations(Prefix::default(), &plan.prefix, columns, environment, extend)
}

fn ascending(prefixes: Vec<Prefix>) -> Vec<Bytes> {
    let mut keys: Vec<Bytes> = prefixes.into_iter().map(|prefix| prefix.key.into()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The slices to be deleted that the plan gives.
///
/// # Errors
/// A bound that no key could have; Cassandra takes it.
pub(super) fn slices_to_delete(
    view: &TableView,
    plan: &ClusteringPlan,
    environment: &Environment<'_>,
) -> Result<Vec<Slice>, CqlError> {
    if plan.range.is_none() && plan.prefix_width() == view.clustering_len {
        return Ok(clustering_keys(view, plan, environment)?.into_iter().map(Slice::row).collect());
    }
    let slices = slices(view, plan, environment)?;
    for end in slices.iter().flat_map(|slice| std::iter::once(&slice.from).chain(&slice.to)) {
        if end.len() > MAX_CLUSTERING_KEY_BYTES {
            bounded(end.len())?;
        }
    }
    Ok(slices)
}

/// The slices that the plan gives, ascending and apart.
pub(super) fn slices(
    view: &TableView,
    plan: &ClusteringPlan,
    environment: &Environment<'_>,
) -> Result<Vec<Slice>, CqlError> {
    let prefixes = ascending(prefixes(view, plan, environment)?);
    let width = plan.prefix_width();
    let Some(range) = &plan.range else {
        if width == view.clustering_len {
            return Ok(prefixes.into_iter().map(Slice::row).collect());
        }
        return Ok(prefixes.into_iter().map(|prefix| Slice { to: end_of(&prefix), from: prefix }).collect());
    };
    let columns = &view.clustering()[width..];
    let bound = |bound: &RangeBound| -> Result<Option<(Vec<u8>, bool)>, CqlError> {
        let Some((values, inclusive)) = bound else {
            return Ok(None);
        };
        let mut key = Prefix::default();
        for (column, value) in columns.iter().zip(tuple(values, columns, environment)?) {
            extend(&mut key, column, &value)?;
        }
        Ok(Some((key.key, *inclusive)))
    };
    let directions: Vec<bool> = columns.iter().map(is_descending).collect();
    let widest = [&range.lower, &range.upper].into_iter().flatten().map(|(values, _)| values.len()).max();
    if directions[..widest.unwrap_or(0)].windows(2).any(|pair| pair[0] != pair[1]) {
        return mixed_slices(&prefixes, columns, range, environment);
    }
    // A descending column turns a range of values around.
    let (mut first, mut last) = (bound(&range.lower)?, bound(&range.upper)?);
    if columns.first().is_some_and(is_descending) {
        std::mem::swap(&mut first, &mut last);
    }
    let mut slices = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let within = |bound: &Option<(Vec<u8>, bool)>, after_when: bool| {
            bound.as_ref().map(|(key, inclusive)| {
                let key = [&prefix[..], key].concat();
                if *inclusive == after_when { after_prefix(&key) } else { key }
            })
        };
        let from: Bytes = within(&first, false).map_or_else(|| prefix.clone(), Bytes::from);
        let to = within(&last, true).map(Bytes::from).or_else(|| end_of(&prefix));
        if to.as_ref().is_none_or(|to| from < *to) {
            slices.push(Slice { from, to });
        }
    }
    Ok(slices)
}

/// The slices of a range over columns of which some are stored the other way around: beyond
/// `(a, b)` is what is beyond `a`, and what has `a` and is beyond `b`. In the order of keys those
/// are stretches apart from each other.
fn mixed_slices(
    prefixes: &[Bytes],
    columns: &[ViewColumn],
    range: &RangePlan,
    environment: &Environment<'_>,
) -> Result<Vec<Slice>, CqlError> {
    let bound = |bound: &RangeBound| -> Result<Option<(Vec<Bytes>, bool)>, CqlError> {
        let evaluated = bound
            .as_ref()
            .map(|(values, inclusive)| Ok::<_, CqlError>((tuple(values, columns, environment)?, *inclusive)));
        evaluated.transpose()
    };
    let (lower, upper) = (bound(&range.lower)?, bound(&range.upper)?);
    let mut slices = Vec::new();
    for prefix in prefixes {
        let from_lower = beyond(prefix, columns, lower.as_ref(), true)?;
        let to_upper = beyond(prefix, columns, upper.as_ref(), false)?;
        for a in &from_lower {
            slices.extend(to_upper.iter().filter_map(|b| common(a, b)));
        }
    }
    slices.sort_by(|a, b| a.from.cmp(&b.from));
    Ok(slices)
}

/// The stretches beyond a bound, above it or below, within a prefix.
fn beyond(
    prefix: &Bytes,
    columns: &[ViewColumn],
    bound: Option<&(Vec<Bytes>, bool)>,
    above: bool,
) -> Result<Vec<Slice>, CqlError> {
    let Some((values, inclusive)) = bound else {
        return Ok(vec![Slice { to: end_of(prefix), from: prefix.clone() }]);
    };
    let mut slices = Vec::with_capacity(values.len() + 1);
    let mut equal = Prefix { key: prefix.to_vec(), value_bytes: 0 };
    for (column, value) in columns.iter().zip(values) {
        let before: Bytes = equal.key.clone().into();
        extend(&mut equal, column, value)?;
        // Larger values come first where they are stored largest first.
        slices.push(if above != is_descending(column) {
            Slice { from: after_prefix(&equal.key).into(), to: end_of(&before) }
        } else {
            Slice { from: before, to: Some(equal.key.clone().into()) }
        });
    }
    if *inclusive {
        slices.push(Slice { to: end_of(&equal.key), from: equal.key.into() });
    }
    Ok(slices)
}

/// What two slices have in common, if anything.
fn common(a: &Slice, b: &Slice) -> Option<Slice> {
    let from = a.from.clone().max(b.from.clone());
    let to = match (&a.to, &b.to) {
        (Some(a), Some(b)) => Some(a.min(b).clone()),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    to.as_ref().is_none_or(|to| from < *to).then_some(Slice { from, to })
}

/// The end of all keys that begin with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Bytes> {
    (!prefix.is_empty()).then(|| after_prefix(prefix).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn partition_keys_come_back(components in vec(vec(any::<u8>(), 1..9), 1..4)) {
            let components: Vec<Bytes> = components.into_iter().map(Bytes::from).collect();
            let key = partition_key(&components).unwrap();
            prop_assert_eq!(split_partition_key(&key, components.len()), Some(components));
        }

        #[test]
        fn arbitrary_keys_never_panic(key: Vec<u8>, count in 1usize..4) {
            let _ = split_partition_key(&key.into(), count);
        }
    }

    #[test]
    fn keys_beyond_bounds_are_refused() {
        let long = Bytes::from(vec![1; MAX_KEY_BYTES + 1]);
        let checked = |components: &[Bytes]| {
            let key = partition_key(components)?;
            check_partition_key(&key).map(|()| key)
        };
        let too_long =
            |len| Err(CqlError::Invalid(format!("Key length of {len} is longer than maximum of 65535")));
        assert_eq!(checked(std::slice::from_ref(&long)), too_long(65_536));
        assert_eq!(checked(&[long.slice(1..)]), Ok(long.slice(1..)));
        // Of several first the values are counted, then their lengths and ends too.
        assert_eq!(checked(&[long.slice(..40_000), long.slice(..40_000)]), too_long(80_000));
        assert_eq!(checked(&[long.slice(..65_529), long.slice(..1)]), too_long(65_536));
        assert_eq!(checked(&[long.slice(..65_528), long.slice(..1)]).unwrap().len(), 65_535);
        assert_eq!(checked(&[Bytes::new()]), Err(CqlError::invalid("Key may not be empty")));
        assert!(checked(&[Bytes::new(), Bytes::new()]).is_ok());
    }
}
