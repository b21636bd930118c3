//! How a node comes in: what it asks, and whether it may.
//!
//! ```text
//! question = 1 | host u128 | identity u8 (1: cluster u128 | node varint) | region | zone
//!              | version-min | version-max | addresses
//! answer   = 0 cluster u128 | node varint | count (node varint | address)...     welcome, and who is there
//!          | 1 reason                                                            refused
//! ```
//! Parts are as in [`codec`]. Any node may be asked: it judges by what it knows, and what must hold whoever
//! judged is checked again when the catalog applies the command. A node asks with its host UUID, which is on its
//! disk before it asks; so it may ask again, and is given the same id. One that has an identity already asks only
//! for the others' addresses, and shows the identity: a disk that was emptied, or is another's, is recognised.

use std::{collections::BTreeMap, net::SocketAddr};

use base::{Cause, Malformed, NodeId, Reader, Writer};
use store::{Cluster, Locality, Node, NodeState, Versions};

use super::codec;
use crate::{Addresses, Identity};

/// The door of a node at which others reach it.
pub(crate) const NODE_DOOR: &str = "node";
/// The only format of questions so far.
const FORMAT: u8 = 1;

/// What a node says that wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The id of its disk ([`crate::ask_as`]).
    pub host_uuid: u128,
    /// The cluster it belongs to and its id there, if it was given one.
    pub identity: Option<(u128, NodeId)>,
    /// Where it stands.
    pub locality: Locality,
    /// Versions it can work with.
    pub versions: Versions,
    /// Where its doors are; `node` is among them.
    pub addresses: Addresses,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It belongs to the cluster, with this id, and the others are there.
    Welcome {
        /// The cluster.
        cluster: u128,
        /// The id given to it.
        node: NodeId,
        /// Where other nodes are reached.
        peers: BTreeMap<NodeId, SocketAddr>,
    },
    /// It does not, for this reason.
    Refused(String),
}

/// What to do about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has this id.
    Known(NodeId),
    /// It is to be given one. The node that it replaces has lost its disk.
    Give { replaces: Option<NodeId> },
}

/// Whether a node may come in. `is_alive` says who was heard of lately, `has_tables` whether there are tables.
///
/// # Errors
/// Why not, for the person who started it.
pub(crate) fn judge(
    cluster: &Cluster,
    has_tables: bool,
    ask: &Ask,
    is_alive: &dyn Fn(NodeId) -> bool,
) -> Result<Verdict, Cause> {
    if cluster.nodes.is_empty() {
        return Err(Cause::busy("this node does not know its cluster yet; ask again"));
    }
    if let Some((id, node)) = ask.identity {
        return known(cluster, id, node, ask.host_uuid).map(Verdict::Known);
    }
    if !ask.versions.can(cluster.version) {
        return Err(Cause::invalid(format!(
            "the cluster has version {}, and this build works with versions {} to {}",
            cluster.version, ask.versions.min, ask.versions.max
        )));
    }
    if let Some(node) = cluster.nodes.iter().find(|node| node.host_uuid == ask.host_uuid) {
        return known(cluster, cluster.id, node.id, ask.host_uuid).map(Verdict::Known);
    }
    let address = ask.addresses.get(NODE_DOOR);
    let address = address.ok_or_else(|| Cause::invalid("it does not say where other nodes reach it"))?;
    let replaces = cluster.present().find(|node| node.addresses.get(NODE_DOOR) == Some(address));
    if let Some(node) = replaces.filter(|node| is_alive(node.id)) {
        let (ip, port) = address;
        return Err(Cause::exists(format!("node {} is at {ip}:{port}, and lives", node.id)));
    }
    if has_tables && cluster.present().count() == 1 {
        return Err(Cause::unsupported(
            "the cluster's one node has tables, and tables are not served by several nodes yet",
        ));
    }
    Ok(Verdict::Give { replaces: replaces.map(|node| node.id) })
}

/// The id of a node that says it has it.
fn known(cluster: &Cluster, id: u128, node: NodeId, host_uuid: u128) -> Result<NodeId, Cause> {
    if id != cluster.id {
        return Err(Cause::invalid(format!(
            "its directory belongs to cluster {id:032x}, and this is cluster {:032x}",
            cluster.id
        )));
    }
    let found = cluster.nodes.iter().find(|known| known.id == node);
    let found = found.ok_or_else(|| Cause::absent(format!("no node was ever given the id {node}")))?;
    if found.host_uuid != host_uuid {
        return Err(Cause::invalid(format!(
            "node {node} is another host; a node that has lost its disk joins with an empty directory"
        )));
    }
    if found.state == NodeState::Gone {
        return Err(Cause::invalid(format!(
            "node {node} is gone, and its id is not used any more; it can join with an empty directory"
        )));
    }
    Ok(node)
}

