//! `holdfast start`: from flags to a serving node, and back down.
//!
//! Order matters twice. Up: the directory is locked first, so that a second start on it is told
//! that, and not that some port is taken; addresses are taken before anything is read, for that may
//! take long; doors open last, when everything acknowledged before is readable again. Down: doors drain first, then the spine, then
//! the log writes its seal.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use base::GroupId;
use fabric::Fabric;
use world::{Clock, Disk, DiskError, Entropy, World};

use crate::{
    cli::{Door, Start},
    exit::{Exit, Refusal},
    http::Health,
    place::{self, Open},
    settings::Settings,
    tls::{Loaded, Offer},
};

/// The Raft group of the ZooKeeper door's tree.
const ZOOKEEPER_GROUP: GroupId = GroupId(1);

/// Runs a node until a signal; returns after a clean stop.
pub(crate) fn start(options: Start) -> Result<(), Refusal> {
    let clock = Clock::real();
    let began = clock.boot();
    let settings = Settings::read(options.config.as_deref(), &options.set)?;
    let mut rooms = settings.rooms()?;
    // Not worth a refusal: a node with few descriptors serves few clients.
    if let Err(error) = world::process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
    let runtime = world::task::runtime(world::task::cores()).map_err(system)?;
    let metrics = PrometheusBuilder::new().build_recorder();
    let rendered = metrics.handle();
    metrics::set_global_recorder(metrics)
        .map_err(|_| Refusal::new(Exit::Bug, "a metrics recorder was there already"))?;

    let certificates = match settings.certificates()? {
        Some(plan) => Some(runtime.block_on(Loaded::read(plan, clock.clone()))?),
        None => None,
    };
    rooms.zookeeper.tls = Loaded::offer(certificates.as_ref(), settings.tls(Door::ZooKeeper));
    rooms.cql.tls = Loaded::offer(certificates.as_ref(), settings.tls(Door::Cql));

    let disk = if options.in_memory {
        // Log and files in memory, beside what the budget is for.
        Disk::in_memory_of((rooms.fabric.memory_budget_bytes as u64).max(256 << 20))
    } else {
        Disk::real(&options.data_dir).map_err(unusable)?
    };
    let (data, log) = (fabric::TREE_FOLDER, fabric::LOG_FOLDER);
    rooms.zookeeper.folders = Some(door_zk::Folders { disk: disk.clone(), data, log });
    let _lock = disk.lock().map_err(unusable)?;
    let open = runtime.block_on(place::open_all(&options))?;

    let world = World { clock: clock.clone(), entropy: Entropy::real(), disk: disk.clone() };
    let (tree, zookeeper) = door_zk::new(rooms.zookeeper, clock.clone(), world.entropy.clone());
    let addresses = open
        .iter()
        .map(|open| (open.door.name().to_owned(), (open.advertised.ip(), open.advertised.port())))
        .collect();
    let fabric = Arc::new(Fabric::start(&world, rooms.fabric, vec![(ZOOKEEPER_GROUP, tree)], addresses)?);

    let shown: Vec<_> = open.iter().map(|open| (open.door, open.address)).collect();
    if !options.in_memory
        && let Err(error) = place::write_listen_json(&disk, &shown)
    {
        // For scripts only: a full disk must not keep the store from serving reads.
        tracing::warn!("listen.json is not written: {error}");
    }
    let http_tls = Loaded::offer(certificates.as_ref(), settings.tls(Door::Http));
    let house = House {
        world,
        fabric: fabric.clone(),
        zookeeper,
        cql: rooms.cql,
        http_tls,
        certificates,
        metrics: rendered,
    };
    let sealed = |door: Door| settings.tls(door) == Offer::Required;
    let ready = || println!("{}", banner(&options, &shown, sealed, clock.boot() - began));
    let served = runtime.block_on(serve(house, open, ready));
    // Connections are gone; what they began is durable or was refused.
    drop(runtime);
    if !options.in_memory {
        place::remove_listen_json(&disk).map_err(unusable)?;
    }
    fabric.stop()?;
    served
}

/// What doors are given.
struct House {
    world: World,
    fabric: Arc<Fabric>,
    zookeeper: door_zk::Door,
    cql: door_cql::Settings,
    http_tls: door::Tls,
    certificates: Option<Loaded>,
    metrics: PrometheusHandle,
}

/// Opens the doors, calls `ready`, and returns when a signal came and they have drained.
async fn serve(house: House, open: Vec<Open>, ready: impl FnOnce()) -> Result<(), Refusal> {
    // Before a door answers: from then on somebody may think that this process can be stopped well.
    let mut signals = world::process::StopSignals::watch().map_err(system)?;
    let (trigger, shutdown) = door::shutdown();
    let observed = house.fabric.clone();
    let health = Arc::new(Health { metrics: house.metrics, observe: Box::new(move || observed.observe()) });
    let mut doors = Vec::new();
    for Open { door, listener, .. } in open {
        let store = house.fabric.store().clone();
        let World { clock, entropy, .. } = house.world.clone();
        let shutdown = shutdown.clone();
        doors.push(match door {
            Door::Cql => world::task::spawn(door_cql::serve(
                listener,
                store,
                clock,
                entropy,
                house.cql.clone(),
                shutdown,
            )),
            Door::ZooKeeper => {
                let zookeeper = house.zookeeper.clone();
                world::task::spawn(async move {
                    zookeeper.serve(listener, store, ZOOKEEPER_GROUP, shutdown).await
                })
            }
            Door::Http => {
                let tls = house.http_tls.clone();
                world::task::spawn(crate::http::serve(listener, health.clone(), tls, shutdown))
            }
        });
    }
    if let Some(certificates) = house.certificates {
        world::task::spawn(certificates.keep_fresh(shutdown));
    }
    ready();
    let signal = signals.recv().await;
    eprintln!("holdfast: {signal}, stopping");
    trigger.trigger();
    for door in doors {
        door.await.map_err(|error| Refusal::new(Exit::Bug, format!("a door ended badly: {error}")))?;
    }
    Ok(())
}

/// The table that a person sees.
fn banner(
    options: &Start,
    open: &[(Door, std::net::SocketAddr)],
    sealed: impl Fn(Door) -> bool,
    took: Duration,
) -> String {
    let place = if options.in_memory {
        "memory (nothing is kept)".into()
    } else {
        options.data_dir.display().to_string()
    };
    let mut text = format!(
        "holdfast {} ready in {} ms, data in {place}\n\n{:<11} {:<22} try it\n",
        env!("CARGO_PKG_VERSION"),
        took.as_millis(),
        "door",
        "address"
    );
    for (door, address) in open {
        let try_it = match door {
            Door::Http if sealed(*door) => format!("curl --insecure https://{address}/metrics"),
            _ if sealed(*door) => format!("openssl s_client -connect {address}"),
            Door::Cql => format!("cqlsh {} {}", address.ip(), address.port()),
            Door::ZooKeeper => format!("zkCli.sh -server {address}"),
            Door::Http => format!("curl http://{address}/metrics"),
        };
        text += &format!("{:<11} {:<22} {try_it}\n", door.name(), address.to_string());
    }
    text
}

fn system(error: std::io::Error) -> Refusal {
    Refusal::new(Exit::System, error.to_string())
}

pub(crate) fn unusable(error: DiskError) -> Refusal {
    match error {
        DiskError::Locked { .. } => {
            Refusal::new(Exit::InUse, format!("{error}; is another holdfast running on it?"))
        }
        _ => Refusal::new(Exit::Data, error.to_string()),
    }
}
