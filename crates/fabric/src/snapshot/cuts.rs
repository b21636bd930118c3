//! Cuts: a Machine's tree as it was after some entry, held for followers that pull it.
//!
//! A cut costs no copy: files do not change, and the engine keeps apart what a snapshot of it sees. What
//! it costs is room, because compaction cannot fold what it sees; so there are few, one serves every
//! follower that can go on behind it, and it ends when nobody has pulled for a while, or after a time.

use std::sync::Arc;

use base::{Cause, NodeId, Writer};
use bytes::Bytes;
use disk_engine::tree::{Snapshot, TreeId, decode_latest};
use raft::eraftpb::ConfState;

use super::codec::{Chunk, Pull, put_record};
use crate::group::members::others;

/// Cuts of a group at a time: one that is being pulled, and one for those who come too late for it.
const CUTS_MAX: usize = 2;
/// Ticks without a pull after which a cut ends: 10 s.
const IDLE_TICKS: u32 = 200;
/// Ticks after which it ends anyway: 10 min.
const LIFE_TICKS: u32 = 12_000;
/// Ticks without a pull after which a follower is offered a cut once more: 2 s.
const SILENCE_TICKS: u32 = 40;

/// What the message of the Raft core says of a cut.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) cut: u64,
    /// The entry after which it was made, and its term.
    pub(crate) index: u64,
    pub(crate) term: u64,
    /// The members of the group then.
    pub(crate) members: ConfState,
}

/// A tree that can be read as it was.
#[derive(Clone)]
pub(crate) struct CutTree {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) tree: TreeId,
}

struct Held {
    offer: Offer,
    tree: CutTree,
    idle_ticks: u32,
    age_ticks: u32,
}

/// The cuts of one group.
pub(crate) struct Cuts {
    next: u64,
    held: Vec<Held>,
    /// Followers that were offered a cut and have not installed it, and ticks since they pulled last.
    followers: Vec<(NodeId, u32)>,
}

impl Cuts {
    /// None. The ids of those to come begin at `first`, which is drawn, so that they are not mistaken for those of another
    /// leader or an earlier start.
    pub(crate) fn new(first: u64) -> Cuts {
        Cuts { next: first, held: Vec::new(), followers: Vec::new() }
    }

    /// The newest cut behind which entries from `first` on can follow, and which knows all of `members`: a
    /// replica takes no state of a group of which it is no member.
    pub(crate) fn fit(&self, first: u64, members: &ConfState) -> Option<&Offer> {
        let members = others(members, raft::INVALID_ID);
        let fits = |held: &&Held| {
            held.offer.index + 1 >= first && members.is_subset(&others(&held.offer.members, raft::INVALID_ID))
        };
        self.held.iter().filter(fits).map(|held| &held.offer).next_back()
    }

    /// Holds a cut of the state after entry `index`. The oldest goes if there are too many.
    pub(crate) fn hold(&mut self, tree: CutTree, index: u64, term: u64, members: ConfState) -> Offer {
        let offer = Offer { cut: self.next, index, term, members };
        self.next = self.next.wrapping_add(1);
        if self.held.len() == CUTS_MAX {
            self.held.remove(0);
        }
        self.held.push(Held { offer: offer.clone(), tree, idle_ticks: 0, age_ticks: 0 });
        offer
    }

    /// `from` pulls of `cut`: what to read; `None` if there is no such cut.
    pub(crate) fn pulled(&mut self, from: NodeId, cut: u64) -> Option<CutTree> {
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.0 == from) {
            follower.1 = 0;
        }
        let held = self.held.iter_mut().find(|held| held.offer.cut == cut)?;
        held.idle_ticks = 0;
        Some(held.tree.clone())
    }

    /// A tick has passed, after which `behind` are the followers that the core waits for to install a
    /// snapshot. Returns those that have been silent for too long: the offer may be lost.
    pub(crate) fn tick(&mut self, behind: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        for held in &mut self.held {
            held.idle_ticks += 1;
            held.age_ticks += 1;
        }
        self.held.retain(|held| held.idle_ticks < IDLE_TICKS && held.age_ticks < LIFE_TICKS);
        let before = std::mem::take(&mut self.followers);
        let ticks = |node| before.iter().find(|follower| follower.0 == node).map_or(0, |found| found.1 + 1);
        self.followers = behind.map(|node| (node, ticks(node))).collect();
        self.followers.extract_if(.., |follower| follower.1 >= SILENCE_TICKS).map(|silent| silent.0).collect()
    }

    /// None any more.
    pub(crate) fn end(&mut self) {
        self.held.clear();
        self.followers.clear();
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

/// Reads the chunk that `pull` asks for: records of about `bytes` bytes, one at least.
///
/// # Errors
/// When the tree cannot be read.
pub(crate) fn read_chunk(cut: &CutTree, pull: &Pull, bytes: usize) -> Result<Chunk, Cause> {
    let mut out = Writer::new();
    let (mut last, mut gathered) = (true, 0);
    for found in cut.snapshot.scan(cut.tree, pull.from.clone(), None, false)? {
        let (key, value) = found?;
        if decode_latest(&value)?.is_none() {
            continue;
        }
        if gathered >= bytes {
            last = false;
            break;
        }
        gathered += key.len() + value.len();
        put_record(&mut out, &key, &value);
    }
    Ok(pull.answer(Bytes::from(out.into_vec()), last))
}
