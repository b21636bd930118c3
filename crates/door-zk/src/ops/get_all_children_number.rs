//! getAllChildrenNumber (104): how many znodes are below one.

use super::{Reading, Stop};
use crate::wire::jute::{Input, put_i32};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let path = record.text()?;
    let place = reading.readable(path)?;
    if reading.node(place).stat().num_children != 0 {
        // There may be millions: they are counted elsewhere, and that is the answer.
        let census = reading.state.replica.tree.census(place)?;
        // ZooKeeper keeps the root under two names, and one is below the other.
        reading.census = Some(census.with(u64::from(path.is_empty())));
        return Err(Stop::Cold);
    }
    put_i32(out, 0);
    Ok(())
}
