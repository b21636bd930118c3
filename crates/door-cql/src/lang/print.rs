//! Trees back to text: for error messages that quote the statement, and for tests that hold what
//! is printed against what was parsed.

use std::fmt::{self, Display, Formatter};

use super::{
    ast::{
        Access, Change, Condition, ConditionValue, CreateTable, DeleteTarget, Marker, Property, Relation,
        RelationValue, Select, Selector, Statement, TableName, Term, TypeExpr, Using,
    },
    parser::is_reserved,
};

/// A name as it must be written to be read back: quoted unless it is all lower case and no
/// reserved word.
pub(crate) fn quoted_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain && !is_reserved(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Items with a separator between them.
fn joined<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    separator: &str,
    mut item: impl FnMut(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (i, one) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item(one, f)?;
    }
    Ok(())
}

fn names(f: &mut Formatter<'_>, items: &[String]) -> fmt::Result {
    joined(f, items, ", ", |name, f| f.write_str(&quoted_name(name)))
}

impl Display for TableName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.keyspace {
            write!(f, "{}.", quoted_name(keyspace))?;
        }
        f.write_str(&quoted_name(&self.name))
    }
}

impl Display for Marker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, ":{}", quoted_name(name)),
            None => f.write_str("?"),
        }
    }
}

impl Display for TypeExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TypeExpr::Named { keyspace, name, quoted } => {
                if let Some(keyspace) = keyspace {
                    write!(f, "{}.", quoted_name(keyspace))?;
                }
                match quoted {
                    true => write!(f, "\"{}\"", name.replace('"', "\"\"")),
                    false => f.write_str(name),
                }
            }
            TypeExpr::Generic { name, args } => {
                write!(f, "{name}<")?;
                joined(f, args, ", ", |arg, f| arg.fmt(f))?;
                f.write_str(">")
            }
            TypeExpr::Vector { element, len } => write!(f, "vector<{element}, {len}>"),
            TypeExpr::Custom(class) => f.write_str(&string(class)),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |f: &mut Formatter<'_>, open: &str, items: &[Term], close: &str| {
            f.write_str(open)?;
            joined(f, items, ", ", |item, f| item.fmt(f))?;
            f.write_str(close)
        };
        match self {
            Term::Null => f.write_str("NULL"),
            Term::Literal(literal) if literal.kind == super::LiteralKind::String => {
                f.write_str(&string(&literal.text))
            }
            Term::Literal(literal) => f.write_str(&literal.text),
            Term::Marker(marker) => marker.fmt(f),
            Term::List(items) => list(f, "[", items, "]"),
            Term::Set(items) => list(f, "{", items, "}"),
            Term::Tuple(items) => list(f, "(", items, ")"),
            Term::Map(entries) => {
                f.write_str("{")?;
                joined(f, entries, ", ", |(key, value), f| write!(f, "{key}: {value}"))?;
                f.write_str("}")
            }
            Term::Udt(fields) => {
                f.write_str("{")?;
                joined(f, fields, ", ", |(name, value), f| write!(f, "{}: {value}", quoted_name(name)))?;
                f.write_str("}")
            }
            Term::Call { name, args } => {
                write!(f, "{name}")?;
                list(f, "(", args, ")")
            }
            Term::TypeHint { ty, term } => write!(f, "({ty}){term}"),
        }
    }
}

impl Display for RelationValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RelationValue::One(term) => write!(f, " {term}"),
            RelationValue::Marker(marker) => write!(f, " {marker}"),
            RelationValue::None => Ok(()),
            RelationValue::List(terms) => {
                f.write_str(" (")?;
                joined(f, terms, ", ", |term, f| term.fmt(f))?;
                f.write_str(")")
            }
        }
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Column { column, access, operator, value } => {
                write!(f, "{}{access} {}{value}", quoted_name(column), operator.text())
            }
            Relation::Tuple { columns, operator, value } => {
                f.write_str("(")?;
                names(f, columns)?;
                write!(f, ") {}{value}", operator.text())
            }
            Relation::Token { columns, operator, value } => {
                f.write_str("token(")?;
                names(f, columns)?;
                write!(f, ") {} {value}", operator.text())
            }
        }
    }
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Access::Whole => Ok(()),
            Access::Element(term) => write!(f, "[{term}]"),
            Access::Field(name) => write!(f, ".{}", quoted_name(name)),
        }
    }
}

impl Display for DeleteTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", quoted_name(&self.column), self.access)
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Column(name) => f.write_str(&quoted_name(name)),
            Selector::Literal(term) => term.fmt(f),
            Selector::Writetime(name) => write!(f, "writetime({})", quoted_name(name)),
            Selector::Ttl(name) => write!(f, "ttl({})", quoted_name(name)),
            Selector::CountRows => f.write_str("count(*)"),
            Selector::Call { name, args } => {
                write!(f, "{name}(")?;
                joined(f, args, ", ", |arg, f| arg.fmt(f))?;
                f.write_str(")")
            }
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Condition::None => Ok(()),
            Condition::Exists => f.write_str(" IF EXISTS"),
            Condition::Columns(conditions) => {
                f.write_str(" IF ")?;
                joined(f, conditions, " AND ", |(target, operator, value), f| {
                    write!(f, "{target} {}", operator.text())?;
                    match value {
                        ConditionValue::One(term) => write!(f, " {term}"),
                        ConditionValue::Marker(marker) => write!(f, " {marker}"),
                        ConditionValue::List(terms) => RelationValue::List(terms.clone()).fmt(f),
                    }
                })
            }
        }
    }
}

impl Display for Using {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parts = [("TIMESTAMP", &self.timestamp), ("TTL", &self.ttl)];
        let mut word = "USING";
        for (name, term) in parts.into_iter().filter_map(|(name, term)| Some((name, term.as_ref()?))) {
            write!(f, " {word} {name} {term}")?;
            word = "AND";
        }
        Ok(())
    }
}

