//! `system.local`, `system.peers`, `system.peers_v2`: the nodes, as drivers want to see them.
//!
//! A driver drops a peer whose row lacks an address, tokens, host id, datacenter, rack or schema
//! version, so all of them stand in every row.

use std::net::IpAddr;

use store::{Cluster, Node};

use super::{
    CQL_VERSION, PARTITIONER, RELEASE_VERSION,
    values::{Row, inet, int, row, text, text_set, uuid},
};
use crate::bind::TableView;

/// The name of this door in a node's addresses.
const DOOR: &str = "cql";

/// Where clients reach the node.
///
/// It also stands where Cassandra tells the address between nodes: drivers use that one only to
/// tell nodes apart.
fn address(node: &Node) -> Option<(IpAddr, u16)> {
    node.addresses.get(DOOR).copied()
}

fn tokens(node: &Node) -> Vec<String> {
    node.tokens.iter().map(ToString::to_string).collect()
}

pub(super) fn local(view: &TableView, cluster: &Cluster, schema_version: u128) -> Vec<Row> {
    let Some(node) = cluster.local_node() else { return Vec::new() };
    let ip = || address(node).and_then(|(ip, _)| inet(ip));
    let port = || address(node).and_then(|(_, port)| int(i32::from(port)));
    vec![row(
        view,
        [
            ("key", text("local")),
            ("bootstrapped", text("COMPLETED")),
            ("broadcast_address", ip()),
            ("broadcast_port", port()),
            ("cluster_name", text(&cluster.name)),
            ("cql_version", text(CQL_VERSION)),
            ("data_center", text(&node.locality.region)),
            ("host_id", uuid(node.host_uuid)),
            ("listen_address", ip()),
            ("listen_port", port()),
            ("native_protocol_version", text("4")),
            ("partitioner", text(PARTITIONER)),
            ("rack", text(&node.locality.zone)),
            ("release_version", text(RELEASE_VERSION)),
            ("rpc_address", ip()),
            ("rpc_port", port()),
            ("schema_version", uuid(schema_version)),
            ("tokens", text_set(tokens(node))),
        ],
    )]
}

pub(super) fn peers(view: &TableView, cluster: &Cluster, schema_version: u128) -> Vec<Row> {
    let others = cluster.nodes.iter().filter(|node| node.id != cluster.local);
    let reachable = others.filter_map(|node| Some((node, address(node)?)));
    reachable
        .map(|(node, (ip, _))| {
            row(
                view,
                [
                    ("peer", inet(ip)),
                    ("data_center", text(&node.locality.region)),
                    ("host_id", uuid(node.host_uuid)),
                    ("rack", text(&node.locality.zone)),
                    ("release_version", text(RELEASE_VERSION)),
                    ("rpc_address", inet(ip)),
                    ("schema_version", uuid(schema_version)),
                    ("tokens", text_set(tokens(node))),
                ],
            )
        })
        .collect()
}

pub(super) fn peers_v2(view: &TableView, cluster: &Cluster, schema_version: u128) -> Vec<Row> {
    let others = cluster.nodes.iter().filter(|node| node.id != cluster.local);
    let reachable = others.filter_map(|node| Some((node, address(node)?)));
    reachable
        .map(|(node, (ip, port))| {
            row(
                view,
                [
                    ("peer", inet(ip)),
                    ("peer_port", int(i32::from(port))),
                    ("data_center", text(&node.locality.region)),
                    ("host_id", uuid(node.host_uuid)),
                    ("native_address", inet(ip)),
                    ("native_port", int(i32::from(port))),
                    ("rack", text(&node.locality.zone)),
                    ("release_version", text(RELEASE_VERSION)),
                    ("schema_version", uuid(schema_version)),
                    ("tokens", text_set(tokens(node))),
                ],
            )
        })
        .collect()
}
