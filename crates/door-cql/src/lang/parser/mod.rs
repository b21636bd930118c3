//! Recursive descent over tokens: one function a rule of the grammar.
//!
//! Here are the entry points, the statement table and the small moves (accept, expect, names);
//! the rules of each part of the language are in the files below.

mod ddl;
mod dml;
mod errors;
mod select;
mod terms;

use super::{
    ast::{Operator, Statement, TableName, TypeExpr},
    lexer::{self, Kind, Token},
};
use crate::bind::CqlError;

/// The longest text that is parsed, in bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The deepest nesting of terms, types and selectors.
const MAX_NESTING: usize = 64;

/// Words that are no names unless quoted (Cassandra's `reserved_keywords.txt`), sorted.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

/// Whether a folded name is a reserved word.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.binary_search(&name).is_ok()
}

/// A parsed statement and how many markers it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    pub(crate) marker_count: usize,
}

/// Parses one statement, with or without a semicolon at its end.
///
/// # Errors
/// `Syntax` for what is not CQL, `Invalid` for what is not supported yet.
pub(crate) fn parse(text: &str) -> Result<Parsed, CqlError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(CqlError::invalid(format!(
            "a statement may have at most {MAX_TEXT_BYTES} bytes; this one has {}",
            text.len()
        )));
    }
    let mut parser = Parser::new(text);
    let statement = parser.statement()?;
    while parser.accept(";") {}
    parser.expect_end()?;
    Ok(Parsed { statement, marker_count: parser.markers })
}

/// Parses a type.
///
/// # Errors
/// `Syntax` for what is no type.
pub(crate) fn parse_type(text: &str) -> Result<TypeExpr, CqlError> {
    let mut parser = Parser::new(text.get(..MAX_TEXT_BYTES).unwrap_or(text));
    let ty = parser.type_expr()?;
    parser.expect_end()?;
    Ok(ty)
}

