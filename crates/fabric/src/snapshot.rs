//! Snapshots: how a replica that lags behind the log takes over the state of another one.
//!
//! ```text
//!   leader                                    follower
//!   MsgSnapshot (index, term, cut) ---------> held back; a stage of the next generation begins
//!   cut: the tree as it was        <--------- pull  (cut, number, from key)
//!   chunk (records, checksum)      ---------> into files that nobody names yet
//!                                   ...       ... until the last; then one change of the manifest
//!                                             MsgSnapshot goes into the Raft core
//!                                             record Installed: from here on the new tree counts
//!                                             the old tree is dropped
//! ```
//! The message of the core carries no state, only the id of a *cut*: the leader's tree as it was after
//! some entry, held for a while in the engine ([`cuts`]). The follower *pulls* it piece by piece, at
//! its own pace ([`puller`]), so a leader never has more than one piece in memory for a follower, and a
//! piece that is lost is asked for again. Not before all of it is durable, in a tree beside the one in use,
//! does the core hear of it. The record [`crate::records::GroupRecord::Installed`] is the moment of
//! installing: a start before it finds the old state whole, a start after it the new one, and the tree
//! that does not count is dropped.
//!
//! [`codec`] is what the two say to each other. All of this is values without clocks and disks of their
//! own: [`crate::group`] tells them what has happened, and does what they want done.

mod codec;
mod cuts;
mod puller;
#[cfg(test)]
mod tests;

pub(crate) use codec::{Chunk, Pull, SnapshotMessage};
pub(crate) use cuts::{CutTree, Cuts, Offer, read_chunk};
pub(crate) use puller::{Puller, Want};
