//! whoAmI (107), without a record: the schemes and users of the connection's ids, never a hash.

use super::{Reading, Stop};
use crate::wire::jute::{Input, put_len, put_str};

pub(super) fn read(reading: &mut Reading<'_>, _: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    put_len(out, reading.ids().count());
    for id in reading.ids() {
        put_str(out, id.scheme);
        put_str(out, id.user());
    }
    Ok(())
}
