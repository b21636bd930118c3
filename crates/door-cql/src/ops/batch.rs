//! BATCH: read, so that what is wrong with it is told, and refused.

use super::Operation;
use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{Failure, Fault, Head},
    },
};

pub(super) const ROW: Operation = Operation { opcode: opcode::BATCH, name: "BATCH", greets: false, handle };

fn handle(_session: &mut CqlSession, _head: Head, frame: Frame) -> Result<(), Failure> {
    let statements = request::batch(frame)?;
    Err(Failure::new(Fault::Invalid, format!("BATCH ({statements} statements) is not supported yet")))
}
