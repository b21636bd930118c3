//! Links in one process over loopback, and strangers that speak the frames by hand.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod nodes;
mod strangers;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::NodeId;
use bytes::Bytes;
use tls::{
    Certificates, ClientAuth,
    forge::{Authority, Folder},
};
use tokio::sync::oneshot;
use world::{Clock, Entropy, task::JoinHandle};

use crate::{Answer, Class, Hello, Judge, Link, NodeLink, NotSent, Receive, Received, Refusal, Settings};

/// What happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Connected(u64, u64),
    Disconnected(u64),
}

/// A node's owner, who writes everything down.
struct Owner {
    hello: Mutex<Hello>,
    refuses: Mutex<Option<&'static str>>,
    events: Mutex<Vec<Event>>,
    /// What came, by sender and class.
    came: Mutex<BTreeMap<(u64, Class), Vec<Bytes>>>,
    /// Whether messages are kept, with the room that they take.
    keeps: Mutex<Option<Vec<Received>>>,
}

impl Judge for Owner {
    fn hello(&self) -> Hello {
        self.hello.lock().unwrap().clone()
    }

    fn judge(&self, theirs: &Hello) -> Result<(), Refusal> {
        if theirs.cluster != self.hello().cluster {
            return Err(Refusal(format!("cluster {} is another", theirs.cluster)));
        }
        self.refuses.lock().unwrap().map_or(Ok(()), |why| Err(Refusal(why.into())))
    }

    fn ask(&self, question: Bytes, answer: Answer) {
        if question == "?" {
            answer.give(Bytes::from_static(b"!"));
        }
    }
}

impl Receive for Owner {
    fn receive(&self, from: NodeId, class: Class, message: Received) {
        let bytes = message.bytes().clone();
        if let Some(kept) = &mut *self.keeps.lock().unwrap() {
            kept.push(message);
        }
        self.came.lock().unwrap().entry((from.0, class)).or_default().push(bytes);
    }

    fn connected(&self, node: NodeId, start: u64) {
        self.events.lock().unwrap().push(Event::Connected(node.0, start));
    }

    fn disconnected(&self, node: NodeId) {
        self.events.lock().unwrap().push(Event::Disconnected(node.0));
    }
}

impl Owner {
    fn new(node: u64, start: u64) -> Arc<Owner> {
        let hello = Hello {
            cluster: 77,
            node: NodeId(node),
            host_uuid: u128::from(node),
            start,
            version_min: 1,
            version_max: 1,
        };
        Arc::new(Owner {
            hello: Mutex::new(hello),
            refuses: Mutex::default(),
            events: Mutex::default(),
            came: Mutex::default(),
            keeps: Mutex::default(),
        })
    }

    fn came(&self, from: u64, class: Class) -> Vec<Bytes> {
        self.came.lock().unwrap().get(&(from, class)).cloned().unwrap_or_default()
    }

    fn count(&self, from: u64, class: Class) -> usize {
        self.came.lock().unwrap().get(&(from, class)).map_or(0, Vec::len)
    }

    fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn is_connected(&self, node: u64) -> bool {
        let of_node = |event: &&Event| match event {
            Event::Connected(other, _) | Event::Disconnected(other) => *other == node,
        };
        matches!(self.events().iter().rfind(of_node), Some(Event::Connected(..)))
    }
}

/// A node that runs.
struct Node {
    owner: Arc<Owner>,
    link: Arc<NodeLink>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl Node {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap();
    }

    /// Sends, again as long as there is no connection.
    async fn send(&self, to: u64, class: Class, message: impl Into<Bytes>) {
        let message = message.into();
        until(|| self.link.send(NodeId(to), class, message.clone()) != Err(NotSent::Down)).await;
    }
}

/// The certificates of all nodes of a test.
struct Town {
    authority: Authority,
    folder: Folder,
    settings: Settings,
}

impl Town {
    fn new(name: &str) -> Town {
        let (authority, folder) = (Authority::new("the cluster"), Folder::new(&format!("link-{name}")));
        folder.put(&authority.sign("a node", 2999));
        folder.write("clients.pem", &authority.pem);
        // A machine that is busy with other tests is no reason to give anybody up.
        let settings = Settings { greet_ms: 10_000, silence_ms: 20_000, ..Settings::default() };
        Town { authority, folder, settings }
    }

    async fn certificates(&self) -> Arc<Certificates> {
        Certificates::load(self.folder.files(Some(ClientAuth::Peer)), Clock::real()).await.unwrap()
    }

    async fn node(&self, owner: Arc<Owner>, address: Option<SocketAddr>) -> Node {
        let address = address.unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let listener = world::net::listen(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = NodeLink::new(self.settings.clone(), Clock::real(), Entropy::seeded(owner.hello().node.0));
        let (stop, stopped) = oneshot::channel();
        let end = async move {
            let _ = stopped.await;
        };
        let certificates = self.certificates().await;
        let running = link.clone();
        let (judge, receive): (Arc<dyn Judge>, Arc<dyn Receive>) = (owner.clone(), owner.clone());
        let done =
            world::task::spawn(async move { running.run(listener, certificates, judge, receive, end).await });
        Node { owner, link, address, stop, done }
    }

    /// Nodes 1 to `count`, of which each knows every other.
    async fn nodes(&self, count: u64) -> Vec<Node> {
        let mut nodes = Vec::new();
        for node in 1..=count {
            nodes.push(self.node(Owner::new(node, 1), None).await);
        }
        for node in &nodes {
            introduce(node, &nodes.iter().collect::<Vec<_>>());
        }
        for (at, node) in nodes.iter().enumerate() {
            until(|| (1..=count).all(|other| other == at as u64 + 1 || node.owner.is_connected(other))).await;
        }
        nodes
    }
}

/// Tells `node` of the others among `nodes`.
fn introduce(node: &Node, nodes: &[&Node]) {
    let others = nodes.iter().filter(|other| !Arc::ptr_eq(&other.owner, &node.owner));
    node.link.set_peers(&others.map(|other| (other.owner.hello().node, other.address)).collect());
}

/// Waits until it is so.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        world::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never was so");
}

fn run(test: impl Future<Output = ()>) {
    world::task::runtime(2).unwrap().block_on(test);
}

fn message(number: usize, length: usize) -> Bytes {
    let mut bytes = vec![number as u8; length.max(8)];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes.into()
}
