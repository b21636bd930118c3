//! From what is wanted to what is: one step at a time, each decided anew from what is true now.
//!
//! Two parties, neither of which remembers anything. Whoever leads the *catalog* decides what it should say
//! next ([`decide`]): a version that all nodes can work with, a placement that follows from the nodes there
//! are. Whoever leads a *group* brings its members there ([`next_step`]), because it alone knows who
//! follows and how far. (An earlier thought had the catalog's leader do both; it would have to ask about
//! every group and be told, and what it was told would be old.)
//!
//! A group's steps keep it alive: nobody votes who has not caught up, voters change by one joint change from a
//! set to the next, and only if both have a majority that is heard from; a leader that is to go hands over first.

use std::collections::{BTreeMap, BTreeSet};

use base::{GroupId, NodeId};
use store::{Cluster, Replicas};

use super::{CATALOG_GROUP, Command, placement};

/// What the catalog should say next, if anything.
pub(crate) fn decide(cluster: &Cluster) -> Option<Command> {
    let common = cluster.present().map(|node| node.versions.max).min()?;
    let all_can = cluster.present().all(|node| node.versions.can(common));
    if common > cluster.version && all_can {
        return Some(Command::RaiseVersion(common));
    }
    let mut load: BTreeMap<NodeId, usize> = BTreeMap::new();
    for group in cluster.groups.iter().filter(|group| group.id != CATALOG_GROUP) {
        for id in group.wanted.voters.iter().chain(&group.wanted.learners) {
            *load.entry(*id).or_default() += 1;
        }
    }
    cluster.groups.iter().find_map(|group| {
        let wanted = wanted(cluster, group.id, &group.wanted, &load);
        (wanted != group.wanted).then_some(Command::Place { group: group.id, wanted })
    })
}

fn wanted(cluster: &Cluster, group: GroupId, now: &Replicas, load: &BTreeMap<NodeId, usize>) -> Replicas {
    if group == CATALOG_GROUP {
        placement::of_catalog(&cluster.nodes, now)
    } else {
        placement::of_machine(&cluster.nodes, now, load)
    }
}

/// A group as its leader sees it, in no joint change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actual {
    /// The leader itself.
    pub(crate) leader: NodeId,
    pub(crate) voters: BTreeSet<NodeId>,
    pub(crate) learners: BTreeSet<NodeId>,
    /// Replicas that have everything that is committed, or nearly: the leader is one.
    pub(crate) caught_up: BTreeSet<NodeId>,
}

/// What to do with a group next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make these its members.
    Members { voters: BTreeSet<NodeId>, learners: BTreeSet<NodeId> },
    /// Let this one lead.
    Transfer { to: NodeId },
}

/// The next step of a group towards what is wanted of it; `None` when it is there, or has to wait.
pub(crate) fn next_step(wanted: &Replicas, actual: &Actual, live: &BTreeSet<NodeId>) -> Option<Step> {
    let Actual { leader, voters, learners, caught_up } = actual;
    let goal: BTreeSet<NodeId> = wanted.voters.iter().copied().collect();
    let all: BTreeSet<NodeId> = wanted.learners.iter().copied().chain(goal.iter().copied()).collect();
    if goal.is_empty() || !majority_lives(voters, live) {
        return None;
    }
    // Who is to come follows first, one after the other: each is sent all there is.
    let is_new = |id: &&NodeId| live.contains(id) && !voters.contains(id) && !learners.contains(id);
    if let Some(id) = all.iter().find(is_new) {
        let learners = learners.iter().copied().chain([*id]).collect();
        return Some(Step::Members { voters: voters.clone(), learners });
    }
    let is_ready = |id: &&NodeId| live.contains(id) && caught_up.contains(id);
    if *voters != goal {
        if !goal.contains(leader)
            && let Some(to) = goal.intersection(voters).find(is_ready)
        {
            return Some(Step::Transfer { to: *to });
        }
        return exchange(&goal, actual, live).filter(|_| goal.difference(voters).all(|id| is_ready(&id)));
    }
    let useless = learners.difference(&all).next()?;
    let learners = learners.iter().copied().filter(|id| id != useless).collect();
    Some(Step::Members { voters: voters.clone(), learners })
}

/// The change of voters, by which those that are to vote no more follow. A leader among them stays for one
/// more step, since nobody who has a vote now could take over.
fn exchange(goal: &BTreeSet<NodeId>, actual: &Actual, live: &BTreeSet<NodeId>) -> Option<Step> {
    let mut next = goal.clone();
    if !goal.contains(&actual.leader) {
        next.insert(actual.leader);
    }
    if next == actual.voters || !majority_lives(&next, live) {
        return None;
    }
    let before = actual.voters.union(&actual.learners);
    let learners = before.copied().filter(|id| !next.contains(id)).collect();
    Some(Step::Members { voters: next, learners })
}

