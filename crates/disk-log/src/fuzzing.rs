//! The readers of the log, for tests and fuzzers.

use base::{Position, Reader, StreamId};
use world::{Disk, Entropy, garbage::Target};

use crate::{
    Log, LogError, LogSettings,
    control::Control,
    format::{self, BATCH_HEADER, BatchHeader, Kind, SEGMENT_HEADER, SegmentHeader},
    log::{FOLDER, segment_name},
    verify,
};

/// Every reader.
pub const TARGETS: [Target; 3] = [
    Target { name: "log_segment", samples: segments, read: segment },
    Target { name: "log_recovery", samples: batches, read: recovery },
    Target { name: "log_parts", samples: parts, read: part },
];

const SEGMENT_BYTES: u64 = 64 << 10;
const LOG_ID: u64 = 7;

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: SEGMENT_BYTES,
        max_record_bytes: 1 << 10,
        queue_bytes: 16 << 10,
        prepare_bytes: 0,
        ..LogSettings::default()
    }
}

/// A control batch, two of records, a seal: each as kind, number of records, length of the body in two
/// bytes, and the body.
fn batches() -> Vec<Vec<u8>> {
    let mut control = Control::default();
    control.drop_segment(9, 4);
    control.trims.insert(StreamId(5), Position(1));
    let records = |payloads: &[&[u8]]| {
        let mut body = Vec::new();
        for payload in payloads {
            format::put_record(&mut body, StreamId(5), payload);
        }
        body
    };
    let written = [
        (Kind::Control, 0, control.encode()),
        (Kind::Data, 2, records(&[b"never forget", b""])),
        (Kind::Data, 1, records(&[&[0xc1; 300]])),
        (Kind::Seal, 0, Vec::new()),
    ];
    let mut out = Vec::new();
    for (kind, count, body) in written {
        out.extend_from_slice(&[kind as u8, count]);
        out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        out.extend_from_slice(&body);
    }
    vec![out]
}

/// A segment of such batches, each sealed and in its place of the chain, whatever it says.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let header = SegmentHeader {
        log_id: LOG_ID,
        segment: 1,
        first: Position(1),
        previous: 0,
        segment_bytes: SEGMENT_BYTES,
    };
    let mut out = header.encode().to_vec();
    let (mut rest, mut first, mut previous) = (bytes, 1_u64, 0);
    while let Some((&[kind, records, high, low], behind)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (body, behind) = behind.split_at(len);
        rest = behind;
        if out.len() + BATCH_HEADER + body.len() > SEGMENT_BYTES as usize {
            break;
        }
        let kind = [Kind::Data, Kind::Control, Kind::Seal, Kind::Link][usize::from(kind.wrapping_sub(1) % 4)];
        let (segment, offset) = (1, out.len() as u64);
        let records = u32::from(records);
        let batch =
            BatchHeader { kind, log_id: LOG_ID, segment, offset, first: Position(first), records, previous };
        let check = batch.encode(body, &mut out);
        first += u64::from(records);
        if kind != Kind::Link {
            previous = check;
        }
    }
    out
}

fn disk_with(segment: &[u8]) -> Disk {
    let disk = Disk::in_memory();
    let len = segment.len().min(SEGMENT_BYTES as usize);
    let made = disk
        .make_folder(FOLDER)
        .and_then(|()| disk.create(&segment_name(1), SEGMENT_BYTES))
        .and_then(|file| file.write_at(&segment[..len], 0));
    made.expect("a disk in memory takes a segment");
    disk
}

/// Opens a log of this one segment. What no fault is found in opens; what opens is opened again as the same.
fn opens(segment: &[u8]) -> bool {
    let disk = disk_with(segment);
    let (mut faults, mut found) = (0, Vec::new());
    verify(&disk, &mut |_| faults += 1).expect("the folder is there");
    let mut open = |disk: &Disk| {
        found.clear();
        let opened =
            Log::open(disk.clone(), settings(), &Entropy::seeded(1), &mut |position, stream, bytes| {
                found.push((position, stream, bytes.to_vec()));
                Ok(())
            });
        (opened.map(drop), found.clone())
    };
    let (opened, first) = open(&disk);
    match opened {
        Ok(()) => {
            let (opened, second) = open(&disk);
            assert!(opened.is_ok(), "it opened once: {opened:?}");
            assert_eq!(first, second);
            true
        }
        // It may leave no room for what the settings ask for.
        Err(LogError::Settings(_)) => false,
        Err(error) => {
            assert!(faults > 0, "no fault was found in what does not open: {error}");
            false
        }
    }
}

/// A log whose one segment says anything, under sound checksums.
fn recovery(bytes: &[u8]) -> bool {
    opens(&sealed(bytes))
}

fn segments() -> Vec<Vec<u8>> {
    batches().iter().map(|batches| sealed(batches)).collect()
}

/// A log whose one segment is these bytes.
fn segment(bytes: &[u8]) -> bool {
    let _ = format::claimed_streams(bytes.get(SEGMENT_HEADER..).unwrap_or_default());
    opens(bytes)
}

fn parts() -> Vec<Vec<u8>> {
    let mut control = Control::default();
    control.drop_segment(200, 9);
    control.trims.insert(StreamId(5), Position(300));
    let mut record = Vec::new();
    format::put_record(&mut record, StreamId(1 << 40), b"payload");
    vec![control.encode(), record]
}

/// What is inside batches: control batches come back, records take what they say.
fn part(bytes: &[u8]) -> bool {
    let control = Control::decode(bytes);
    if let Ok(control) = &control {
        assert_eq!(Control::decode(&control.encode()).as_ref(), Ok(control));
    }
    let mut reader = Reader::new(bytes);
    let mut taken = 0;
    while let Ok((stream, payload)) = format::take_record(&mut reader) {
        assert!(format::record_len(stream, payload.len()) <= bytes.len());
        taken += 1;
        if reader.is_empty() {
            break;
        }
    }
    control.is_ok() || taken > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reader_of_the_log_panics_whatever_the_bytes() {
        for target in TARGETS {
            target.attack(5, 3000);
        }
    }

    /// A fuzzer's find: [`verify`] saw no fault in it, and it did not open.
    #[test]
    fn a_batch_with_fewer_records_than_it_says_is_a_fault() {
        assert!(!recovery(&[2, 0, 0, 2, 0, 0, 1, 2, 0, 0]));
    }
}
