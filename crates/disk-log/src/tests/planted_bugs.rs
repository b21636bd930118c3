//! The proof of `power_cut` must be able to fail: with a bug planted, it has to find it.

use super::{power_cut::PROGRAMS, program::run};
use crate::settings::Sabotage;

fn must_find(bug: Sabotage) {
    let found = (0..PROGRAMS).find_map(|seed| run(seed, Some(bug)).err().map(|violation| (seed, violation)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not found in {PROGRAMS} programs"));
    println!("{bug:?} was found after {} programs: {}", seed + 1, violation.0);
}

#[test]
fn a_log_that_does_not_sync_its_batches_is_found_out() {
    must_find(Sabotage::BatchUnsynced);
}

#[test]
fn a_log_that_does_not_sync_its_folder_is_found_out() {
    must_find(Sabotage::NameUnsynced);
}

#[test]
fn a_log_that_acknowledges_before_the_sync_is_found_out() {
    must_find(Sabotage::EarlyAck);
}
