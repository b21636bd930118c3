//! The target `zk_certificate`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("zk_certificate", bytes));
