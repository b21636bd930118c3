//! A node among others: how it comes in, and what goes on beside its doors as long as it runs.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use base::{GroupId, NodeId};
use door::Shutdown;
use fabric::{Addresses, Among, Ask, Fabric, Identity, Members, Settings, Told};
use node_link::NodeLink;
use tls::{CertificateFiles, Certificates};
use world::{Clock, Disk, Entropy, net::Listener};

use crate::{
    exit::{Exit, Refusal},
    settings::wrong,
    view::View,
};

/// How often the node looks at its cluster.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the files of certificates are looked at.
const RELOAD: Duration = Duration::from_secs(10);
/// How long one answer to who asks to join may take.
const ANSWER_MS: u64 = 30_000;
/// How often one that got none asks again, and how long it waits in between.
const ASK_TIMES: u32 = 30;
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The node that founds a cluster.
const FOUNDER: NodeId = NodeId(1);

/// What a node needs to be among others.
pub(crate) struct Company {
    certificates: Arc<Certificates>,
    link: Arc<NodeLink>,
    /// Where others are, as whoever let this node in has said.
    told: BTreeMap<NodeId, SocketAddr>,
}

impl Company {
    /// Reads the certificates.
    pub(crate) async fn new(
        files: CertificateFiles,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Company, Refusal> {
        let loaded = Certificates::load(files, clock.clone()).await;
        let certificates = loaded.map_err(|fault| Refusal::new(Exit::Settings, format!("node: {fault}")))?;
        let link = NodeLink::new(node_link::Settings::default(), clock, entropy);
        Ok(Company { certificates, link, told: BTreeMap::new() })
    }

    /// Asks the node at `door` to be let in. With an identity the node is in already, and asks where others are.
    pub(crate) async fn join(
        &mut self,
        door: SocketAddr,
        disk: &Disk,
        entropy: &Entropy,
        settings: &Settings,
        addresses: &Addresses,
    ) -> Result<(), Refusal> {
        let known = Identity::load(disk)?;
        let host_uuid = match known {
            Some(identity) => identity.host_uuid,
            None => fabric::ask_as(disk, entropy)?,
        };
        let ask = Ask {
            host_uuid,
            identity: known.map(|identity| (identity.cluster, identity.node)),
            locality: settings.locality.clone(),
            versions: settings.versions,
            addresses: addresses.clone(),
        };
        let told = match self.ask(door, &ask.encode(), known.is_none()).await {
            Ok(told) => told,
            // It knows where others were; some may be there still.
            Err(refusal) if known.is_some() => {
                tracing::warn!("{}", refusal.message);
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        };
        match told {
            Told::Welcome { cluster, node, peers } => {
                self.told = peers;
                if known.is_none() {
                    fabric::enter(disk, Identity { cluster, node, host_uuid })?;
                }
                Ok(())
            }
            Told::Refused(why) => {
                Err(Refusal::new(Exit::Data, format!("{door} does not let this node in: {why}")))
            }
        }
    }

    async fn ask(&self, door: SocketAddr, question: &[u8], patiently: bool) -> Result<Told, Refusal> {
        let mut left = if patiently { ASK_TIMES } else { 1 };
        loop {
            left -= 1;
            let why = match node_link::ask(door, &self.certificates, question, ANSWER_MS).await {
                Ok(answer) => match Told::decode(&answer) {
                    Ok(told) => return Ok(told),
                    Err(malformed) => malformed.to_string(),
                },
                Err(refusal) => refusal.0,
            };
            if left == 0 {
                return Err(Refusal::new(Exit::Unanswered, format!("cannot join by way of {door}: {why}")));
            }
            world::time::sleep(ASK_AGAIN).await;
        }
    }

    /// How the node stands among others. Who was not let in founds `groups`, where they have not begun.
    pub(crate) fn among(&self, disk: &Disk, groups: &BTreeMap<GroupId, &str>) -> Result<Among, Refusal> {
        self.link.set_peers(&self.told);
        let founds = Identity::load(disk)?.is_none_or(|identity| identity.node == FOUNDER);
        let founders = groups.keys().filter(|_| founds).map(|group| (*group, Members::of([FOUNDER])));
        Ok(Among { link: Some(self.link.clone()), founders: founders.collect() })
    }

    /// Speaks with the others until the end.
    pub(crate) async fn speak(&self, listener: Listener, fabric: &Fabric, mut shutdown: Shutdown) {
        let mut end = shutdown.clone();
        let certificates = self.certificates.clone();
        world::task::spawn(certificates.keep_fresh(RELOAD, async move { end.wait().await }));
        let (certificates, judge, receive) = (self.certificates.clone(), fabric.judge(), fabric.receiver());
        self.link.run(listener, certificates, judge, receive, async move { shutdown.wait().await }).await;
    }
}

/// Looks at the cluster until the end, and does what is this node's to do.
pub(crate) async fn tend(
    fabric: Arc<Fabric>,
    names: BTreeMap<GroupId, &'static str>,
    company: Option<Arc<Company>>,
    view: Arc<View>,
    shutdown: Shutdown,
) {
    let mut last = BTreeMap::new();
    while !shutdown.is_given() {
        match fabric.tend(&names).await {
            Ok(standing) => view.set(standing),
            Err(cause) => return tracing::debug!("the cluster is not looked at any more: {cause}"),
        }
        if let Some(company) = &company {
            let mut now = fabric.peers();
            if now.is_empty() {
                now.clone_from(&company.told);
            }
            if last != now {
                company.link.set_peers(&now);
                last = now;
            }
        }
        world::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the cluster knows that this node is there, and this node knows the cluster.
pub(crate) async fn arrive(fabric: &Fabric, addresses: &Addresses) {
    while !fabric.is_registered(addresses) {
        world::time::sleep(LOOK_EVERY / 4).await;
    }
}

/// The refusal of `--join` without certificates.
pub(crate) fn needs_certificates() -> Refusal {
    wrong("--join needs node.certificate, node.key and node.ca".to_owned())
}
