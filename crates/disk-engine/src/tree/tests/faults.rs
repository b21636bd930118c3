//! Every operation that a forest asks its disk for fails once, in each way it can.
//!
//! A program runs once to see what it asks for; then once more for each of these operations and
//! each outcome, with that one fault. A full disk and a failed read change nothing: what the
//! forest says is right before and after, and the program goes on. Any other failure ends all
//! writing and leaves reading, until the process ends and the forest is opened again; then it has
//! everything that the log has not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use base::{Cause, Cell, Class, Position};
use world::{Disk, DiskError, Fault, Occurrence, Operation, Operations, Outcome};

use super::{
    bulk::disk_of_checkpoint,
    model::{batch_of, rules},
    power_cut::on_all_cores,
    program::{Memory, Program, Tally, Violation, finish_work},
};
use crate::tree::{Batch, Compression, Forest, TreeError, TreeId, TreeSettings, encode_cell};

/// Programs, each of which runs some hundred times.
const PROGRAMS: u64 = 12;
const STEPS: u64 = 50;

fn wrong<T>(what: String) -> Result<T, Violation> {
    Err(Violation(what, None))
}

/// A site is a kind of operation on a kind of file.
fn site(name: &str) -> &str {
    if name.ends_with(".tree") { "tree/*.tree" } else { name }
}

/// Every fault there can be in the program drawn from `seed`.
fn faults(seed: u64) -> Result<Vec<Fault>, Violation> {
    let (disk, sim) = Disk::simulated(seed);
    sim.record_operations();
    let mut program = Program::new(seed, disk, None, None)?;
    program.bulk = false;
    for _ in 0..STEPS {
        program.step()?;
    }
    let mut faults = Fault::each_of(&sim.take_operations(), site);
    // A short read is told as a failed one is, and reads are most of what there is.
    faults.retain(|fault| (fault.outcome, fault.operations) != SHORT_READ);
    Ok(faults)
}

const SHORT_READ: (Outcome, Operations) = (Outcome::Short, Operations::Only(Operation::Read));

/// Whether the error is told in the class that is documented for it.
fn is_told_right(error: &TreeError) -> bool {
    let class = Cause::from(error.clone()).class;
    match error {
        TreeError::Full => class == Class::Busy,
        TreeError::Fatal(_) | TreeError::Disk(_) => matches!(class, Class::Uncertain { .. }),
        _ => false,
    }
}

/// Judges by `judge`, which is told what must be there: a tree whose dropping failed may be gone.
fn either(memory: &Memory, judge: impl Fn(&Memory) -> Result<(), Violation>) -> Result<(), Violation> {
    let mut dropped = memory.clone();
    dropped.model.drop_doomed();
    judge(memory).or_else(|violation| judge(&dropped).map_err(|_| violation))
}

/// Opens the forest again and compares everything, before and after all work is done.
fn reopened(memory: &Memory, disk: &Disk, settings: &TreeSettings) -> Result<(), Violation> {
    let forest = memory.reopen(disk, settings)?;
    finish_work(&forest, None)?;
    memory.compare_all(&forest)
}

/// Runs the program with a fault. Returns how often an error was told.
fn suffer(seed: u64, fault: &Fault) -> Result<u64, Violation> {
    let (disk, sim) = Disk::simulated(seed);
    sim.inject(fault.clone());
    let mut told = 0;
    let mut program = match Program::new(seed, disk.clone(), None, None) {
        Ok(program) => program,
        Err(violation) if violation.1.as_ref().is_some_and(is_told_right) => {
            sim.crash();
            Program::new(seed, disk.clone(), None, None)?;
            return Ok(1);
        }
        Err(violation) => return Err(violation),
    };
    program.bulk = false;
    for _ in 0..STEPS {
        let starts = program.tally.reopened;
        let Err(violation) = program.step() else { continue };
        let Some(error) = violation.1.as_ref().filter(|error| is_told_right(error)) else {
            return Err(violation);
        };
        told += 1;
        if program.tally.reopened != starts {
            // A start that failed is the end of its process.
            sim.crash();
            reopened(&program.memory, &disk, &program.settings)?;
            return Ok(told);
        }
        // Nobody who reads on notices.
        either(&program.memory, |memory| memory.compare_all(&program.forest))?;
        if let TreeError::Fatal(_) = error {
            let next = Position(program.memory.position + 1);
            if !matches!(program.forest.apply(next, batch_of(&[])), Err(TreeError::Fatal(_))) {
                return wrong("it takes writes after the disk failed".to_owned());
            }
            if seed.is_multiple_of(2) {
                sim.crash();
            } else {
                sim.kill();
            }
            either(&program.memory, |memory| reopened(memory, &disk, &program.settings))?;
            return Ok(told);
        }
    }
    if sim.injected() == 0 {
        return wrong("the fault never came".to_owned());
    }
    program.memory.compare_all(&program.forest)?;
    sim.crash();
    reopened(&program.memory, &disk, &program.settings)?;
    Ok(told)
}

