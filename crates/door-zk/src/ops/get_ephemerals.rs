//! getEphemerals (103): the session's ephemeral znodes, those whose paths begin with a text. The
//! text is no path: `/a` is the beginning of `/ab`.

use super::{Reading, Stop};
use crate::wire::{jute::Input, reply};

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let prefix = record.string()?.unwrap_or_default();
    let is_everything = matches!(prefix.trim_matches(|c| c <= ' '), "" | "/");
    let paths = reading.state.replica.tree.ephemerals(reading.session);
    let paths: Vec<&str> = paths.filter(|path| is_everything || path.starts_with(prefix)).collect();
    let start = out.len();
    reply::strings(out, paths.into_iter());
    Ok(reading.check_answer(out.len() - start)?)
}
