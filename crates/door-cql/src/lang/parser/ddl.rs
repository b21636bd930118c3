//! Definitions: keyspaces and tables, and TRUNCATE.

use std::collections::BTreeSet;

use super::{Parser, terms::unquoted};
use crate::{
    bind::CqlError,
    lang::{
        ast::{ColumnDef, CreateTable, Property, Statement},
        lexer::Kind,
    },
};

impl Parser<'_> {
    pub(super) fn create_keyspace(&mut self) -> Result<Statement, CqlError> {
        self.at += 2;
        let if_not_exists = self.if_not_exists()?;
        let name = self.keyspace_name()?;
        self.expect_keyword("with")?;
        let mut properties = vec![self.property()?];
        while self.accept_keyword("and") {
            properties.push(self.property()?);
        }
        Ok(Statement::CreateKeyspace { name, if_not_exists, properties })
    }

    pub(super) fn drop_keyspace(&mut self) -> Result<Statement, CqlError> {
        self.at += 2;
        let if_exists = self.if_exists()?;
        Ok(Statement::DropKeyspace { name: self.keyspace_name()?, if_exists })
    }

    /// `IF EXISTS`, or nothing.
    fn if_exists(&mut self) -> Result<bool, CqlError> {
        let conditional = self.accept_keyword("if");
        if conditional {
            self.expect_keyword("exists")?;
        }
        Ok(conditional)
    }

    pub(super) fn drop_table(&mut self) -> Result<Statement, CqlError> {
        self.at += 2;
        let if_exists = self.if_exists()?;
        Ok(Statement::DropTable { table: self.last_table_name()?, if_exists })
    }

    /// After TRUNCATE.
    pub(super) fn truncate(&mut self) -> Result<Statement, CqlError> {
        if self.is_any_keyword_at(self.at, &["table", "columnfamily"]) {
            self.at += 1;
        }
        Ok(Statement::Truncate(self.last_table_name()?))
    }

    pub(super) fn create_table(&mut self) -> Result<Statement, CqlError> {
        self.at += 2;
        let if_not_exists = self.if_not_exists()?;
        let mut create = CreateTable {
            table: self.table_name()?,
            if_not_exists,
            columns: Vec::new(),
            primary_keys: Vec::new(),
            properties: Vec::new(),
            clustering_order: Vec::new(),
            compact_storage: false,
        };
        if self.is_keyword("like") {
            return Err(CqlError::unsupported("CREATE TABLE LIKE"));
        }
        if !self.accept("(") {
            return Err(self.no_viable_alternative_from(self.at - 1, self.at));
        }
        self.table_element(&mut create)?;
        while self.accept(",") {
            // A comma after the last element is allowed.
            if !self.is_symbol(")") {
                self.table_element(&mut create)?;
            }
        }
        self.expect(")")?;
        if self.accept_keyword("with") {
            self.table_option(&mut create)?;
            while self.accept_keyword("and") {
                self.table_option(&mut create)?;
            }
        }
        Ok(Statement::CreateTable(Box::new(create)))
    }

    /// A column, or PRIMARY KEY (...).
    fn table_element(&mut self, create: &mut CreateTable) -> Result<(), CqlError> {
        if self.accept_keywords(&["primary", "key"]) {
            self.expect("(")?;
            let partition = if self.accept("(") {
                let columns = self.list_of(Self::name)?;
                self.expect(")")?;
                columns
            } else {
                vec![self.name()?]
            };
            let clustering = if self.accept(",") { self.list_of(Self::name)? } else { Vec::new() };
            self.expect(")")?;
            create.primary_keys.push((partition, clustering));
            return Ok(());
        }
        let name = self.name()?;
        let ty = self.type_expr()?;
        let is_static = self.accept_keyword("static");
        if self.is_keyword("masked") {
            return Err(CqlError::unsupported("column masking"));
        }
        if self.is_keyword("check") {
            return Err(CqlError::unsupported("CHECK"));
        }
        if self.accept_keywords(&["primary", "key"]) {
            create.primary_keys.push((vec![name.clone()], Vec::new()));
        }
        create.columns.push(ColumnDef { name, ty, is_static });
        Ok(())
    }

    fn table_option(&mut self, create: &mut CreateTable) -> Result<(), CqlError> {
        if self.accept_keywords(&["compact", "storage"]) {
            create.compact_storage = true;
            return Ok(());
        }
        if self.accept_keywords(&["clustering", "order"]) {
            self.expect_keyword("by")?;
            self.expect("(")?;
            let columns = self.list_of(|parser| {
                let name = parser.name()?;
                Ok((name, parser.direction()?))
            })?;
            create.clustering_order.extend(columns);
            return self.expect(")");
        }
        create.properties.push(self.property()?);
        Ok(())
    }

    /// `ASC` or `DESC`; whether descending.
    pub(super) fn direction(&mut self) -> Result<bool, CqlError> {
        if self.accept_keyword("asc") {
            Ok(false)
        } else if self.accept_keyword("desc") {
            Ok(true)
        } else {
            Err(self.no_viable_alternative())
        }
    }

    /// `name = value` or `name = { key: value, ... }`.
    fn property(&mut self) -> Result<(String, Property), CqlError> {
        let start = self.at;
        let name = self.name()?;
        if !self.accept("=") {
            return Err(self.no_viable_alternative());
        }
        if !self.accept("{") {
            let text = self.constant().or_else(|| self.unreserved_keyword());
            let text = text.ok_or_else(|| self.no_viable_alternative_from(start, self.at))?;
            return Ok((name, Property::Text(text)));
        }
        let mut entries = Vec::new();
        if !self.is_symbol("}") {
            entries = self.list_of(|parser| {
                let key = parser.property_constant()?;
                parser.expect(":")?;
                if parser.is_marker() {
                    return Err(CqlError::Syntax(format!(
                        "Invalid property value: ? for property: '{key}' (bind variables are not supported in DDL \
                         queries)"
                    )));
                }
                Ok((key, parser.property_constant()?))
            })?;
            let mut seen = BTreeSet::new();
            if let Some((key, _)) = entries.iter().find(|(key, _)| !seen.insert(key)) {
                return Err(CqlError::Syntax(format!("Multiple definition for property {key}")));
            }
        }
        self.expect("}")?;
        Ok((name, Property::Map(entries)))
    }

    fn property_constant(&mut self) -> Result<String, CqlError> {
        // A word could begin a function call, so it is what follows that does not fit.
        let word = self.peek().kind == Kind::Ident;
        self.constant().ok_or_else(|| self.no_viable_alternative_from(self.at, self.at + usize::from(word)))
    }

    /// A constant, as text.
    fn constant(&mut self) -> Option<String> {
        let minus = self.is_symbol("-");
        let token = self.token(self.at + usize::from(minus));
        let text = self.text(token);
        let sign = if minus { "-" } else { "" };
        let text = match token.kind {
            Kind::Integer | Kind::Float | Kind::Duration => format!("{sign}{text}"),
            Kind::Str if !minus => unquoted(text),
            Kind::Uuid | Kind::Hex if !minus => text.to_owned(),
            // These words are numbers; there is one NaN.
            Kind::Ident if text.eq_ignore_ascii_case("nan") => "NaN".to_owned(),
            Kind::Ident if text.eq_ignore_ascii_case("infinity") => format!("{sign}Infinity"),
            Kind::Ident if !minus && (is_word(text, "true") || is_word(text, "false")) => text.to_owned(),
            _ => return None,
        };
        self.at += 1 + usize::from(minus);
        Some(text)
    }

    /// A keyword that may be a name, which therefore may be a value too; other words may not.
    fn unreserved_keyword(&mut self) -> Option<String> {
        let token = self.peek();
        let text = self.text(token);
        let known = UNRESERVED.binary_search(&text.to_ascii_lowercase().as_str()).is_ok();
        (token.kind == Kind::Ident && known).then(|| {
            self.advance();
            text.to_owned()
        })
    }
}

