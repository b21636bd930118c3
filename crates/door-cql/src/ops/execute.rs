//! EXECUTE: a prepared statement, carried out.

use std::fmt::Write;

use bytes::Bytes;

use super::Operation;
use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{Failure, Fault, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::EXECUTE, name: "EXECUTE", greets: false, handle };

fn handle(session: &mut CqlSession, head: Head, frame: Frame) -> Result<(), Failure> {
    let frame_bytes = frame.body.len();
    let execute = request::execute(frame)?;
    let Some(prepared) = session.door().statements.get(&execute.id) else {
        return Err(unprepared(execute.id));
    };
    // Only a client that was told the columns can do without them.
    let skip_metadata = execute.parameters.skip_metadata && prepared.result().is_some();
    session.execute(head, frame_bytes, &prepared, execute.parameters.request, skip_metadata)
}

/// Drivers prepare again when they see this, without telling their user.
fn unprepared(id: Bytes) -> Failure {
    let mut message = "Prepared query with ID ".to_owned();
    for byte in &id {
        // Writing to a string cannot fail.
        let _ = write!(message, "{byte:02x}");
    }
    message.push_str(
        " not found (either the query was not prepared on this host (maybe the host has been restarted?)",
    );
    message
        .push_str(" or you have prepared too many queries and it has been evicted from the internal cache)");
    Failure::new(Fault::Unprepared { id }, message)
}
