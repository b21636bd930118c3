//! What WHERE becomes: which partitions, which rows of them, and which tests the rows must pass.

use super::{InList, Value};
use crate::lang::Operator;

/// The values one key column may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    One(Value),
    In(InList),
    /// Rows of values for several columns in a row: `(a, b) IN ((1, 2), (3, 4))`.
    Rows(Vec<Vec<Value>>),
}

impl Choice {
    /// How many columns it restricts.
    pub(crate) fn width(&self) -> usize {
        match self {
            Choice::One(_) | Choice::In(_) => 1,
            Choice::Rows(rows) => rows.first().map_or(1, Vec::len),
        }
    }
}

/// A bound of a range: values of one or more columns in a row, and whether they are included.
pub(crate) type RangeBound = Option<(Vec<Value>, bool)>;

/// A range of the clustering columns after the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangePlan {
    pub(crate) lower: RangeBound,
    pub(crate) upper: RangeBound,
}

/// Which rows of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusteringPlan {
    /// Values of the leading columns.
    pub(crate) prefix: Vec<Choice>,
    /// A range of what follows.
    pub(crate) range: Option<RangePlan>,
}

impl ClusteringPlan {
    /// How many columns the prefix restricts.
    pub(crate) fn prefix_width(&self) -> usize {
        self.prefix.iter().map(Choice::width).sum()
    }
}

/// A stretch of the ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenPlan {
    pub(crate) lower: Option<(Value, bool)>,
    pub(crate) upper: Option<(Value, bool)>,
}

/// Which partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyPlan {
    /// These, one choice for each component of the key.
    Keys(Vec<Choice>),
    /// Those whose token is in a stretch; the whole ring without bounds.
    Tokens(TokenPlan),
}

/// A test that a row must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Predicate {
    Compare { column: usize, operator: Operator, value: Value },
    In { column: usize, list: InList },
}

impl Predicate {
    /// The place of the column it looks at.
    pub(crate) fn column(&self) -> usize {
        match self {
            Predicate::Compare { column, .. } | Predicate::In { column, .. } => *column,
        }
    }
}
