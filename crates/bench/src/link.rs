//! What a message between two nodes costs: two links in this process, over loopback, with TLS as always.
//!
//! One sends messages and the other sends each of them back; as many are on their way as a row says. The processor time is
//! that of the whole process, so it has both nodes in it, and this program's share: a lock and a clock an echo.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use base::NodeId;
use bytes::Bytes;
use hdrhistogram::Histogram;
use node_link::{Class, Hello, Judge, Link, NodeLink, NotSent, Receive, Received, Refusal, Settings};
use serde_json::{Value, json};
use tls::{
    Certificates, ClientAuth,
    forge::{Authority, Folder},
};
use world::{Clock, Entropy};

use crate::{Outcome, figures::median, process};

/// Bytes of a message.
const MESSAGE: usize = 256;
/// Bytes of a piece of a snapshot, of which as many are sent as there is room for.
const PIECE: usize = 256 << 10;
/// Repetitions; the figures are their medians.
const REPEATS: usize = 5;
/// Time of each, and before the first.
const REPEAT: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

/// A load, and what it came to.
#[derive(Clone, Debug)]
pub struct Echoes {
    /// Messages on their way at a time.
    pub in_flight: usize,
    /// Whether snapshots are sent beside them.
    pub with_bulk: bool,
    /// Processor time of both nodes, microseconds an echo. With snapshots it is theirs too, so it says nothing.
    pub cpu_us: f64,
    /// Echoes a second.
    pub rate: f64,
    /// From sending to the echo, microseconds.
    pub p50_us: f64,
    /// The same, which one in a hundred exceeds.
    pub p99_us: f64,
    /// MB a second of snapshots.
    pub bulk_mb: f64,
}

impl Echoes {
    /// Everything that was measured.
    pub fn json(&self) -> Value {
        json!({
            "in_flight": self.in_flight,
            "with_bulk": self.with_bulk,
            "cpu_us": self.cpu_us,
            "rate": self.rate,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "bulk_mb_per_second": self.bulk_mb,
        })
    }
}

/// Measures every load.
pub fn run() -> Outcome<Vec<Echoes>> {
    let runtime = world::task::runtime(world::task::cores())?;
    let (authority, folder) = (Authority::new("bench"), Folder::new("bench-link"));
    folder.put(&authority.sign("a node", 2999));
    folder.write("clients.pem", &authority.pem);
    let files = folder.files(Some(ClientAuth::Peer));
    let certificates = runtime.block_on(Certificates::load(files, Clock::real()))?;
    let loads = [(1, false), (64, false), (1024, false), (1, true), (64, true)];
    loads.into_iter().map(|load| runtime.block_on(measure(load, &certificates))).collect()
}

async fn measure(load: (usize, bool), certificates: &Arc<Certificates>) -> Outcome<Echoes> {
    let (in_flight, with_bulk) = load;
    let [near, far] = [Node::start(1, certificates).await?, Node::start(2, certificates).await?];
    near.link.set_peers(&BTreeMap::from([(NodeId(2), far.address)]));
    far.link.set_peers(&BTreeMap::from([(NodeId(1), near.address)]));
    while !(near.end.is_up.load(Relaxed) && far.end.is_up.load(Relaxed)) {
        world::time::sleep(Duration::from_millis(1)).await;
    }
    far.end.echoes.store(true, Relaxed);
    if with_bulk {
        let (link, over) = (near.link.clone(), near.end.clone());
        world::task::spawn(async move {
            let piece = Bytes::from(vec![7; PIECE]);
            while !over.is_over.load(Relaxed) {
                while link.send(NodeId(2), Class::Bulk, piece.clone()).is_ok() {}
                world::time::sleep(Duration::from_micros(200)).await;
            }
        });
    }
    near.end.begin(in_flight)?;
    world::time::sleep(WARM_UP).await;
    let mut runs = Vec::new();
    for _ in 0..REPEATS {
        near.end.take();
        let (began, before) = (Instant::now(), process::cpu(std::process::id())?);
        let bulk_before = far.end.bulk_bytes.load(Relaxed);
        world::time::sleep(REPEAT).await;
        let used = process::cpu(std::process::id())?.since(before).total_us() as f64;
        let bulk = (far.end.bulk_bytes.load(Relaxed) - bulk_before) as f64;
        let times = near.end.take();
        let (echoes, seconds) = (times.len() as f64, began.elapsed().as_secs_f64());
        let us = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        runs.push([used / echoes, echoes / seconds, us(0.5), us(0.99), bulk / 1e6 / seconds]);
    }
    for node in [&near, &far] {
        node.end.is_over.store(true, Relaxed);
    }
    for node in [near, far] {
        drop(node.stop);
        node.done.await?;
    }
    let [cpu_us, rate, p50_us, p99_us, bulk_mb] =
        std::array::from_fn(|at| median(runs.iter().map(|run| run[at]).collect()));
    Ok(Echoes { in_flight, with_bulk, cpu_us, rate, p50_us, p99_us, bulk_mb })
}

