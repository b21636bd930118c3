//! A node as a part of its cluster: what it does for it ([`Fabric::tend`]), whom it speaks with and who may come in
//! ([`Fabric::judge`]), where the others are ([`Fabric::peers`]).
//!
//! Whoever leads the catalog's group decides what the catalog says next; whoever leads a group brings its members
//! where the catalog wants them (see [`crate::catalog::reconcile`]). Both look at what is true now and take one step,
//! several times a second; nothing is remembered in between, so it does not matter who leads, or dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::{Cause, GroupId, NodeId};
use bytes::Bytes;
use node_link::{Answer, Hello, Judge, Refusal};
use store::{Cluster, Done, Group, Inbox, Node, NodeState};

use crate::{
    Addresses, Fabric, GroupStatus, Identity, Members, Standing,
    catalog::{
        CATALOG_GROUP, CatalogHandle, Command,
        join::{self, Ask, Told, Verdict},
        reconcile::{self, Actual, Step},
    },
    shared::Shared,
};

/// Entries that a replica may lack and still be given a vote: it has them before anybody waits for it.
const NEARLY: u64 = 100;
/// How long a step is waited for before the next look. It may still come true; then that look sees it.
const STEP_LIMIT: Duration = Duration::from_secs(2);

impl Fabric {
    /// Looks at the cluster and takes the next step of everything that is this node's to do, if anything is. `names`
    /// are those of the groups it has. Returns how the groups and other nodes were when it looked.
    ///
    /// # Errors
    /// The node has ended.
    pub async fn tend(&self, names: &BTreeMap<GroupId, &str>) -> Result<Standing, Cause> {
        let standing = self.standing().await?;
        let cluster = self.store().catalog.cluster();
        if let Some(command) = next_command(&cluster, &standing, names) {
            let (done, applied) = store::waiter();
            self.parts.catalog.command(&command, done);
            tell(world::time::timeout(STEP_LIMIT, applied).await, "the catalog refused a step");
        }
        for group in standing.groups.iter().filter(|group| group.leads && group.leaving.is_empty()) {
            let wanted = cluster.groups.iter().find(|known| known.id == group.group);
            match wanted.and_then(|wanted| next_step(wanted, group, &standing, cluster.local)) {
                Some(Step::Members { voters, learners }) => {
                    let changed = self.change(group.group, Members { voters, learners });
                    tell(world::time::timeout(STEP_LIMIT, changed).await, "a group refused its members");
                }
                Some(Step::Transfer { to }) => {
                    let led = self.transfer(group.group, to);
                    tell(world::time::timeout(STEP_LIMIT, led).await, "a group refused its leader");
                }
                None => {}
            }
        }
        Ok(standing)
    }

    /// Where the other nodes are, as far as the catalog is known here.
    pub fn peers(&self) -> BTreeMap<NodeId, SocketAddr> {
        join::peers(&self.store().catalog.cluster(), self.identity().node)
    }

    /// Whom this node speaks with, and who may come in.
    pub fn judge(&self) -> Arc<dyn Judge> {
        Arc::new(Porter {
            shared: self.parts.shared.clone(),
            catalog: self.parts.catalog.clone(),
            identity: self.identity(),
            start: self.start_number(),
        })
    }

    /// Whether this node is among those that the catalog knows, with these addresses: its start is told.
    pub fn is_registered(&self, addresses: &Addresses) -> bool {
        let cluster = self.store().catalog.cluster();
        let known = cluster.local_node();
        known.is_some_and(|node| node.state != NodeState::Joining && node.addresses == *addresses)
    }
}

fn tell<T>(outcome: Option<Result<T, Cause>>, what: &str) {
    if let Some(Err(cause)) = outcome {
        tracing::info!("{what}: {cause}");
    }
}

/// What whoever leads the catalog proposes next: first the groups it has, then what follows from what is known.
fn next_command(cluster: &Cluster, standing: &Standing, names: &BTreeMap<GroupId, &str>) -> Option<Command> {
    let leads = standing.groups.iter().any(|group| group.group == CATALOG_GROUP && group.leads);
    if !leads || cluster.nodes.is_empty() {
        return None;
    }
    let unknown = |group: &&GroupStatus| !cluster.groups.iter().any(|known| known.id == group.group);
    if let Some(group) = standing.groups.iter().find(unknown) {
        let own = if group.group == CATALOG_GROUP { "catalog" } else { "machine" };
        let name = names.get(&group.group).copied().unwrap_or(own).to_owned();
        return Some(Command::DefineGroup { id: group.group, name });
    }
    reconcile::decide(cluster)
}

