//! Who the members of a group are, and how they become others: joint consensus (Raft paper, 6).
//!
//! Whoever changes members says who they should be, and the difference becomes one entry: a change of
//! one member alone is simple, any other goes through a joint configuration. The core wants that entry's data as protobuf when it is proposed; what replicas read is its
//! context, in bytes of our own, because it comes from a socket.

use std::collections::BTreeSet;

use base::{Malformed, NodeId, Reader, Writer};
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

/// Who the members of a group should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Those whose majority decides. At least one.
    pub voters: BTreeSet<NodeId>,
    /// Those who only follow.
    pub learners: BTreeSet<NodeId>,
}

impl Members {
    /// A group of these voters and no learners.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Members {
        Members { voters: voters.into_iter().collect(), learners: BTreeSet::new() }
    }

    pub(crate) fn is_valid(&self) -> bool {
        !self.voters.is_empty() && self.voters.is_disjoint(&self.learners)
    }

    pub(crate) fn to_conf(&self) -> ConfState {
        let ids = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
        ConfState { voters: ids(&self.voters), learners: ids(&self.learners), ..ConfState::default() }
    }

    pub(crate) fn of_conf(conf: &ConfState) -> Members {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        let mut members = Members { voters: nodes(&conf.voters), learners: nodes(&conf.learners) };
        members.learners.extend(nodes(&conf.learners_next));
        members
    }
}

/// Whether a group is between two configurations.
pub(crate) fn is_joint(conf: &ConfState) -> bool {
    !conf.voters_outgoing.is_empty()
}

/// Everybody who takes part, `but` one.
pub(crate) fn others(conf: &ConfState, but: u64) -> BTreeSet<u64> {
    let ConfState { voters, learners, voters_outgoing, learners_next, .. } = conf;
    let all = [voters, learners, voters_outgoing, learners_next].into_iter().flatten().copied();
    all.filter(|id| *id != but).collect()
}

/// What must be changed in `now` to make it `wanted`.
pub(crate) fn difference(now: &ConfState, wanted: &Members) -> ConfChangeV2 {
    let mut changes = Vec::new();
    let mut change = |kind, node: u64| {
        changes.push(ConfChangeSingle { change_type: kind, node_id: node, ..ConfChangeSingle::default() });
    };
    for node in wanted.voters.iter().filter(|node| !now.voters.contains(&node.0)) {
        change(ConfChangeType::AddNode, node.0);
    }
    for node in wanted.learners.iter().filter(|node| !now.learners.contains(&node.0)) {
        change(ConfChangeType::AddLearnerNode, node.0);
    }
    let stays = |id: &u64| wanted.voters.contains(&NodeId(*id)) || wanted.learners.contains(&NodeId(*id));
    for id in now.voters.iter().chain(&now.learners).filter(|id| !stays(id)) {
        change(ConfChangeType::RemoveNode, *id);
    }
    change_of(changes)
}

/// One member is changed simply; several by a joint configuration, which the leader ends when it may
/// (see [`super::lead`]).
fn change_of(changes: Vec<ConfChangeSingle>) -> ConfChangeV2 {
    let transition =
        if changes.len() > 1 { ConfChangeTransition::Explicit } else { ConfChangeTransition::Auto };
    ConfChangeV2 { transition, changes: changes.into(), ..ConfChangeV2::default() }
}

/// A change as the context of its entry. One that leaves a joint configuration is empty.
pub(crate) fn encode(change: &ConfChangeV2) -> Vec<u8> {
    let mut out = Writer::new();
    for single in &change.changes {
        out.u8(match single.change_type {
            ConfChangeType::AddNode => 0,
            ConfChangeType::RemoveNode => 1,
            ConfChangeType::AddLearnerNode => 2,
        });
        out.varint(single.node_id);
    }
    out.into_vec()
}

/// The inverse of [`encode`].
pub(crate) fn decode(context: &[u8]) -> Result<ConfChangeV2, Malformed> {
    let mut reader = Reader::new(context);
    let mut changes = Vec::new();
    while !reader.is_empty() {
        let change_type = match reader.u8("change of members")? {
            0 => ConfChangeType::AddNode,
            1 => ConfChangeType::RemoveNode,
            2 => ConfChangeType::AddLearnerNode,
            _ => return Err(Malformed("change of members")),
        };
        let node_id = reader.varint("member")?;
        changes.push(ConfChangeSingle { change_type, node_id, ..ConfChangeSingle::default() });
    }
    Ok(change_of(changes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_change_round_trips_and_leads_to_what_is_wanted(
            voters in proptest::collection::btree_set(1u64..9, 1..5),
            learners in proptest::collection::btree_set(1u64..9, 0..4),
            now in proptest::collection::btree_set(1u64..9, 1..5),
        ) {
            let voters: BTreeSet<NodeId> = voters.into_iter().map(NodeId).collect();
            let learners = learners.into_iter().map(NodeId).filter(|node| !voters.contains(node)).collect();
            let wanted = Members { voters, learners };
            let mut conf = ConfState { voters: now.into_iter().collect(), ..ConfState::default() };
            let change = difference(&conf, &wanted);
            prop_assert_eq!(decode(&encode(&change)), Ok(change.clone()));
            for single in &change.changes {
                conf.voters.retain(|id| *id != single.node_id);
                conf.learners.retain(|id| *id != single.node_id);
                match single.change_type {
                    ConfChangeType::AddNode => conf.voters.push(single.node_id),
                    ConfChangeType::AddLearnerNode => conf.learners.push(single.node_id),
                    ConfChangeType::RemoveNode => {}
                }
            }
            prop_assert_eq!(Members::of_conf(&conf), wanted.clone());
            prop_assert!(difference(&conf, &wanted).changes.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
