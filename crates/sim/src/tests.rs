//! The simulator itself: it finds what is planted in a sketch of a node and finds the sketch clean, and
//! a run is a function of its seed.

use fabric::Stepped;

use crate::{
    bugs::Bug,
    named::NAMED,
    plan::{FaultKind, Plan},
    run::{Options, Report, run_with},
    sketch::Sketch,
};

/// Seeds in which a bug must be found.
const SEEDS: u64 = 300;

/// Mistakes of a sketch that are found soon; the others want an optimised build (`sim --bugs`).
const SKETCHED: [Bug; 4] =
    [Bug::AckBeforeFsync, Bug::LeaderCountsItselfEarly, Bug::ReadBeforeOwnTerm, Bug::DuplicateApply];

/// What a sketch can take: it does not know what to do when its log is full, or a proposal comes twice.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::of(seed, 0);
    plan.faults.remove(&FaultKind::DiskFull);
    plan.faults.remove(&FaultKind::Duplicate);
    plan
}

fn sketch(seed: u64, bug: Option<Bug>) -> Report {
    run_with::<Sketch>(&plan(seed), Options { bug, ..Options::default() })
}

#[test]
fn a_sketch_without_a_bug_is_found_clean() {
    for seed in 0..100 {
        let report = sketch(seed, None);
        assert_eq!(report.violation, None, "{}", report.plan);
    }
}

#[test]
fn every_bug_planted_in_a_sketch_is_found() {
    // Only a panic of a node is expected here, and it is told with the violation.
    std::panic::set_hook(Box::new(|_| ()));
    for bug in SKETCHED {
        let found = (0..SEEDS).find(|seed| sketch(*seed, Some(bug)).violation.is_some());
        let seed = found.unwrap_or_else(|| panic!("not found in {SEEDS} seeds: {bug}"));
        println!("{bug}: {} seeds", seed + 1);
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..5 {
        assert_eq!(sketch(seed, None).hash, sketch(seed, None).hash);
        let alone = || run_with::<Stepped>(&Plan::of(seed, 1), Options::default());
        let (first, second) = (alone(), alone());
        assert_eq!((first.violation, first.hash), (None, second.hash));
    }
    assert_ne!(sketch(1, None).hash, sketch(2, None).hash);
}

#[test]
fn seeds_with_a_history_are_clean() {
    for named in NAMED {
        let report = run_with::<Stepped>(&Plan::of(named.seed, named.nodes), Options::default());
        assert_eq!(report.violation, None, "seed {}: {}", named.seed, named.story);
    }
}

#[test]
fn a_story_is_told_when_wanted_and_changes_nothing() {
    let told = run_with::<Sketch>(&plan(3), Options { explain: true, bug: None });
    assert!(told.story.iter().any(|line| line.contains("client 0 asks node")));
    assert_eq!(told.hash, sketch(3, None).hash);
}
