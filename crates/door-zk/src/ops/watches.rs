//! checkWatches (17) asks whether the connection has a watch on a path, removeWatches (18) takes it
//! off: a watch of one kind and mode, or any.

use super::{Reading, Stop};
use crate::{
    faults::Code,
    watches::{Kind, Mode},
    wire::jute::Input,
};

/// The kinds and modes that a type of watch stands for.
fn parts(number: i32) -> Result<(&'static [Kind], Option<Mode>), Code> {
    const BOTH: &[Kind] = &[Kind::Children, Kind::Data];
    match number {
        1 => Ok((&[Kind::Children], Some(Mode::Standard))),
        2 => Ok((&[Kind::Data], Some(Mode::Standard))),
        3 => Ok((BOTH, None)),
        4 => Ok((BOTH, Some(Mode::Persistent))),
        5 => Ok((&[Kind::Data], Some(Mode::Recursive))),
        _ => Err(Code::MARSHALLING_ERROR),
    }
}

pub(super) fn check(reading: &mut Reading<'_>, mut record: Input<'_>, _: &mut Vec<u8>) -> Result<(), Stop> {
    let path = record.text()?;
    let (kinds, mode) = parts(record.i32()?)?;
    let watches = &reading.state.watches;
    let found = kinds.iter().any(|kind| watches.contains(*kind, mode, path, reading.link));
    if found { Ok(()) } else { Err(Code::NO_WATCHER.into()) }
}

pub(super) fn remove(reading: &mut Reading<'_>, mut record: Input<'_>, _: &mut Vec<u8>) -> Result<(), Stop> {
    let path = record.text()?;
    let (kinds, mode) = parts(record.i32()?)?;
    let mut found = false;
    for kind in kinds {
        found |= reading.state.watches.remove(*kind, mode, path, reading.link);
    }
    if found { Ok(()) } else { Err(Code::NO_WATCHER.into()) }
}