fn where_clause(f: &mut Formatter<'_>, relations: &[Relation]) -> fmt::Result {
    if relations.is_empty() {
        return Ok(());
    }
    f.write_str(" WHERE ")?;
    joined(f, relations, " AND ", |relation, f| relation.fmt(f))
}

fn property(f: &mut Formatter<'_>, (name, value): &(String, Property)) -> fmt::Result {
    write!(f, "{} = ", quoted_name(name))?;
    match value {
        Property::Text(text) => f.write_str(&string(text)),
        Property::Map(entries) => {
            f.write_str("{")?;
            joined(f, entries, ", ", |(key, value), f| write!(f, "{}: {}", string(key), string(value)))?;
            f.write_str("}")
        }
    }
}

fn direction(f: &mut Formatter<'_>, (name, descending): &(String, bool)) -> fmt::Result {
    write!(f, "{} {}", quoted_name(name), if *descending { "DESC" } else { "ASC" })
}

impl Display for CreateTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = if self.if_not_exists { "IF NOT EXISTS " } else { "" };
        write!(f, "CREATE TABLE {guard}{} (", self.table)?;
        joined(f, &self.columns, ", ", |column, f| {
            write!(f, "{} {}", quoted_name(&column.name), column.ty)?;
            f.write_str(if column.is_static { " static" } else { "" })
        })?;
        for (partition, clustering) in &self.primary_keys {
            f.write_str(", PRIMARY KEY ((")?;
            names(f, partition)?;
            f.write_str(")")?;
            if !clustering.is_empty() {
                f.write_str(", ")?;
                names(f, clustering)?;
            }
            f.write_str(")")?;
        }
        f.write_str(")")?;
        let mut word = " WITH ";
        for option in &self.properties {
            f.write_str(std::mem::replace(&mut word, " AND "))?;
            property(f, option)?;
        }
        if self.compact_storage {
            write!(f, "{}COMPACT STORAGE", std::mem::replace(&mut word, " AND "))?;
        }
        if !self.clustering_order.is_empty() {
            write!(f, "{word}CLUSTERING ORDER BY (")?;
            joined(f, &self.clustering_order, ", ", |order, f| direction(f, order))?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.distinct { "SELECT DISTINCT " } else { "SELECT " })?;
        match &self.selectors {
            None => f.write_str("*")?,
            Some(selectors) => joined(f, selectors, ", ", |(selector, alias), f| match alias {
                Some(alias) => write!(f, "{selector} AS {}", quoted_name(alias)),
                None => selector.fmt(f),
            })?,
        }
        write!(f, " FROM {}", self.table)?;
        where_clause(f, &self.relations)?;
        if !self.order_by.is_empty() {
            f.write_str(" ORDER BY ")?;
            joined(f, &self.order_by, ", ", |order, f| direction(f, order))?;
        }
        if let Some(limit) = &self.per_partition_limit {
            write!(f, " PER PARTITION LIMIT {limit}")?;
        }
        if let Some(limit) = &self.limit {
            write!(f, " LIMIT {limit}")?;
        }
        f.write_str(if self.allow_filtering { " ALLOW FILTERING" } else { "" })
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Statement::CreateKeyspace { name, if_not_exists, properties } => {
                let guard = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                write!(f, "CREATE KEYSPACE {guard}{} WITH ", quoted_name(name))?;
                joined(f, properties, " AND ", |option, f| property(f, option))
            }
            Statement::DropKeyspace { name, if_exists } => {
                write!(f, "DROP KEYSPACE {}{}", if *if_exists { "IF EXISTS " } else { "" }, quoted_name(name))
            }
            Statement::Truncate(table) => write!(f, "TRUNCATE {table}"),
            Statement::DropTable { table, if_exists } => {
                write!(f, "DROP TABLE {}{table}", if *if_exists { "IF EXISTS " } else { "" })
            }
            Statement::CreateTable(create) => create.fmt(f),
            Statement::Use(keyspace) => write!(f, "USE {}", quoted_name(keyspace)),
            Statement::Select(select) => select.fmt(f),
            Statement::Insert(insert) => {
                write!(f, "INSERT INTO {} (", insert.table)?;
                names(f, &insert.columns)?;
                f.write_str(") VALUES (")?;
                joined(f, &insert.values, ", ", |value, f| value.fmt(f))?;
                write!(f, "){}{}", if insert.if_not_exists { " IF NOT EXISTS" } else { "" }, insert.using)
            }
            Statement::Update(update) => {
                write!(f, "UPDATE {}{} SET ", update.table, update.using)?;
                joined(f, &update.assignments, ", ", |assignment, f| {
                    let column = quoted_name(&assignment.column);
                    write!(f, "{column}{} ", assignment.access)?;
                    match &assignment.change {
                        Change::Set(term) => write!(f, "= {term}"),
                        Change::Append(term) => write!(f, "+= {term}"),
                        Change::Remove(term) => write!(f, "-= {term}"),
                        Change::Prepend(term) => write!(f, "= {term} + {column}"),
                    }
                })?;
                where_clause(f, &update.relations)?;
                update.condition.fmt(f)
            }
            Statement::Delete(delete) => {
                f.write_str("DELETE ")?;
                joined(f, &delete.targets, ", ", |target, f| target.fmt(f))?;
                write!(f, "{}FROM {}", if delete.targets.is_empty() { "" } else { " " }, delete.table)?;
                if let Some(timestamp) = &delete.timestamp {
                    write!(f, " USING TIMESTAMP {timestamp}")?;
                }
                where_clause(f, &delete.relations)?;
                delete.condition.fmt(f)
            }
        }
    }
}
