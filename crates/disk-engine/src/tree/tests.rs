//! Proof of the tree: random programs beside a model, on a disk that suffers.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

mod bulk;
mod cached_rows;
mod damage;
mod faults;
mod golden;
pub(crate) mod laws;
mod memory;
mod model;
mod one_file;
mod planted_bugs;
mod power_cut;
mod program;
mod sizes;
mod stories;
mod threads;
mod verify;
