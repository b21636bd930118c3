//! AUTH_RESPONSE: this door asks for no credentials, so there is nothing to respond to.

use super::Operation;
use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode,
        response::{Failure, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::AUTH_RESPONSE, name: "AUTH_RESPONSE", greets: false, handle };

fn handle(_session: &mut CqlSession, _head: Head, _frame: Frame) -> Result<(), Failure> {
    Err(Failure::protocol("Unexpected message AUTH_RESPONSE, no authentication was asked for"))
}
