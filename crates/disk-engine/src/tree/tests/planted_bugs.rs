//! The proof must be able to fail: with a bug planted, it has to find it.

use super::{power_cut, program};
use crate::tree::settings::Sabotage;

fn must_find(bug: Sabotage, programs: u64, run: impl Fn(u64) -> Result<program::Tally, program::Violation>) {
    let found = (0..programs).find_map(|seed| run(seed).err().map(|violation| (seed, violation)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{bug:?} was not found in {programs} programs"));
    let what: String = violation.0.chars().take(100).collect();
    println!("{bug:?} was found after {} programs: {what}", seed + 1);
}

fn by_reading(bug: Sabotage) {
    must_find(bug, program::PROGRAMS, |seed| program::run(seed, program::steps(seed), Some(bug)));
}

fn by_cutting_the_power(bug: Sabotage) {
    must_find(bug, power_cut::PROGRAMS, |seed| power_cut::run(seed, power_cut::steps(seed), Some(bug)));
}

#[test]
fn a_file_that_is_not_synced() {
    by_cutting_the_power(Sabotage::FileUnsynced);
}

#[test]
fn a_folder_that_is_not_synced() {
    by_cutting_the_power(Sabotage::FolderUnsynced);
}

#[test]
fn a_manifest_that_is_not_synced() {
    by_cutting_the_power(Sabotage::ManifestUnsynced);
}

#[test]
fn a_file_removed_while_the_manifest_names_it() {
    by_cutting_the_power(Sabotage::RemovedEarly);
}

#[test]
fn a_log_cut_at_what_was_applied() {
    by_reading(Sabotage::TruncateAtApplied);
}

#[test]
fn a_tombstone_dropped_too_early() {
    by_reading(Sabotage::TombstoneDroppedEarly);
}

#[test]
fn a_range_deletion_lost_in_compaction() {
    by_reading(Sabotage::RangesLost);
}

#[test]
fn a_filter_of_the_wrong_prefix() {
    by_reading(Sabotage::WrongPrefix);
}

#[test]
fn a_snapshot_that_reads_newer_data() {
    by_reading(Sabotage::SnapshotReadsNewer);
}

#[test]
fn an_expired_cell_that_gives_way_to_an_older_one() {
    by_reading(Sabotage::ExpiredDropped);
}

#[test]
fn values_merged_the_wrong_way_round() {
    by_reading(Sabotage::MergeSwapped);
}

#[test]
fn versions_of_a_snapshot_merged_away() {
    by_reading(Sabotage::SnapshotsMerged);
}

#[test]
fn versions_of_a_reader_folded_away() {
    by_reading(Sabotage::ReadersIgnored);
}

#[test]
fn a_file_dropped_while_it_hides_something() {
    by_reading(Sabotage::FileDroppedEarly);
}

#[test]
fn a_row_that_stays_in_the_cache_as_it_was() {
    by_reading(Sabotage::RowsNotWritten);
}
