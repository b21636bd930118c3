//! Types as text: reading what `CREATE TABLE` says, printing what Cassandra prints.

use std::fmt;

use super::{CqlType, Native, UserType};
use crate::{
    bind::CqlError,
    lang::{self, TypeExpr, quoted_name},
};

/// The most elements a vector may have (Cassandra's default guardrail is off; its hard limit is
/// this).
const MAX_VECTOR_LEN: u32 = 8192;

impl CqlType {
    /// Reads CQL text (`map<text, frozen<list<int>>>`).
    ///
    /// # Errors
    /// Text that is not a type.
    pub(crate) fn parse(text: &str) -> Result<CqlType, CqlError> {
        // Almost every column of the catalog has a type like this.
        if let Some(native) = native_named(text) {
            return Ok(CqlType::Native(native));
        }
        CqlType::from_expr(&lang::parse_type(text)?)
    }

    /// The type an expression stands for. Names that are not types of the language are taken for
    /// user types.
    ///
    /// # Errors
    /// The wrong number of parameters; `frozen` of what cannot be.
    pub(crate) fn from_expr(expr: &TypeExpr) -> Result<CqlType, CqlError> {
        match expr {
            TypeExpr::Named { keyspace: None, name, quoted: false } => Ok(match native_named(name) {
                Some(native) => CqlType::Native(native),
                None => CqlType::Udt(UserType { keyspace: None, name: name.clone(), fields: Vec::new() }),
            }),
            TypeExpr::Named { keyspace, name, .. } => Ok(CqlType::Udt(UserType {
                keyspace: keyspace.clone(),
                name: name.clone(),
                fields: Vec::new(),
            })),
            TypeExpr::Custom(class) => Ok(CqlType::Custom(class.clone())),
            TypeExpr::Vector { element, len } => {
                if *len == 0 || *len > MAX_VECTOR_LEN {
                    return Err(CqlError::invalid(format!(
                        "vectors may only have positive dimensions of at most {MAX_VECTOR_LEN}; given {len}"
                    )));
                }
                Ok(CqlType::Vector(Box::new(CqlType::from_expr(element)?), *len))
            }
            TypeExpr::Generic { name, args } => from_generic(name, args),
        }
    }
}

fn from_generic(name: &str, args: &[TypeExpr]) -> Result<CqlType, CqlError> {
    let inner = args.iter().map(CqlType::from_expr).collect::<Result<Vec<_>, _>>()?;
    match (name, <[CqlType; 1]>::try_from(inner)) {
        ("list", Ok([inner])) => Ok(CqlType::List(Box::new(inner))),
        ("set", Ok([inner])) => Ok(CqlType::Set(Box::new(inner))),
        ("frozen", Ok([inner])) => match inner {
            CqlType::Native(_) | CqlType::Custom(_) => Err(CqlError::Syntax(format!(
                "frozen<> is only allowed on collections, tuples, and user-defined types (got {inner})"
            ))),
            // Both say what `frozen` says already.
            CqlType::Tuple(_) | CqlType::Frozen(_) => Ok(inner),
            inner => Ok(CqlType::Frozen(Box::new(inner))),
        },
        ("tuple", Ok([inner])) => Ok(CqlType::Tuple(vec![inner])),
        ("tuple", Err(inner)) if !inner.is_empty() => Ok(CqlType::Tuple(inner)),
        ("map", Err(inner)) => match <[CqlType; 2]>::try_from(inner) {
            Ok([key, value]) => Ok(CqlType::Map(Box::new(key), Box::new(value))),
            Err(_) => Err(CqlError::invalid("a map type has a key type and a value type")),
        },
        _ => Err(CqlError::invalid(format!("Unknown type {name}<...>"))),
    }
}

/// The native type of a folded name.
fn native_named(name: &str) -> Option<Native> {
    if name == "varchar" {
        return Some(Native::Text);
    }
    let found = Native::NAMES.binary_search_by(|(_, native_name)| native_name.cmp(&name)).ok()?;
    Some(Native::NAMES[found].0)
}

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Native::NAMES.iter().find(|(native, _)| native == self);
        f.write_str(name.expect("every native type is listed").1)
    }
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CqlType::Native(native) => native.fmt(f),
            CqlType::List(inner) => write!(f, "list<{inner}>"),
            CqlType::Set(inner) => write!(f, "set<{inner}>"),
            CqlType::Map(key, value) => write!(f, "map<{key}, {value}>"),
            CqlType::Tuple(parts) => {
                f.write_str("frozen<tuple<")?;
                for (i, part) in parts.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{part}")?;
                }
                f.write_str(">>")
            }
            CqlType::Udt(UserType { keyspace: None, name, .. }) => f.write_str(&quoted_name(name)),
            CqlType::Udt(UserType { keyspace: Some(keyspace), name, .. }) => {
                write!(f, "{}.{}", quoted_name(keyspace), quoted_name(name))
            }
            CqlType::Vector(inner, len) => write!(f, "vector<{inner}, {len}>"),
            CqlType::Frozen(inner) => write!(f, "frozen<{inner}>"),
            CqlType::Custom(class) => write!(f, "'{}'", class.replace('\'', "''")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn types_print_as_cassandra_prints_them() {
        let cases = [
            ("INT", "int"),
            ("varchar", "text"),
            ("map<text,frozen<list<int>>>", "map<text, frozen<list<int>>>"),
            ("tuple<int, text>", "frozen<tuple<int, text>>"),
            ("frozen<tuple<int>>", "frozen<tuple<int>>"),
            ("frozen<frozen<set<uuid>>>", "frozen<set<uuid>>"),
            ("frozen<address>", "frozen<address>"),
            ("ks.\"Addr\"", "ks.\"Addr\""),
            ("vector<float, 3>", "vector<float, 3>"),
            ("'org.apache.Thing'", "'org.apache.Thing'"),
        ];
        for (text, printed) in cases {
            let ty = CqlType::parse(text).unwrap();
            assert_eq!(ty.to_string(), printed);
            assert_eq!(CqlType::parse(printed).unwrap(), ty);
        }
    }

    #[test]
    fn wrong_types_are_refused() {
        for text in
            ["frozen<int>", "map<int>", "list<int, int>", "vector<int, 0>", "set", "list<", "", "int int"]
        {
            let parsed = CqlType::parse(text);
            assert!(parsed.is_err() || matches!(parsed, Ok(CqlType::Udt(_))), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn every_type_of_the_system_tables_reads_and_prints_back() {
        let text = "frozen<list<frozen<tuple<blob, timeuuid>>>>|frozen<map<text, frozen<map<text, text>>>>|\
                    frozen<set<frozen<tuple<inet, smallint>>>>|map<timeuuid, int>|set<blob>|list<blob>";
        for ty in text.split('|') {
            assert_eq!(CqlType::parse(ty).unwrap().to_string(), ty);
        }
    }
}
