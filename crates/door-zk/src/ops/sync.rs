//! sync (9): answered like a read, and that is all it has to be, since every read here sees all
//! that was acknowledged before it. The path comes back; whether it exists does not matter.

use super::{Reading, Stop};
use crate::wire::jute::{Input, put_buffer};

pub(super) fn read(_: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let path = record.buffer()?;
    put_buffer(out, path);
    Ok(())
}
