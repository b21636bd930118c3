//! Statements that change rows, and the relations of WHERE.

use super::Parser;
use crate::{
    bind::CqlError,
    lang::ast::{
        Access, Assignment, Change, Condition, ConditionValue, Delete, DeleteTarget, Insert, Operator,
        Relation, RelationValue, Statement, Term, Update, Using,
    },
};

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Result<Statement, CqlError> {
        self.expect_keyword("into")?;
        let table = self.table_name()?;
        if self.is_keyword("json") {
            return Err(CqlError::unsupported("INSERT JSON"));
        }
        if !self.accept("(") {
            return Err(self.no_viable_alternative_from(self.at - 1, self.at));
        }
        let columns = self.list_of(Self::name)?;
        self.expect(")")?;
        self.expect_keyword("values")?;
        self.expect("(")?;
        let values = self.list_of(Self::term)?;
        self.expect(")")?;
        let if_not_exists = self.if_not_exists()?;
        let using = self.using()?;
        Ok(Statement::Insert(Box::new(Insert { table, columns, values, if_not_exists, using })))
    }

    pub(super) fn update(&mut self) -> Result<Statement, CqlError> {
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_keyword("set")?;
        let assignments = self.list_of(Self::assignment)?;
        let relations = self.where_clause()?;
        let condition = self.condition()?;
        Ok(Statement::Update(Box::new(Update { table, using, assignments, relations, condition })))
    }

    pub(super) fn delete(&mut self) -> Result<Statement, CqlError> {
        let any = self.name_at(self.at).is_some();
        let targets = if any { self.list_of(Self::target)? } else { Vec::new() };
        self.expect_keyword("from")?;
        let table = self.table_name()?;
        let timestamp = if self.accept_keyword("using") {
            self.expect_keyword("timestamp")?;
            Some(self.whole_number()?)
        } else {
            None
        };
        let relations = self.where_clause()?;
        let condition = self.condition()?;
        Ok(Statement::Delete(Box::new(Delete { table, targets, timestamp, relations, condition })))
    }

    /// `USING TIMESTAMP t AND TTL s`, or nothing.
    fn using(&mut self) -> Result<Using, CqlError> {
        let mut using = Using::default();
        if !self.accept_keyword("using") {
            return Ok(using);
        }
        loop {
            let slot = if self.accept_keyword("timestamp") {
                &mut using.timestamp
            } else if self.accept_keyword("ttl") {
                &mut using.ttl
            } else {
                return Err(self.no_viable_alternative());
            };
            *slot = Some(self.whole_number()?);
            if !self.accept_keyword("and") {
                return Ok(using);
            }
        }
    }

    fn assignment(&mut self) -> Result<Assignment, CqlError> {
        let DeleteTarget { column, access } = self.target()?;
        let change = if self.accept("+=") {
            Change::Append(self.term()?)
        } else if self.accept("-=") {
            Change::Remove(self.term()?)
        } else {
            if !self.accept("=") {
                return Err(self.no_viable_alternative());
            }
            self.assigned(&column)?
        };
        Ok(Assignment { column, access, change })
    }

    /// The right side of `column =`.
    fn assigned(&mut self, column: &str) -> Result<Change, CqlError> {
        // A name that is not called is a column, and only this column may stand here.
        let is_column = self.name_at(self.at).is_some()
            && (self.is_symbol_at(self.at + 1, "+") || self.is_symbol_at(self.at + 1, "-"));
        if is_column {
            self.same_column(column)?;
            let append = self.accept("+");
            if !append {
                self.expect("-")?;
            }
            let term = self.term()?;
            return Ok(if append { Change::Append(term) } else { Change::Remove(term) });
        }
        let is_name = self.name_at(self.at).is_some() && !self.begins_call();
        if is_name && !self.is_constant_word() {
            return Err(self.no_viable_alternative_from(self.at, self.at + 1));
        }
        let term = self.nested(Self::primary)?;
        if self.is_symbol("+") && self.name_at(self.at + 1).is_some() && !self.is_symbol_at(self.at + 2, "(")
        {
            self.advance();
            self.same_column(column)?;
            return Ok(Change::Prepend(term));
        }
        self.refuse_arithmetic()?;
        Ok(Change::Set(term))
    }

    fn same_column(&mut self, column: &str) -> Result<(), CqlError> {
        if self.name()? == column {
            Ok(())
        } else {
            Err(CqlError::Syntax(format!(
                "Only expressions of the form X = X + <value> are supported ({column})"
            )))
        }
    }

    /// `column`, `column[term]` or `column.field`.
    fn target(&mut self) -> Result<DeleteTarget, CqlError> {
        let column = self.name()?;
        let access = if self.accept("[") {
            let element = self.term()?;
            self.expect("]")?;
            Access::Element(Box::new(element))
        } else if self.accept(".") {
            Access::Field(self.name()?)
        } else {
            Access::Whole
        };
        Ok(DeleteTarget { column, access })
    }

    /// `IF EXISTS`, `IF column op value AND ...`, or nothing.
    fn condition(&mut self) -> Result<Condition, CqlError> {
        if !self.accept_keyword("if") {
            return Ok(Condition::None);
        }
        if self.is_keyword("exists") && !self.is_column_condition() {
            self.advance();
            return Ok(Condition::Exists);
        }
        let mut conditions = Vec::new();
        loop {
            let target = self.target()?;
            let (operator, value) = if let Some(operator) = self.comparison() {
                (operator, ConditionValue::One(self.term()?))
            } else if self.accept_keyword("in") {
                if !self.is_marker() && !self.is_symbol("(") {
                    return Err(self.no_viable_alternative());
                }
                let value = match self.in_values()? {
                    RelationValue::Marker(marker) => ConditionValue::Marker(marker),
                    RelationValue::List(terms) => ConditionValue::List(terms),
                    RelationValue::One(_) | RelationValue::None => return Err(self.no_viable_alternative()),
                };
                (Operator::In, value)
            } else if self.is_any_keyword_at(self.at, &["contains", "not"]) {
                return Err(CqlError::unsupported("this operator in an IF condition"));
            } else {
                return Err(self.no_viable_alternative());
            };
            conditions.push((target, operator, value));
            if !self.accept_keyword("and") {
                return Ok(Condition::Columns(conditions));
            }
        }
    }

    /// Whether `exists` is the name of a column here.
    fn is_column_condition(&self) -> bool {
        let next = self.at + 1;
        ["=", "!=", "<", "<=", ">", ">=", "[", "."].iter().any(|symbol| self.is_symbol_at(next, symbol))
            || self.is_keyword_at(next, "in")
    }

    /// `WHERE relation AND ...`.
    pub(super) fn where_clause(&mut self) -> Result<Vec<Relation>, CqlError> {
        self.expect_keyword("where")?;
        let mut relations = Vec::new();
        loop {
            self.nested(|parser| parser.relation(&mut relations))?;
            if !self.accept_keyword("and") {
                return Ok(relations);
            }
        }
    }

    fn relation(&mut self, relations: &mut Vec<Relation>) -> Result<(), CqlError> {
        if self.is_keyword("token") && self.is_symbol_at(self.at + 1, "(") {
            self.at += 2;
            let columns = self.list_of(Self::name)?;
            self.expect(")")?;
            let operator = self.comparison().ok_or_else(|| self.no_viable_alternative())?;
            relations.push(Relation::Token { columns, operator, value: self.term()? });
            return Ok(());
        }
        if self.is_symbol("(") {
            return self.parenthesised_relation(relations);
        }
        let DeleteTarget { column, access } = self.target()?;
        let (operator, value) = self.operator_and_value()?;
        relations.push(Relation::Column { column, access, operator, value });
        Ok(())
    }

    /// `(a, b) op (1, 2)`, or a relation in parentheses.
    fn parenthesised_relation(&mut self, relations: &mut Vec<Relation>) -> Result<(), CqlError> {
        let is_tuple = self.name_at(self.at + 1).is_some()
            && (self.is_symbol_at(self.at + 2, ",") || self.is_symbol_at(self.at + 2, ")"));
        self.expect("(")?;
        if is_tuple {
            let columns = self.list_of(Self::name)?;
            self.expect(")")?;
            self.expect_tuples()?;
            let (operator, value) = self.operator_and_value()?;
            relations.push(Relation::Tuple { columns, operator, value });
            return Ok(());
        }
        loop {
            self.nested(|parser| parser.relation(relations))?;
            if !self.accept_keyword("and") {
                return self.expect(")");
            }
        }
    }

    /// Refuses what is no tuple after the operator of `(a, b) op`.
    fn expect_tuples(&self) -> Result<(), CqlError> {
        let begins = |at: usize| ["(", "?", ":"].iter().any(|sign| self.is_symbol_at(at, sign));
        let after = self.at + 1;
        let is_comparison = ["=", "<", "<=", ">", ">="].iter().any(|sign| self.is_symbol(sign));
        if is_comparison && !begins(after) {
            return Err(self.no_viable_alternative_from(self.at, after));
        }
        if self.is_keyword("in") && self.is_symbol_at(after, "(") {
            let first = after + 1;
            if !begins(first) && !self.is_symbol_at(first, ")") {
                return Err(self.no_viable_alternative_from(after, first));
            }
        }
        Ok(())
    }

    fn operator_and_value(&mut self) -> Result<(Operator, RelationValue), CqlError> {
        if let Some(operator) = self.comparison() {
            return Ok((operator, RelationValue::One(self.term()?)));
        }
        if self.accept_keyword("in") {
            if !self.is_marker() && !self.is_symbol("(") {
                return Err(self.no_viable_alternative_from(self.at - 2, self.at));
            }
            return Ok((Operator::In, self.in_values()?));
        }
        if self.accept_keyword("like") {
            return Ok((Operator::Like, RelationValue::One(self.term()?)));
        }
        if self.accept_keyword("contains") {
            let operator =
                if self.accept_keyword("key") { Operator::ContainsKey } else { Operator::Contains };
            return Ok((operator, RelationValue::One(self.term()?)));
        }
        if self.accept_keywords(&["is", "not"]) {
            self.expect_keyword("null")?;
            return Ok((Operator::IsNotNull, RelationValue::None));
        }
        if self.is_any_keyword_at(self.at, &["not", "between"]) {
            return Err(CqlError::unsupported("NOT and BETWEEN in WHERE"));
        }
        Err(self.no_viable_alternative())
    }

    /// What follows IN.
    fn in_values(&mut self) -> Result<RelationValue, CqlError> {
        if self.is_marker() {
            return Ok(RelationValue::Marker(self.marker()?));
        }
        self.expect("(")?;
        let terms: Vec<Term> = if self.is_symbol(")") { Vec::new() } else { self.list_of(Self::term)? };
        self.expect(")")?;
        Ok(RelationValue::List(terms))
    }
}
