//! Every operation that a node asks its disk for fails once, in each way it can: while it starts on
//! what an earlier life left, and while a program runs (that of `power_cut`, log and tree together).
//!
//! A failure is told to whoever waits, or ends the node, or has changed nothing that matters; the
//! next start, by which nothing fails any more, finds everything that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use base::{Cause, Class, TableId};
use store::conformance::Dice;
use world::{Disk, Fault, Occurrence, Operation, Operations, Outcome, SimDisk};

use super::{
    power_cut::{History, check, define, run_to_its_end, settle_all, tiniest},
    tally, world,
};
use crate::{Addresses, Stepped};

/// Programs, each of which runs some hundred times.
const PROGRAMS: u64 = 6;

fn start(disk: &Disk, seed: u64) -> Result<Stepped, Cause> {
    Stepped::start(&world(disk.clone(), seed), tiniest(), tally(), Addresses::new())
}

/// A disk on which a node has made the table and was killed.
fn begun(seed: u64) -> (Disk, SimDisk, TableId) {
    let (disk, sim) = Disk::simulated(seed);
    let mut node = start(&disk, seed).unwrap();
    let table = define(&mut node);
    drop(node);
    sim.kill();
    (disk, sim, table)
}

/// A second life: a start and a program. Says what was done and how it ended.
fn live(disk: &Disk, sim: &SimDisk, table: TableId, seed: u64, fails: bool) -> (History, Result<(), Cause>) {
    match start(disk, seed + 1) {
        Ok(mut node) => run_to_its_end(&mut node, sim, table, 0, &mut Dice(seed), fails),
        Err(cause) => (History::default(), Err(cause)),
    }
}

/// A site is a kind of operation on a kind of file.
fn site(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((_, "tree")) => "tree/*.tree",
        Some((_, "seg")) => "log/*.seg",
        _ => name,
    }
}

/// Every fault there can be in a life.
fn faults(seed: u64) -> Vec<Fault> {
    let (disk, sim, table) = begun(seed);
    sim.record_operations();
    live(&disk, &sim, table, seed, false).1.unwrap();
    let mut faults = Fault::each_of(&sim.take_operations(), site);
    // A short read is told as a failed one is.
    faults.retain(|fault| {
        (fault.outcome, fault.operations) != (Outcome::Short, Operations::Only(Operation::Read))
    });
    faults
}

/// Lives with a fault, ends the process, and checks the next life. Returns whether the node ended.
fn suffer(seed: u64, fault: &Fault, end: fn(&SimDisk)) -> bool {
    let (disk, sim, table) = begun(seed);
    sim.inject(fault.clone());
    let (history, ended) = live(&disk, &sim, table, seed, true);
    assert!(sim.injected() > 0, "it never came");
    if let Err(cause) = &ended {
        // A directory whose identity cannot be read, or whose start cannot be counted, cannot be used.
        let told = matches!(cause.class, Class::Busy | Class::Uncertain { .. })
            || ["", "IDENTITY", "STARTS", "STARTS.new"].contains(&fault.pattern.as_str());
        assert!(told, "nothing is damaged, and nobody else is to blame: {cause}");
    }
    end(&sim);
    check(disk, table, u64::MAX, &history).unwrap();
    ended.is_err()
}

#[test]
fn whatever_fails_a_node_loses_nothing_that_it_acknowledged() {
    let mut sites: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in 0..PROGRAMS {
        for (nth, fault) in faults(seed).into_iter().enumerate() {
            let (name, end) =
                [("kill", SimDisk::kill as fn(&SimDisk)), ("power cut", SimDisk::crash)][nth % 2];
            let suffered = std::panic::catch_unwind(|| suffer(seed, &fault, end));
            let ended = suffered.unwrap_or_else(|_| panic!("program {seed}, {name}: {fault}"));
            let any = Fault { occurrence: Occurrence::Every, ..fault }.to_string();
            let count = sites.entry(any).or_default();
            *count = (count.0 + 1, count.1 + u64::from(ended));
        }
    }
    for (site, (runs, ended)) in &sites {
        println!("{site}: {runs} runs, the end of the node in {ended}");
    }
    let of = |start: &str| -> BTreeSet<&str> {
        sites.keys().filter_map(|site| site.strip_prefix(start)).collect()
    };
    for site in [r#"write on "log/*.seg""#, r#"sync on "tree/*.tree""#, r#"rename on "tree/MANIFEST.new""#] {
        assert!(of("fail every ").contains(site), "{sites:?}");
    }
    assert!(of("full every ").len() > 8 && of("short every ").len() > 8, "{sites:?}");
}

/// Bytes of all files of a node.
fn used_bytes(disk: &Disk) -> u64 {
    let folders = [("", ""), ("log", "log/"), ("tree", "tree/")];
    let files = folders.iter().flat_map(|(folder, prefix)| {
        disk.list(folder).unwrap().into_iter().map(move |name| format!("{prefix}{name}"))
    });
    files.map(|name| disk.open(&name).unwrap().len().unwrap()).sum()
}

#[test]
fn a_disk_that_is_full_now_and_then_ends_no_node_and_loses_nothing() {
    let (mut refused, mut written, mut waiting) = (0, 0, 0);
    for seed in 0..60 {
        let (disk, sim, table) = begun(seed);
        let mut node = start(&disk, seed).unwrap();
        let (mut dice, mut all) = (Dice(seed), History::default());
        for round in 0..6 {
            sim.set_capacity(used_bytes(&disk) + dice.below(2_000));
            for part in 0..3 {
                let first = round * 100 + part * 30;
                let (history, end) = run_to_its_end(&mut node, &sim, table, first, &mut dice, false);
                let is_busy = |cause: &Cause| cause.class == Class::Busy;
                assert!(end.as_ref().err().is_none_or(is_busy), "seed {seed}: {end:?}");
                refused += history.refused();
                all.add(history);
            }
            waiting += u64::from(frozen_bytes(&node) > 0);
            // Somebody makes room, and nobody has to do anything else.
            sim.set_capacity(u64::MAX);
            settle_all(&mut node).unwrap_or_else(|cause| panic!("seed {seed}: {cause}"));
            assert!(!node.spine.needs_own_thread(), "seed {seed}: somebody still waits");
            assert_eq!(frozen_bytes(&node), 0, "seed {seed}: a memtable still waits");
        }
        written += all.written.len();
        drop(node);
        sim.kill();
        check(disk, table, u64::MAX, &all).unwrap();
    }
    println!("{refused} were refused, {written} rows written; memtables waited {waiting} times");
    assert!(refused > 500 && written > 500 && waiting > 50, "{refused} {written} {waiting}");
}

fn frozen_bytes(node: &Stepped) -> u64 {
    node.parts.shared.engine.forest().debt().frozen_bytes
}
