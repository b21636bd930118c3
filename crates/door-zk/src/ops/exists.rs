//! exists (3): the Stat of a znode. A watch is set also when there is none, and then tells of its
//! creation.

use super::{Reading, Stop};
use crate::{
    faults::Code,
    watches::Kind,
    wire::{jute::Input, reply, request},
};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let look = request::look(&mut record)?;
    if look.path.contains('\0') {
        return Err(Code::BAD_ARGUMENTS.into());
    }
    if look.watch {
        reading.state.watches.check_room([look.path])?;
    }
    let stat = match reading.find(look.path)? {
        Some(place) => {
            let node = reading.node(place);
            node.check_readable(reading.ids())?;
            Some(node.stat())
        }
        None => None,
    };
    if look.watch {
        reading.watch(Kind::Data, look.path);
    }
    reply::stat(out, &stat.ok_or(Code::NO_NODE)?);
    Ok(())
}
