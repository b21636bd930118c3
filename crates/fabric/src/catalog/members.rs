//! What the catalog knows of nodes and groups, and which changes of it are allowed.
//!
//! A node comes twice: it is given an id when it asks to join, and registers each time it starts. Who
//! may join, and where replicas should be, is judged before a command is proposed
//! ([`join`](super::join), [`reconcile`](super::reconcile)); what is checked here is what must hold
//! whoever proposed it, and whatever came first.

use base::{Cause, GroupId, NodeId};
use store::{Changes, Cluster, Group, Node, NodeState, Replicas};

use super::{
    durable,
    state::{State, bounded},
};

/// Nodes, also those that are gone. Far above what one group of definitions is good for.
const MAX_NODES: usize = 4096;
/// Groups.
const MAX_GROUPS: usize = 4096;

impl State {
    /// A node has started: the founder, which names the cluster, or one that was given its id.
    pub(super) fn register(
        &mut self,
        cluster: u128,
        cluster_name: String,
        node: Node,
        changes: &mut Changes,
    ) -> Result<(), Cause> {
        bounded_node(&node)?;
        if self.nodes.is_empty() {
            bounded(&cluster_name)?;
            let was_named = !self.cluster_name.is_empty();
            let cluster_name = if was_named { self.cluster_name.clone() } else { cluster_name };
            self.last_node = self.last_node.max(node.id.0);
            (self.cluster, self.cluster_name, self.version) = (cluster, cluster_name, node.versions.max);
            durable::put_counters(self, changes);
            self.put_node(Node { state: NodeState::Member, ..node }, changes);
            return Ok(());
        }
        let known = self.known(node.id)?;
        if known.host_uuid != node.host_uuid {
            return Err(Cause::invalid(format!("the id {} was given to another host", node.id)));
        }
        if known.state == NodeState::Gone {
            return Err(Cause::invalid(format!("node {} is gone; its id is not used any more", node.id)));
        }
        self.check_version(&node)?;
        let state = if known.state == NodeState::Joining { NodeState::Member } else { known.state };
        // Tokens are for life; addresses, place and build may change at every start.
        let tokens = if known.tokens.is_empty() { node.tokens } else { known.tokens.clone() };
        let now = Node { state, tokens, ..node };
        if now != *known {
            self.put_node(now, changes);
        }
        Ok(())
    }

