//! Load programs and figures, beside the peers.
//!
//! A figure says something only beside another one, taken by the same client, on the same machine,
//! in the same minute. So one program fetches the peers, starts every server, and lets one closed
//! loop of clients visit them in turn ([`turns`]). What is compared first is the processor time a
//! server spends on an operation: on a small machine operations per second measure the client.
//!
//! How to run it and how to read it: `bench/README.md`.
//!
//! What servers answer is compared in [`diff`].

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a load program times, spawns and opens sockets from outside the store, never in it"
)]

pub mod cql;
pub mod diff;
pub mod engine;
pub mod figures;
pub mod fsync;
pub mod holdfast;
pub mod link;
pub mod load;
pub mod options;
pub mod peers;
pub mod place;
pub mod process;
pub mod report;
pub mod rows;
pub mod server;
pub mod sessions;
pub mod start;
pub mod turns;
pub mod waist;
pub mod zookeeper;

/// What a step of a bench comes to; an error is a sentence for the person who ran it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
