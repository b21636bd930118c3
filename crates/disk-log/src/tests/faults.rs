//! Every operation that the log asks its disk for fails once, in each way it can.
//!
//! A program runs once to see what it asks for; then once more for each of these operations, each
//! outcome, and each end of the process, with that one fault. What fails is told, in the class
//! that is documented, or has changed nothing that matters; whatever is acknowledged is there
//! afterwards, and of what is not, whole batches only.

use std::collections::{BTreeMap, BTreeSet};

use base::{Class, Position, StreamId};
use world::{Disk, Entropy, Fault, Occurrence, SimDisk};

use super::{Seen, open, tiny};
use crate::{Batch, Log, LogError};

/// Programs, each of which runs some hundred times.
const PROGRAMS: u64 = 8;

/// What a program has done to a log.
#[derive(Default)]
struct Told {
    /// Acknowledged, in order.
    acknowledged: Vec<Seen>,
    /// The batch that may be there or not.
    uncertain: Vec<Seen>,
    trims: BTreeMap<StreamId, Position>,
    /// Whether an error was told.
    failed: bool,
}

fn draw_batch(random: &Entropy) -> (Batch, Vec<(StreamId, Vec<u8>)>) {
    let (mut batch, mut records) = (Batch::new(), Vec::new());
    for _ in 0..1 + random.below(2) {
        let mut payload = vec![0; random.below(150) as usize];
        random.fill(&mut payload);
        let stream = StreamId(1 + random.below(3));
        batch.push(stream, &payload);
        records.push((stream, payload));
    }
    (batch, records)
}

/// Runs the program drawn from `seed` until it ends or its log does.
fn run(disk: &Disk, seed: u64) -> Told {
    let random = Entropy::seeded(seed);
    let mut told = Told::default();
    let Some(mut log) = start(disk, &mut told) else { return told };
    for _ in 0..30 {
        match random.below(12) {
            0..9 => append(&mut log, &random, &mut told),
            9..11 => {
                let up_to = Position(log.next_position().0.saturating_sub(1 + random.below(4)));
                let stream = StreamId(1 + random.below(3));
                let point = told.trims.entry(stream).or_default();
                *point = up_to.max(*point);
                judge_error(log.trim(stream, up_to), false, &mut told);
            }
            _ => {
                judge_error(log.seal(), false, &mut told);
                if told.failed {
                    return told;
                }
                match start(disk, &mut told) {
                    Some(started) => log = started,
                    None => return told,
                }
            }
        }
        if log.failed.is_some() {
            assert!(told.failed, "a log that ends says so");
            // And goes on saying so.
            assert!(matches!(log.append(&Batch::of(StreamId(1), b"x")), Err(LogError::Fatal(_))));
            return told;
        }
    }
    told
}

fn start(disk: &Disk, told: &mut Told) -> Option<Log> {
    match open(disk, tiny()) {
        Ok((log, seen)) => {
            judge(&seen, told);
            told.uncertain.clear();
            Some(log)
        }
        Err(error) => {
            let class = base::Cause::from(error.clone()).class;
            let right = match &error {
                LogError::Full => class == Class::Busy,
                LogError::Disk(_) => matches!(class, Class::Uncertain { .. }),
                _ => false,
            };
            assert!(right, "a start that fails says why: {error}");
            told.failed = true;
            None
        }
    }
}

fn append(log: &mut Log, random: &Entropy, told: &mut Told) {
    let (batch, records) = draw_batch(random);
    let next = log.next_position().0;
    let records = (next..).zip(records).map(|(at, (stream, payload))| (Position(at), stream, payload));
    match log.append(&batch) {
        Ok(first) => {
            assert_eq!(first, Position(next));
            told.acknowledged.extend(records);
        }
        Err(error) => {
            if error != LogError::Full {
                told.uncertain = records.collect();
            }
            judge_error(Err(error), true, told);
        }
    }
}

/// What may be told of an operation that failed while the log is open.
fn judge_error(result: Result<(), LogError>, may_be_full: bool, told: &mut Told) {
    let Err(error) = result else { return };
    told.failed = true;
    let class = base::Cause::from(error.clone()).class;
    match error {
        LogError::Full if may_be_full => assert_eq!(class, Class::Busy),
        LogError::Fatal(_) => assert!(matches!(class, Class::Uncertain { .. })),
        error => panic!("{error:?}"),
    }
}

