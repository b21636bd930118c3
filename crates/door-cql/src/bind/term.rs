//! [`Value`]: what a term stands for once its type is known, and markers on their way to
//! [`MarkerMetadata`].

use std::sync::Arc;

use bytes::Bytes;

use super::{
    CqlError, TableView, ViewColumn,
    functions::{self, Environment, Function},
};
use crate::{
    exec::{BoundValue, ColumnSpec, MarkerMetadata},
    lang::{Marker, Term},
    types::{CqlType, literal_value, validate},
};

/// A value of known type that may still need the request's values, or the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A serialized value; `None` is null.
    Constant(Option<Bytes>),
    Marker {
        index: usize,
        ty: CqlType,
    },
    Call {
        function: Function,
        args: Vec<Value>,
    },
    /// The token of the partition key that has these components.
    Token(Vec<Value>),
}

/// The values of IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InList {
    Values(Vec<Value>),
    /// One marker for the whole list.
    Marker {
        index: usize,
        element: CqlType,
    },
}

/// A [`Value`] at the moment of execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evaluated {
    Null,
    Unset,
    Value(Bytes),
}

/// Evaluates.
///
/// # Errors
/// A bound value that is not of its type; a function that refuses its arguments.
pub(crate) fn evaluate(value: &Value, environment: &Environment<'_>) -> Result<Evaluated, CqlError> {
    match value {
        Value::Constant(None) => Ok(Evaluated::Null),
        Value::Constant(Some(bytes)) => Ok(Evaluated::Value(bytes.clone())),
        Value::Marker { index, ty } => match environment.bound(*index)? {
            BoundValue::Null => Ok(Evaluated::Null),
            BoundValue::Unset => Ok(Evaluated::Unset),
            BoundValue::Value(bytes) => {
                validate(ty, bytes)?;
                Ok(Evaluated::Value(bytes.clone()))
            }
        },
        Value::Token(components) => {
            let mut key = Vec::with_capacity(components.len());
            for component in components {
                match evaluate(component, environment)? {
                    Evaluated::Value(bytes) => key.push(bytes),
                    Evaluated::Null => return Ok(Evaluated::Null),
                    Evaluated::Unset => return Ok(Evaluated::Unset),
                }
            }
            let token = crate::exec::partition_token(&crate::exec::partition_key(&key)?);
            Ok(Evaluated::Value(Bytes::copy_from_slice(&token.to_be_bytes())))
        }
        Value::Call { function, args } => {
            let mut evaluated = Vec::with_capacity(args.len());
            for arg in args {
                evaluated.push(match evaluate(arg, environment)? {
                    Evaluated::Value(bytes) => Some(bytes),
                    Evaluated::Null => None,
                    Evaluated::Unset => {
                        return Err(CqlError::Invalid(format!(
                            "Invalid unset value for argument in call to function {}",
                            function.name()
                        )));
                    }
                });
            }
            Ok(functions::call(*function, &evaluated, environment)?.map_or(Evaluated::Null, Evaluated::Value))
        }
    }
}

/// Evaluates the values of IN on `column`. A marker's list is taken apart here.
///
/// # Errors
/// As [`evaluate`]; a list that is null or unset.
pub(crate) fn evaluate_list(
    list: &InList,
    column: &str,
    environment: &Environment<'_>,
) -> Result<Vec<Evaluated>, CqlError> {
    match list {
        InList::Values(values) => values.iter().map(|value| evaluate(value, environment)).collect(),
        InList::Marker { index, element } => match environment.bound(*index)? {
            BoundValue::Null => {
                Err(CqlError::Invalid(format!("Invalid null value for column {column} in an IN condition")))
            }
            BoundValue::Unset => Err(CqlError::Invalid(format!("Invalid unset value for column {column}"))),
            BoundValue::Value(bytes) => list_elements(bytes, element),
        },
    }
}

