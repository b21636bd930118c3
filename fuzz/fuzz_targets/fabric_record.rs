//! The target `fabric_record`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("fabric_record", bytes));