/// Whether this node, which is in `own` cluster and knows `cluster`, speaks with one that says to be `theirs`.
/// One that is not known yet may have come since: the catalog here may be behind, or empty.
pub(crate) fn believe(
    cluster: &Cluster,
    own: &Identity,
    theirs: &Identity,
    versions: Versions,
) -> Result<(), Cause> {
    let Identity { cluster: id, node, host_uuid } = *theirs;
    if id != own.cluster {
        let own = own.cluster;
        return Err(Cause::invalid(format!("it is of cluster {id:032x}, and this is {own:032x}")));
    }
    let common = versions.min <= versions.max && (cluster.version == 0 || versions.can(cluster.version));
    if !common {
        return Err(Cause::invalid(format!("the cluster has version {}", cluster.version)));
    }
    if cluster.nodes.iter().any(|known| known.id == node) {
        known(cluster, own.cluster, node, host_uuid)?;
    }
    Ok(())
}

/// Where the nodes are that are not gone, but one.
pub(crate) fn peers(cluster: &Cluster, but: NodeId) -> BTreeMap<NodeId, SocketAddr> {
    let address = |node: &Node| node.addresses.get(NODE_DOOR).map(|(ip, port)| SocketAddr::new(*ip, *port));
    let others = cluster.present().filter(|node| node.id != but);
    others.filter_map(|node| Some((node.id, address(node)?))).collect()
}

impl Ask {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(FORMAT);
        out.u128(self.host_uuid);
        out.u8(u8::from(self.identity.is_some()));
        if let Some((cluster, node)) = self.identity {
            out.u128(cluster);
            out.varint(node.0);
        }
        out.str(&self.locality.region);
        out.str(&self.locality.zone);
        out.varint(u64::from(self.versions.min));
        out.varint(u64::from(self.versions.max));
        codec::put_addresses(&mut out, &self.addresses);
        out.into_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Ask, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8("question")? != FORMAT {
            return Err(Malformed("question"));
        }
        let host_uuid = reader.u128("host uuid")?;
        let identity = match reader.u8("identity")? {
            0 => None,
            1 => Some((reader.u128("cluster id")?, NodeId(reader.varint("node id")?))),
            _ => return Err(Malformed("identity")),
        };
        let region = codec::take_string(&mut reader)?;
        let locality = Locality { region, zone: codec::take_string(&mut reader)? };
        let min = codec::take_version(&mut reader)?;
        let versions = Versions { min, max: codec::take_version(&mut reader)? };
        let addresses = codec::take_addresses(&mut reader)?;
        reader.end("question")?;
        Ok(Ask { host_uuid, identity, locality, versions, addresses })
    }
}

