//! OPTIONS: what STARTUP may ask for. Drivers send it as their heartbeat too, so it is answered
//! whatever the load.

use super::Operation;
use crate::{
    catalog::CQL_VERSION,
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode,
        response::{self, Failure, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::OPTIONS, name: "OPTIONS", greets: true, handle };

/// The Python driver wants the key `COMPRESSION` even where there is none.
const SUPPORTED: [(&str, &[&str]); 3] =
    [("PROTOCOL_VERSIONS", &["3/v3", "4/v4"]), ("COMPRESSION", &[]), ("CQL_VERSION", &[CQL_VERSION])];

fn handle(session: &mut CqlSession, head: Head, _frame: Frame) -> Result<(), Failure> {
    session.connection().say(|out| response::supported(out, head, &SUPPORTED));
    Ok(())
}
