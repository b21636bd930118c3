//! The engine against a naive model: a list of all mutations, from which every read is computed
//! from scratch. And what the allocator says about the weights.

#![allow(clippy::unwrap_used)]

mod any;
mod model;
mod smoke;
mod twin;
mod weights;
