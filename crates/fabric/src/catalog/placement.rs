//! Where replicas should be: pure functions from the nodes there are, and where replicas are wanted now.
//!
//! Two aims, in this order. *Zones apart*: a zone holds no more voters than it must, so that losing one
//! costs as few as possible. *Smallest change*: among placements that are equally far apart, the one that keeps
//! most of what is there, for every replica that moves is copied. The second never outweighs the first: when
//! a zone comes, voters move there.
//!
//! **An odd number of voters.** Four bear the loss of one as three do, and wait for one more. **Two
//! nodes: one voter and one learner.** Two voters decide only together, so the loss of either would stop
//! the group: twice as often as with one. The learner has all the data, is promoted when a third node comes, and
//! is what is left if the voter's disk is lost; but then somebody has to say so, because it cannot know.

use std::collections::BTreeMap;

use base::NodeId;
use store::{Locality, Node, NodeState, Replicas};

/// Voters of the catalog: five bear the loss of two; more would only make every change wait longer.
const CATALOG_VOTERS: usize = 5;
/// Replicas of any other group.
const REPLICAS: usize = 3;

/// The catalog's replicas: every node has it, up to five vote.
pub(super) fn of_catalog(nodes: &[Node], now: &Replicas) -> Replicas {
    let members = members(nodes);
    let voters = spread(&members, odd(members.len().min(CATALOG_VOTERS)), &now.voters, &BTreeMap::new());
    if voters.is_empty() {
        return now.clone();
    }
    let follows = |node: &&Node| matches!(node.state, NodeState::Joining | NodeState::Member);
    let others = nodes.iter().filter(follows).map(|node| node.id).filter(|id| !voters.contains(id));
    Replicas { learners: sorted(others.collect()), voters }
}

/// The replicas of another group: three, or as many as there are nodes. `load` says how many replicas
/// a node has: a new one goes where there are fewest.
pub(super) fn of_machine(nodes: &[Node], now: &Replicas, load: &BTreeMap<NodeId, usize>) -> Replicas {
    let members = members(nodes);
    let count = members.len().min(REPLICAS);
    let voters = spread(&members, odd(count), &now.voters, load);
    if voters.is_empty() {
        return now.clone();
    }
    let rest: Vec<&Node> = members.into_iter().filter(|node| !voters.contains(&node.id)).collect();
    Replicas { learners: spread(&rest, count - voters.len(), &now.learners, load), voters }
}

fn members(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().filter(|node| node.state == NodeState::Member).collect()
}

/// The largest odd number that is not larger.
fn odd(count: usize) -> usize {
    count.saturating_sub(1) / 2 * 2 + usize::from(count > 0)
}

/// `count` of the nodes, over zones as evenly as can be, as many of `kept` as that allows.
///
/// One after the other is taken from the zone that has given least so far. So each zone gives up to some
/// level, and only at the last level is there a choice between zones: those win that have a node to keep.
fn spread(nodes: &[&Node], count: usize, kept: &[NodeId], load: &BTreeMap<NodeId, usize>) -> Vec<NodeId> {
    let mut left = nodes.to_vec();
    let mut given: BTreeMap<&Locality, usize> = BTreeMap::new();
    let mut taken = Vec::new();
    while taken.len() < count {
        let cost = |node: &Node| {
            let of_zone = given.get(&node.locality).copied().unwrap_or(0);
            (of_zone, !kept.contains(&node.id), load.get(&node.id).copied().unwrap_or(0), node.id)
        };
        let Some(best) = (0..left.len()).min_by_key(|at| cost(left[*at])) else { break };
        let node = left.swap_remove(best);
        *given.entry(&node.locality).or_default() += 1;
        taken.push(node.id);
    }
    sorted(taken)
}

