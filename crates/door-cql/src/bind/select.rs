//! SELECT.

use std::sync::Arc;

use base::ColumnId;

use super::{
    CqlError, Plan, Scope, TableView, Value,
    functions::{self, Function},
    modify::marker_of,
    restrict::{gather, is_descending},
    rows::{Choice, ClusteringPlan, KeyPlan, Predicate, TokenPlan},
    term::Markers,
};
use crate::{
    exec::{ColumnSpec, ResultMetadata},
    lang::{Select, Selector, Term},
    types::CqlType,
};

/// A read.
#[derive(Clone, Debug)]
pub(crate) struct SelectPlan {
    pub(crate) view: Arc<TableView>,
    pub(crate) selected: Vec<Selected>,
    pub(crate) result: Arc<ResultMetadata>,
    /// Whether rows are counted instead of returned.
    pub(crate) aggregate: bool,
    /// What Cassandra warns of.
    pub(crate) warning: Option<&'static str>,
    pub(crate) keys: KeyPlan,
    /// The stretch of the ring that looked-up keys must be in besides.
    pub(crate) key_tokens: Option<TokenPlan>,
    pub(crate) clustering: ClusteringPlan,
    pub(crate) predicates: Vec<Predicate>,
    /// Why Cassandra refuses this, if it does (it filters without `ALLOW FILTERING`).
    pub(crate) refusal: Option<String>,
    /// How many clustering columns ORDER BY reaches over; 0 without it.
    pub(crate) order_width: usize,
    /// Whether rows are asked for against the stored order.
    pub(crate) reversed: bool,
    /// Whether one row a partition is enough.
    pub(crate) distinct: bool,
    pub(crate) limit: Option<Value>,
    pub(crate) per_partition_limit: Option<Value>,
    /// Columns whose cells are needed; `None` is all.
    pub(crate) columns: Option<Vec<ColumnId>>,
}

/// One column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selected {
    /// The column of the view at this place.
    Column(usize),
    /// Its timestamp.
    Writetime(usize),
    /// What is left of its time to live.
    Ttl(usize),
    /// The partition's token.
    Token,
    Value(Value),
    Call {
        function: Function,
        args: Vec<Selected>,
    },
    CountRows,
    /// Rows in which this is not null.
    Count(Box<Selected>),
}

impl Selected {
    /// Places of the columns it reads.
    fn columns(&self, out: &mut Vec<usize>) {
        match self {
            Selected::Column(place) | Selected::Writetime(place) | Selected::Ttl(place) => out.push(*place),
            Selected::Call { args, .. } => args.iter().for_each(|arg| arg.columns(out)),
            Selected::Count(inner) => inner.columns(out),
            Selected::Token | Selected::Value(_) | Selected::CountRows => {}
        }
    }
}

pub(super) fn bind(
    select: &Select,
    scope: &Scope<'_>,
    markers: &mut Markers,
) -> Result<(Plan, Option<Arc<TableView>>), CqlError> {
    let view = scope.view(&select.table)?;
    let (selected, specs) = match &select.selectors {
        None => everything(&view),
        Some(selectors) => {
            let mut selected = Vec::with_capacity(selectors.len());
            let mut specs = Vec::with_capacity(selectors.len());
            for (selector, alias) in selectors {
                let (one, ty) = select_one(selector, &view, markers)?;
                let name = alias.clone().unwrap_or_else(|| result_name(selector));
                selected.push(one);
                specs.push(ColumnSpec { name: name.into(), ty });
            }
            (selected, specs)
        }
    };
    let aggregate = selected.iter().any(|one| matches!(one, Selected::CountRows | Selected::Count(_)));
    let restrictions = gather(&select.relations, &view, markers)?.for_select()?;
    if select.distinct && select.per_partition_limit.is_some() {
        return Err(CqlError::invalid("PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries"));
    }
    if aggregate && select.per_partition_limit.is_some() {
        return Err(CqlError::invalid("PER PARTITION LIMIT is not allowed with aggregate queries."));
    }
    if select.distinct {
        let clustering = &restrictions.clustering;
        let restricts_rows = !clustering.prefix.is_empty()
            || clustering.range.is_some()
            || restrictions.predicates.iter().any(|predicate| predicate.column() >= view.partition_len);
        check_distinct(&selected, &view, restricts_rows)?;
    }
    let order = order(select, &view, &restrictions.keys, &restrictions.clustering)?;
    let mut limit = |term: &Option<Term>, name: &str| {
        term.as_ref().map(|term| markers.value(term, name, &CqlType::INT)).transpose()
    };
    let per_partition_limit = limit(&select.per_partition_limit, "[per_partition_limit]")?;
    let limit = limit(&select.limit, "[limit]")?;
    let warning = match &restrictions.keys {
        KeyPlan::Keys(choices) => {
            markers.route_by(choices.iter().map(marker_of));
            let several = choices.iter().any(|choice| !matches!(choice, Choice::One(_)));
            several.then_some("Aggregation query used on multiple partition keys (IN restriction)")
        }
        KeyPlan::Tokens(tokens) => {
            let by_key = restrictions.predicates.iter().any(|one| one.column() < view.partition_len);
            let everywhere = *tokens == TokenPlan::default() && !by_key;
            everywhere.then_some("Aggregation query used without partition key")
        }
    };
    let columns = needed_columns(&selected, &restrictions.predicates, &view, select.selectors.is_none());
    let plan = SelectPlan {
        result: Arc::new(ResultMetadata {
            keyspace: view.keyspace.clone(),
            table: view.name.clone(),
            columns: specs,
        }),
        selected,
        warning: warning.filter(|_| aggregate),
        aggregate,
        keys: restrictions.keys,
        key_tokens: restrictions.key_tokens,
        clustering: restrictions.clustering,
        predicates: restrictions.predicates,
        refusal: restrictions.refusal.filter(|_| !select.allow_filtering && !view.implicit_filtering),
        order_width: order.width,
        reversed: order.reversed,
        distinct: select.distinct,
        limit,
        per_partition_limit,
        columns,
        view: view.clone(),
    };
    Ok((Plan::Select(Arc::new(plan)), Some(view)))
}

