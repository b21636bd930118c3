//! The target `engine_manifest`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("engine_manifest", bytes));
