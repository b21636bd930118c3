//! The edges: settings that contradict, real files, more streams than fit, a visitor who refuses.

use base::{Cause, Position, StreamId};
use world::{Clock, Disk, Entropy, SimDisk};

use super::{open, segments, tiny};
use crate::{Batch, Log, LogError, LogSettings, LogWriter};

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let good = LogSettings::default();
    assert!(open(&Disk::in_memory(), good.clone()).is_ok());
    let bad = [
        LogSettings { segment_bytes: 1023, ..good.clone() },
        LogSettings { segment_bytes: (1 << 30) + 1, ..good.clone() },
        LogSettings { max_record_bytes: 0, ..good.clone() },
        LogSettings { max_record_bytes: 32 << 20, ..good.clone() },
        LogSettings { max_record_bytes: u64::MAX, ..good.clone() },
        LogSettings { queue_bytes: 16 << 20, ..good.clone() },
        LogSettings { prepare_bytes: 33 << 20, ..good.clone() },
        LogSettings { gather_us: 10_001, ..good.clone() },
    ];
    for settings in bad {
        let disk = Disk::in_memory();
        let refused = open(&disk, settings.clone()).map(|_| ()).unwrap_err();
        assert!(matches!(refused, LogError::Settings(_)), "{settings:?}: {refused}");
        assert!(disk.list("log").is_err(), "nothing was made");
    }
}

#[test]
fn what_is_too_large_is_refused_and_leaves_no_trace() {
    let disk = Disk::in_memory();
    let (mut log, _) = open(&disk, tiny()).unwrap();
    let refused = log.append(&Batch::of(StreamId(1), &[0; 201]));
    assert_eq!(refused, Err(LogError::TooLarge { bytes: 201, limit: 200 }));
    let mut batch = Batch::new();
    for _ in 0..4 {
        batch.push(StreamId(1), &[0; 200]);
    }
    assert!(matches!(log.append(&batch), Err(LogError::TooLarge { bytes: 812, .. })));
    assert_eq!(log.append(&Batch::of(StreamId(1), &[0; 200])), Ok(Position(1)));
}

#[test]
fn segments_may_change_their_size_between_starts() {
    let disk = Disk::in_memory();
    let mut written = 0;
    for segment_bytes in [1 << 10, 8 << 10, 1 << 20, 2 << 10, 1 << 10] {
        let settings = LogSettings { segment_bytes, ..tiny() };
        let (mut log, seen) = open(&disk, settings).unwrap();
        assert_eq!(seen.len(), written);
        for _ in 0..20 {
            log.append(&Batch::of(StreamId(1), &[5; 150])).unwrap();
        }
        written += 20;
        log.seal().unwrap();
    }
    assert!(segments(&disk).len() > 5);
}

/// A log in segments of `segment_bytes` with many streams and a dropped segment in its middle.
fn many_streams(segment_bytes: u64) -> (Disk, SimDisk, u64) {
    let (disk, sim) = Disk::simulated(1);
    let (mut log, _) = open(&disk, LogSettings { segment_bytes, ..tiny() }).unwrap();
    // Every stream has a record that stays and one that is trimmed.
    let streams = 300;
    for _ in 0..2 {
        for stream in 0..streams {
            log.append(&Batch::of(StreamId(stream), b"of many")).unwrap();
        }
    }
    for stream in 0..streams {
        log.trim(StreamId(stream), Position(stream + 1)).unwrap();
    }
    log.seal().unwrap();
    (disk, sim, streams)
}

#[test]
fn more_trim_points_than_a_control_batch_holds_wait_for_their_turn() {
    let (disk, sim, streams) = many_streams(1 << 10);
    sim.crash();
    let (log, seen) = open(&disk, tiny()).unwrap();
    // Nothing that lives is lost, and dead segments are gone whose words found room.
    let live = seen.iter().filter(|record| record.0.0 > streams);
    assert_eq!(live.count() as u64, streams);
    assert_eq!(log.next_position(), Position(2 * streams + 1));
    assert!(segments(&disk)[0] != "log/00000001.seg");
}

#[test]
fn what_the_log_knows_of_itself_must_fit_smaller_segments_too() {
    let (disk, _sim) = Disk::simulated(1);
    let large = LogSettings { segment_bytes: 64 << 10, ..tiny() };
    let (mut log, _) = open(&disk, large.clone()).unwrap();
    for _ in 0..2 {
        for stream in 0..200 {
            log.append(&Batch::of(StreamId(stream), b"of many")).unwrap();
        }
    }
    for stream in 0..200 {
        log.trim(StreamId(stream), Position(stream + 1)).unwrap();
    }
    log.seal().unwrap();
    let refused = open(&disk, tiny()).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, LogError::Settings(why) if why.contains("segment_bytes")), "{refused}");
    assert_eq!(open(&disk, large).unwrap().1.len(), 200);
}

#[test]
fn a_visitor_who_refuses_a_record_stops_the_start() {
    let disk = Disk::in_memory();
    let (mut log, _) = open(&disk, tiny()).unwrap();
    for _ in 0..3 {
        log.append(&Batch::of(StreamId(4), b"nonsense")).unwrap();
    }
    drop(log);
    let mut shown = 0;
    let opened = Log::open(disk.clone(), tiny(), &Entropy::seeded(1), &mut |position, _, _| {
        shown += 1;
        if position == Position(2) { Err(Cause::corrupt("nonsense")) } else { Ok(()) }
    });
    assert_eq!(opened.map(|_| ()).unwrap_err(), LogError::Visitor(Cause::corrupt("nonsense")));
    assert_eq!(shown, 2);
    assert_eq!(open(&disk, tiny()).unwrap().1.len(), 3);
}

#[test]
fn real_files_hold_what_memory_holds() {
    let name = format!("disk-log-{}-{:x}", std::process::id(), Entropy::real().u64());
    let root = std::env::temp_dir().join(name);
    let disk = Disk::real(&root).unwrap();
    // Little is prepared at a time, so that preparing happens often, and across starts.
    let settings = LogSettings {
        segment_bytes: 64 << 10,
        max_record_bytes: 8 << 10,
        queue_bytes: 32 << 10,
        prepare_bytes: 4 << 10,
        ..LogSettings::default()
    };
    let random = Entropy::seeded(5);
    let mut expected = Vec::new();
    for _ in 0..4 {
        let (log, seen) = open(&disk, settings.clone()).unwrap();
        assert_eq!(seen, expected);
        let writer = LogWriter::start(log, Clock::real()).unwrap();
        for _ in 0..40 {
            let mut payload = vec![0; random.below(6 << 10) as usize];
            random.fill(&mut payload);
            let (sender, receiver) = std::sync::mpsc::channel();
            let done = move |outcome: Result<Position, Cause>| sender.send(outcome).unwrap();
            let position = writer.append(StreamId(1), &payload, Box::new(done)).unwrap();
            assert_eq!(receiver.recv().unwrap(), Ok(position));
            expected.push((position, StreamId(1), payload));
        }
        writer.stop().unwrap();
    }
    assert!(segments(&disk).len() > 5);
    drop(disk);
    std::fs::remove_dir_all(&root).unwrap();
}
