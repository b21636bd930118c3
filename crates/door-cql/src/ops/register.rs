//! REGISTER: the client wants to hear of events.
//!
//! Schema changes are told. Changes of the cluster's nodes are registered for in good faith and
//! told when there are any: a node without others has none.

use super::Operation;
use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{self, Failure, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::REGISTER, name: "REGISTER", greets: false, handle };

fn handle(session: &mut CqlSession, head: Head, frame: Frame) -> Result<(), Failure> {
    let mut schema = false;
    for event in request::register(frame)? {
        match event.as_str() {
            "SCHEMA_CHANGE" => schema = true,
            "STATUS_CHANGE" | "TOPOLOGY_CHANGE" => {}
            other => return Err(Failure::protocol(format!("Invalid value '{other}' for Type"))),
        }
    }
    // The answer goes first: an event may come at once.
    session.connection().say(|out| response::ready(out, head));
    if schema {
        session.listen(head.version);
    }
    Ok(())
}