/// What a log shows must be what was acknowledged, less what was trimmed, and the batch that may
/// be there whole or not at all.
fn judge(seen: &[Seen], told: &Told) {
    let trimmed = |record: &Seen| told.trims.get(&record.1).is_some_and(|up_to| record.0 <= *up_to);
    let shown: BTreeSet<&Seen> = seen.iter().collect();
    assert_eq!(shown.len(), seen.len());
    for record in &told.acknowledged {
        assert!(shown.contains(record) || trimmed(record), "record {} is lost", record.0);
    }
    let all: BTreeSet<&Seen> = told.acknowledged.iter().chain(&told.uncertain).collect();
    assert!(shown.is_subset(&all), "a record that nobody wrote");
    let of_uncertain = told.uncertain.iter().filter(|record| shown.contains(record)).count();
    assert!(of_uncertain == 0 || of_uncertain == told.uncertain.len(), "half a batch");
}

/// A site is a kind of operation on a kind of file.
fn site(name: &str) -> &str {
    match name {
        "" => "",
        "log" => "log",
        "log/reserve" => "log/reserve",
        _ => "log/*.seg",
    }
}

/// Every fault there can be in the program drawn from `seed`.
fn faults(seed: u64) -> Vec<Fault> {
    let (disk, sim) = Disk::simulated(seed);
    sim.record_operations();
    assert!(!run(&disk, seed).failed, "without a fault nothing fails");
    Fault::each_of(&sim.take_operations(), site)
}

/// Runs the program with a fault, ends the process by a kill or a power cut, and looks at what is
/// there. Returns whether the fault was told.
fn suffer(seed: u64, fault: &Fault, end: fn(&SimDisk)) -> bool {
    let (disk, sim) = Disk::simulated(seed);
    sim.inject(fault.clone());
    let mut told = run(&disk, seed);
    assert!(sim.injected() > 0, "it never came");
    end(&sim);
    let failed = told.failed;
    let mut log = start(&disk, &mut told).expect("nothing fails any more");
    // And it goes on.
    let position = log.append(&Batch::of(StreamId(9), b"on")).unwrap();
    told.acknowledged.push((position, StreamId(9), b"on".to_vec()));
    drop(log);
    sim.crash();
    let (_, seen) = open(&disk, tiny()).unwrap();
    assert_eq!(seen.last(), told.acknowledged.last());
    failed
}

#[test]
fn whatever_fails_is_told_and_loses_nothing_that_was_acknowledged() {
    let mut sites: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in 0..PROGRAMS {
        for fault in faults(seed) {
            for (name, end) in [("kill", SimDisk::kill as fn(&SimDisk)), ("power cut", SimDisk::crash)] {
                let suffered = std::panic::catch_unwind(|| suffer(seed, &fault, end));
                let told = suffered.unwrap_or_else(|_| panic!("program {seed}, {name}: {fault}"));
                let any = Fault { occurrence: Occurrence::Every, ..fault.clone() }.to_string();
                let count = sites.entry(any).or_default();
                count.0 += 1;
                count.1 += u64::from(told);
            }
        }
    }
    for (site, (runs, told)) in &sites {
        println!("{site}: {runs} runs, told in {told}");
    }
    // Every kind of operation on every kind of file of which the log makes use.
    let met: BTreeSet<&str> = sites.keys().filter_map(|site| site.strip_prefix("fail every ")).collect();
    let expected = [
        r#"create on "log/reserve""#,
        r#"list on "log""#,
        r#"make-folder on "log""#,
        r#"open on "log/*.seg""#,
        r#"read on "log/*.seg""#,
        r#"remove on "log/*.seg""#,
        r#"remove on "log/reserve""#,
        r#"rename on "log/reserve""#,
        r#"sync on "log/*.seg""#,
        r#"sync on "log/reserve""#,
        r#"sync-folder on "log""#,
        r#"write on "log/*.seg""#,
        r#"write on "log/reserve""#,
    ];
    assert_eq!(met, BTreeSet::from(expected));
}
