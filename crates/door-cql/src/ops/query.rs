//! QUERY: a statement as text, planned and carried out.

use super::Operation;
use crate::{
    faults,
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{Failure, Head},
    },
};

pub(super) const ROW: Operation = Operation { opcode: opcode::QUERY, name: "QUERY", greets: false, handle };

fn handle(session: &mut CqlSession, head: Head, frame: Frame) -> Result<(), Failure> {
    let frame_bytes = frame.body.len();
    let query = request::query(frame)?;
    let keyspace = session.connection().keyspace();
    let door = session.door();
    let prepared =
        door.texts.prepare(&door.engine, keyspace.as_ref(), query.text.as_str()).map_err(faults::failure)?;
    // The columns are always told: a client that does not prepare cannot know them.
    session.execute(head, frame_bytes, &prepared, query.parameters.request, false)
}