    /// Gives a node an id, the same as before if it has one; the one it replaces is gone.
    pub(super) fn join(
        &mut self,
        node: Node,
        replaces: Option<NodeId>,
        changes: &mut Changes,
    ) -> Result<NodeId, Cause> {
        bounded_node(&node)?;
        if self.nodes.is_empty() {
            return Err(Cause::invalid("the cluster has no founder yet"));
        }
        self.check_version(&node)?;
        if let Some(known) = self.nodes.iter().find(|known| known.host_uuid == node.host_uuid) {
            if known.state == NodeState::Gone {
                return Err(Cause::invalid(format!(
                    "node {} is gone; its id is not used any more",
                    known.id
                )));
            }
            return Ok(known.id);
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Cause::invalid(format!("a cluster has had at most {MAX_NODES} nodes")));
        }
        if let Some(old) = replaces {
            let old = Node { state: NodeState::Gone, ..self.known(old)?.clone() };
            self.put_node(old, changes);
        }
        self.last_node += 1;
        let id = NodeId(self.last_node);
        durable::put_counters(self, changes);
        self.put_node(Node { id, state: NodeState::Joining, tokens: Vec::new(), ..node }, changes);
        Ok(id)
    }

    /// Says what a node is to the cluster from now on. Nobody comes back from being gone.
    pub(super) fn mark_node(
        &mut self,
        id: NodeId,
        state: NodeState,
        changes: &mut Changes,
    ) -> Result<(), Cause> {
        let known = self.known(id)?;
        if known.state == NodeState::Gone && state != NodeState::Gone {
            return Err(Cause::invalid(format!("node {id} is gone; its id is not used any more")));
        }
        let marked = Node { state, ..known.clone() };
        self.put_node(marked, changes);
        Ok(())
    }

    /// Makes a group known, whose one replica is the founder's. Said again, it changes nothing.
    pub(super) fn define_group(
        &mut self,
        id: GroupId,
        name: String,
        changes: &mut Changes,
    ) -> Result<(), Cause> {
        bounded(&name)?;
        if let Some(known) = self.groups.iter().find(|group| group.id == id) {
            if known.name == name {
                return Ok(());
            }
            return Err(Cause::exists(format!("group {id} is {}", known.name)));
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(Cause::invalid(format!("there are at most {MAX_GROUPS} groups")));
        }
        let founder = self.nodes.first().ok_or_else(|| Cause::invalid("the cluster has no founder yet"))?;
        let wanted = Replicas { voters: vec![founder.id], learners: Vec::new() };
        self.put_group(Group { id, name, wanted }, changes);
        Ok(())
    }

    /// Says where a group's replicas should be.
    pub(super) fn place(
        &mut self,
        group: GroupId,
        wanted: Replicas,
        changes: &mut Changes,
    ) -> Result<(), Cause> {
        let known = self.groups.iter().find(|known| known.id == group);
        let known = known.ok_or_else(|| Cause::absent(format!("there is no group {group}")))?;
        let ascending = [&wanted.voters, &wanted.learners].iter().all(|ids| ids.is_sorted_by(|a, b| a < b));
        let apart = wanted.learners.iter().all(|id| wanted.voters.binary_search(id).is_err());
        if wanted.voters.is_empty() || !ascending || !apart {
            return Err(Cause::invalid("a group has a voter, and each of its replicas once, ascending"));
        }
        for id in wanted.voters.iter().chain(&wanted.learners) {
            if self.known(*id)?.state == NodeState::Gone {
                return Err(Cause::invalid(format!("node {id} is gone")));
            }
        }
        let placed = Group { wanted, ..known.clone() };
        self.put_group(placed, changes);
        Ok(())
    }

    /// Raises the cluster's version, which every node must be able to work with.
    pub(super) fn raise_version(&mut self, version: u32, changes: &mut Changes) -> Result<(), Cause> {
        if version <= self.version {
            return Err(Cause::exists(format!("the cluster has version {} already", self.version)));
        }
        let cannot = |node: &&Node| node.state != NodeState::Gone && !node.versions.can(version);
        if let Some(node) = self.nodes.iter().find(cannot) {
            return Err(Cause::invalid(format!("node {} cannot work with version {version}", node.id)));
        }
        self.version = version;
        durable::put_counters(self, changes);
        Ok(())
    }

    /// The cluster as others see it, from `local`.
    pub(super) fn cluster(&self, local: NodeId) -> Cluster {
        Cluster {
            id: self.cluster,
            name: self.cluster_name.clone(),
            version: self.version,
            local,
            nodes: self.nodes.clone(),
            groups: self.groups.clone(),
        }
    }

    fn known(&self, id: NodeId) -> Result<&Node, Cause> {
        let known = self.nodes.iter().find(|node| node.id == id);
        known.ok_or_else(|| Cause::absent(format!("no node was ever given the id {id}")))
    }

    fn check_version(&self, node: &Node) -> Result<(), Cause> {
        if node.versions.can(self.version) {
            return Ok(());
        }
        Err(Cause::invalid(format!(
            "the cluster has version {}, and this build works with versions {} to {}",
            self.version, node.versions.min, node.versions.max
        )))
    }

    fn put_node(&mut self, node: Node, changes: &mut Changes) {
        durable::put_node(&node, changes);
        match self.nodes.binary_search_by_key(&node.id, |known| known.id) {
            Ok(at) => self.nodes[at] = node,
            Err(at) => self.nodes.insert(at, node),
        }
    }

    fn put_group(&mut self, group: Group, changes: &mut Changes) {
        durable::put_group(&group, changes);
        match self.groups.binary_search_by_key(&group.id, |known| known.id) {
            Ok(at) => self.groups[at] = group,
            Err(at) => self.groups.insert(at, group),
        }
    }
}