fn everything(view: &TableView) -> (Vec<Selected>, Vec<ColumnSpec>) {
    let spec = |(place, column): (usize, &super::ViewColumn)| {
        (Selected::Column(place), ColumnSpec { name: column.name.clone(), ty: column.ty.clone() })
    };
    view.columns.iter().enumerate().map(spec).unzip()
}

/// A selector and its type.
fn select_one(
    selector: &Selector,
    view: &TableView,
    markers: &mut Markers,
) -> Result<(Selected, CqlType), CqlError> {
    Ok(match selector {
        Selector::Column(name) => {
            let place = view.column(name)?;
            (Selected::Column(place), view.columns[place].ty.clone())
        }
        Selector::Writetime(name) => {
            (Selected::Writetime(cell_column(name, "writetime", view)?), CqlType::BIGINT)
        }
        Selector::Ttl(name) => (Selected::Ttl(cell_column(name, "ttl", view)?), CqlType::INT),
        Selector::CountRows => (Selected::CountRows, CqlType::BIGINT),
        Selector::Literal(Term::TypeHint { ty, term }) => {
            let ty = CqlType::from_expr(ty)?;
            (Selected::Value(markers.value(term, "[selection]", &ty)?), ty)
        }
        Selector::Literal(term) => {
            return Err(CqlError::Invalid(format!(
                "Cannot infer type for term {term} in selection clause (try using a cast to force a type)"
            )));
        }
        Selector::Call { name, args } if name == "token" => (select_token(args, view)?, CqlType::BIGINT),
        Selector::Call { name, args } if name == "count" => match args.as_slice() {
            [arg] => (Selected::Count(Box::new(select_one(arg, view, markers)?.0)), CqlType::BIGINT),
            _ => return Err(CqlError::invalid("Invalid number of arguments in call to function count")),
        },
        Selector::Call { name, args } => {
            let mut types = Vec::with_capacity(args.len());
            for arg in args {
                types.push(match arg {
                    Selector::Literal(_) => None,
                    arg => Some(select_one(arg, view, markers)?.1),
                });
            }
            let shown: Vec<String> = args.iter().map(result_name).collect();
            let signature = functions::resolve(name, &types, &shown)?;
            let mut bound = Vec::with_capacity(args.len());
            for arg in args {
                bound.push(match (arg, signature.argument) {
                    (Selector::Literal(term), Some(native)) => {
                        Selected::Value(markers.value(term, "[selection]", &CqlType::Native(native))?)
                    }
                    (arg, _) => select_one(arg, view, markers)?.0,
                });
            }
            if bound.iter().any(|arg| matches!(arg, Selected::CountRows | Selected::Count(_))) {
                return Err(CqlError::unsupported("a function of an aggregate"));
            }
            let call = Selected::Call { function: signature.function, args: bound };
            (call, CqlType::Native(signature.result))
        }
    })
}

/// A column that has a cell of its own.
fn cell_column(name: &str, function: &str, view: &TableView) -> Result<usize, CqlError> {
    let place = view.column(name)?;
    let column = &view.columns[place];
    if column.is_key() {
        return Err(CqlError::Invalid(format!(
            "Cannot use selection function {function} on PRIMARY KEY part {}",
            column.name
        )));
    }
    if column.ty.is_multi_cell() {
        return Err(CqlError::unsupported(format!("{function} of a collection")));
    }
    Ok(place)
}

fn select_token(args: &[Selector], view: &TableView) -> Result<Selected, CqlError> {
    let whole = args.len() == view.partition_len
        && args
            .iter()
            .zip(view.partition())
            .all(|(arg, column)| matches!(arg, Selector::Column(name) if **name == *column.name));
    if whole {
        return Ok(Selected::Token);
    }
    functions::check_arity("token", view.partition_len, args.len())?;
    for (i, (arg, wanted)) in args.iter().zip(view.partition()).enumerate() {
        if let Selector::Column(name) = arg
            && view.columns[view.column(name)?].ty != wanted.ty
        {
            return Err(functions::wrong_argument("token", i, name, &wanted.ty));
        }
    }
    let order: Vec<&str> = view.partition().iter().map(|column| &*column.name).collect();
    Err(CqlError::Invalid(format!(
        "The token function arguments must be in the partition key order: {}",
        order.join(", ")
    )))
}

