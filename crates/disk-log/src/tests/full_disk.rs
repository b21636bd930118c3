//! The disk fills up, and has room again; and the disk fails, which is another matter.

use base::{Class, Position, StreamId};
use world::{Clock, Disk};

use super::{open, segments, tiny};
use crate::{Batch, LogError, LogWriter, writer::Refused};

fn ignore() -> Box<dyn crate::Durable> {
    Box::new(|_: Result<Position, base::Cause>| {})
}

#[test]
fn a_full_disk_refuses_at_the_door_and_takes_again_when_there_is_room() {
    let (disk, sim) = Disk::simulated(1);
    // Two segments of 1 KiB: the active one and the reserve.
    sim.set_capacity(2 << 10);
    let (log, _) = open(&disk, tiny()).unwrap();
    let (writer, mut stepper) = LogWriter::stepped(log);
    let mut accepted = 0;
    let refused: Refused = loop {
        match writer.append(StreamId(1), &[7; 100], ignore()) {
            Ok(position) => {
                accepted += 1;
                assert_eq!(position, Position(accepted));
                // Whatever was accepted finds room: a step never fails.
                assert_eq!(stepper.step(), Ok(1));
            }
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.cause.class, Class::Busy);
    assert!(refused.cause.message.contains("disk is full"), "{}", refused.cause);
    assert!(accepted >= 4, "both segments were filled: {accepted} records");
    assert!(!writer.stats().has_reserve);

    // Reads go on: the log opens, and still refuses.
    drop((writer, stepper));
    sim.crash();
    let (log, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen.len() as u64, accepted);
    let (writer, mut stepper) = LogWriter::stepped(log);
    assert_eq!(writer.append(StreamId(1), &[7; 100], ignore()).unwrap_err().cause.class, Class::Busy);

    // Somebody makes room.
    sim.set_capacity(4 << 10);
    assert_eq!(stepper.step(), Ok(0));
    assert_eq!(writer.append(StreamId(1), &[7; 100], ignore()).unwrap(), Position(accepted + 1));
    assert_eq!(stepper.step(), Ok(1));
}

#[test]
fn trimming_frees_a_full_disk() {
    let (disk, sim) = Disk::simulated(2);
    sim.set_capacity(3 << 10);
    let (log, _) = open(&disk, tiny()).unwrap();
    let (writer, mut stepper) = LogWriter::stepped(log);
    let mut last = Position(0);
    for round in 0..20 {
        while let Ok(position) = writer.append(StreamId(1), &[7; 100], ignore()) {
            last = position;
            stepper.step().unwrap();
        }
        assert_eq!(segments(&disk).len(), 3, "round {round}: full");
        writer.trim(StreamId(1), last);
        stepper.step().unwrap();
        assert!(writer.stats().has_reserve, "round {round}: trimming gave room back");
    }
    stepper.seal().unwrap();
    let (_, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen, []);
}

#[test]
fn a_dead_segment_in_the_middle_is_removed_and_not_missed() {
    let (disk, sim) = Disk::simulated(3);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    // A record that stays for ever, then much that does not.
    log.append(&Batch::of(StreamId(1), b"keep")).unwrap();
    let mut last = Position(1);
    while segments(&disk).len() < 6 {
        last = log.append(&Batch::of(StreamId(2), &[7; 100])).unwrap();
    }
    log.trim(StreamId(2), Position(last.0 - 1)).unwrap();
    assert_eq!(segments(&disk), ["log/00000001.seg", "log/00000006.seg"]);
    sim.crash();
    let (log, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], (Position(1), StreamId(1), b"keep".to_vec()));
    assert_eq!(seen[1].0, last);
    // A power cut may have brought removed files back; they are removed again, never shown.
    assert_eq!(segments(&disk), ["log/00000001.seg", "log/00000006.seg"]);
    assert_eq!(log.next_position(), Position(last.0 + 1));
}

#[test]
fn the_end_of_a_segment_before_a_dropped_one_is_still_vouched_for() {
    let (disk, sim) = Disk::simulated(4);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    log.append(&Batch::of(StreamId(1), b"first")).unwrap();
    let begin = log.active.end;
    log.append(&Batch::of(StreamId(1), &[1; 190])).unwrap();
    while segments(&disk).len() < 4 {
        log.append(&Batch::of(StreamId(2), &[7; 190])).unwrap();
    }
    let last = Position(log.next_position().0 - 1);
    log.trim(StreamId(2), last).unwrap();
    assert_eq!(segments(&disk), ["log/00000001.seg", "log/00000004.seg"]);
    drop((log, sim));
    // The last record of segment 1 and the link behind it turn to zeros, and the successor that
    // could tell is gone.
    let mut bytes = disk.read("log/00000001.seg", 1 << 20).unwrap();
    bytes[begin as usize..].fill(0);
    disk.replace("log/00000001.seg", &bytes).unwrap();
    match open(&disk, tiny()).map(|_| ()) {
        Err(LogError::Damaged { file, offset, .. }) => {
            assert_eq!((&file[..], offset), ("log/00000001.seg", begin))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_sync_is_the_end_of_a_log() {
    let (disk, sim) = Disk::simulated(5);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    log.append(&Batch::of(StreamId(1), b"safe")).unwrap();
    sim.inject("fail sync".parse().unwrap());
    assert!(matches!(log.append(&Batch::of(StreamId(1), b"who knows")), Err(LogError::Fatal(_))));
    // The next sync would succeed, and lie.
    assert!(matches!(log.append(&Batch::of(StreamId(1), b"never")), Err(LogError::Fatal(_))));
    assert!(matches!(log.trim(StreamId(1), Position(1)), Err(LogError::Fatal(_))));
    assert!(matches!(log.seal(), Err(LogError::Fatal(_))));
    sim.crash();
    let (_, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen[0].2, b"safe");
    assert!(seen.len() <= 2);
}

#[test]
fn a_failed_write_is_the_end_of_a_log_and_leaves_a_torn_tail() {
    let (disk, sim) = Disk::simulated(6);
    let (mut log, _) = open(&disk, tiny()).unwrap();
    log.append(&Batch::of(StreamId(1), b"safe")).unwrap();
    sim.inject("short write".parse().unwrap());
    assert!(matches!(log.append(&Batch::of(StreamId(1), &[9; 100])), Err(LogError::Fatal(_))));
    drop(log);
    sim.kill();
    let (_, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen[0].2, b"safe");
}

#[test]
fn the_thread_notices_room_by_itself() {
    let (disk, sim) = Disk::simulated(8);
    sim.set_capacity(2 << 10);
    let (log, _) = open(&disk, tiny()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    let append = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = move |outcome: Result<Position, base::Cause>| sender.send(outcome).unwrap();
        let position =
            writer.append(StreamId(1), &[7; 100], Box::new(done)).map_err(|refused| refused.cause)?;
        assert_eq!(receiver.recv().unwrap(), Ok(position));
        Ok(position)
    };
    let cause: base::Cause = loop {
        if let Err(cause) = append() {
            break cause;
        }
    };
    assert_eq!(cause.class, Class::Busy);
    sim.set_capacity(8 << 10);
    // Whoever was refused tries again after a while; nobody else touches the log.
    let tries = (0..100).take_while(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        append().is_err()
    });
    assert!(tries.count() < 100, "it never took anything again");
    writer.stop().unwrap();
}
