//! WHERE: from relations to what is looked up and what is filtered.
//!
//! Relations are first gathered per column ([`gather`]). Then the partition key decides between
//! keys to look up and a stretch of the ring to scan; clustering columns give slices as long as
//! they are restricted without gaps; what is left becomes [`Predicate`]s, which every row read
//! is held against. Cassandra refuses predicates without `ALLOW FILTERING`; its sentence is kept
//! ([`Restrictions::refusal`]) for the executor to decide what to do.

use super::{
    Choice, ClusteringPlan, CqlError, InList, KeyPlan, Predicate, RangePlan, TableView, TokenPlan, Value,
    functions, term::Markers,
};
use crate::{
    lang::{Access, Operator, Relation, RelationValue, Term, quoted_name},
    types::CqlType,
};

/// Cassandra's sentence.
pub(crate) const NEEDS_ALLOW_FILTERING: &str = "Cannot execute this query as it might involve data filtering and \
     thus may have unpredictable performance. If you want to execute this query despite the performance \
     unpredictability, use ALLOW FILTERING";

/// What WHERE says of one column.
#[derive(Clone, Debug, Default)]
struct ColumnRelations {
    equal: Option<Value>,
    list: Option<InList>,
    lower: Option<(Value, bool)>,
    upper: Option<(Value, bool)>,
}

impl ColumnRelations {
    fn is_empty(&self) -> bool {
        self.equal.is_none() && self.list.is_none() && !self.has_range()
    }

    fn has_range(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    fn choice(&self) -> Option<Choice> {
        self.equal.clone().map(Choice::One).or_else(|| self.list.clone().map(Choice::In))
    }

    fn predicates(&self, column: usize, out: &mut Vec<Predicate>) {
        let mut compare = |operator, value: &Value| {
            out.push(Predicate::Compare { column, operator, value: value.clone() });
        };
        if let Some(value) = &self.equal {
            compare(Operator::Eq, value);
        }
        if let Some((value, inclusive)) = &self.lower {
            compare(if *inclusive { Operator::Ge } else { Operator::Gt }, value);
        }
        if let Some((value, inclusive)) = &self.upper {
            compare(if *inclusive { Operator::Le } else { Operator::Lt }, value);
        }
        if let Some(list) = &self.list {
            out.push(Predicate::In { column, list: list.clone() });
        }
    }
}

/// What WHERE says, gathered.
pub(super) struct Gathered<'v> {
    view: &'v TableView,
    columns: Vec<ColumnRelations>,
    token: Option<TokenPlan>,
    /// First clustering column and rows of `(a, b) IN (...)`.
    rows: Option<(usize, Vec<Vec<Value>>)>,
    /// First clustering column and bounds of `(a, b) > (...)`.
    tuple_range: Option<(usize, RangePlan)>,
}

/// What is looked up and what is filtered.
pub(super) struct Restrictions {
    pub(super) keys: KeyPlan,
    /// The stretch of the ring that the keys must be in besides.
    pub(super) key_tokens: Option<TokenPlan>,
    pub(super) clustering: ClusteringPlan,
    pub(super) predicates: Vec<Predicate>,
    /// Why Cassandra refuses this without `ALLOW FILTERING`, if it does.
    pub(super) refusal: Option<String>,
}

/// Gathers the relations of WHERE.
pub(super) fn gather<'v>(
    relations: &[Relation],
    view: &'v TableView,
    markers: &mut Markers,
) -> Result<Gathered<'v>, CqlError> {
    let mut gathered = Gathered {
        view,
        columns: vec![ColumnRelations::default(); view.columns.len()],
        token: None,
        rows: None,
        tuple_range: None,
    };
    for relation in relations {
        match relation {
            Relation::Column { column, access, operator, value } => {
                if *access != Access::Whole {
                    return Err(CqlError::unsupported("restricting parts of a value"));
                }
                let column = view.column(column)?;
                gathered.column(column, *operator, value, relation, markers)?;
            }
            Relation::Token { columns, operator, value } => {
                gathered.token(columns, *operator, value, markers)?
            }
            Relation::Tuple { columns, operator, value } => {
                gathered.tuple(columns, *operator, value, relation, markers)?;
            }
        }
    }
    Ok(gathered)
}

