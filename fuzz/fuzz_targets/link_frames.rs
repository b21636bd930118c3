//! The target `link_frames`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("link_frames", bytes));
