//! The proof must be able to fail: with a bug planted, it has to find it.

use std::panic::catch_unwind;

use super::power_cut::program;
use crate::settings::Sabotage;

/// Programs in which the bug must be found.
const PROGRAMS: u64 = 100;

fn must_find(bug: Sabotage) {
    let found = (0..PROGRAMS).find(|&seed| catch_unwind(|| program(seed, Some(bug))).is_err());
    let seed = found.unwrap_or_else(|| panic!("{bug:?} was not found in {PROGRAMS} programs"));
    println!("{bug:?} was found after {} programs", seed + 1);
}

#[test]
fn a_log_cut_at_what_was_applied() {
    must_find(Sabotage::TrimAtApplied);
}

#[test]
fn an_applied_index_that_lags_behind_its_state() {
    must_find(Sabotage::IndexLags);
}