/// The elements of a serialized list. Elements of null stay null: conditions may ask for them.
fn list_elements(bytes: &Bytes, element: &CqlType) -> Result<Vec<Evaluated>, CqlError> {
    let malformed = || CqlError::invalid("Not enough bytes to read a list");
    let number = |at: usize| -> Result<i32, CqlError> {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(malformed)?;
        Ok(i32::from_be_bytes(*bytes))
    };
    let count = usize::try_from(number(0)?).map_err(|_| malformed())?;
    if count > bytes.len() / 4 {
        return Err(malformed());
    }
    let mut at = 4;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let len = number(at)?;
        at += 4;
        let Ok(len) = usize::try_from(len) else {
            elements.push(Evaluated::Null);
            continue;
        };
        if len > bytes.len() - at {
            return Err(malformed());
        }
        let value = bytes.slice(at..at + len);
        validate(element, &value)?;
        elements.push(Evaluated::Value(value));
        at += len;
    }
    if at == bytes.len() {
        Ok(elements)
    } else {
        Err(CqlError::invalid("Unexpected extraneous bytes after list"))
    }
}

/// The markers of a statement while it is bound.
pub(super) struct Markers {
    specs: Vec<Option<ColumnSpec>>,
    partition_key: Vec<u16>,
}

impl Markers {
    pub(super) fn new(count: usize) -> Markers {
        Markers { specs: vec![None; count], partition_key: Vec::new() }
    }

    /// Gives a marker its type. Its name is its own, or that of what it is a value of.
    pub(super) fn declare(&mut self, marker: &Marker, name: &str, ty: &CqlType) -> usize {
        let name: Arc<str> = marker.name.as_deref().unwrap_or(name).into();
        if let Some(spec) = self.specs.get_mut(marker.index) {
            *spec = Some(ColumnSpec { name, ty: ty.clone() });
        }
        marker.index
    }

    /// The value of a term for `column`.
    pub(super) fn column_value(&mut self, term: &Term, column: &ViewColumn) -> Result<Value, CqlError> {
        self.value(term, &column.name, &column.ty)
    }

    /// The value of a term as `ty`, called `name` in errors and metadata.
    pub(super) fn value(&mut self, term: &Term, name: &str, ty: &CqlType) -> Result<Value, CqlError> {
        match term {
            Term::Null => Ok(Value::Constant(None)),
            Term::Literal(literal) => Ok(Value::Constant(Some(literal_value(ty, literal, name)?))),
            Term::Marker(marker) => {
                Ok(Value::Marker { index: self.declare(marker, name, ty), ty: ty.clone() })
            }
            Term::Call { name: function, args } => functions::bind_call(function, args, ty, name, self),
            Term::TypeHint { ty: hint, term } => {
                let hinted = CqlType::from_expr(hint)?;
                if !ty.takes(&hinted) {
                    return Err(CqlError::Invalid(format!(
                        "Cannot assign value ({hinted}){term} to {name} of type {ty}"
                    )));
                }
                self.value(term, name, ty)
            }
            Term::List(_) | Term::Set(_) | Term::Map(_) | Term::Tuple(_) | Term::Udt(_) => {
                let kind = match term {
                    Term::List(_) => "list",
                    Term::Set(_) => "set",
                    Term::Map(_) => "map",
                    Term::Tuple(_) => "tuple",
                    _ => "user type",
                };
                if ty.native().is_none() {
                    return Err(CqlError::unsupported(format!("a {kind} literal")));
                }
                Err(CqlError::Invalid(match term {
                    Term::List(_) => {
                        format!("Unexpected receiver type '{ty}'; only list and vector are expected")
                    }
                    Term::Tuple(_) => format!("Invalid tuple type literal for {name} of type {ty}"),
                    _ => format!("Invalid {kind} literal for {name} of type {ty}"),
                }))
            }
        }
    }

    /// Says which markers give the partition key, if all of it is given by markers.
    pub(super) fn route_by(&mut self, values: impl IntoIterator<Item = Option<usize>>) {
        let indexes: Option<Vec<u16>> =
            values.into_iter().map(|index| index.and_then(|index| u16::try_from(index).ok())).collect();
        self.partition_key = indexes.unwrap_or_default();
    }

    /// The metadata, for a statement on `view`.
    ///
    /// # Errors
    /// A marker where none can be.
    pub(super) fn finish(self, view: Option<&TableView>) -> Result<MarkerMetadata, CqlError> {
        let markers = self.specs.into_iter().collect::<Option<Vec<_>>>();
        let markers = markers.ok_or_else(|| CqlError::unsupported("a bind marker in this place"))?;
        let (keyspace, table) = match view {
            Some(view) => (view.keyspace.clone(), view.name.clone()),
            None => Default::default(),
        };
        Ok(MarkerMetadata { keyspace, table, markers, partition_key_markers: self.partition_key })
    }
}
