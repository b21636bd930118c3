//! getChildren (8) answers the names of a znode's children, getChildren2 (12) its Stat too.
//! ZooKeeper gives the names in no order; here they come sorted.

use super::{Reading, Stop};
use crate::{
    watches::Kind,
    wire::{jute::Input, reply, request},
};

pub(super) fn read(reading: &mut Reading<'_>, record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    children(reading, record, out, false)
}

pub(super) fn read_with_stat(
    reading: &mut Reading<'_>,
    record: Input<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Stop> {
    children(reading, record, out, true)
}

fn children(
    reading: &mut Reading<'_>,
    mut record: Input<'_>,
    out: &mut Vec<u8>,
    with_stat: bool,
) -> Result<(), Stop> {
    let look = request::look(&mut record)?;
    let place = reading.readable(look.path)?;
    if look.watch {
        reading.state.watches.check_room([look.path])?;
    }
    let start = out.len();
    reading.list(look.path, place, out)?;
    reading.check_answer(out.len() - start)?;
    if with_stat {
        reply::stat(out, &reading.node(place).stat());
    }
    if look.watch {
        reading.watch(Kind::Children, look.path);
    }
    Ok(())
}
