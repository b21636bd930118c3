//! SELECT.

use super::Parser;
use crate::{
    bind::CqlError,
    lang::{
        ast::{Select, Selector, Statement, Term},
        lexer::Kind,
    },
};

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Statement, CqlError> {
        if self.modifies("json") {
            return Err(CqlError::unsupported("SELECT JSON"));
        }
        let distinct = self.modifies("distinct");
        if distinct {
            self.advance();
        }
        let selectors = if self.accept("*") { None } else { Some(self.list_of(Self::aliased)?) };
        let after_a_name = self.name_at(self.at.saturating_sub(1)).is_some() && selectors.is_some();
        if after_a_name && !self.is_keyword("from") && self.peek().kind != Kind::Eof {
            return Err(self.no_viable_alternative_from(self.at - 1, self.at));
        }
        self.expect_keyword("from")?;
        let table = self.table_name()?;
        let relations = if self.is_keyword("where") { self.where_clause()? } else { Vec::new() };
        if self.is_keyword("group") {
            return Err(CqlError::unsupported("GROUP BY"));
        }
        let order_by = self.order_by()?;
        let mut per_partition_limit = None;
        if self.accept_keyword("per") {
            self.expect_keyword("partition")?;
            self.expect_keyword("limit")?;
            per_partition_limit = Some(self.whole_number()?);
        }
        let limit = if self.accept_keyword("limit") { Some(self.whole_number()?) } else { None };
        let allow_filtering = self.accept_keyword("allow");
        if allow_filtering {
            self.expect_keyword("filtering")?;
        }
        Ok(Statement::Select(Box::new(Select {
            table,
            distinct,
            selectors,
            relations,
            order_by,
            per_partition_limit,
            limit,
            allow_filtering,
        })))
    }

    /// Whether `word` stands here as a modifier, not as the name of a column or function.
    fn modifies(&self, word: &str) -> bool {
        let next = self.token(self.at + 1);
        let goes_on = self.is_symbol_at(self.at + 1, "*")
            || next.kind == Kind::Quoted
            || (next.kind == Kind::Ident && !self.is_any_keyword_at(self.at + 1, &["from", "as"]));
        self.is_keyword(word) && goes_on
    }

    fn aliased(&mut self) -> Result<(Selector, Option<String>), CqlError> {
        let selector = self.selector()?;
        let alias = if self.accept_keyword("as") { Some(self.name()?) } else { None };
        Ok((selector, alias))
    }

    fn selector(&mut self) -> Result<Selector, CqlError> {
        let selector = self.nested(Self::selector_here)?;
        self.refuse_arithmetic()?;
        Ok(selector)
    }

    fn selector_here(&mut self) -> Result<Selector, CqlError> {
        let called =
            |parser: &Self, word: &str| parser.is_keyword(word) && parser.is_symbol_at(parser.at + 1, "(");
        if called(self, "cast") {
            return Err(CqlError::unsupported("CAST"));
        }
        if called(self, "maxwritetime") {
            return Err(CqlError::unsupported("MAXWRITETIME"));
        }
        if called(self, "count") && self.is_count_of_rows() {
            self.at += 3;
            self.expect(")")?;
            return Ok(Selector::CountRows);
        }
        for (word, make) in
            [("writetime", Selector::Writetime as fn(String) -> Selector), ("ttl", Selector::Ttl)]
        {
            if called(self, word) {
                self.at += 2;
                let column = self.name()?;
                self.expect(")")?;
                return Ok(make(column));
            }
        }
        let is_call = called(self, "token")
            || (self.name_at(self.at).is_some()
                && (self.is_symbol_at(self.at + 1, "(")
                    || (self.is_symbol_at(self.at + 1, ".") && self.is_symbol_at(self.at + 3, "("))));
        if is_call {
            let name = self.function_name()?;
            self.expect("(")?;
            let none = self.is_symbol(")") || self.is_keyword("from");
            let args = if none { Vec::new() } else { self.list_of(Self::selector)? };
            self.expect(")")?;
            return Ok(Selector::Call { name, args });
        }
        if let Some(name) = self.name_at(self.at).filter(|_| !self.is_boolean()) {
            self.advance();
            if self.is_symbol("[") || self.is_symbol(".") {
                return Err(CqlError::unsupported("selecting parts of a value"));
            }
            return Ok(Selector::Column(name));
        }
        match self.primary()? {
            Term::Tuple(_) => Err(CqlError::unsupported("a tuple in a SELECT clause")),
            term => Ok(Selector::Literal(term)),
        }
    }

    /// Whether `count` is followed by `(*` or `(1)`.
    fn is_count_of_rows(&self) -> bool {
        let one = self.token(self.at + 2);
        let of_one = one.kind == Kind::Integer && self.text(one) == "1";
        self.is_symbol_at(self.at + 2, "*") || (of_one && self.is_symbol_at(self.at + 3, ")"))
    }

    fn is_boolean(&self) -> bool {
        self.is_any_keyword_at(self.at, &["true", "false"])
    }

    fn order_by(&mut self) -> Result<Vec<(String, bool)>, CqlError> {
        if !self.accept_keyword("order") {
            return Ok(Vec::new());
        }
        self.expect_keyword("by")?;
        self.list_of(|parser| {
            let name = parser.name()?;
            if parser.is_keyword("ann") {
                return Err(CqlError::unsupported("ORDER BY ... ANN OF"));
            }
            let stated = parser.is_keyword("asc") || parser.is_keyword("desc");
            let descending = if stated { parser.direction()? } else { false };
            Ok((name, descending))
        })
    }
}
