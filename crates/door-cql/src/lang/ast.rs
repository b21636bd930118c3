//! The tree of a statement, before any name is looked up.
//!
//! Names are as they will be looked up: folded to lower case, or as quoted.

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    CreateKeyspace { name: String, if_not_exists: bool, properties: Vec<(String, Property)> },
    DropKeyspace { name: String, if_exists: bool },
    CreateTable(Box<CreateTable>),
    DropTable { table: TableName, if_exists: bool },
    Truncate(TableName),
    Use(String),
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Select(Box<Select>),
}

/// `[keyspace.]table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) keyspace: Option<String>,
    pub(crate) name: String,
}

/// The value of a property in `WITH name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    Text(String),
    Map(Vec<(String, String)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreateTable {
    pub(crate) table: TableName,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDef>,
    /// Partition and clustering columns of each PRIMARY KEY that was given.
    pub(crate) primary_keys: Vec<(Vec<String>, Vec<String>)>,
    pub(crate) properties: Vec<(String, Property)>,
    /// Columns of CLUSTERING ORDER BY, and whether descending.
    pub(crate) clustering_order: Vec<(String, bool)>,
    pub(crate) compact_storage: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) ty: TypeExpr,
    pub(crate) is_static: bool,
}

/// A type as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypeExpr {
    Named { keyspace: Option<String>, name: String, quoted: bool },
    Generic { name: String, args: Vec<TypeExpr> },
    Vector { element: Box<TypeExpr>, len: u32 },
    Custom(String),
}

/// `USING TIMESTAMP t AND TTL s`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Using {
    pub(crate) timestamp: Option<Term>,
    pub(crate) ttl: Option<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Insert {
    pub(crate) table: TableName,
    pub(crate) columns: Vec<String>,
    pub(crate) values: Vec<Term>,
    pub(crate) if_not_exists: bool,
    pub(crate) using: Using,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) table: TableName,
    pub(crate) using: Using,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) condition: Condition,
}

/// One assignment of SET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) column: String,
    pub(crate) access: Access,
    pub(crate) change: Change,
}

/// A part of a column's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The whole.
    Whole,
    /// `c[term]`.
    Element(Box<Term>),
    /// `c.field`.
    Field(String),
}

/// What an assignment does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// `= term`.
    Set(Term),
    /// `= c + term` and `+= term`.
    Append(Term),
    /// `= term + c`.
    Prepend(Term),
    /// `= c - term` and `-= term`.
    Remove(Term),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) table: TableName,
    /// Columns to delete; none is whole rows.
    pub(crate) targets: Vec<DeleteTarget>,
    pub(crate) timestamp: Option<Term>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteTarget {
    pub(crate) column: String,
    pub(crate) access: Access,
}

/// IF ...
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Exists,
    Columns(Vec<(DeleteTarget, Operator, ConditionValue)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConditionValue {
    One(Term),
    /// `IN (a, b)`.
    List(Vec<Term>),
    /// `IN ?`.
    Marker(Marker),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Select {
    pub(crate) table: TableName,
    pub(crate) distinct: bool,
    /// `None` is `*`; else selectors with their aliases.
    pub(crate) selectors: Option<Vec<(Selector, Option<String>)>>,
    pub(crate) relations: Vec<Relation>,
    /// Columns, and whether descending.
    pub(crate) order_by: Vec<(String, bool)>,
    pub(crate) per_partition_limit: Option<Term>,
    pub(crate) limit: Option<Term>,
    pub(crate) allow_filtering: bool,
}

/// What a SELECT returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    Column(String),
    Literal(Term),
    Writetime(String),
    Ttl(String),
    /// `count(*)`.
    CountRows,
    Call {
        name: String,
        args: Vec<Selector>,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Contains,
    ContainsKey,
    Like,
    IsNotNull,
}

/// One relation of WHERE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Column {
        column: String,
        access: Access,
        operator: Operator,
        value: RelationValue,
    },
    /// `(a, b) > (1, 2)`.
    Tuple {
        columns: Vec<String>,
        operator: Operator,
        value: RelationValue,
    },
    /// `token(a, b) > 5`.
    Token {
        columns: Vec<String>,
        operator: Operator,
        value: Term,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RelationValue {
    One(Term),
    /// `IN (a, b)`.
    List(Vec<Term>),
    /// `IN ?`.
    Marker(Marker),
    /// Of `IS NOT NULL`.
    None,
}

/// `?` or `:name`; `index` counts the markers of the statement from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) index: usize,
    pub(crate) name: Option<String>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Null,
    Literal(Literal),
    Marker(Marker),
    List(Vec<Term>),
    Set(Vec<Term>),
    Map(Vec<(Term, Term)>),
    Tuple(Vec<Term>),
    Udt(Vec<(String, Term)>),
    Call {
        name: String,
        args: Vec<Term>,
    },
    /// `(type) term`.
    TypeHint {
        ty: TypeExpr,
        term: Box<Term>,
    },
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) kind: LiteralKind,
    /// As written, without quotes.
    pub(crate) text: String,
}

/// The kind of a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiteralKind {
    String,
    Integer,
    Uuid,
    Float,
    Boolean,
    Hex,
    Duration,
}

impl LiteralKind {
    /// As Cassandra's errors call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LiteralKind::String => "STRING",
            LiteralKind::Integer => "INTEGER",
            LiteralKind::Uuid => "UUID",
            LiteralKind::Float => "FLOAT",
            LiteralKind::Boolean => "BOOLEAN",
            LiteralKind::Hex => "HEX",
            LiteralKind::Duration => "DURATION",
        }
    }
}

impl Operator {
    /// As written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Operator::Eq => "=",
            Operator::Ne => "!=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::In => "IN",
            Operator::Contains => "CONTAINS",
            Operator::ContainsKey => "CONTAINS KEY",
            Operator::Like => "LIKE",
            Operator::IsNotNull => "IS NOT NULL",
        }
    }

    /// Whether it bounds a range.
    pub(crate) fn is_range(self) -> bool {
        matches!(self, Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge)
    }
}
