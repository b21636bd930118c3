//! The format, pinned: a segment of version 1 as it stands in the repository.

use base::{Position, StreamId};
use world::{Disk, Entropy};

use super::{Seen, segments, tiny};
use crate::{Batch, Log};

/// Segment 1 of the log that [`write`] writes.
const VERSION_1: &[u8] = include_bytes!("../../fixtures/version-1.seg");

fn records() -> Vec<Seen> {
    let record = |position, stream, payload: &[u8]| (Position(position), StreamId(stream), payload.to_vec());
    vec![
        record(1, 1, b"one"),
        record(2, 0, b""),
        record(3, u64::MAX, &[0xff; 130]),
        record(4, 300, b"together"),
        record(5, 1, b"with this"),
    ]
}

/// Writes those records, the last two in one batch, and seals the log.
fn write(disk: &Disk) {
    let mut log = Log::open(disk.clone(), tiny(), &Entropy::seeded(1), &mut |_, _, _| Ok(())).unwrap();
    let records = records();
    for (_, stream, payload) in &records[..3] {
        log.append(&Batch::of(*stream, payload)).unwrap();
    }
    let mut batch = Batch::new();
    for (_, stream, payload) in &records[3..] {
        batch.push(*stream, payload);
    }
    log.append(&batch).unwrap();
    log.seal().unwrap();
}

#[test]
fn a_log_of_version_1_is_read() {
    let disk = Disk::in_memory();
    disk.make_folder("log").unwrap();
    disk.replace("log/00000001.seg", VERSION_1).unwrap();
    let (log, seen) = super::open(&disk, tiny()).unwrap();
    assert_eq!(seen, records());
    assert_eq!(log.next_position(), Position(6));
}

#[test]
fn a_log_of_version_1_is_written() {
    let disk = Disk::in_memory();
    write(&disk);
    assert_eq!(segments(&disk), ["log/00000001.seg"]);
    let bytes = disk.read("log/00000001.seg", 1 << 20).unwrap();
    assert_eq!(bytes, VERSION_1, "the format changed: give it a new version and a fixture of its own");
}
