//! The target `fabric_frame`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("fabric_frame", bytes));