/// Of each site how many runs there were, and in how many an error was told.
static SITES: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());

fn run(seed: u64) -> Result<Tally, Violation> {
    let mut tally = Tally::default();
    for fault in faults(seed)? {
        let told =
            suffer(seed, &fault).map_err(|error| Violation(format!("{fault}: {}", error.0), error.1))?;
        let any = Fault { occurrence: Occurrence::Every, ..fault }.to_string();
        let mut sites = SITES.lock().expect("nobody panics with it");
        let count = sites.entry(any).or_default();
        *count = (count.0 + 1, count.1 + u64::from(told > 0));
        tally.failures += u64::from(told > 0);
    }
    Ok(tally)
}

#[test]
fn whatever_fails_is_told_and_loses_nothing() {
    let tally = on_all_cores(PROGRAMS, run);
    let sites = SITES.lock().unwrap();
    for (site, (runs, told)) in sites.iter() {
        println!("{site}: {runs} runs, told in {told}");
    }
    assert!(tally.failures > 50 * PROGRAMS, "{tally:?}");
    // Every kind of operation on every kind of file of which the tree makes use.
    let met: BTreeSet<&str> = sites.keys().filter_map(|site| site.strip_prefix("fail every ")).collect();
    let expected = [
        r#"create on "tree/*.tree""#,
        r#"create on "tree/MANIFEST.new""#,
        r#"list on "tree""#,
        r#"make-folder on "tree""#,
        r#"open on "tree/*.tree""#,
        r#"open on "tree/MANIFEST""#,
        r#"read on "tree/*.tree""#,
        r#"read on "tree/MANIFEST""#,
        r#"remove on "tree/*.tree""#,
        r#"remove on "tree/MANIFEST.new""#,
        r#"rename on "tree/MANIFEST.new""#,
        r#"sync on "tree/*.tree""#,
        r#"sync on "tree/MANIFEST.new""#,
        r#"sync-folder on "tree""#,
        r#"write on "tree/*.tree""#,
        r#"write on "tree/MANIFEST.new""#,
    ];
    assert_eq!(met, BTreeSet::from(expected));
}

/// Reads of data files fail now and then all the time: whoever needs one is told, nobody is told
/// anything wrong, and writing goes on.
fn run_on_a_bad_disk(seed: u64) -> Result<Tally, Violation> {
    let (disk, sim) = Disk::simulated(seed);
    let mut program = Program::new(seed, disk.clone(), None, None)?;
    let mut tally = Tally::default();
    for line in [r#"fail one-in(12) read on "tree/*.tree""#, r#"fail one-in(40) open on "tree/*.tree""#] {
        sim.inject(line.parse().expect("it is a line of the language"));
    }
    for _ in 0..4 * STEPS {
        let starts = program.tally.reopened;
        let Err(violation) = program.step() else { continue };
        match violation.1.as_ref().filter(|error| is_told_right(error)) {
            Some(TreeError::Disk(_)) => tally.failures += 1,
            _ => return Err(violation),
        }
        if program.tally.reopened != starts {
            // Comparing everything after the start met one; the forest of before is gone with it.
            break;
        }
    }
    sim.relent();
    reopened(&program.memory, &disk, &program.settings)?;
    Ok(tally)
}

#[test]
fn reads_that_fail_now_and_then_are_told_and_stop_no_write() {
    let tally = on_all_cores(10 * PROGRAMS, run_on_a_bad_disk);
    println!("{} reads failed", tally.failures);
    assert!(tally.failures > 10 * PROGRAMS, "{tally:?}");
}

const BULK: TreeId = TreeId(1);

const STAGED: TreeId = TreeId(2);