/// Names are part of what is prepared.
fn no_markers(what: &str) -> CqlError {
    CqlError::Syntax(format!("Bind variables cannot be used for {what} names"))
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    markers: usize,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Parser<'a> {
        Parser { source, tokens: lexer::tokens(source), at: 0, depth: 0, markers: 0 }
    }

    fn statement(&mut self) -> Result<Statement, CqlError> {
        let (first, second) = (self.at, self.at + 1);
        if self.accept_keyword("select") {
            return self.select();
        } else if self.accept_keyword("insert") {
            return self.insert();
        } else if self.accept_keyword("update") {
            return self.update();
        } else if self.accept_keyword("delete") {
            return self.delete();
        } else if self.accept_keyword("use") {
            return Ok(Statement::Use(self.keyspace_name()?));
        } else if self.accept_keyword("truncate") {
            return self.truncate();
        } else if self.is_keyword_at(first, "create") {
            if self.is_any_keyword_at(second, &["keyspace", "schema"]) {
                return self.create_keyspace();
            } else if self.is_any_keyword_at(second, &["table", "columnfamily"]) {
                return self.create_table();
            }
        } else if self.is_keyword_at(first, "drop") {
            if self.is_any_keyword_at(second, &["keyspace", "schema"]) {
                return self.drop_keyspace();
            } else if self.is_any_keyword_at(second, &["table", "columnfamily"]) {
                return self.drop_table();
            }
        }
        match self.unsupported_statement() {
            Some(what) => Err(CqlError::unsupported(what)),
            None if self.is_any_keyword_at(first, &["create", "alter", "drop"]) => {
                Err(self.no_viable_alternative_from(first, second))
            }
            None => Err(self.no_viable_alternative()),
        }
    }

    /// The name of the statement at hand, if the language has it but this door does not.
    fn unsupported_statement(&mut self) -> Option<String> {
        // First words, then those that may follow; a star stands for anything.
        const STATEMENTS: [(&str, &[&str]); 15] = [
            (
                "alter",
                &["keyspace", "schema", "table", "columnfamily", "type", "materialized", "user", "role"],
            ),
            (
                "create",
                &[
                    "or",
                    "function",
                    "aggregate",
                    "index",
                    "custom",
                    "type",
                    "materialized",
                    "trigger",
                    "user",
                    "role",
                ],
            ),
            (
                "drop",
                &[
                    "index",
                    "type",
                    "materialized",
                    "function",
                    "aggregate",
                    "trigger",
                    "user",
                    "role",
                    "identity",
                ],
            ),
            ("begin", &["batch", "unlogged", "counter"]),
            ("grant", &["*"]),
            ("revoke", &["*"]),
            ("list", &["*"]),
            ("describe", &["*"]),
            ("desc", &["*"]),
            ("add", &["identity"]),
            ("copy", &["*"]),
            ("apply", &["batch"]),
            ("comment", &["on"]),
            ("security", &["label"]),
            ("explain", &["*"]),
        ];
        let (first, second) = (self.at, self.at + 1);
        for (word, nexts) in STATEMENTS {
            if !self.is_keyword_at(first, word) {
                continue;
            }
            if nexts.contains(&"*") {
                return Some(word.to_uppercase());
            }
            let next = nexts.iter().find(|next| self.is_keyword_at(second, next))?;
            let next = match *next {
                "materialized" => "materialized view",
                "or" => "or replace",
                "unlogged" => "unlogged batch",
                "counter" => "counter batch",
                "custom" => "custom index",
                next => next,
            };
            return Some(format!("{word} {next}").to_uppercase());
        }
        None
    }

    // Moves.

    fn token(&self, at: usize) -> Token {
        // The last token is an end, and the end goes on for ever.
        self.tokens.get(at).or(self.tokens.last()).copied().expect("a text has at least its end")
    }

    fn peek(&self) -> Token {
        self.token(self.at)
    }

    fn text(&self, token: Token) -> &'a str {
        token.text(self.source)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_symbol_at(&self, at: usize, symbol: &str) -> bool {
        let token = self.token(at);
        token.kind == Kind::Symbol && self.text(token) == symbol
    }

    fn is_keyword_at(&self, at: usize, word: &str) -> bool {
        let token = self.token(at);
        token.kind == Kind::Ident && self.text(token).eq_ignore_ascii_case(word)
    }

    fn is_any_keyword_at(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_keyword_at(at, word))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.is_symbol_at(self.at, symbol)
    }

    fn is_keyword(&self, word: &str) -> bool {
        self.is_keyword_at(self.at, word)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let hit = self.is_symbol(symbol);
        if hit {
            self.advance();
        }
        hit
    }

    fn accept_keyword(&mut self, word: &str) -> bool {
        let hit = self.is_keyword(word);
        if hit {
            self.advance();
        }
        hit
    }

    /// Accepts several keywords in a row, or none.
    fn accept_keywords(&mut self, words: &[&str]) -> bool {
        let hit = words.iter().enumerate().all(|(i, word)| self.is_keyword_at(self.at + i, word));
        if hit {
            self.at += words.len();
        }
        hit
    }

    fn expect(&mut self, symbol: &str) -> Result<(), CqlError> {
        if self.accept(symbol) { Ok(()) } else { Err(self.mismatched(&format!("'{symbol}'"))) }
    }

    fn expect_keyword(&mut self, word: &str) -> Result<(), CqlError> {
        if self.accept_keyword(word) {
            Ok(())
        } else {
            Err(self.mismatched(&format!("K_{}", word.to_uppercase())))
        }
    }

    fn expect_end(&self) -> Result<(), CqlError> {
        if self.peek().kind == Kind::Eof { Ok(()) } else { Err(self.mismatched("EOF")) }
    }

    /// Runs a rule one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Result<T, CqlError>) -> Result<T, CqlError> {
        if self.depth >= MAX_NESTING {
            return Err(self.too_deep(MAX_NESTING));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// `item (, item)*`.
    fn list_of<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, CqlError>,
    ) -> Result<Vec<T>, CqlError> {
        let mut items = vec![item(self)?];
        while self.accept(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Whether a name begins here, and which.
    fn name_at(&self, at: usize) -> Option<String> {
        let token = self.token(at);
        let text = self.text(token);
        match token.kind {
            Kind::Ident => {
                let folded = text.to_ascii_lowercase();
                (!is_reserved(&folded)).then_some(folded)
            }
            Kind::Quoted if text != "\"\"" => Some(text[1..text.len() - 1].replace("\"\"", "\"")),
            _ => None,
        }
    }

    fn name(&mut self) -> Result<String, CqlError> {
        match self.name_at(self.at) {
            Some(name) => {
                self.advance();
                Ok(name)
            }
            None => Err(self.no_viable_alternative()),
        }
    }

    fn keyspace_name(&mut self) -> Result<String, CqlError> {
        if self.is_symbol("?") { Err(no_markers("keyspace")) } else { self.name() }
    }

    fn table_name(&mut self) -> Result<TableName, CqlError> {
        if self.is_symbol("?") {
            let first = if self.is_symbol_at(self.at + 1, ".") { "keyspace" } else { "table" };
            return Err(no_markers(first));
        }
        let name = self.name()?;
        if !self.accept(".") {
            return Ok(TableName { keyspace: None, name });
        }
        if self.is_symbol("?") {
            return Err(no_markers("table"));
        }
        Ok(TableName { keyspace: Some(name), name: self.name()? })
    }

    /// A table's name with nothing behind it.
    fn last_table_name(&mut self) -> Result<TableName, CqlError> {
        let start = self.at;
        let table = self.table_name()?;
        let ends = matches!(self.peek().kind, Kind::Eof | Kind::Symbol);
        if table.keyspace.is_none() && !ends && !is_reserved(&self.text(self.peek()).to_ascii_lowercase()) {
            return Err(self.no_viable_alternative_from(start, self.at));
        }
        Ok(table)
    }

    /// `IF NOT EXISTS`, or nothing.
    fn if_not_exists(&mut self) -> Result<bool, CqlError> {
        if !self.accept_keyword("if") {
            return Ok(false);
        }
        self.expect_keyword("not")?;
        self.expect_keyword("exists")?;
        Ok(true)
    }

    /// A comparison sign, or nothing.
    fn comparison(&mut self) -> Option<Operator> {
        const SIGNS: [(&str, Operator); 6] = [
            ("=", Operator::Eq),
            ("!=", Operator::Ne),
            ("<", Operator::Lt),
            ("<=", Operator::Le),
            (">", Operator::Gt),
            (">=", Operator::Ge),
        ];
        let (_, operator) = SIGNS.into_iter().find(|(sign, _)| self.is_symbol(sign))?;
        self.advance();
        Some(operator)
    }
}