/// A node that runs until `stop` is dropped.
struct Node {
    end: Arc<End>,
    link: Arc<NodeLink>,
    address: std::net::SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    done: world::task::JoinHandle<()>,
}

impl Node {
    async fn start(node: u64, certificates: &Arc<Certificates>) -> Outcome<Node> {
        let listener = world::net::listen(([127, 0, 0, 1], 0).into()).await?;
        let address = listener.local_addr()?;
        let link = NodeLink::new(Settings::default(), Clock::real(), Entropy::real());
        let end = Arc::new(End::new(node, link.clone())?);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (running, certificates) = (link.clone(), certificates.clone());
        let (judge, receive): (Arc<dyn Judge>, Arc<dyn Receive>) = (end.clone(), end.clone());
        let done = world::task::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            running.run(listener, certificates, judge, receive, stopped).await;
        });
        Ok(Node { end, link, address, stop, done })
    }
}

/// What a node does with messages: send them back, or send the next.
struct End {
    node: u64,
    link: Arc<NodeLink>,
    is_up: AtomicBool,
    echoes: AtomicBool,
    is_over: AtomicBool,
    bulk_bytes: AtomicU64,
    /// The first eight bytes of a message say which of those in flight it is; when that one was sent.
    sent: OnceLock<Vec<Mutex<Instant>>>,
    times: Mutex<Histogram<u64>>,
}

impl End {
    fn new(node: u64, link: Arc<NodeLink>) -> Outcome<End> {
        Ok(End {
            node,
            link,
            is_up: AtomicBool::new(false),
            echoes: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            bulk_bytes: AtomicU64::new(0),
            sent: OnceLock::new(),
            times: Mutex::new(Histogram::new(3)?),
        })
    }

    fn begin(&self, in_flight: usize) -> Result<(), NotSent> {
        let sent = self.sent.get_or_init(|| (0..in_flight).map(|_| Mutex::new(Instant::now())).collect());
        for at in 0..sent.len() {
            let mut message = vec![7; MESSAGE];
            message[..8].copy_from_slice(&(at as u64).to_le_bytes());
            self.link.send(NodeId(2), Class::Log, message.into())?;
        }
        Ok(())
    }

    /// The times of the echoes since this was last called.
    fn take(&self) -> Histogram<u64> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Histogram::new_from(&times);
        mem::replace(&mut *times, fresh)
    }

    fn came_back(&self, message: &Received) {
        let at = message.first_chunk::<8>().map_or(0, |at| u64::from_le_bytes(*at) as usize);
        let Some(sent) = self.sent.get().and_then(|sent| sent.get(at)) else { return };
        let now = Instant::now();
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        let took = now - mem::replace(&mut *sent, now);
        // The histogram takes any time: it grows.
        let _ = self.times.lock().unwrap_or_else(PoisonError::into_inner).record(took.as_nanos() as u64);
    }
}

impl Receive for End {
    fn receive(&self, from: NodeId, class: Class, message: Received) {
        if class == Class::Bulk {
            self.bulk_bytes.fetch_add(message.len() as u64, Relaxed);
            return;
        }
        if !self.echoes.load(Relaxed) {
            self.came_back(&message);
            if self.is_over.load(Relaxed) {
                return;
            }
        }
        // Nothing is lost while both nodes run, and 1,024 messages fit any queue.
        let sent = self.link.send(from, class, message.bytes().clone());
        assert!(sent.is_ok() || self.is_over.load(Relaxed), "an echo was lost: {sent:?}");
    }

    fn connected(&self, _node: NodeId, _start: u64) {
        self.is_up.store(true, Relaxed);
    }

    fn disconnected(&self, _node: NodeId) {
        self.is_up.store(false, Relaxed);
    }
}

impl Judge for End {
    fn hello(&self) -> Hello {
        let host_uuid = u128::from(self.node);
        let (start, version_min, version_max) = (1, 1, 1);
        let node = NodeId(self.node);
        Hello { cluster: 1, node, host_uuid, start, version_min, version_max }
    }

    fn judge(&self, _theirs: &Hello) -> Result<(), Refusal> {
        Ok(())
    }
}
