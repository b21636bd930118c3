//! [`NodeLink`]: the link over real sockets.
//!
//! It exists before the node does, which needs it to send, and begins to speak when there is somebody who can be
//! told what came ([`NodeLink::run`]).

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base::NodeId;
use bytes::Bytes;
use tls::Certificates;
use tokio::sync::{Semaphore, watch};
use world::{Clock, Entropy, net::Listener, task::JoinHandle};

use crate::{
    Class, Judge, Link, NotSent, Receive, Settings, dial::Dialer, frame::Lane, guest::Guest, meters::Meters,
    queue::Queue, seats::Seats, wire::Ended,
};

/// How long to wait after a failed accept. It fails when descriptors run out, and then trying
/// again at once would only heat the machine.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The other nodes, and connections to and from them.
pub struct NodeLink {
    settings: Settings,
    clock: Clock,
    entropy: Entropy,
    peers: RwLock<BTreeMap<NodeId, Peer>>,
    /// Counts the changes of `peers`.
    changed: watch::Sender<u64>,
    full: metrics::Counter,
}

/// Another node.
struct Peer {
    address: SocketAddr,
    queues: [Arc<Queue>; Lane::ALL.len()],
}

/// What all connections go by.
pub(crate) struct House {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) receive: Arc<dyn Receive>,
    pub(crate) seats: Seats,
    pub(crate) meters: Meters,
}

impl House {
    pub(crate) fn count_refusal(&self, ended: &Ended) {
        if matches!(ended, Ended::Refused(_) | Ended::RefusedUs(_) | Ended::Distrusted(_)) {
            self.meters.refused.increment(1);
        }
    }
}

/// The word that ends a task: given when its sender is dropped.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

impl Stop {
    /// Waits for it. Cancel safe.
    pub(crate) async fn given(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Link for NodeLink {
    fn send(&self, to: NodeId, class: Class, message: Bytes) -> Result<(), NotSent> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        let peer = peers.get(&to).ok_or(NotSent::Unknown)?;
        let sent = peer.queues[Lane::of(class) as usize].push(class, message);
        if sent == Err(NotSent::Full) {
            self.full.increment(1);
        }
        sent
    }
}

impl NodeLink {
    /// A link that knows nobody yet. `entropy` spreads attempts to connect in time, `clock` tells how long a connection
    /// has been silent.
    pub fn new(settings: Settings, clock: Clock, entropy: Entropy) -> Arc<NodeLink> {
        Arc::new(NodeLink {
            settings,
            clock,
            entropy,
            peers: RwLock::default(),
            changed: watch::Sender::new(0),
            full: Meters::new().full,
        })
    }

    /// The nodes to be connected to, and where; any time, in place of those before. Connections from a node that is
    /// no longer among them end; the [`Judge`] says whether it may come again.
    pub fn set_peers(&self, wanted: &BTreeMap<NodeId, SocketAddr>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let stays = |node: &NodeId, peer: &mut Peer| wanted.get(node) == Some(&peer.address);
        peers.retain(|node, peer| stays(node, peer));
        for (node, address) in wanted {
            peers.entry(*node).or_insert_with(|| Peer {
                address: *address,
                queues: Lane::ALL.map(|_| Arc::new(Queue::new(&self.settings))),
            });
        }
        drop(peers);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Connects to the peers and lets others in, until `end` comes. Everything that comes is told to `receive`; `judge`
    /// says who this node is and whom it speaks with.
    pub async fn run(
        &self,
        listener: Listener,
        certificates: Arc<Certificates>,
        judge: Arc<dyn Judge>,
        receive: Arc<dyn Receive>,
        end: impl Future<Output = ()> + Send,
    ) {
        let house = Arc::new(House {
            settings: self.settings.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            certificates,
            judge,
            receive,
            seats: Seats::default(),
            meters: Meters::new(),
        });
        let guests = Arc::new(Semaphore::new(self.settings.guests as usize));
        let (farewell, stop) = watch::channel(());
        let stop = Stop(stop);
        let mut dialers = BTreeMap::new();
        let mut changed = self.changed.subscribe();
        changed.mark_changed();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => match guests.clone().try_acquire_owned() {
                        Ok(place) => {
                            let guest = Guest { house: house.clone(), address, place };
                            world::task::spawn(guest.run(stream, stop.clone()));
                        }
                        Err(_) => tracing::debug!(%address, "connection refused: too many"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection from another node");
                        world::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // The sender is in `self`.
                _ = changed.changed() => self.redial(&house, &mut dialers).await,
            }
        }
        drop((listener, farewell));
        for (_, dialing) in dialers {
            dialing.end().await;
        }
        // All places are back when the last guest has gone.
        let _ = guests.acquire_many(self.settings.guests).await;
    }

    /// Ends connections to nodes that are not wanted any more, or not there, and begins those that are.
    async fn redial(&self, house: &Arc<House>, dialers: &mut BTreeMap<NodeId, Dialing>) {
        let wanted: BTreeMap<NodeId, (SocketAddr, [Arc<Queue>; 2])> = {
            let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
            peers.iter().map(|(node, peer)| (*node, (peer.address, peer.queues.clone()))).collect()
        };
        let stays = |node: &NodeId, dialing: &Dialing| {
            wanted.get(node).is_some_and(|(_, queues)| Arc::ptr_eq(&queues[0], &dialing.queue))
        };
        let gone: Vec<NodeId> =
            dialers.iter().filter(|(node, dialing)| !stays(node, dialing)).map(|(node, _)| *node).collect();
        for node in gone {
            if !wanted.contains_key(&node) {
                house.seats.clear(node);
            }
            if let Some(dialing) = dialers.remove(&node) {
                dialing.end().await;
            }
        }
        for (node, (address, queues)) in wanted {
            dialers.entry(node).or_insert_with(|| Dialing::begin(house, node, address, queues));
        }
    }
}

/// The tasks that keep connections to one node.
struct Dialing {
    /// The first lane's.
    queue: Arc<Queue>,
    stop: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Dialing {
    fn begin(house: &Arc<House>, node: NodeId, address: SocketAddr, queues: [Arc<Queue>; 2]) -> Dialing {
        let (stop, stopped) = watch::channel(());
        let queue = queues[0].clone();
        let tasks = Lane::ALL.into_iter().zip(queues).map(|(lane, queue)| {
            let dialer = Dialer { house: house.clone(), node, address, lane, queue };
            world::task::spawn(dialer.run(Stop(stopped.clone())))
        });
        Dialing { queue, tasks: tasks.collect(), stop }
    }

    async fn end(self) {
        drop(self.stop);
        for task in self.tasks {
            // It ends badly only if the owner's own code panicked in it, which has been told.
            let _ = task.await;
        }
    }
}
