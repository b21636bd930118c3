//! What a client may ask for: one row an operation, one file a row.
//!
//! Handlers answer at once, or let the request in ([`crate::connection::Connection::admit`]) and
//! hand it to the engine, whose answer finds its own way. Which principal may do what is asked at
//! the gate, by the engine, for every table a statement touches.

mod auth_response;
mod batch;
mod execute;
mod options;
mod prepare;
mod query;
mod register;
mod startup;

use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        response::{Failure, Head},
    },
};

/// An operation.
pub(crate) struct Operation {
    pub(crate) opcode: u8,
    /// As the protocol spells it; also the metric's label.
    pub(crate) name: &'static str,
    /// Whether it may come before STARTUP has been answered.
    pub(crate) greets: bool,
    /// Answers the request, now or later; an error is told to the client on the same stream.
    pub(crate) handle: fn(&mut CqlSession, Head, Frame) -> Result<(), Failure>,
}

/// All operations of protocol versions 3 and 4.
pub(crate) const OPERATIONS: [Operation; 8] = [
    startup::ROW,
    options::ROW,
    query::ROW,
    prepare::ROW,
    execute::ROW,
    batch::ROW,
    register::ROW,
    auth_response::ROW,
];

/// The place of an opcode in [`OPERATIONS`].
pub(crate) fn find(opcode: u8) -> Option<usize> {
    OPERATIONS.iter().position(|operation| operation.opcode == opcode)
}
