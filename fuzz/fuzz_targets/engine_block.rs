//! The target `engine_block`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("engine_block", bytes));
