//! Bytes change, files vanish: what the log says then.

use base::{Position, StreamId};
use world::{Disk, Entropy, SimDisk};

use super::{Seen, open, segments, tiny};
use crate::{
    Batch, Log, LogError,
    format::{self, SEGMENT_HEADER, SegmentHeader},
};

/// A log of several segments, not sealed, on a disk whose bits can be flipped.
pub(super) fn written() -> (Disk, SimDisk, Log, Vec<Seen>) {
    let (disk, sim) = Disk::simulated(7);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    let random = Entropy::seeded(7);
    let mut records = Vec::new();
    for index in 0..14 {
        let mut payload = vec![0; random.below(150) as usize];
        random.fill(&mut payload);
        let stream = StreamId(1 + index % 3);
        let position = log.append(&Batch::of(stream, &payload)).unwrap();
        records.push((position, stream, payload));
    }
    assert!(segments(&disk).len() >= 3);
    (disk, sim, log, records)
}

/// What a byte of a segment belongs to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Place {
    Header,
    /// A batch that begins at this offset.
    Batch(u64),
    Link(u64),
    Unused,
}

/// The place of every byte of a file.
pub(super) fn places(disk: &Disk, name: &str) -> Vec<Place> {
    let bytes = disk.read(name, 1 << 20).unwrap();
    let header = SegmentHeader::decode(&bytes).unwrap();
    let mut places = vec![Place::Header; SEGMENT_HEADER];
    while let Ok(batch) = format::read_batch(&bytes, places.len(), header.log_id, header.segment) {
        let offset = batch.header.offset;
        let place = match batch.header.kind {
            format::Kind::Link => Place::Link(offset),
            _ => Place::Batch(offset),
        };
        places.resize(batch.end() as usize, place);
    }
    places.resize(bytes.len(), Place::Unused);
    places
}

/// Shown the file of a flipped bit, its place, whether that is the last batch, and what opening
/// the log gave.
type Judge<'a> = dyn FnMut(&str, Place, bool, Result<Vec<Seen>, LogError>) + 'a;

/// Flips one bit of every byte of the log, one at a time, and has `judge` look at what opening it
/// then gives. The flip is taken back before the next, and so is what recovery did.
fn flip_every_byte(disk: &Disk, sim: &SimDisk, judge: &mut Judge<'_>) {
    let files = segments(disk);
    for file in &files {
        let places = places(disk, file);
        for (offset, place) in places.iter().enumerate() {
            let last = files.last() == Some(file)
                && !places[offset..].iter().any(|later| later != place && *later != Place::Unused);
            sim.record_boundaries();
            let (disk, sim) = sim.take_boundaries()[0].crash(0);
            sim.flip_bit(file, offset as u64, (offset % 8) as u8).unwrap();
            judge(file, *place, last, open(&disk, tiny()).map(|(_, seen)| seen));
        }
    }
}

