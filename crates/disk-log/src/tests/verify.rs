//! `verify` finds what recovery finds, and goes on where recovery stops; it changes nothing.

use std::collections::BTreeSet;

use base::{Position, StreamId};
use world::Disk;

use super::{
    damage::{Place, places, written},
    open, segments, tiny,
};
use crate::{
    Batch, LogFinding, LogVerified,
    format::{BATCH_HEADER, SEGMENT_HEADER},
    verify,
};

fn run(disk: &Disk) -> (LogVerified, Vec<LogFinding>) {
    let mut findings = Vec::new();
    let verified = verify(disk, &mut |finding| findings.push(finding)).unwrap();
    let faults = findings.iter().filter(|finding| matches!(finding, LogFinding::Fault { .. })).count();
    assert_eq!(verified.faults, faults as u64);
    (verified, findings)
}

/// File and offset of each fault.
fn faults(findings: &[LogFinding]) -> Vec<(&str, u64)> {
    let fault = |finding| match finding {
        &LogFinding::Fault { ref file, offset, .. } => Some((file.as_str(), offset)),
        _ => None,
    };
    findings.iter().filter_map(fault).collect()
}

#[test]
fn a_sound_log_has_no_faults_and_every_record_is_counted() {
    let nothing = Disk::in_memory();
    assert_eq!(run(&nothing), (LogVerified::default(), vec![]));
    assert!(nothing.list("log").is_err(), "it makes nothing");
    let (disk, _sim, log, records) = written();
    for log in [Some(log), None] {
        let (verified, findings) = run(&disk);
        assert_eq!(findings, []);
        let count = segments(&disk).len() as u64;
        assert_eq!((verified.segments, verified.bytes), (count, count << 10));
        assert_eq!(verified.records.values().sum::<u64>(), records.len() as u64);
        if let Some(log) = log {
            log.seal().unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_named_as_recovery_would_name_it() {
    let (disk, sim, log, _) = written();
    drop(log);
    let files = segments(&disk);
    for file in &files {
        let places = places(&disk, file);
        for (offset, place) in places.iter().enumerate() {
            let last = files.last() == Some(file)
                && !places[offset..].iter().any(|later| later != place && *later != Place::Unused);
            sim.flip_bit(file, offset as u64, (offset % 8) as u8).unwrap();
            let (_, findings) = run(&disk);
            match place {
                Place::Header => assert_eq!(faults(&findings)[0].0, file, "{findings:?}"),
                Place::Batch(_) if last => {
                    assert!(matches!(&findings[..], [LogFinding::Remains { .. }]), "{findings:?}");
                }
                Place::Batch(at) => assert_eq!(faults(&findings), [(file.as_str(), *at)], "{findings:?}"),
                Place::Link(_) | Place::Unused => {
                    assert!(matches!(&findings[..], [LogFinding::Remains { .. }]), "{findings:?}");
                }
            }
            // Recovery refuses what has a fault, and takes what has none.
            let opened = open(&sim_copy(&sim), tiny());
            assert_eq!(opened.is_err(), !faults(&findings).is_empty(), "{file} {offset}");
            sim.flip_bit(file, offset as u64, (offset % 8) as u8).unwrap();
        }
    }
}

/// The disk as it is, for somebody who changes it.
fn sim_copy(sim: &world::SimDisk) -> Disk {
    sim.record_boundaries();
    sim.take_boundaries().remove(0).crash(0).0
}

#[test]
fn it_goes_on_after_a_fault_and_names_the_streams() {
    let (disk, sim, log, records) = written();
    log.seal().unwrap();
    let mut expected = Vec::new();
    for file in segments(&disk) {
        // The first batch with records, in its last byte.
        let places = places(&disk, &file);
        let is_batch = |place: &&Place| matches!(place, Place::Batch(at) if *at > SEGMENT_HEADER as u64);
        let Some(Place::Batch(at)) = places.iter().find(is_batch).copied() else { continue };
        let end = places.iter().rposition(|place| *place == Place::Batch(at)).unwrap();
        if end - at as usize + 1 > BATCH_HEADER {
            sim.flip_bit(&file, end as u64, 0).unwrap();
            expected.push((file, at));
        }
    }
    assert!(expected.len() >= 3);
    let (verified, findings) = run(&disk);
    let expected: Vec<_> = expected.iter().map(|(file, at)| (file.as_str(), *at)).collect();
    assert_eq!(faults(&findings), expected);
    for finding in &findings {
        let LogFinding::Fault { streams, .. } = finding else { panic!("{finding:?}") };
        assert!(matches!(streams.first(), Some(StreamId(1..=3))) && streams.len() == 1, "{finding:?}");
    }
    let sound = verified.records.values().sum::<u64>();
    assert_eq!(sound, records.len() as u64 - expected.len() as u64, "the others are read");
}

#[test]
fn a_missing_segment_is_named_unless_its_dropping_may_be_among_what_is_damaged() {
    let (disk, sim, log, _) = written();
    drop(log);
    let file = segments(&disk).remove(1);
    let copy = sim_copy(&sim);
    copy.remove(&file).unwrap();
    let (_, findings) = run(&copy);
    assert_eq!(faults(&findings), [(file.as_str(), 0)]);
    // The last segment begins with the newest control batch.
    let last = segments(&disk).pop().unwrap();
    disk.remove(&file).unwrap();
    sim.flip_bit(&last, (SEGMENT_HEADER + BATCH_HEADER) as u64, 0).unwrap();
    let (_, findings) = run(&disk);
    assert_eq!(faults(&findings), [(last.as_str(), SEGMENT_HEADER as u64)]);
    let unchecked =
        |finding: &LogFinding| matches!(finding, LogFinding::Unchecked(why) if why.contains(&file));
    assert!(findings.iter().any(unchecked), "{findings:?}");
}

#[test]
fn what_was_dropped_on_purpose_is_not_missed() {
    let (disk, _sim) = Disk::simulated(3);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    log.append(&Batch::of(StreamId(1), b"keep")).unwrap();
    let mut last = Position(1);
    while segments(&disk).len() < 6 {
        last = log.append(&Batch::of(StreamId(2), &[7; 100])).unwrap();
    }
    log.trim(StreamId(2), Position(last.0 - 1)).unwrap();
    assert_eq!(segments(&disk).len(), 2);
    let (verified, findings) = run(&disk);
    assert_eq!(findings, []);
    assert_eq!(verified.records.keys().copied().collect::<BTreeSet<_>>(), [StreamId(1), StreamId(2)].into());
    // The end of the first segment is vouched for by the word left when its successor went.
    let before = disk.read("log/00000001.seg", 1 << 20).unwrap();
    let keep = places(&disk, "log/00000001.seg");
    let Some(Place::Batch(at)) = keep.iter().rev().find(|place| matches!(place, Place::Batch(_))).copied()
    else {
        panic!("there is a batch")
    };
    let mut bytes = before.clone();
    bytes[at as usize..].fill(0);
    disk.replace("log/00000001.seg", &bytes).unwrap();
    assert_eq!(faults(&run(&disk).1), [("log/00000001.seg", at)]);
}

#[test]
fn a_segment_without_its_beginning_does_not_hide_the_others() {
    let (disk, sim, log, _) = written();
    log.seal().unwrap();
    let files = segments(&disk);
    sim.flip_bit(&files[0], 20, 0).unwrap();
    let places = places(&disk, &files[1]);
    sim.flip_bit(&files[1], SEGMENT_HEADER as u64 + 10, 0).unwrap();
    let Place::Batch(at) = places[SEGMENT_HEADER + 10] else { panic!("the first batch") };
    let (verified, findings) = run(&disk);
    assert_eq!(faults(&findings), [(files[0].as_str(), 0), (files[1].as_str(), at)]);
    assert!(findings.iter().any(|finding| matches!(finding, LogFinding::Unchecked(_))));
    assert!(!verified.records.is_empty());
}