/// What an ingest, a stage and a checkpoint after them told.
type Told = [Result<(), TreeError>; 3];

fn ingest_stage_and_checkpoint(disk: &Disk) -> Result<(Forest, Told), TreeError> {
    let settings = TreeSettings {
        block_bytes: 512,
        file_bytes: 2 << 10,
        compression: Compression::None,
        ..TreeSettings::default()
    };
    let forest = Forest::open(disk.clone(), settings, rules())?;
    // Something in memory, which an ingest flushes first.
    let mut batch = Batch::new();
    batch.put(BULK, "before", encode_cell(&Cell::live(1, "here".into())));
    forest.apply(Position(1), batch)?;
    let entries = |range: std::ops::Range<u8>| {
        range.map(|n| (format!("{n:05}").into(), encode_cell(&Cell::live(1, vec![n; 60].into()))))
    };
    let ingested = forest.ingest(BULK, Position(2), entries(0..80));
    let mut stage = forest.stage(STAGED);
    let staged = stage.add(entries(0..40)).and_then(|()| stage.add(entries(40..80)));
    let staged = staged.and_then(|()| stage.install());
    let told = [ingested, staged, forest.checkpoint("one")];
    Ok((forest, told))
}

/// How many of the ingested keys there are.
fn ingested(forest: &Forest) -> usize {
    keys_of(forest, BULK)
}

fn keys_of(forest: &Forest, tree: TreeId) -> usize {
    let keys = forest.scan(tree, "", Some("a".into()), false).unwrap().map(Result::unwrap);
    keys.count()
}

/// All of an ingest is there or nothing, and all if it was told as done; so is a stage; a checkpoint that was told
/// as done is whole, and one that was not leaves the forest as it was.
fn suffer_in_bulk(seed: u64, fault: &Fault) {
    let (disk, sim) = Disk::simulated(seed);
    sim.inject(fault.clone());
    let Ok((forest, told)) = ingest_stage_and_checkpoint(&disk) else { return };
    assert!(told.iter().all(|told| told.as_ref().err().is_none_or(is_told_right)), "{told:?}");
    let done = told.each_ref().map(Result::is_ok);
    for (nth, tree) in [BULK, STAGED].into_iter().enumerate() {
        if done[nth] || !matches!(told[nth], Err(TreeError::Fatal(_))) {
            assert_eq!(keys_of(&forest, tree), if done[nth] { 80 } else { 0 });
        }
    }
    if done[2] {
        let copy = Forest::open(disk_of_checkpoint(&disk, "one"), TreeSettings::default(), rules()).unwrap();
        assert_eq!((ingested(&copy), copy.verify()), (ingested(&forest), vec![]));
    }
    drop(forest);
    sim.crash();
    let forest = Forest::open(disk.clone(), TreeSettings::default(), rules()).unwrap();
    for (nth, tree) in [BULK, STAGED].into_iter().enumerate() {
        let there = keys_of(&forest, tree);
        assert!(there == 80 || there == 0 && !done[nth], "{there} of 80 keys are there");
    }
    assert_eq!(forest.verify(), vec![]);
    if !done[2] {
        // It can be made, unless it was: a rename may be told as failed and be done.
        let again = forest.checkpoint("one");
        let exists = matches!(again, Err(TreeError::Disk(DiskError::Exists { .. })));
        assert!(again.is_ok() || exists, "{again:?}");
    }
    let copy = Forest::open(disk_of_checkpoint(&disk, "one"), TreeSettings::default(), rules()).unwrap();
    assert_eq!(copy.verify(), vec![]);
}

#[test]
fn an_ingest_a_stage_and_a_checkpoint_are_whole_or_not_there_whatever_fails() {
    let (disk, sim) = Disk::simulated(1);
    sim.record_operations();
    let (_, told) = ingest_stage_and_checkpoint(&disk).unwrap();
    assert_eq!(told, [Ok(()), Ok(()), Ok(())]);
    let operations = sim.take_operations();
    for fault in Fault::each_of(&operations, |name| name) {
        for seed in 0..4 {
            let suffered = std::panic::catch_unwind(|| suffer_in_bulk(seed, &fault));
            suffered.unwrap_or_else(|_| panic!("seed {seed}: {fault}"));
        }
    }
    let links = operations.iter().filter(|(operation, _)| *operation == Operation::Link).count();
    assert!(links >= 3, "{operations:?}");
}
