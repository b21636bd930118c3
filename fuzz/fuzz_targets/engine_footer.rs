//! The target `engine_footer`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("engine_footer", bytes));
