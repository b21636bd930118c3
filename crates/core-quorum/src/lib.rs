//! Leaderless reads, writes and Paxos rounds as pure state machines.
//!
//! Nothing here does I/O, awaits, locks, reads a clock or draws entropy. A round is a value: the
//! driver in `fabric` feeds it what happened and does what it asks for. So a seed replays any
//! history, and thousands of histories are tried in seconds.
//!
//! - [`WriteRound`]: a write to all replicas, acknowledged by enough of them.
//! - [`ReadRound`]: a read from enough replicas, their answers merged, stale ones repaired. A write
//!   acknowledged by `w` and a read answered by `r` of `n` replicas meet in one if `w + r > n`
//!   (Gifford, "Weighted Voting for Replicated Data", 1979).
//! - [`paxos`]: conditional writes and linearizable reads of one partition.
//!
//! All are written for any number of replicas up to [`MAX_REPLICAS`]; one replica is the case
//! `n = 1` of the same code, not a path beside it.

pub mod paxos;
mod read;
mod replicas;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Merge, ReadRound, ReadStep};
pub use replicas::{MAX_REPLICAS, Mask, Replicas, TooManyReplicas, Unavailable, majority};
pub use write::{WriteOutcome, WriteRound};
