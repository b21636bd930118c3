//! The ZooKeeper client: setData and getData of 256-byte nodes, through `zookeeper-client`.
//! One connection for one operation in flight, eight for more; a worker stays on its connection.

use std::time::Duration;

use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::{
    Outcome,
    load::{Cell, Load, Values, Work},
    server::Server,
};

/// Bytes of a node's data.
pub const VALUE_BYTES: usize = 256;

const FOLDER: &str = "/bench";
const CONNECTIONS: usize = 8;
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Connected sessions and the nodes they work on.
pub struct ZooKeeper {
    sessions: Vec<Client>,
    paths: Vec<String>,
    values: Values,
}

impl Load for ZooKeeper {
    const SUITE: &'static str = "zookeeper";
    const CELLS: [Cell; 4] = [
        Cell { work: Work::Write, in_flight: 1 },
        Cell { work: Work::Write, in_flight: 64 },
        Cell { work: Work::Read, in_flight: 1 },
        Cell { work: Work::Read, in_flight: 64 },
    ];
    const ITEMS: u64 = 10_000;

    fn work_name(work: Work) -> &'static str {
        match work {
            Work::Write => "set 256 B",
            Work::Read => "get 256 B",
        }
    }

    async fn connect(server: &Server, in_flight: usize) -> Outcome<ZooKeeper> {
        let address = server.addresses.zookeeper.ok_or("this server has no ZooKeeper door")?.to_string();
        let mut sessions = Vec::new();
        for _ in 0..in_flight.min(CONNECTIONS) {
            let connector = Client::connector().with_session_timeout(SESSION_TIMEOUT);
            sessions.push(connector.connect(&address).await?);
        }
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        match sessions[0].create(FOLDER, b"", &options).await {
            Ok(_) | Err(Error::NodeExists) => {}
            Err(error) => return Err(error.into()),
        }
        let paths = (0..ZooKeeper::ITEMS).map(|item| format!("{FOLDER}/{item:05}")).collect();
        Ok(ZooKeeper { sessions, paths, values: Values::new() })
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
            Work::Read => {
                let read = self.session(worker).get_data(path).await.map_err(|error| error.to_string())?;
                match read.0.len() {
                    VALUE_BYTES => Ok(()),
                    other => Err(format!("{path} has {other} bytes")),
                }
            }
        }
    }
}

impl ZooKeeper {
    fn session(&self, worker: usize) -> &Client {
        &self.sessions[worker % self.sessions.len()]
    }
}
