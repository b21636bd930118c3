//! PREPARE: a statement is planned once and gets an id to be executed by.

use super::Operation;
use crate::{
    faults,
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{self, Failure, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::PREPARE, name: "PREPARE", greets: false, handle };

fn handle(session: &mut CqlSession, head: Head, frame: Frame) -> Result<(), Failure> {
    let text = request::prepare(frame)?;
    let keyspace = session.connection().keyspace();
    let door = session.door();
    let prepared = door.engine.prepare(keyspace.as_deref(), text.as_str()).map_err(faults::failure)?;
    let id = door.statements.put(keyspace, text.as_str(), prepared.clone());
    session.connection().say(|out| {
        response::prepared(out, head, &[], &id, prepared.markers(), prepared.result().map(AsRef::as_ref));
    });
    Ok(())
}
