//! getAllChildrenNumber (104): how many znodes are below one.

use super::Reading;
use crate::{
    faults::Code,
    wire::jute::{Input, put_i32},
};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Code> {
    let path = record.text()?;
    let count = reading.readable(path)?.descendants();
    // ZooKeeper keeps the root under two names, and one is below the other.
    let count = i64::from(count) + i64::from(path.is_empty());
    put_i32(out, i32::try_from(count).unwrap_or(i32::MAX));
    Ok(())
}
