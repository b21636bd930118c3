//! Where a node's doors are: from flags and defaults to open listeners, and to `listen.json`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use world::{Disk, net::Listener};

use crate::{
    cli::{Door, DoorAddress, Start},
    exit::{Exit, Refusal},
    settings::wrong,
};

/// A door's open listener.
pub(crate) struct Open {
    pub(crate) door: Door,
    pub(crate) listener: Listener,
    pub(crate) address: SocketAddr,
    /// Where clients reach it.
    pub(crate) advertised: SocketAddr,
}

/// Opens every door that is not off; that for other nodes only if there are certificates for it.
pub(crate) async fn open_all(options: &Start, has_peers: bool) -> Result<Vec<Open>, Refusal> {
    let mut open = Vec::new();
    for door in Door::ALL {
        let standard = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), door.standard_port());
        let Some(address) = last_of(&options.listen, door).unwrap_or(Some(standard)) else { continue };
        if door == Door::Node && !has_peers {
            if last_of(&options.listen, door).is_some() {
                return Err(wrong("the node door needs node.certificate, node.key and node.ca".to_owned()));
            }
            continue;
        }
        // Other nodes show certificates.
        if !address.ip().is_loopback() && !options.insecure && door != Door::Node {
            return Err(Refusal::new(
                Exit::Insecure,
                format!(
                    "the {} door would listen on {address}, which others can reach, and there is no \
                     authentication yet; say --insecure if that is meant",
                    door.name()
                ),
            ));
        }
        let refused = |error| {
            Refusal::new(
                Exit::Address,
                format!("the {} door cannot listen on {address}: {error}", door.name()),
            )
        };
        let listener = world::net::listen(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let advertised = advertised(options, door, address)?;
        open.push(Open { door, listener, address, advertised });
    }
    Ok(open)
}

/// What a flag given several times says last.
fn last_of(flags: &[DoorAddress], door: Door) -> Option<Option<SocketAddr>> {
    flags.iter().rev().find(|flag| flag.door == door).map(|flag| flag.address)
}

fn advertised(options: &Start, door: Door, listening: SocketAddr) -> Result<SocketAddr, Refusal> {
    match last_of(&options.advertise, door).flatten() {
        Some(mut address) => {
            if address.port() == 0 {
                address.set_port(listening.port());
            }
            Ok(address)
        }
        // Drivers connect to what they are told, and nobody can connect to "any address".
        None if listening.ip().is_unspecified() => Err(Refusal::new(
            Exit::Settings,
            format!(
                "the {0} door listens on every address; say which clients reach: --advertise {0}=HOST:PORT",
                door.name()
            ),
        )),
        None => Ok(listening),
    }
}

/// Writes `listen.json`, for scripts: `{"pid": N, "doors": {"cql": "127.0.0.1:9042", ...}}`. It
/// tells of this run only; a reader compares the pid.
pub(crate) fn write_listen_json(disk: &Disk, open: &[(Door, SocketAddr)]) -> Result<(), world::DiskError> {
    let doors: BTreeMap<_, _> =
        open.iter().map(|(door, address)| (door.name(), address.to_string())).collect();
    let text = serde_json::json!({ "pid": std::process::id(), "doors": doors }).to_string() + "\n";
    disk.replace(LISTEN_JSON, text.as_bytes())
}

/// Removes `listen.json` when the doors close.
pub(crate) fn remove_listen_json(disk: &Disk) -> Result<(), world::DiskError> {
    match disk.remove(LISTEN_JSON) {
        Err(world::DiskError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

const LISTEN_JSON: &str = "listen.json";
