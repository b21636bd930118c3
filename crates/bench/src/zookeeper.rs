//! The ZooKeeper client: setData, create and getData of 256-byte nodes, through `zookeeper-client`. One
//! connection for one operation in flight, eight for 64, sixteen for 256; a worker stays on its
//! connection. What is created is removed again behind each turn: the peer keeps it in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::{
    Outcome,
    load::{self, Bars, Cell, Load, Values, Work},
    server::Server,
};

/// Bytes of a node's data.
pub const VALUE_BYTES: usize = 256;

const FOLDER: &str = "/bench";
/// Where what is created stands.
const NEW: &str = "/bench-new";
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Connected sessions and the nodes they work on.
pub struct ZooKeeper {
    sessions: Vec<Client>,
    paths: Vec<String>,
    values: Values,
    created: AtomicU64,
}

impl Load for ZooKeeper {
    const SUITE: &'static str = "zookeeper";
    const CELLS: &'static [Cell] = &[
        Cell { work: Work::Write, in_flight: 1 },
        Cell { work: Work::Write, in_flight: 64 },
        Cell { work: Work::Write, in_flight: 256 },
        Cell { work: Work::Create, in_flight: 1 },
        Cell { work: Work::Create, in_flight: 64 },
        Cell { work: Work::Create, in_flight: 256 },
        Cell { work: Work::Read, in_flight: 1 },
        Cell { work: Work::Read, in_flight: 64 },
        Cell { work: Work::Read, in_flight: 256 },
    ];
    const BARS: Bars = Bars { cpu: 0.4, p50_at_one: Some(0.8), p99_at: Some((64, 0.5)) };
    const ITEMS: u64 = 10_000;

    fn work_name(work: Work) -> &'static str {
        match work {
            Work::Write => "set 256 B",
            Work::Create => "create 256 B",
            Work::Read => "get 256 B",
        }
    }

    async fn connect(server: &Server, in_flight: usize) -> Outcome<ZooKeeper> {
        let address = server.addresses.zookeeper.ok_or("this server has no ZooKeeper door")?.to_string();
        let mut sessions = Vec::new();
        let connections = match in_flight {
            1 => 1,
            2..=64 => 8,
            _ => 16,
        };
        for _ in 0..connections {
            let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
            sessions.push(connector.connect(&address).await?);
        }
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for folder in [FOLDER, NEW] {
            match sessions[0].create(folder, b"", &options).await {
                Ok(_) | Err(Error::NodeExists) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let paths = (0..ZooKeeper::ITEMS).map(|item| format!("{FOLDER}/{item:05}")).collect();
        Ok(ZooKeeper { sessions, paths, values: Values::new(), created: AtomicU64::new(0) })
    }

    async fn fill(&self, item: u64) -> Result<(), String> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let value = self.values.value(item.rotate_left(40), VALUE_BYTES);
        let session = self.session(item as usize);
        session
            .create(&self.paths[item as usize], value, &options)
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn operate(&self, worker: usize, work: Work, random: u64) -> Result<(), String> {
        let path = &self.paths[(random % ZooKeeper::ITEMS) as usize];
        match work {
            Work::Write => {
                let value = self.values.value(random, VALUE_BYTES);
                self.session(worker).set_data(path, value, None).await.map_err(|error| error.to_string())?;
                Ok(())
            }
            Work::Create => {
                let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                let value = self.values.value(random, VALUE_BYTES);
                let path = created(self.created.fetch_add(1, Relaxed));
                let made = self.session(worker).create(&path, value, &options).await;
                made.map(drop).map_err(|error| error.to_string())
            }
            Work::Read => {
                let read = self.session(worker).get_data(path).await.map_err(|error| error.to_string())?;
                match read.0.len() {
                    VALUE_BYTES => Ok(()),
                    other => Err(format!("{path} has {other} bytes")),
                }
            }
        }
    }

    async fn clean(self: Arc<Self>, at_a_time: usize) -> Outcome<()> {
        let client = Arc::clone(&self);
        let act = move |worker, item| {
            let client = Arc::clone(&client);
            async move {
                match client.session(worker).delete(&created(item), None).await {
                    Ok(()) | Err(Error::NoNode) => Ok(()),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        load::each(self.created.load(Relaxed), at_a_time, act).await?;
        self.created.store(0, Relaxed);
        Ok(())
    }
}

/// The path of what was created as number `item`.
fn created(item: u64) -> String {
    format!("{NEW}/{item:08}")
}

impl ZooKeeper {
    fn session(&self, worker: usize) -> &Client {
        &self.sessions[worker % self.sessions.len()]
    }
}