fn majority_lives(voters: &BTreeSet<NodeId>, live: &BTreeSet<NodeId>) -> bool {
    voters.intersection(live).count() * 2 > voters.len()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};
    use store::{Group, NodeState, Versions};

    use super::{
        super::placement::tests::{node, nodes},
        *,
    };

    fn ids(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    fn is_there(wanted: &Replicas, actual: &Actual) -> bool {
        actual.voters.iter().eq(&wanted.voters) && actual.learners.iter().eq(&wanted.learners)
    }

    /// Takes a step, as a group would; checks that it may be taken.
    fn take(step: Step, actual: &mut Actual, live: &BTreeSet<NodeId>) {
        match step {
            Step::Transfer { to } => {
                assert!(actual.voters.contains(&to) && live.contains(&to) && actual.caught_up.contains(&to));
                assert_ne!(to, actual.leader);
                actual.leader = to;
            }
            Step::Members { voters, learners } => {
                assert!(majority_lives(&actual.voters, live) && majority_lives(&voters, live));
                assert!(voters.contains(&actual.leader), "the leader votes");
                assert!(voters.is_disjoint(&learners));
                let new: Vec<_> = voters.difference(&actual.voters).collect();
                assert!(new.iter().all(|id| actual.learners.contains(id) && actual.caught_up.contains(id)));
                assert!(
                    actual.voters.difference(&voters).all(|id| learners.contains(id)),
                    "it follows first"
                );
                assert!(
                    (voters.clone(), learners.clone()) != (actual.voters.clone(), actual.learners.clone())
                );
                (actual.voters, actual.learners) = (voters, learners);
            }
        }
        actual.caught_up =
            actual.voters.union(&actual.learners).filter(|id| live.contains(id)).copied().collect();
    }

    fn states() -> impl Strategy<Value = (Replicas, Actual, BTreeSet<NodeId>)> {
        let set = |least: usize| btree_set(1..9u64, least..5);
        (set(1), set(0), set(1), set(0), btree_set(1..9u64, 0..4)).prop_flat_map(
            |(goal, follow, voters, learners, dead)| {
                let leaders: Vec<u64> = voters.iter().copied().collect();
                (Just((goal, follow, voters, learners, dead)), prop::sample::select(leaders)).prop_map(
                    |((goal, follow, voters, learners, mut dead), leader)| {
                        dead.remove(&leader);
                        let live = ids((1..9).filter(|id| !dead.contains(id)));
                        let wanted = Replicas {
                            learners: ids(follow.difference(&goal).copied()).into_iter().collect(),
                            voters: ids(goal).into_iter().collect(),
                        };
                        let actual = Actual {
                            leader: NodeId(leader),
                            learners: ids(learners.difference(&voters).copied()),
                            voters: ids(voters),
                            caught_up: ids([leader]),
                        };
                        (wanted, actual, live)
                    },
                )
            },
        )
    }

    proptest! {
        /// From wherever, under whatever deaths, steps are safe and end; and they end at what is wanted if
        /// those it names live, wherever a majority lived to begin with.
        #[test]
        fn it_arrives_and_is_never_without_a_living_majority((wanted, mut actual, live) in states()) {
            let could = majority_lives(&actual.voters, &live);
            // Replicas that live catch up.
            actual.caught_up =
                actual.voters.union(&actual.learners).filter(|id| live.contains(id)).copied().collect();
            let mut steps = 0;
            while let Some(step) = next_step(&wanted, &actual, &live) {
                take(step, &mut actual, &live);
                steps += 1;
                prop_assert!(steps < 30, "it goes round: {:?}", actual);
            }
            let named_live = wanted.voters.iter().chain(&wanted.learners).all(|id| live.contains(id));
            prop_assert!(could || steps == 0);
            prop_assert!(!(could && named_live) || is_there(&wanted, &actual), "{:?}", actual);
        }

        /// Nobody is given a vote that has not caught up.
        #[test]
        fn who_lags_has_no_vote((wanted, mut actual, live) in states()) {
            for _ in 0..30 {
                let Some(step) = next_step(&wanted, &actual, &live) else { break };
                if let Step::Members { voters, .. } = &step {
                    prop_assert!(voters.is_subset(&actual.voters));
                }
                let lag = actual.caught_up.clone();
                take(step, &mut actual, &live);
                actual.caught_up = lag;
            }
        }

        /// What the catalog decides comes to rest, at what placement says.
        #[test]
        fn decisions_come_to_rest(nodes in nodes()) {
            let group = |id| Group { id: GroupId(id), name: String::new(), wanted: Replicas::default() };
            let groups = (0..6).map(group).collect();
            let mut cluster = Cluster { version: 1, nodes, groups, ..Cluster::default() };
            let mut steps = 0;
            while let Some(command) = decide(&cluster) {
                let Command::Place { group, wanted } = command else { panic!("{command:?}") };
                cluster.groups[group.0 as usize].wanted = wanted;
                steps += 1;
                prop_assert!(steps <= 6, "each group is placed once");
            }
        }
    }

    #[test]
    fn a_leader_that_is_to_go_hands_over_first() {
        let live = ids(1..9);
        let wanted = Replicas { voters: vec![NodeId(2)], learners: vec![] };
        let mut actual =
            Actual { leader: NodeId(1), voters: ids([1]), learners: ids([]), caught_up: ids([1]) };
        let mut story = Vec::new();
        while let Some(step) = next_step(&wanted, &actual, &live) {
            story.push(step.clone());
            take(step, &mut actual, &live);
        }
        let members = |voters: &[u64], learners: &[u64]| Step::Members {
            voters: ids(voters.iter().copied()),
            learners: ids(learners.iter().copied()),
        };
        let expected = [
            members(&[1], &[2]),
            members(&[1, 2], &[]),
            Step::Transfer { to: NodeId(2) },
            members(&[2], &[1]),
            members(&[2], &[]),
        ];
        assert_eq!(story, expected);
    }

    #[test]
    fn a_version_comes_when_the_last_node_can() {
        let mut nodes: Vec<_> = (1..4).map(|id| node(id, "a", NodeState::Member)).collect();
        nodes[0].versions = Versions { min: 1, max: 2 };
        let mut cluster = Cluster { version: 1, nodes, ..Cluster::default() };
        assert_eq!(decide(&cluster), None);
        cluster.nodes[1].versions = Versions { min: 1, max: 2 };
        cluster.nodes[2].state = NodeState::Gone;
        assert_eq!(decide(&cluster), Some(Command::RaiseVersion(2)));
    }
}