fn sorted(mut ids: Vec<NodeId>) -> Vec<NodeId> {
    ids.sort_unstable();
    ids
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*, sample::select};
    use store::Versions;

    use super::*;

    pub(in crate::catalog) fn node(id: u64, zone: &str, state: NodeState) -> Node {
        Node {
            id: NodeId(id),
            host_uuid: u128::from(id),
            locality: Locality { region: "r".to_owned(), zone: zone.to_owned() },
            state,
            versions: Versions::BUILD,
            tokens: Vec::new(),
            addresses: [].into(),
        }
    }

    pub(in crate::catalog) fn nodes() -> impl Strategy<Value = Vec<Node>> {
        let states = vec![
            NodeState::Member,
            NodeState::Member,
            NodeState::Member,
            NodeState::Joining,
            NodeState::Leaving,
            NodeState::Gone,
        ];
        vec((select(vec!["a", "b", "c", "d"]), select(states)), 1..10)
            .prop_map(|nodes| (1..).zip(nodes).map(|(id, (zone, state))| node(id, zone, state)).collect())
    }

    fn replicas() -> impl Strategy<Value = Replicas> {
        let ids = || proptest::collection::btree_set(1..12u64, 0..6);
        (ids(), ids()).prop_map(|(voters, learners)| Replicas {
            learners: learners.difference(&voters).copied().map(NodeId).collect(),
            voters: voters.into_iter().map(NodeId).collect(),
        })
    }

    /// How many each zone gives, descending: the same for all ways to give evenly.
    fn shares(nodes: &[Node], ids: &[NodeId]) -> Vec<usize> {
        let mut zones: BTreeMap<&Locality, usize> = BTreeMap::new();
        for node in nodes.iter().filter(|node| ids.contains(&node.id)) {
            *zones.entry(&node.locality).or_default() += 1;
        }
        let mut shares: Vec<usize> = zones.into_values().collect();
        shares.sort_unstable_by_key(|share| std::cmp::Reverse(*share));
        shares
    }

    /// All sets of `count` of the members.
    fn sets(members: &[NodeId], count: usize) -> Vec<Vec<NodeId>> {
        let all = 0..1u32 << members.len();
        let of = |bits: u32| (0..members.len()).filter(move |at| bits >> at & 1 == 1);
        all.filter(|bits| bits.count_ones() as usize == count)
            .map(|bits| of(bits).map(|at| members[at]).collect())
            .collect()
    }

    proptest! {
        /// Against all there is: no set of voters is more even, and of those as even none keeps more.
        #[test]
        fn voters_are_apart_and_change_as_little_as_that_allows(nodes in nodes(), now in replicas()) {
            let members: Vec<NodeId> = members(&nodes).iter().map(|node| node.id).collect();
            for (wanted, most) in
                [(of_catalog(&nodes, &now), 5), (of_machine(&nodes, &now, &BTreeMap::new()), 3)]
            {
                if members.is_empty() {
                    prop_assert_eq!(&wanted, &now);
                    continue;
                }
                let count = wanted.voters.len();
                prop_assert!(count % 2 == 1 && count <= most && count + 2 > members.len().min(most));
                let mine = shares(&nodes, &wanted.voters);
                let kept = |set: &[NodeId]| set.iter().filter(|id| now.voters.contains(id)).count();
                for other in sets(&members, count) {
                    let theirs = shares(&nodes, &other);
                    prop_assert!(mine <= theirs, "{:?} is more even than {:?}", other, wanted);
                    prop_assert!(theirs != mine || kept(&other) <= kept(&wanted.voters));
                }
            }
        }

        /// Nothing moves that need not, whatever the load; everybody who takes part has the catalog.
        #[test]
        fn what_is_placed_stays(nodes in nodes(), now in replicas(), loads in vec(0..9usize, 12)) {
            let load: BTreeMap<NodeId, usize> = (0..).map(NodeId).zip(loads).collect();
            let catalog = of_catalog(&nodes, &now);
            prop_assert_eq!(of_catalog(&nodes, &catalog), catalog.clone());
            let machine = of_machine(&nodes, &now, &load);
            prop_assert_eq!(of_machine(&nodes, &machine, &BTreeMap::new()), machine.clone());
            let members: BTreeSet<NodeId> = super::members(&nodes).iter().map(|node| node.id).collect();
            if !members.is_empty() {
                let all: BTreeSet<NodeId> = catalog.voters.into_iter().chain(catalog.learners).collect();
                prop_assert!(all.is_superset(&members));
                let all: BTreeSet<NodeId> = machine.voters.into_iter().chain(machine.learners).collect();
                prop_assert!(all.is_subset(&members) && all.len() == members.len().min(3));
            }
        }
    }

    fn ids(replicas: &Replicas) -> (Vec<u64>, Vec<u64>) {
        let plain = |ids: &[NodeId]| ids.iter().map(|id| id.0).collect();
        (plain(&replicas.voters), plain(&replicas.learners))
    }

    #[test]
    fn a_cluster_grows_and_shrinks_as_drawn() {
        use NodeState::{Gone, Joining, Member};
        let mut nodes = vec![node(1, "a", Member)];
        let mut now = of_catalog(&nodes, &Replicas::default());
        assert_eq!(ids(&now), (vec![1], vec![]));
        nodes.push(node(2, "a", Joining));
        now = of_catalog(&nodes, &now);
        assert_eq!(ids(&now), (vec![1], vec![2]), "it comes as a learner");
        nodes[1].state = Member;
        now = of_catalog(&nodes, &now);
        assert_eq!(ids(&now), (vec![1], vec![2]), "two nodes");
        nodes.push(node(3, "b", Member));
        now = of_catalog(&nodes, &now);
        assert_eq!(ids(&now), (vec![1, 2, 3], vec![]));
        nodes.push(node(4, "c", Member));
        now = of_catalog(&nodes, &now);
        assert_eq!(ids(&now), (vec![1, 3, 4], vec![2]), "the vote goes to the new zone");
        nodes[2].state = Gone;
        now = of_catalog(&nodes, &now);
        assert_eq!(ids(&now), (vec![1, 2, 4], vec![]));

        let load = [(NodeId(1), 9)].into();
        let nodes: Vec<Node> = (1..5).map(|id| node(id, "a", Member)).collect();
        assert_eq!(ids(&of_machine(&nodes, &Replicas::default(), &load)), (vec![2, 3, 4], vec![]));
    }
}
