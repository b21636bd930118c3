//! How often a node has started: the file `STARTS`.
//!
//! ```text
//! starts <count>\n
//! checksum <crc-32c of the line above, 8 hex digits>\n
//! ```
//! It is raised and durable before a start does anything else, so that no two starts have one number.
//! Peers remember the highest they heard of: a disk that was set back to an older state comes with a
//! number that was used before, and is recognised by it.

use base::Cause;
use world::{Disk, DiskError};

use crate::identity::{self, damaged, field, seal, unusable};

pub(crate) const FILE: &str = "STARTS";

/// Counts this start; returns its number, from 1. The directory has its identity.
pub(crate) fn begin(disk: &Disk) -> Result<u64, Cause> {
    let before = match identity::read(disk, FILE, parse)? {
        Some(before) => before,
        // Every start that made one of these was counted first.
        None if is_there(disk, "log")? || is_there(disk, "tree")? => {
            let missing = format!("{}/{FILE} is missing, but there is a log or a tree", disk.describe());
            return Err(Cause::corrupt(missing));
        }
        None => 0,
    };
    let start = before.checked_add(1).ok_or_else(damaged)?;
    disk.replace(FILE, print(start).as_bytes()).map_err(unusable)?;
    Ok(start)
}

fn is_there(disk: &Disk, folder: &str) -> Result<bool, Cause> {
    match disk.list(folder) {
        Ok(names) => Ok(!names.is_empty()),
        Err(DiskError::NotFound { .. }) => Ok(false),
        Err(error) => Err(unusable(error)),
    }
}

fn print(starts: u64) -> String {
    seal(format!("starts {starts}\n"))
}

pub(crate) fn parse(bytes: &[u8]) -> Result<u64, Cause> {
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let starts = field(text.lines().next(), "starts")?.parse().map_err(|_| damaged())?;
    if print(starts).as_bytes() == bytes { Ok(starts) } else { Err(damaged()) }
}

#[cfg(test)]
mod tests {
    use base::Class;

    use super::*;

    #[test]
    fn every_start_has_its_number() {
        let disk = Disk::in_memory();
        assert_eq!((1..=3).map(|_| begin(&disk)).collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3)]);
    }

    #[test]
    fn one_that_was_cut_short_has_used_up_its_number_or_not_begun() {
        let (disk, sim) = Disk::simulated(7);
        sim.record_boundaries();
        assert_eq!(begin(&disk), Ok(1));
        assert_eq!(begin(&disk), Ok(2));
        for (nth, boundary) in sim.take_boundaries().into_iter().enumerate() {
            let (disk, _) = boundary.crash(nth as u64);
            let next = begin(&disk);
            assert!(matches!(next, Ok(1..=3)), "at boundary {nth}: {next:?}");
        }
    }

    #[test]
    fn damage_and_loss_are_noticed() {
        let disk = Disk::in_memory();
        disk.make_folder("log").expect("room");
        assert_eq!(begin(&disk), Ok(1));
        disk.create("log/00000001.seg", 10).expect("room");
        assert_eq!(begin(&disk), Ok(2));
        disk.remove(FILE).expect("it is there");
        assert_eq!(begin(&disk).map_err(|cause| cause.class), Err(Class::Corrupt));

        let text = print(5);
        for offset in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[offset] ^= 1;
            assert!(parse(&bytes).is_err(), "bit flipped at {offset}");
        }
    }
}