impl<'v> Gathered<'v> {
    fn column(
        &mut self,
        place: usize,
        operator: Operator,
        value: &RelationValue,
        relation: &Relation,
        markers: &mut Markers,
    ) -> Result<(), CqlError> {
        let column = &self.view.columns[place];
        match (operator, value) {
            (Operator::Ne, _) => Err(CqlError::Invalid(format!("Unsupported \"!=\" relation: {relation}"))),
            (Operator::Like, _) => Err(CqlError::Invalid(format!(
                "LIKE restriction is only supported on properly indexed columns. {relation} is not valid."
            ))),
            (Operator::Contains | Operator::ContainsKey, _) if column.ty.native().is_some() => {
                let kind = if operator == Operator::ContainsKey { "map" } else { "collection" };
                Err(CqlError::Invalid(format!(
                    "Cannot use {} on non-{kind} column {}",
                    operator.text(),
                    column.name
                )))
            }
            (Operator::Contains | Operator::ContainsKey, _) => Err(CqlError::unsupported(operator.text())),
            (Operator::In, value) => {
                let list =
                    in_list(value, &format!("in({})", column.name), &column.name, &column.ty, markers)?;
                self.add_list(place, list)
            }
            (operator, RelationValue::One(term)) => {
                if column.ty.references_duration() && operator.is_range() {
                    return Err(CqlError::invalid(
                        "Slice restrictions are not supported on duration columns",
                    ));
                }
                let value = markers.column_value(term, column)?;
                self.add(place, operator, value)
            }
            _ => Err(CqlError::Invalid(format!("Unsupported restriction: {relation}"))),
        }
    }

    fn add(&mut self, place: usize, operator: Operator, value: Value) -> Result<(), CqlError> {
        let name = &self.view.columns[place].name;
        let relations = &mut self.columns[place];
        let refuse = |what: &str| {
            Err(CqlError::Invalid(format!(
                "{name} cannot be restricted by more than one relation if it includes {what}"
            )))
        };
        if operator == Operator::Eq && relations.has_range() {
            return Err(CqlError::Invalid(format!(
                "Column \"{name}\" cannot be restricted by both an equality and an inequality relation"
            )));
        }
        if relations.equal.is_some() || (operator == Operator::Eq && !relations.is_empty()) {
            return refuse("an Equal");
        }
        if relations.list.is_some() {
            return refuse("a IN");
        }
        let twice = |end: &str| {
            Err(CqlError::Invalid(format!(
                "More than one restriction was found for the {end} bound on {name}"
            )))
        };
        match operator {
            Operator::Eq => relations.equal = Some(value),
            Operator::Gt | Operator::Ge if relations.lower.is_some() => return twice("start"),
            Operator::Gt | Operator::Ge => relations.lower = Some((value, operator == Operator::Ge)),
            _ if relations.upper.is_some() => return twice("end"),
            _ => relations.upper = Some((value, operator == Operator::Le)),
        }
        Ok(())
    }

    fn add_list(&mut self, place: usize, list: InList) -> Result<(), CqlError> {
        let name = &self.view.columns[place].name;
        if !self.columns[place].is_empty() {
            let what = if self.columns[place].equal.is_some() { "an Equal" } else { "a IN" };
            return Err(CqlError::Invalid(format!(
                "{name} cannot be restricted by more than one relation if it includes {what}"
            )));
        }
        // A list of one is an equality, and is routed and planned as one.
        match list {
            InList::Values(mut values) if values.len() == 1 => {
                self.columns[place].equal = values.pop();
            }
            list => self.columns[place].list = Some(list),
        }
        Ok(())
    }

