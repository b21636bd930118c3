//! Tables on trees: the [`Engine`].
//!
//! ```text
//! Engine     tables by identifier, one tree each         engine
//! write      a mutation becomes puts and range deletions write, key, fragment
//! read       a page is a walk over one View              walk; resolved for clients, raw for replicas
//! RowRule    fragments of a row become one               rule
//! ```
//!
//! A row is one key; each write of it is a *fragment*, its cells by column. The tree merges the
//! fragments of a row when it is read, and for good when it is compacted. Cells are never keys of
//! their own: a row of two columns is found by one search, and its cells share the key, the
//! timestamp and the time to live.

mod engine;
mod fragment;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod key;
mod raw;
mod resolved;
mod rule;
mod walk;
mod write;

pub use engine::{Engine, TableEstimate};