fn assert_names(error: LogError, file: &str, offset: u64) {
    match error {
        LogError::Damaged { file: named, offset: at, .. } => assert_eq!((named.as_str(), at), (file, offset)),
        error => panic!("{error:?} instead of damage to {file} at {offset}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_is_a_torn_tail_or_is_in_unused_space() {
    let (disk, sim, log, records) = written();
    drop(log);
    let mut torn = 0;
    flip_every_byte(&disk, &sim, &mut |file, place, last, opened| match place {
        Place::Header => match opened.unwrap_err() {
            LogError::Damaged { file: named, .. } => assert_eq!(named, file),
            error => panic!("{error:?}"),
        },
        // The last batch of an unclean stop cannot be told from a torn one.
        Place::Batch(_) if last => {
            torn += 1;
            assert_eq!(opened.unwrap(), records[..records.len() - 1]);
        }
        Place::Batch(offset) => assert_names(opened.unwrap_err(), file, offset),
        Place::Link(_) | Place::Unused => assert_eq!(opened.unwrap(), records),
    });
    assert!(torn > 64);
}

#[test]
fn after_a_clean_stop_a_flipped_bit_in_any_record_is_named() {
    let (disk, sim, log, records) = written();
    log.seal().unwrap();
    flip_every_byte(&disk, &sim, &mut |file, place, last, opened| match place {
        Place::Header => {
            assert!(matches!(opened.unwrap_err(), LogError::Damaged { file: named, .. } if named == file))
        }
        // The last batch is the seal, and without it nothing is missing.
        Place::Batch(_) if last => assert_eq!(opened.unwrap(), records),
        Place::Batch(offset) => assert_names(opened.unwrap_err(), file, offset),
        Place::Link(_) | Place::Unused => assert_eq!(opened.unwrap(), records),
    });
}

#[test]
fn damage_leaves_the_disk_as_it_was() {
    let (disk, sim, log, _) = written();
    drop(log);
    let file = segments(&disk).remove(0);
    sim.flip_bit(&file, 200, 1).unwrap();
    let before: Vec<_> = segments(&disk).iter().map(|name| disk.read(name, 1 << 20).unwrap()).collect();
    for _ in 0..2 {
        assert!(matches!(open(&disk, tiny()), Err(LogError::Damaged { .. })));
    }
    let after: Vec<_> = segments(&disk).iter().map(|name| disk.read(name, 1 << 20).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_torn_tail_is_cut_once_and_the_log_goes_on() {
    let (disk, sim, log, mut records) = written();
    drop(log);
    let file = segments(&disk).pop().unwrap();
    let places = places(&disk, &file);
    let tail = places.iter().rposition(|place| *place != Place::Unused).unwrap();
    sim.flip_bit(&file, tail as u64, 0).unwrap();
    records.pop();
    let (mut log, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen, records);
    assert!(format::is_zero(&disk.read(&file, 1 << 20).unwrap()[log.active.end as usize..]));
    let position = log.append(&Batch::of(StreamId(5), b"again")).unwrap();
    assert_eq!(position, Position(records.len() as u64 + 1));
    records.push((position, StreamId(5), b"again".to_vec()));
    assert_eq!(open(&disk, tiny()).unwrap().1, records);
}

#[test]
fn an_end_of_a_segment_that_turned_to_zeros_is_named_by_its_successor() {
    let (disk, _, log, _) = written();
    drop(log);
    let file = segments(&disk).remove(1);
    let mut bytes = disk.read(&file, 1 << 20).unwrap();
    let places = places(&disk, &file);
    let last = places.iter().rev().find_map(|place| match place {
        Place::Batch(offset) => Some(*offset),
        _ => None,
    });
    let last = last.unwrap();
    // With its link: nothing in the file says that there was more.
    bytes[last as usize..].fill(0);
    disk.replace(&file, &bytes).unwrap();
    assert_names(open(&disk, tiny()).map(|_| ()).unwrap_err(), &file, last);
}

#[test]
fn a_segment_that_is_missing_is_named() {
    let (disk, sim, log, _) = written();
    drop(log);
    for file in segments(&disk) {
        sim.record_boundaries();
        let (disk, _) = sim.take_boundaries()[0].crash(0);
        disk.remove(&file).unwrap();
        assert_names(open(&disk, tiny()).map(|_| ()).unwrap_err(), &file, 0);
    }
}

#[test]
fn a_segment_under_another_name_is_named() {
    let (disk, _, log, _) = written();
    drop(log);
    let [.., before_last, last] = &segments(&disk)[..] else { panic!("two segments at least") };
    disk.rename(last, "log/00000099.seg").unwrap();
    let error = open(&disk, tiny()).map(|_| ()).unwrap_err();
    assert_names(error, "log/00000099.seg", 24);
    // Nor can an older segment stand in for a newer.
    let bytes = disk.read(before_last, 1 << 20).unwrap();
    disk.remove("log/00000099.seg").unwrap();
    disk.replace(last, &bytes).unwrap();
    assert_names(open(&disk, tiny()).map(|_| ()).unwrap_err(), last, 24);
}

#[test]
fn a_segment_of_another_log_is_named() {
    let (disk, _, log, _) = written();
    drop(log);
    let other = Disk::in_memory();
    let mut log = Log::open(other.clone(), tiny(), &Entropy::seeded(99), &mut |_, _, _| Ok(())).unwrap();
    while segments(&other).len() < 2 {
        log.append(&Batch::of(StreamId(1), &[1; 100])).unwrap();
    }
    let file = segments(&other).remove(1);
    disk.replace(&file, &other.read(&file, 1 << 20).unwrap()).unwrap();
    assert_names(open(&disk, tiny()).map(|_| ()).unwrap_err(), &file, 16);
}

#[test]
fn a_segment_cut_short_is_named() {
    let (disk, _, log, _) = written();
    drop(log);
    let file = segments(&disk).remove(0);
    let bytes = disk.read(&file, 1 << 20).unwrap();
    disk.replace(&file, &bytes[..600]).unwrap();
    assert_names(open(&disk, tiny()).map(|_| ()).unwrap_err(), &file, 600);
}

#[test]
fn another_format_version_is_refused_by_name() {
    let (disk, _, log, _) = written();
    drop(log);
    let file = segments(&disk).remove(0);
    let mut bytes = disk.read(&file, 1 << 20).unwrap();
    // A later version begins like this one and is free after its first 16 bytes.
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let check = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes[..12]) as u32;
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    bytes[16..64].fill(0xee);
    disk.replace(&file, &bytes).unwrap();
    let error = open(&disk, tiny()).map(|_| ()).unwrap_err();
    assert_eq!(error, LogError::Version { file: file.clone(), version: 2 });
    assert!(error.to_string().contains(&file) && error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_batch_inside_a_payload_is_no_batch() {
    let (disk, sim) = Disk::simulated(3);
    let settings =
        crate::LogSettings { segment_bytes: 4 << 10, max_record_bytes: 1000, queue_bytes: 3000, ..tiny() };
    let (mut log, _) = open(&disk, settings.clone()).unwrap();
    log.append(&Batch::of(StreamId(1), b"the original")).unwrap();
    // Someone stores the log in the log; then the power tears that very record.
    let file = segments(&disk).remove(0);
    let copy = disk.read(&file, 1 << 20).unwrap()[..400].to_vec();
    let position = log.append(&Batch::of(StreamId(1), &copy)).unwrap();
    assert_eq!(position, Position(2));
    let torn = places(&disk, &file).iter().rposition(|place| *place != Place::Unused).unwrap();
    sim.flip_bit(&file, torn as u64, 3).unwrap();
    let (_, seen) = open(&disk, settings).unwrap();
    assert_eq!(seen, [(Position(1), StreamId(1), b"the original".to_vec())]);
}
