//! The language: text to statements.
//!
//! [`lexer`] cuts text into tokens, [`parser`] makes a tree ([`ast`]) of them by recursive descent.
//! The grammar is that of CQL 3.4.7 (Cassandra 5.0). Statements and clauses this door does not
//! carry out yet are recognised and refused as such, so that "not supported yet" is never a syntax
//! error and nothing is ever silently left out.

mod ast;
mod lexer;
mod parser;
mod print;
#[cfg(test)]
mod tests;

pub(crate) use ast::{
    Access, Change, Condition, ConditionValue, CreateTable, Delete, DeleteTarget, Insert, Literal,
    LiteralKind, Marker, Operator, Property, Relation, RelationValue, Select, Selector, Statement, TableName,
    Term, TypeExpr, Update,
};
pub(crate) use parser::{Parsed, parse, parse_type};
pub(crate) use print::quoted_name;
