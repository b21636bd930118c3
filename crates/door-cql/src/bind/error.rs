//! [`CqlError`]: why a statement failed, with what the protocol's error of that kind carries.
//!
//! Errors of the language itself are decided here and below. A failure of the store keeps its
//! [`Cause`] and what was being done, and becomes bytes by the door's one table, `faults.rs`.

use std::fmt;

use base::Cause;
use store::Consistency;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CqlError {
    /// The text is not CQL (0x2000).
    Syntax(String),
    /// The statement is wrong, or not supported yet (0x2200).
    Invalid(String),
    /// A definition is wrong (0x2300).
    Config(String),
    /// The principal may not do this (0x2100).
    Unauthorized(String),
    /// The request breaks the protocol's own rules (0x000A).
    Protocol(String),
    /// What should be made is there already (0x2400).
    AlreadyExists {
        /// For a person.
        message: String,
        /// The keyspace.
        keyspace: String,
        /// The table; empty when the keyspace itself exists.
        table: String,
    },
    /// The store could not do it.
    Store {
        /// Why.
        cause: Cause,
        /// What was asked of it.
        doing: Doing,
        /// At which consistency.
        consistency: Consistency,
    },
}

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// A read.
    Read,
    /// An unconditional write.
    Write,
    /// A conditional write.
    Cas,
    /// A change of definitions.
    Define,
    /// The removal of all rows of a table.
    Truncate,
}

impl CqlError {
    /// The statement is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> CqlError {
        CqlError::Invalid(message.into())
    }

    /// The language has it, this door does not.
    pub(crate) fn unsupported(what: impl fmt::Display) -> CqlError {
        CqlError::Invalid(format!("{what} is not supported yet"))
    }
}

impl fmt::Display for CqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CqlError::Syntax(message)
            | CqlError::Invalid(message)
            | CqlError::Config(message)
            | CqlError::Unauthorized(message)
            | CqlError::Protocol(message)
            | CqlError::AlreadyExists { message, .. } => f.write_str(message),
            CqlError::Store { cause, .. } => cause.fmt(f),
        }
    }
}
