//! What a node knows of the others: which life of them is the last, and whether they live.
//!
//! **Lives.** Every frame says of which start of a node it is, which process of it, and up to where that start found
//! its log ([`Life`]). A start that is lower than one heard of before is of a process that is dead, or of a disk that was set
//! back to an older state; so is a second process with the same start, and a later start that found less in
//! its log than was durable before. Nothing they say counts: a disk that was set back has forgotten votes
//! it gave and entries it acknowledged. They are told so, and end.
//!
//! **Liveness** is between nodes, once for all their groups. Each says twice a second that it lives, and whether its disk
//! answers: a node whose disk hangs can lead nobody, whatever its heartbeats say.

use std::collections::BTreeMap;

use base::NodeId;

use crate::group::message::Life;

/// Ticks between two heartbeats: half a second.
pub(crate) const ALIVE_EVERY_TICKS: u64 = 10;
/// Ticks without a word after which a node counts as down: one and a half seconds.
const DOWN_AFTER_TICKS: u64 = 30;
/// Ticks for which a node's disk may hang before it counts as down: a second.
const STALLED_TICKS_MAX: u64 = 20;

/// What is known of the other nodes.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    known: BTreeMap<NodeId, Peer>,
    /// A start is higher than when it was last asked.
    changed: bool,
}

#[derive(Debug, Default)]
struct Peer {
    life: Option<Life>,
    /// Its highest start; with what was known before this process began.
    start: u64,
    /// Up to where its log was durable, when it said so last.
    durable: u64,
    heard_at: u64,
    stalled_since: Option<u64>,
    down: bool,
}

/// What is to be done about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts.
    Counts,
    /// It counts, and is of another process than those before: what that one led, it leads no more.
    Reborn,
    /// It does not count, and its sender should know.
    Refused,
}

/// What a node knows of another, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The other node.
    pub node: NodeId,
    /// How often it has started.
    pub start: u64,
    /// Whether it was heard of lately, and its disk answers.
    pub alive: bool,
    /// Up to where its log is durable, when it said so last.
    pub durable: u64,
}

impl Peers {
    /// Judges the life of a frame from `node`, at tick `now`.
    pub(crate) fn judge(&mut self, node: NodeId, life: Life, now: u64) -> Verdict {
        let peer = self.known.entry(node).or_default();
        let is_known = peer.life.is_some_and(|known| (known.start, known.life) == (life.start, life.life));
        if !is_known {
            let again = peer.life.is_some() && life.start == peer.start;
            if life.start < peer.start || again || life.found < peer.durable {
                return Verdict::Refused;
            }
        }
        peer.heard_at = now;
        if peer.stalled_since.is_none() {
            peer.down = false;
        }
        if is_known {
            return Verdict::Counts;
        }
        let reborn = peer.life.is_some();
        self.changed |= life.start != peer.start;
        (peer.life, peer.start) = (Some(life), life.start);
        if reborn { Verdict::Reborn } else { Verdict::Counts }
    }

    /// A node whose frame counted says that it lives.
    pub(crate) fn alive(&mut self, node: NodeId, durable: u64, stalled: bool, now: u64) {
        let peer = self.known.entry(node).or_default();
        peer.durable = peer.durable.max(durable);
        peer.stalled_since = stalled.then(|| peer.stalled_since.unwrap_or(now));
        if !stalled {
            peer.down = false;
        }
    }

    /// What was known of starts before this process began.
    pub(crate) fn remember(&mut self, node: NodeId, start: u64) {
        let peer = self.known.entry(node).or_default();
        peer.start = peer.start.max(start);
    }

    /// The highest start of each, which must outlive this process.
    pub(crate) fn starts(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.known.iter().filter(|(_, peer)| peer.start > 0).map(|(node, peer)| (*node, peer.start))
    }

    /// Whether [`Peers::starts`] have changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Those that count as down since now.
    pub(crate) fn tick(&mut self, now: u64) -> Vec<NodeId> {
        let mut down = Vec::new();
        for (node, peer) in &mut self.known {
            let silent = now - peer.heard_at >= DOWN_AFTER_TICKS;
            let stalled = peer.stalled_since.is_some_and(|since| now - since >= STALLED_TICKS_MAX);
            if (silent || stalled) && !std::mem::replace(&mut peer.down, true) {
                down.push(*node);
            }
        }
        down
    }

    /// Whether a node counts as down because its disk hangs, although it talks.
    pub(crate) fn is_stalled(&self, node: NodeId) -> bool {
        self.known.get(&node).is_some_and(|peer| peer.down && peer.stalled_since.is_some())
    }

    /// What is known of each.
    pub(crate) fn status(&self) -> Vec<PeerStatus> {
        let known = self.known.iter().filter(|(_, peer)| peer.start > 0);
        known
            .map(|(node, peer)| PeerStatus {
                node: *node,
                start: peer.start,
                alive: peer.life.is_some() && !peer.down,
                durable: peer.durable,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);

    fn life(start: u64, life: u64, found: u64) -> Life {
        Life { start, life, found }
    }

    #[test]
    fn a_disk_that_was_set_back_is_recognised() {
        let mut peers = Peers::default();
        assert_eq!(peers.judge(NODE, life(5, 50, 100), 0), Verdict::Counts);
        peers.alive(NODE, 140, false, 0);
        assert_eq!(peers.judge(NODE, life(4, 40, 200), 1), Verdict::Refused, "an older start");
        assert_eq!(peers.judge(NODE, life(5, 51, 200), 1), Verdict::Refused, "the same start once more");
        assert_eq!(peers.judge(NODE, life(6, 60, 139), 1), Verdict::Refused, "it has lost entry 140");
        assert_eq!(peers.judge(NODE, life(5, 50, 100), 1), Verdict::Counts);
        assert_eq!(peers.judge(NODE, life(6, 60, 140), 1), Verdict::Reborn);
        assert_eq!(peers.judge(NODE, life(5, 50, 100), 1), Verdict::Refused, "late");
    }

    #[test]
    fn what_was_remembered_counts_in_the_next_life() {
        let mut peers = Peers::default();
        peers.remember(NODE, 5);
        assert_eq!(peers.judge(NODE, life(4, 40, 0), 0), Verdict::Refused);
        assert_eq!(peers.judge(NODE, life(5, 50, 0), 0), Verdict::Counts, "it may be the same process");
        assert_eq!(peers.starts().collect::<Vec<_>>(), [(NODE, 5)]);
    }

    #[test]
    fn silence_and_a_disk_that_hangs_are_death() {
        let mut peers = Peers::default();
        peers.judge(NODE, life(1, 1, 0), 0);
        assert_eq!(peers.tick(DOWN_AFTER_TICKS - 1), []);
        assert_eq!(peers.tick(DOWN_AFTER_TICKS), [NODE]);
        assert_eq!(peers.tick(DOWN_AFTER_TICKS + 1), [], "it is told once");
        let now = 100;
        peers.judge(NODE, life(1, 1, 0), now);
        assert!(peers.status()[0].alive);
        peers.alive(NODE, 0, true, now);
        for later in now..now + STALLED_TICKS_MAX {
            peers.judge(NODE, life(1, 1, 0), later);
            peers.alive(NODE, 0, true, later);
            assert_eq!(peers.tick(later), []);
        }
        assert_eq!(peers.tick(now + STALLED_TICKS_MAX), [NODE]);
        peers.alive(NODE, 0, false, now + STALLED_TICKS_MAX);
        assert!(peers.status()[0].alive);
    }
}
