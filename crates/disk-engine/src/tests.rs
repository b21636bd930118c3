//! The engines against a naive model, a list of all mutations from which every read is computed from
//! scratch; the engine on trees against its twin in memory; and what the allocator says about the
//! weights.

#![allow(clippy::unwrap_used)]

mod any;
mod bounds;
mod memory;
mod model;
mod smoke;
mod stories;
mod subject;
mod twin;
pub(crate) mod weights;