impl Told {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Told::Welcome { cluster, node, peers } => {
                out.u8(0);
                out.u128(*cluster);
                out.varint(node.0);
                out.varint(peers.len() as u64);
                for (peer, address) in peers {
                    out.varint(peer.0);
                    out.str(&address.to_string());
                }
            }
            Told::Refused(reason) => {
                out.u8(1);
                out.str(reason);
            }
        }
        out.into_vec()
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are no answer.
    pub fn decode(bytes: &[u8]) -> Result<Told, Malformed> {
        let mut reader = Reader::new(bytes);
        let told = match reader.u8("answer")? {
            0 => {
                let (cluster, node) = (reader.u128("cluster id")?, NodeId(reader.varint("node id")?));
                let mut peers = BTreeMap::new();
                for _ in 0..reader.count("peers")? {
                    let peer = NodeId(reader.varint("peer")?);
                    let address = reader.str("address")?.parse().map_err(|_| Malformed("address"))?;
                    peers.insert(peer, address);
                }
                Told::Welcome { cluster, node, peers }
            }
            1 => Told::Refused(codec::take_string(&mut reader)?),
            _ => return Err(Malformed("answer")),
        };
        reader.end("answer")?;
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::placement::tests::node, *};

    fn at(port: u16) -> Addresses {
        [(NODE_DOOR.to_owned(), ([127, 0, 0, 1].into(), port))].into()
    }

    /// Nodes 1 and 2 take part, node 3 is gone; their host UUIDs are their ids, their ports 7001 and so on.
    fn cluster() -> Cluster {
        let states = [NodeState::Member, NodeState::Member, NodeState::Gone];
        let nodes = (1..)
            .zip(states)
            .map(|(id, state)| Node { addresses: at(7000 + id as u16), ..node(id, "a", state) });
        Cluster { id: 5, version: 1, local: NodeId(1), nodes: nodes.collect(), ..Cluster::default() }
    }

    fn ask(host_uuid: u128, port: u16) -> Ask {
        let (locality, versions) = (Locality::default(), Versions::BUILD);
        Ask { host_uuid, identity: None, locality, versions, addresses: at(port) }
    }

    fn verdict(ask: &Ask) -> Result<Verdict, String> {
        let is_alive = |node: NodeId| node.0 == 1;
        judge(&cluster(), false, ask, &is_alive).map_err(|cause| cause.message.into_owned())
    }

    #[test]
    fn who_may_come_in_is_given_an_id_once() {
        assert_eq!(verdict(&ask(9, 7009)), Ok(Verdict::Give { replaces: None }));
        assert_eq!(verdict(&ask(2, 7009)), Ok(Verdict::Known(NodeId(2))), "it asks again");
        assert_eq!(verdict(&ask(9, 7003)), Ok(Verdict::Give { replaces: None }), "who is gone is nowhere");
        let lost = verdict(&ask(9, 7002));
        assert_eq!(lost, Ok(Verdict::Give { replaces: Some(NodeId(2)) }), "it has lost its disk");
        let again = Ask { identity: Some((5, NodeId(2))), ..ask(2, 7002) };
        assert_eq!(verdict(&again), Ok(Verdict::Known(NodeId(2))));
    }

    #[test]
    fn who_may_not_is_told_why() {
        let newer = Versions { min: 2, max: 3 };
        for (ask, why) in [
            (ask(9, 7001), "node 1 is at 127.0.0.1:7001, and lives"),
            (ask(3, 7009), "node 3 is gone"),
            (Ask { identity: Some((6, NodeId(2))), ..ask(2, 7002) }, "belongs to cluster"),
            (Ask { identity: Some((5, NodeId(2))), ..ask(9, 7002) }, "has lost its disk"),
            (Ask { identity: Some((5, NodeId(8))), ..ask(9, 7002) }, "ever given"),
            (Ask { versions: newer, ..ask(9, 7009) }, "the cluster has version 1"),
            (Ask { addresses: Addresses::new(), ..ask(9, 0) }, "does not say where"),
        ] {
            let said = verdict(&ask).expect_err(why);
            assert!(said.contains(why), "{said:?} does not say {why:?}");
        }
        let mut alone = cluster();
        alone.nodes.truncate(1);
        assert!(
            judge(&alone, true, &ask(9, 7009), &|_| true).is_err(),
            "its tables would be lost to clients"
        );
        assert!(judge(&alone, false, &ask(9, 7009), &|_| true).is_ok());
        assert!(judge(&Cluster::default(), false, &ask(9, 7009), &|_| true).is_err());
    }

    #[test]
    fn nodes_believe_each_other_within_a_cluster() {
        let own = Identity { cluster: 5, node: NodeId(1), host_uuid: 1 };
        let says = |id: u128, node: u64, host_uuid: u128, versions: Versions| {
            let theirs = Identity { cluster: id, node: NodeId(node), host_uuid };
            believe(&cluster(), &own, &theirs, versions).is_ok()
        };
        assert!(says(5, 2, 2, Versions::BUILD));
        assert!(says(5, 9, 9, Versions::BUILD), "it may have come since");
        assert!(!says(6, 2, 2, Versions::BUILD) && !says(5, 2, 9, Versions::BUILD));
        assert!(!says(5, 3, 3, Versions::BUILD), "it is gone");
        assert!(!says(5, 2, 2, Versions { min: 2, max: 2 }));
    }

    proptest! {
        #[test]
        fn what_is_said_comes_back(
            ids: (u128, u64, u128),
            names: (String, String),
            versions: (u32, u32),
            peers: Vec<(u64, [u8; 4], u16)>,
        ) {
            let (host_uuid, node, cluster) = ids;
            let identity = (node % 2 == 0).then_some((cluster, NodeId(node)));
            let locality = Locality { region: names.0.clone(), zone: names.1 };
            let versions = Versions { min: versions.0, max: versions.1 };
            let ask = Ask { host_uuid, identity, locality, versions, addresses: at(7071) };
            let bytes = ask.encode();
            prop_assert!((0..bytes.len()).all(|cut| Ask::decode(&bytes[..cut]).is_err()));
            prop_assert_eq!(Ask::decode(&bytes), Ok(ask));

            let peers = peers.into_iter().map(|(id, ip, port)| (NodeId(id), SocketAddr::from((ip, port))));
            let welcome = Told::Welcome { cluster, node: NodeId(node), peers: peers.collect() };
            for told in [welcome, Told::Refused(names.0)] {
                prop_assert_eq!(Told::decode(&told.encode()), Ok(told));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (Ask::decode(&bytes), Told::decode(&bytes));
        }
    }
}