fn is_word(text: &str, word: &str) -> bool {
    text.eq_ignore_ascii_case(word)
}

/// Cassandra's keywords that are no reserved words, sorted.
#[rustfmt::skip]
const UNRESERVED: &[&str] = &[
    "access", "aggregate", "aggregates", "all", "ann", "as", "ascii", "bigint", "blob", "boolean", "called",
    "cast", "cidrs", "cluster", "clustering", "compact", "contains", "count", "counter", "custom",
    "datacenters", "date", "decimal", "default", "distinct", "double", "duration", "exists", "filtering",
    "finalfunc", "float", "frozen", "function", "functions", "group", "hashed", "identity", "inet",
    "initcond", "input", "int", "internals", "json", "key", "keys", "keyspaces", "language", "like", "list",
    "login", "map", "masked", "maxwritetime", "mbean", "mbeans", "nologin", "nosuperuser", "only",
    "options", "partition", "password", "per", "permission", "permissions", "replace", "returns", "role",
    "roles", "select_masked", "sfunc", "smallint", "static", "storage", "stype", "superuser", "tables",
    "text", "time", "timestamp", "timeuuid", "tinyint", "trigger", "ttl", "tuple", "type", "types",
    "unmask", "unset", "user", "users", "uuid", "values", "varchar", "varint", "vector", "writetime",
];

#[cfg(test)]
mod tests {
    use super::UNRESERVED;
    use crate::lang::parser::is_reserved;

    #[test]
    fn keywords_are_sorted_for_the_search() {
        assert!(UNRESERVED.is_sorted());
        assert!(!UNRESERVED.iter().any(|word| is_reserved(word)));
    }
}
