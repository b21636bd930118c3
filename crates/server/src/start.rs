//! `holdfast start`: from flags to a serving node, and back down.
//!
//! Order matters twice. Up: the directory is locked first, so that a second start on it is told
//! that, and not that some port is taken; addresses are taken before anything is read, for that may
//! take long; doors open last, when everything acknowledged before is readable again. Down: doors drain first, then the spine, then
//! the log writes its seal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use base::GroupId;
use fabric::{Among, Fabric};
use world::{Clock, Disk, DiskError, Entropy, World};

use crate::{
    cli::{Door, Start},
    cluster::{self, Company},
    exit::{Exit, Refusal},
    http::Health,
    place::{self, Open},
    settings::Settings,
    tls::{Loaded, Offer},
    view::View,
};

/// The Raft group of the ZooKeeper door's tree.
const ZOOKEEPER_GROUP: GroupId = GroupId(1);

/// The groups of this build, and what each replicates.
fn groups() -> BTreeMap<GroupId, &'static str> {
    [(GroupId(0), "catalog"), (ZOOKEEPER_GROUP, "zookeeper")].into()
}

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

    let entropy = Entropy::real();
    let mut company = match settings.peers()? {
        Some(files) => Some(runtime.block_on(Company::new(files, clock.clone(), entropy.clone()))?),
        None if options.join.is_some() => return Err(cluster::needs_certificates()),
        None => None,
    };
    let disk = if options.in_memory {
        // Log and files in memory, beside what the budget is for.
        Disk::in_memory_of((rooms.fabric.memory_budget_bytes as u64).max(256 << 20))
    } else {
        Disk::real(&options.data_dir).map_err(unusable)?
    };
    let (data, log) = (fabric::TREE_FOLDER, fabric::LOG_FOLDER);
    rooms.zookeeper.folders = Some(door_zk::Folders { disk: disk.clone(), data, log });
    let _lock = disk.lock().map_err(unusable)?;
    let open = runtime.block_on(place::open_all(&options, company.is_some()))?;

    let world = World { clock: clock.clone(), entropy, disk: disk.clone() };
    let (tree, zookeeper) = door_zk::new(rooms.zookeeper, clock.clone(), world.entropy.clone());
    let addresses: fabric::Addresses = open
        .iter()
        .map(|open| (open.door.name().to_owned(), (open.advertised.ip(), open.advertised.port())))
        .collect();
    let among = match &mut company {
        Some(company) => {
            if let Some(door) = options.join {
                let joining = company.join(door, &disk, &world.entropy, &rooms.fabric, &addresses);
                runtime.block_on(joining)?;
            }
            company.among(&disk, &groups())?
        }
        None => Among::default(),
    };
    let machines: Vec<(GroupId, Box<dyn store::Machine>)> = vec![(ZOOKEEPER_GROUP, tree)];
    let fabric = Arc::new(Fabric::start_among(&world, rooms.fabric, machines, addresses.clone(), among)?);

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
        company: company.map(Arc::new),
        addresses,
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
    company: Option<Arc<Company>>,
    addresses: fabric::Addresses,
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
    let view = Arc::new(View::new(house.fabric.clone()));
    let (fabric, company) = (house.fabric.clone(), house.company.clone());
    let mut doors =
        vec![world::task::spawn(cluster::tend(fabric, groups(), company, view.clone(), shutdown.clone()))];
    let observe = Box::new(move || observed.observe());
    let health = Arc::new(Health { metrics: house.metrics, observe, view });
    let (others, open): (Vec<Open>, Vec<Open>) = open.into_iter().partition(|open| open.door == Door::Node);
    for (Open { listener, .. }, company) in others.into_iter().zip(house.company) {
        let (fabric, shutdown) = (house.fabric.clone(), shutdown.clone());
        doors.push(world::task::spawn(async move { company.speak(listener, &fabric, shutdown).await }));
    }
    let arrived = tokio::select! {
        () = cluster::arrive(&house.fabric, &house.addresses) => None,
        signal = signals.recv() => Some(signal),
    };
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
            // Opened before the others, which wait for it.
            Door::Node => continue,
        });
    }
    if let Some(certificates) = house.certificates {
        world::task::spawn(certificates.keep_fresh(shutdown));
    }
    let signal = match arrived {
        Some(signal) => signal,
        None => {
            ready();
            signals.recv().await
        }
    };
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
            Door::Node => format!("holdfast start --join {address} ..."),
        };
        text += &format!("{:<11} {:<22} {try_it}\n", door.name(), address.to_string());
    }
    text
}

pub(crate) fn system(error: std::io::Error) -> Refusal {
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