fn next_step(wanted: &Group, group: &GroupStatus, standing: &Standing, local: NodeId) -> Option<Step> {
    let alive = standing.peers.iter().filter(|peer| peer.alive).map(|peer| peer.node);
    let live: BTreeSet<NodeId> = alive.chain([local]).collect();
    let near = group.committed.saturating_sub(NEARLY);
    let actual = Actual {
        leader: local,
        voters: group.members.voters.clone(),
        learners: group.members.learners.clone(),
        caught_up: group
            .matched
            .iter()
            .filter(|(_, matched)| *matched >= near && *matched > 0)
            .map(|(node, _)| *node)
            .collect(),
    };
    reconcile::next_step(&wanted.wanted, &actual, &live)
}

/// Stands at the node's listener.
struct Porter {
    shared: Arc<Shared>,
    catalog: Arc<CatalogHandle>,
    identity: Identity,
    start: u64,
}

impl Judge for Porter {
    fn hello(&self) -> Hello {
        let Identity { cluster, node, host_uuid } = self.identity;
        let versions = self.shared.settings.versions;
        Hello {
            cluster,
            node,
            host_uuid,
            start: self.start,
            version_min: versions.min,
            version_max: versions.max,
        }
    }

    fn judge(&self, theirs: &Hello) -> Result<(), Refusal> {
        let versions = store::Versions { min: theirs.version_min, max: theirs.version_max };
        let identity = Identity { cluster: theirs.cluster, node: theirs.node, host_uuid: theirs.host_uuid };
        let believed = join::believe(&self.shared.published.cluster(), &self.identity, &identity, versions);
        believed.map_err(|cause| Refusal(cause.to_string()))
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        let ask = match Ask::decode(&question) {
            Ok(ask) => ask,
            Err(malformed) => return answer.give(Told::Refused(malformed.to_string()).encode().into()),
        };
        let guest = Guest { shared: self.shared.clone(), catalog: self.catalog.clone(), ask };
        let asking = Arc::new(Asking(Mutex::new(Some((guest, answer)))));
        self.shared.post(crate::spine::Event::Inspect { done: Done::new(asking, 0) });
    }
}

/// Somebody who asks to come in.
struct Guest {
    shared: Arc<Shared>,
    catalog: Arc<CatalogHandle>,
    ask: Ask,
}

impl Guest {
    fn welcome(&self, node: NodeId) -> Told {
        let cluster = self.shared.published.cluster();
        Told::Welcome { cluster: cluster.id, node, peers: join::peers(&cluster, node) }
    }
}

/// Waits for who is alive, and judges.
struct Asking(Mutex<Option<(Guest, Answer)>>);

impl Inbox<Standing> for Asking {
    fn deliver(&self, _tag: u64, standing: Result<Standing, Cause>) {
        let Some((guest, answer)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let cluster = guest.shared.published.cluster();
        let has_tables =
            guest.shared.published.schema().spaces.values().any(|space| !space.tables.is_empty());
        let verdict = standing.and_then(|standing| {
            let is_alive = |node| {
                node == cluster.local || standing.peers.iter().any(|peer| peer.node == node && peer.alive)
            };
            join::judge(&cluster, has_tables, &guest.ask, &is_alive)
        });
        match verdict {
            Ok(Verdict::Known(node)) => answer.give(guest.welcome(node).encode().into()),
            Ok(Verdict::Give { replaces }) => {
                let Ask { host_uuid, locality, versions, addresses, .. } = guest.ask.clone();
                let state = NodeState::Joining;
                let (id, tokens) = (NodeId(0), Vec::new());
                let node = Node { id, host_uuid, locality, state, versions, tokens, addresses };
                let catalog = guest.catalog.clone();
                let given = Arc::new(Given(Mutex::new(Some((guest, answer)))));
                catalog.command(&Command::JoinNode { node, replaces }, Done::new(given, 0));
            }
            Err(cause) => answer.give(Told::Refused(cause.to_string()).encode().into()),
        }
    }
}

/// Waits for the id that the catalog gives.
struct Given(Mutex<Option<(Guest, Answer)>>);

impl Inbox<u64> for Given {
    fn deliver(&self, _tag: u64, given: Result<u64, Cause>) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((guest, answer)) = taken else { return };
        let told = match given {
            Ok(id) => guest.welcome(NodeId(id)),
            Err(cause) => Told::Refused(cause.to_string()),
        };
        answer.give(told.encode().into());
    }
}
