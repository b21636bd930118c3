//! What a node knows of its cluster, for people: `/nodes` and `/groups` of the http door.

use std::sync::{Arc, Mutex, PoisonError};

use base::NodeId;
use fabric::{Fabric, Standing};
use serde_json::{Value, json};

/// The cluster as this node last saw it.
pub(crate) struct View {
    fabric: Arc<Fabric>,
    /// How its groups and the other nodes were a moment ago.
    standing: Mutex<Standing>,
}

impl View {
    pub(crate) fn new(fabric: Arc<Fabric>) -> View {
        View { fabric, standing: Mutex::default() }
    }

    /// Takes a new look.
    pub(crate) fn set(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// The nodes, as JSON; whether they live, as this node hears.
    pub(crate) fn nodes(&self) -> String {
        let cluster = self.fabric.store().catalog.cluster();
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let alive =
            |id| id == cluster.local || standing.peers.iter().any(|peer| peer.node == id && peer.alive);
        let node = |node: &store::Node| {
            let addresses = node.addresses.iter();
            let addresses = addresses.map(|(door, (ip, port))| {
                (door.clone(), Value::from(std::net::SocketAddr::new(*ip, *port).to_string()))
            });
            json!({
                "id": node.id.0,
                "state": node.state.name(),
                "alive": alive(node.id),
                "region": node.locality.region,
                "zone": node.locality.zone,
                "host": format!("{:032x}", node.host_uuid),
                "versions": [node.versions.min, node.versions.max],
                "addresses": Value::Object(addresses.collect()),
            })
        };
        let nodes: Vec<Value> = cluster.nodes.iter().map(node).collect();
        let told = json!({
            "cluster": format!("{:032x}", cluster.id),
            "name": cluster.name,
            "version": cluster.version,
            "seen_by": cluster.local.0,
            "nodes": nodes,
        });
        told.to_string() + "\n"
    }

    /// The groups, as JSON: what is wanted, and what the replica here knows to be.
    pub(crate) fn groups(&self) -> String {
        let cluster = self.fabric.store().catalog.cluster();
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let group = |group: &store::Group| {
            let here = standing.groups.iter().find(|status| status.group == group.id);
            json!({
                "id": group.id.0,
                "name": group.name,
                "wanted": { "voters": ids(&group.wanted.voters), "learners": ids(&group.wanted.learners) },
                "voters": here.map(|here| ids(&here.members.voters)),
                "learners": here.map(|here| ids(&here.members.learners)),
                "leader": here.and_then(|here| here.leader).map(|leader| leader.0),
                "term": here.map(|here| here.term),
                "applied": here.map(|here| here.applied),
            })
        };
        let groups: Vec<Value> = cluster.groups.iter().map(group).collect();
        json!({ "seen_by": cluster.local.0, "groups": groups }).to_string() + "\n"
    }

    /// The catalog as a file.
    pub(crate) fn backup(&self) -> Vec<u8> {
        self.fabric.backup_catalog()
    }
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u64> {
    nodes.into_iter().map(|node| node.0).collect()
}
