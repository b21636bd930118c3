//! The target `cql_statement`, without a bound.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::read("cql_statement", bytes));
