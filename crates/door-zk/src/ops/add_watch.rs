//! addWatch (106): sets a watch that stays, on a znode (0) or on it and all below it (1). Whether
//! the znode is there does not matter.

use super::{Reading, Stop};
use crate::{
    faults::Code,
    watches::{Kind, Mode},
    wire::jute::{Input, put_i32},
};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let (path, mode) = (record.text()?, record.i32()?);
    reading.state.watches.check_room([path, path])?;
    match mode {
        0 => {
            reading.add_watch(Kind::Data, Mode::Persistent, path);
            reading.add_watch(Kind::Children, Mode::Persistent, path);
        }
        1 => reading.add_watch(Kind::Data, Mode::Recursive, path),
        _ => return Err(Code::MARSHALLING_ERROR.into()),
    }
    // The record is an error code, and clients insist on it.
    put_i32(out, Code::OK.number());
    Ok(())
}