    fn token(
        &mut self,
        columns: &[String],
        operator: Operator,
        term: &Term,
        markers: &mut Markers,
    ) -> Result<(), CqlError> {
        let view = self.view;
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            places.push(view.column(column)?);
        }
        if places.iter().any(|place| *place >= view.partition_len) || places.len() != view.partition_len {
            return Err(CqlError::invalid(
                "The token() function must be applied to all partition key components or none of them",
            ));
        }
        if places.iter().enumerate().any(|(i, place)| i != *place) {
            let order: Vec<&str> = view.partition().iter().map(|column| &*column.name).collect();
            return Err(CqlError::Invalid(format!(
                "The token function arguments must be in the partition key order: {}",
                order.join(", ")
            )));
        }
        let value = match term {
            Term::Call { name, args } if name == "token" => token_of_values(view, args, markers)?,
            term => markers.value(term, "partition key token", &CqlType::BIGINT)?,
        };
        let plan = self.token.get_or_insert_default();
        let (lower, upper) = match operator {
            Operator::Eq => (Some((value.clone(), true)), Some((value, true))),
            Operator::Gt | Operator::Ge => (Some((value, operator == Operator::Ge)), None),
            Operator::Lt | Operator::Le => (None, Some((value, operator == Operator::Le))),
            _ => {
                return Err(CqlError::Invalid(format!(
                    "Unsupported \"{}\" relation on the token() function",
                    operator.text()
                )));
            }
        };
        for (slot, bound, end) in [(&mut plan.lower, lower, "start"), (&mut plan.upper, upper, "end")] {
            if bound.is_some() && slot.is_some() {
                return Err(CqlError::Invalid(format!(
                    "More than one restriction was found for the {end} bound on {}",
                    columns.join(", ")
                )));
            }
            if bound.is_some() {
                *slot = bound;
            }
        }
        Ok(())
    }

    fn tuple(
        &mut self,
        columns: &[String],
        operator: Operator,
        value: &RelationValue,
        relation: &Relation,
        markers: &mut Markers,
    ) -> Result<(), CqlError> {
        let view = self.view;
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            let place = view.column(column)?;
            if place < view.partition_len || place >= view.key_len() {
                return Err(CqlError::Invalid(format!(
                    "Multi-column relations can only be applied to clustering columns but was applied to: {column}"
                )));
            }
            places.push(place);
        }
        let first = places[0];
        if let Some(i) = (1..places.len()).find(|i| places[..*i].contains(&places[*i])) {
            return Err(CqlError::Invalid(format!(
                "Column \"{}\" appeared twice in a relation: {relation}",
                columns[i]
            )));
        }
        if places.iter().enumerate().any(|(i, place)| *place != first + i) {
            return Err(CqlError::Invalid(format!(
                "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {relation}"
            )));
        }
        let mut row = |term: &Term| -> Result<Vec<Value>, CqlError> {
            match term {
                Term::Tuple(terms) if terms.len() == places.len() => terms
                    .iter()
                    .zip(&places)
                    .map(|(term, place)| markers.column_value(term, &view.columns[*place]))
                    .collect(),
                Term::Tuple(terms) => Err(CqlError::Invalid(format!(
                    "Expected {} elements in value tuple, but got {}: {term}",
                    places.len(),
                    terms.len()
                ))),
                Term::Marker(_) => Err(CqlError::unsupported("a bind marker for a whole tuple")),
                _ => Err(CqlError::Invalid(format!("Invalid tuple type literal for {relation}"))),
            }
        };
        match (operator, value) {
            (Operator::Eq, RelationValue::One(term)) => {
                for (place, value) in places.iter().zip(row(term)?) {
                    self.add(*place, Operator::Eq, value)?;
                }
                Ok(())
            }
            (Operator::In, RelationValue::List(terms)) => {
                let mut rows = terms.iter().map(&mut row).collect::<Result<Vec<_>, _>>()?;
                // A list of one is an equality.
                if rows.len() == 1 {
                    for (place, value) in places.iter().zip(rows.remove(0)) {
                        self.add(*place, Operator::Eq, value)?;
                    }
                    return Ok(());
                }
                if self.rows.replace((first, rows)).is_some() {
                    return Err(CqlError::Invalid(format!("Unsupported restriction: {relation}")));
                }
                Ok(())
            }
            (operator, RelationValue::One(term)) if operator.is_range() => {
                let values = row(term)?;
                let (start, range) = self.tuple_range.get_or_insert_with(|| (first, RangePlan::default()));
                let is_lower = matches!(operator, Operator::Gt | Operator::Ge);
                let slot = if is_lower { &mut range.lower } else { &mut range.upper };
                if *start != first || slot.is_some() {
                    return Err(CqlError::Invalid(format!(
                        "More than one restriction was found for the {} bound on {}",
                        if is_lower { "start" } else { "end" },
                        columns.join(", ")
                    )));
                }
                *slot = Some((values, matches!(operator, Operator::Ge | Operator::Le)));
                Ok(())
            }
            (Operator::Ne, _) => Err(CqlError::Invalid(format!("Unsupported \"!=\" relation: {relation}"))),
            _ => Err(CqlError::unsupported("this kind of tuple relation")),
        }
    }

    /// Names of restricted columns among those at `places`.
    fn restricted(&self, places: impl Iterator<Item = usize>) -> Vec<String> {
        let restricted = places.filter(|place| !self.columns[*place].is_empty());
        restricted.map(|place| quoted_name(&self.view.columns[place].name)).collect()
    }

    /// The choices of the partition key, for a statement that must have all of it.
    pub(super) fn whole_partition_key(&self, verb: &str) -> Result<Vec<Choice>, CqlError> {
        if self.token.is_some() {
            return Err(CqlError::Invalid(format!(
                "The token function cannot be used in WHERE clauses for {verb} statements"
            )));
        }
        let columns = &self.columns[..self.view.partition_len];
        let missing: Vec<&str> = columns
            .iter()
            .zip(self.view.partition())
            .filter(|(relations, _)| relations.is_empty())
            .map(|(_, column)| &*column.name)
            .collect();
        if !missing.is_empty() {
            return Err(CqlError::Invalid(format!(
                "Some partition key parts are missing: {}",
                missing.join(", ")
            )));
        }
        let choices: Option<Vec<Choice>> = columns.iter().map(ColumnRelations::choice).collect();
        choices.ok_or_else(|| {
            CqlError::Invalid(format!(
                "Only EQ and IN relation are supported on the partition key (unless you use the token() function) for {verb} statements"
            ))
        })
    }

    /// Names of restricted columns that are not part of the key.
    pub(super) fn restricted_values(&self) -> Vec<String> {
        self.restricted(self.view.key_len()..self.view.columns.len())
    }

    /// Slices as far as clustering columns are restricted without a gap, and the places of those
    /// that are restricted beyond; `None` of them is where planning ended cleanly.
    pub(super) fn clustering(&self) -> Result<(ClusteringPlan, Vec<usize>, Option<String>), CqlError> {
        let view = self.view;
        let mut plan = ClusteringPlan::default();
        let mut at = view.partition_len;
        let end = view.key_len();
        while at < end {
            if let Some((first, rows)) = self.rows.as_ref().filter(|(first, _)| *first == at) {
                let width = rows.first().map_or(1, Vec::len);
                if self.columns[*first..*first + width].iter().any(|column| !column.is_empty()) {
                    return Err(CqlError::Invalid(format!(
                        "{} cannot be restricted by more than one relation if it includes a IN",
                        view.columns[at].name
                    )));
                }
                plan.prefix.push(Choice::Rows(rows.clone()));
                at += width;
            } else if let Some(choice) = self.columns[at].choice() {
                plan.prefix.push(choice);
                at += 1;
            } else {
                break;
            }
        }
        let prefix_end = at;
        if let Some((first, range)) = &self.tuple_range {
            if *first != prefix_end || self.columns[*first..end].iter().any(|column| !column.is_empty()) {
                return Err(CqlError::unsupported("a tuple range beside other relations on its columns"));
            }
            plan.range = Some(range.clone());
            at = end;
        } else if at < end && self.columns[at].has_range() {
            let relations = &self.columns[at];
            let bound = |bound: &Option<(Value, bool)>| {
                bound.as_ref().map(|(value, inclusive)| (vec![value.clone()], *inclusive))
            };
            plan.range = Some(RangePlan { lower: bound(&relations.lower), upper: bound(&relations.upper) });
            at += 1;
        }
        if self.rows.as_ref().is_some_and(|(first, _)| *first >= prefix_end) {
            return Err(CqlError::unsupported("a tuple IN after an unrestricted clustering column"));
        }
        let beyond: Vec<usize> = (at..end).filter(|place| !self.columns[*place].is_empty()).collect();
        let refusal = beyond.first().map(|place| {
            let name = |place: usize| &view.columns[place].name;
            if plan.range.is_some() {
                format!(
                    "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ relation)",
                    name(*place),
                    name(prefix_end)
                )
            } else {
                format!(
                    "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                    name(*place),
                    name(prefix_end)
                )
            }
        });
        Ok((plan, beyond, refusal))
    }

    /// The plan of a SELECT.
    pub(super) fn for_select(&self) -> Result<Restrictions, CqlError> {
        let view = self.view;
        let mut predicates = Vec::new();
        let mut refusal = None;
        let partition = &self.columns[..view.partition_len];
        let restricted = partition.iter().filter(|column| !column.is_empty()).count();
        let choices: Option<Vec<Choice>> = partition.iter().map(ColumnRelations::choice).collect();
        let keys = match choices {
            Some(choices) => KeyPlan::Keys(choices),
            None => {
                for (place, relations) in partition.iter().enumerate() {
                    relations.predicates(place, &mut predicates);
                }
                if restricted > 0 {
                    refusal = Some(NEEDS_ALLOW_FILTERING.to_owned());
                }
                KeyPlan::Tokens(self.token.clone().unwrap_or_default())
            }
        };
        let (mut clustering, mut beyond, gap) = self.clustering()?;
        if matches!(keys, KeyPlan::Tokens(_)) {
            // The store scans whole partitions, so clustering columns are filtered too.
            if self.rows.is_some() || self.tuple_range.is_some() {
                return Err(CqlError::unsupported("a tuple relation without the partition key"));
            }
            clustering = ClusteringPlan::default();
            beyond = (view.partition_len..view.key_len())
                .filter(|place| !self.columns[*place].is_empty())
                .collect();
            if !beyond.is_empty() {
                refusal = refusal.or(gap).or_else(|| Some(NEEDS_ALLOW_FILTERING.to_owned()));
            }
        } else {
            refusal = refusal.or(gap);
        }
        for place in beyond {
            self.columns[place].predicates(place, &mut predicates);
        }
        for place in view.key_len()..view.columns.len() {
            let relations = &self.columns[place];
            if !relations.is_empty() {
                relations.predicates(place, &mut predicates);
                refusal = refusal.or_else(|| Some(NEEDS_ALLOW_FILTERING.to_owned()));
            }
        }
        let key_tokens = self.token.clone().filter(|_| matches!(keys, KeyPlan::Keys(_)));
        Ok(Restrictions { keys, key_tokens, clustering, predicates, refusal })
    }
}

