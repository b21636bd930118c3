//! Tables in memory: the twin of the tables on trees, with the same reads and none of the files.
//!
//! It is the model that the engine's tests compare with, and the scratch in which the raw answers
//! of replicas are merged.
//!
//! A table maps partitions, in ring order, to rows in clustering order, to cells by column. Every
//! change is merged by rules that do not depend on order (last write wins, deletions shadow what
//! is no younger), so replaying a log, or hearing the same writes from another replica in another
//! order, ends in the same state.
//!
//! **One invariant carries the read path**: a stored cell stands above every deletion that covers
//! it. What a deletion shadows is freed when the deletion arrives, and what arrives shadowed is
//! not stored. So a read looks at cells only, and the state is a function of the *set* of
//! mutations. Deletions themselves are kept: purging them takes knowledge of the other replicas.
//!
//! ```text
//! MemoryEngine  TableId -> Table                      read lock, one pointer copied
//! Table    64 shards by the token's high bits    a read or an apply locks one shard
//! shard    Token -> Partition                    tokens that collide share an entry
//! Partition   its deletion, deletions of rows (steps.rs), rows (rows.rs)
//! ```
//!
//! A mutation is applied under one lock: a reader sees all of it or nothing. Any thread may read;
//! any thread may apply, but the house has one applier (the log's), so that acknowledgement order
//! is log order.

mod engine;
mod partition;
mod raw;
mod rows;
mod shard;
mod steps;
mod weight;

pub use engine::{Dropped, MemoryEngine, TableStats};
pub(crate) use steps::Steps;
pub(crate) use weight::Meter;
