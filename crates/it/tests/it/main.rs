//! Real clients against real server processes, each test a story.
//!
//! Every test starts its own server on free loopback ports over its own scratch folder; the few that
//! run a program verbatim, whose ports are fixed, take turns. Nothing waits without a bound. What a
//! failed test leaves (the data, the server's log) is kept and named.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod cluster;
mod crowd;
mod curator;
mod durability;
mod filtering;
mod harness;
mod kazoo;
mod kazoo_own;
mod locks;
mod memory;
mod programs;
mod python_cql;
mod robustness;
mod rust_cql;
mod rust_zookeeper;
mod rust_zookeeper_rest;
mod rust_zookeeper_wide;
mod session_moves;
mod startup;
mod tls;
mod verify;
mod witness;
mod words;
mod zkcli;