/// Whether a clustering column is stored largest first.
pub(super) fn is_descending(view: &TableView, place: usize) -> bool {
    matches!(view.columns[place].kind, store::ColumnKind::Clustering { descending: true })
}

/// The values of IN, called `marker_name` where one marker stands for all.
pub(super) fn in_list(
    value: &RelationValue,
    marker_name: &str,
    name: &str,
    ty: &CqlType,
    markers: &mut Markers,
) -> Result<InList, CqlError> {
    match value {
        RelationValue::List(terms) => {
            let values = terms.iter().map(|term| markers.value(term, name, ty));
            Ok(InList::Values(values.collect::<Result<Vec<_>, _>>()?))
        }
        RelationValue::Marker(marker) => {
            let list = CqlType::List(Box::new(ty.clone()));
            Ok(InList::Marker { index: markers.declare(marker, marker_name, &list), element: ty.clone() })
        }
        RelationValue::One(_) | RelationValue::None => Err(CqlError::invalid("IN needs a list of values")),
    }
}

/// `token(1, 'a')` on the right side.
fn token_of_values(view: &TableView, args: &[Term], markers: &mut Markers) -> Result<Value, CqlError> {
    functions::check_arity("token", view.partition_len, args.len())?;
    let mut values = Vec::with_capacity(args.len());
    for (i, (arg, column)) in args.iter().zip(view.partition()).enumerate() {
        let value = markers.value(arg, &format!("arg{i}(system.token)"), &column.ty);
        values.push(match (value, arg) {
            (Err(CqlError::Invalid(_)), Term::Literal(_)) => {
                return Err(functions::wrong_argument("token", i, &arg.to_string(), &column.ty));
            }
            (value, _) => value?,
        });
    }
    Ok(Value::Token(values))
}