fn bounded_node(node: &Node) -> Result<(), Cause> {
    bounded(&node.locality.region)?;
    bounded(&node.locality.zone)?;
    node.addresses.keys().try_for_each(|door| bounded(door))?;
    if node.addresses.len() > 64 || node.tokens.len() > 4096 || node.versions.min > node.versions.max {
        return Err(Cause::invalid("a node has at most 64 addresses and 4096 tokens, and versions in order"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use store::{Locality, Versions};

    use super::*;

    fn node(host_uuid: u128, max: u32) -> Node {
        Node {
            id: NodeId(1),
            host_uuid,
            locality: Locality::default(),
            state: NodeState::Joining,
            versions: Versions { min: 1, max },
            tokens: vec![7],
            addresses: [].into(),
        }
    }

    fn founded(max: u32) -> (State, Changes) {
        let (mut state, mut changes) = (State::default(), Changes::new());
        state.register(5, "c".to_owned(), node(1, max), &mut changes).unwrap();
        (state, changes)
    }

    fn started(state: &mut State, id: NodeId, host_uuid: u128, max: u32) -> Result<(), Cause> {
        state.register(5, "c".to_owned(), Node { id, ..node(host_uuid, max) }, &mut Changes::new())
    }

    #[test]
    fn a_host_is_given_one_id_however_often_it_asks() {
        let (mut state, mut changes) = founded(1);
        let second = state.join(node(2, 1), None, &mut changes).unwrap();
        assert_eq!((second, state.join(node(2, 1), None, &mut changes)), (NodeId(2), Ok(second)));
        assert_eq!(state.nodes[1].state, NodeState::Joining);
        started(&mut state, second, 2, 1).unwrap();
        assert_eq!((state.nodes[1].state, &state.nodes[1].tokens[..]), (NodeState::Member, &[7][..]));
        assert!(started(&mut state, second, 3, 1).is_err(), "another host with its id");
        assert!(started(&mut state, NodeId(9), 9, 1).is_err(), "an id that nobody gave");
    }

    #[test]
    fn who_lost_its_disk_comes_back_under_another_id_and_the_old_one_is_no_more() {
        let (mut state, mut changes) = founded(1);
        let lost = state.join(node(2, 1), None, &mut changes).unwrap();
        let again = state.join(node(3, 1), Some(lost), &mut changes).unwrap();
        assert_eq!((lost, again), (NodeId(2), NodeId(3)));
        assert!(started(&mut state, lost, 2, 1).is_err());
        assert!(state.join(node(2, 1), None, &mut changes).is_err());
        assert!(state.mark_node(lost, NodeState::Member, &mut changes).is_err());
        started(&mut state, again, 3, 1).unwrap();
        assert_eq!(state.join(node(4, 1), None, &mut changes), Ok(NodeId(4)), "no id is given twice");
    }

    #[test]
    fn a_version_is_raised_when_every_node_can_and_then_shuts_out_who_cannot() {
        let (mut state, mut changes) = founded(1);
        let second = state.join(node(2, 2), None, &mut changes).unwrap();
        started(&mut state, second, 2, 2).unwrap();
        assert_eq!(state.version, 1);
        assert!(state.raise_version(2, &mut changes).is_err(), "the founder's build is of version 1");
        started(&mut state, NodeId(1), 1, 2).unwrap();
        state.raise_version(2, &mut changes).unwrap();
        assert!(state.join(node(3, 1), None, &mut changes).is_err(), "an older build");
        assert!(started(&mut state, second, 2, 1).is_err(), "a build set back");
        assert!(state.raise_version(2, &mut changes).is_err());
    }
}
