//! getData (4): a znode's data and Stat.

use super::{Reading, Stop};
use crate::{
    watches::Kind,
    wire::{
        jute::{Input, put_buffer},
        reply, request,
    },
};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let look = request::look(&mut record)?;
    let place = reading.readable(look.path)?;
    let node = reading.node(place);
    if look.watch {
        reading.state.watches.check_room([look.path])?;
    }
    reading.check_answer(node.data_len())?;
    put_buffer(out, node.data.as_deref());
    reply::stat(out, &node.stat());
    if look.watch {
        reading.watch(Kind::Data, look.path);
    }
    Ok(())
}