/// The name of a result column that has no alias.
fn result_name(selector: &Selector) -> String {
    match selector {
        Selector::Column(name) => name.clone(),
        Selector::CountRows => "count".to_owned(),
        Selector::Writetime(name) => format!("writetime({name})"),
        Selector::Ttl(name) => format!("ttl({name})"),
        Selector::Call { name, args } => {
            let args: Vec<String> = args.iter().map(result_name).collect();
            format!("system.{name}({})", args.join(", "))
        }
        Selector::Literal(term) => term.to_string(),
    }
}

fn not_distinct(column: &str) -> CqlError {
    CqlError::Invalid(format!(
        "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {column})"
    ))
}

fn check_distinct(selected: &[Selected], view: &TableView, restricts_rows: bool) -> Result<(), CqlError> {
    let mut places = Vec::new();
    selected.iter().for_each(|one| one.columns(&mut places));
    if selected.iter().any(|one| matches!(one, Selected::Token)) {
        places.extend(0..view.partition_len);
    }
    if let Some(place) = places.iter().find(|place| **place >= view.partition_len) {
        return Err(not_distinct(&view.columns[*place].name));
    }
    if let Some(missing) = (0..view.partition_len).find(|place| !places.contains(place)) {
        return Err(CqlError::Invalid(format!(
            "SELECT DISTINCT queries must request all the partition key columns (missing {})",
            view.columns[missing].name
        )));
    }
    if restricts_rows {
        return Err(CqlError::invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.",
        ));
    }
    Ok(())
}

/// What ORDER BY asks for.
#[derive(Default)]
struct Order {
    width: usize,
    reversed: bool,
}

fn order(
    select: &Select,
    view: &TableView,
    keys: &KeyPlan,
    clustering: &ClusteringPlan,
) -> Result<Order, CqlError> {
    if select.order_by.is_empty() {
        return Ok(Order::default());
    }
    if !matches!(keys, KeyPlan::Keys(_)) {
        return Err(CqlError::invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    let several = |choice: &Choice| !matches!(choice, Choice::One(_));
    if select.distinct && matches!(keys, KeyPlan::Keys(choices) if choices.iter().any(several)) {
        // What rows are sorted by would have to be read.
        return Err(not_distinct(&select.order_by[0].0));
    }
    let mut directions: Vec<(usize, bool)> = Vec::with_capacity(select.order_by.len());
    for (name, descending) in &select.order_by {
        let place = view.column(name)?;
        if place < view.partition_len || place >= view.key_len() {
            return Err(CqlError::Invalid(format!(
                "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {name}"
            )));
        }
        // A column said twice counts once, as it was said last.
        match directions.iter_mut().find(|(known, _)| *known == place) {
            Some((_, direction)) => *direction = *descending,
            None => directions.push((place, *descending)),
        }
    }
    let mut next = view.partition_len;
    let mut reversed = None;
    for (place, descending) in directions {
        // Columns that have one value each may be left out.
        while next < place && has_one_value(clustering, next - view.partition_len) {
            next += 1;
        }
        if place != next {
            return Err(CqlError::invalid(
                "Order by currently only supports the ordering of columns following their declared order in the PRIMARY KEY",
            ));
        }
        next += 1;
        let against = descending != is_descending(view, place);
        if reversed.is_some_and(|reversed| reversed != against) {
            return Err(CqlError::invalid("Unsupported order by relation"));
        }
        reversed = Some(against);
    }
    Ok(Order { width: next - view.partition_len, reversed: reversed == Some(true) })
}

/// Whether WHERE gives the clustering column at this place one value.
fn has_one_value(clustering: &ClusteringPlan, place: usize) -> bool {
    let mut at = 0;
    clustering.prefix.iter().any(|choice| {
        let here = at == place && matches!(choice, Choice::One(_));
        at += choice.width();
        here
    })
}

fn needed_columns(
    selected: &[Selected],
    predicates: &[Predicate],
    view: &TableView,
    everything: bool,
) -> Option<Vec<ColumnId>> {
    if everything {
        return None;
    }
    let mut places = Vec::new();
    selected.iter().for_each(|one| one.columns(&mut places));
    places.extend(predicates.iter().map(Predicate::column));
    let mut ids: Vec<ColumnId> = places
        .iter()
        .map(|place| &view.columns[*place])
        .filter(|column| !column.is_key())
        .map(|c| c.id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

impl SelectPlan {
    /// Whether it asks for exactly one row, by its whole key.
    pub(crate) fn is_point(&self) -> bool {
        let one = |choices: &[Choice]| choices.iter().all(|choice| matches!(choice, Choice::One(_)));
        matches!(&self.keys, KeyPlan::Keys(keys) if one(keys))
            && one(&self.clustering.prefix)
            && self.clustering.range.is_none()
            && self.clustering.prefix_width() == self.view.clustering_len
    }
}
