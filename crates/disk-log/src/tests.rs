//! Proof of the log: stories on a disk that suffers.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

mod damage;
mod edges;
mod faults;
mod full_disk;
mod golden;
mod planted_bugs;
mod power_cut;
mod program;
mod verify;
mod writer;

use base::{Position, StreamId};
use world::{Disk, Entropy};

use crate::{Log, LogError, LogSettings};

/// A record as the log shows it.
type Seen = (Position, StreamId, Vec<u8>);

/// Segments of 1 KiB, so that a few records fill them.
fn tiny() -> LogSettings {
    LogSettings { segment_bytes: 1 << 10, max_record_bytes: 200, queue_bytes: 600, ..LogSettings::default() }
}

/// Opens the log and returns what it shows.
fn open(disk: &Disk, settings: LogSettings) -> Result<(Log, Vec<Seen>), LogError> {
    let mut seen = Vec::new();
    let log = Log::open(disk.clone(), settings, &Entropy::seeded(1), &mut |position, stream, payload| {
        seen.push((position, stream, payload.to_vec()));
        Ok(())
    })?;
    Ok((log, seen))
}

/// The files of the log that are segments.
fn segments(disk: &Disk) -> Vec<String> {
    let names = disk.list("log").unwrap();
    names.into_iter().filter(|name| name.ends_with(".seg")).map(|name| format!("log/{name}")).collect()
}
