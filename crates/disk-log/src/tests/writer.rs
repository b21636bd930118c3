//! The writer: order, answers, bounds, and its end.

use std::sync::{Arc, Mutex, mpsc};

use base::{Cause, Class, Position, StreamId};
use world::{Clock, Disk, task::spawn_thread};

use super::{open, tiny};
use crate::{LogSettings, LogWriter};

type Outcome = Result<Position, Cause>;

#[test]
fn answers_come_in_the_order_of_the_calls() {
    let disk = Disk::in_memory();
    let (log, _) = open(&disk, LogSettings::default()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let callers: Vec<_> = (0..4)
        .map(|stream| {
            let (writer, answers) = (writer.clone(), answers.clone());
            spawn_thread("caller", move || {
                for number in 0..500u32 {
                    let answers = answers.clone();
                    let payload = number.to_le_bytes();
                    let done = move |outcome: Outcome| answers.lock().unwrap().push(outcome.unwrap());
                    writer.append(StreamId(stream), &payload, Box::new(done)).unwrap();
                }
            })
            .unwrap()
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    writer.stop().unwrap();
    let answers = answers.lock().unwrap();
    assert_eq!(*answers, (1..=2000).map(Position).collect::<Vec<_>>());
    let stats = writer.stats();
    assert_eq!(stats.records, 2000);
    assert!(stats.fsyncs >= stats.batches && stats.batches <= 2000);

    let (_, seen) = open(&disk, LogSettings::default()).unwrap();
    for stream in 0..4 {
        let of_stream = seen.iter().filter(|record| record.1 == StreamId(stream));
        let numbers = of_stream.map(|record| u32::from_le_bytes(record.2[..].try_into().unwrap()));
        assert!(numbers.eq(0..500));
    }
}

#[test]
fn one_who_waits_for_each_answer_is_served() {
    let (disk, _sim) = Disk::simulated(1);
    let (log, _) = open(&disk, tiny()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    for number in 1..200 {
        let (sender, receiver) = mpsc::channel();
        let done = move |outcome: Outcome| sender.send(outcome).unwrap();
        let position = writer.append(StreamId(1), &[3; 30], Box::new(done)).unwrap();
        assert_eq!(position, Position(number));
        assert_eq!(receiver.recv().unwrap(), Ok(position));
        // Keeps the disk small; the answer does not wait for it.
        writer.trim(StreamId(1), position);
    }
    writer.stop().unwrap();
    assert!(writer.stats().segments <= 2);
}

#[test]
fn the_queue_is_bounded_and_says_so_without_losing_the_callback() {
    let disk = Disk::in_memory();
    let (log, _) = open(&disk, tiny()).unwrap();
    let (writer, mut stepper) = LogWriter::stepped(log);
    let told = Arc::new(Mutex::new(0));
    let done = || {
        let told = told.clone();
        Box::new(move |_: Outcome| *told.lock().unwrap() += 1)
    };
    let mut accepted = 0;
    let refused = loop {
        match writer.append(StreamId(1), &[0; 50], done()) {
            Ok(_) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.cause.class, Class::Busy);
    assert!((2..12).contains(&accepted));
    assert_eq!(*told.lock().unwrap(), 0);
    refused.done.durable(Err(refused.cause));
    assert_eq!(*told.lock().unwrap(), 1);
    assert_eq!(stepper.step(), Ok(accepted));
    assert_eq!(*told.lock().unwrap(), 1 + accepted);
    writer.append(StreamId(1), &[0; 50], done()).unwrap();
}

#[test]
fn what_could_never_be_accepted_is_invalid() {
    let disk = Disk::in_memory();
    let (log, _) = open(&disk, tiny()).unwrap();
    let (writer, _stepper) = LogWriter::stepped(log);
    let append = |records: &[(StreamId, &[u8])]| {
        writer.append_many(records, Box::new(|_: Outcome| {})).map_err(|refused| refused.cause.class)
    };
    assert_eq!(append(&[]), Err(Class::Invalid));
    assert_eq!(append(&[(StreamId(1), &[0; 201])]), Err(Class::Invalid));
    assert_eq!(append(&[(StreamId(1), &[0; 200]), (StreamId(1), &[0; 200])]), Err(Class::Invalid));
    assert_eq!(append(&[(StreamId(1), &[0; 200])]), Ok(Position(1)));
}

#[test]
fn a_failed_sync_is_told_to_everyone_and_nothing_is_accepted_after() {
    let (disk, sim) = Disk::simulated(1);
    let (log, _) = open(&disk, tiny()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    sim.inject("fail sync".parse().unwrap());
    let (sender, receiver) = mpsc::channel();
    let done = move |outcome: Outcome| sender.send(outcome).unwrap();
    writer.append(StreamId(1), b"who knows", Box::new(done)).unwrap();
    let outcome = receiver.recv().unwrap();
    assert!(matches!(outcome, Err(Cause { class: Class::Uncertain { .. }, .. })), "{outcome:?}");
    let refused = writer.append(StreamId(1), b"never", Box::new(|_: Outcome| {})).unwrap_err();
    assert!(matches!(refused.cause.class, Class::Uncertain { .. }));
    assert!(writer.stop().is_err());
}

#[test]
fn the_last_handle_seals_the_log() {
    let disk = Disk::in_memory();
    let (log, _) = open(&disk, tiny()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    let (sender, receiver) = mpsc::channel();
    let done = move |outcome: Outcome| sender.send(outcome).unwrap();
    writer.append(StreamId(1), b"last words", Box::new(done)).unwrap();
    drop(writer);
    assert_eq!(receiver.recv().unwrap(), Ok(Position(1)));
}

#[test]
fn after_a_stop_nothing_is_accepted() {
    let disk = Disk::in_memory();
    let (log, _) = open(&disk, tiny()).unwrap();
    let writer = LogWriter::start(log, Clock::real()).unwrap();
    writer.stop().unwrap();
    writer.stop().unwrap();
    let refused = writer.append(StreamId(1), b"late", Box::new(|_: Outcome| {})).unwrap_err();
    assert_eq!(refused.cause.class, Class::Busy);
}
