//! The target `engine_cell`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("engine_cell", bytes));
