//! The CQL client: prepared INSERT and SELECT of 1 KB values by key, through the `scylla` driver.
//!
//! One connection, as the driver opens to a node without shards; it never retries, so what fails
//! is counted as failed. Everything else is the driver's default, LOCAL_QUORUM included.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use scylla::{
    client::{
        PoolSize, execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder,
    },
    policies::retry::FallthroughRetryPolicy,
    statement::prepared::PreparedStatement,
};

use crate::{
    Outcome,
    load::{Bars, Cell, Load, Values, Work},
    server::Server,
};

/// Bytes of a value.
pub const VALUE_BYTES: usize = 1024;

const DEFINITIONS: [&str; 2] = [
    "CREATE KEYSPACE IF NOT EXISTS bench \
     WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE IF NOT EXISTS bench.items (id bigint PRIMARY KEY, value blob)",
];
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A connected driver and its two statements.
pub struct Cql {
    session: Session,
    insert: PreparedStatement,
    select: PreparedStatement,
    values: Values,
}

impl Load for Cql {
    const SUITE: &'static str = "cql";
    const CELLS: &'static [Cell] = &[
        Cell { work: Work::Write, in_flight: 1 },
        Cell { work: Work::Write, in_flight: 128 },
        Cell { work: Work::Read, in_flight: 1 },
        Cell { work: Work::Read, in_flight: 128 },
    ];
    const BARS: Bars = Bars { cpu: 0.5, p50_at_one: None, p99_at: None };
    const ITEMS: u64 = 100_000;

    fn work_name(work: Work) -> &'static str {
        match work {
            Work::Write | Work::Create => "write 1 KB",
            Work::Read => "read 1 KB",
        }
    }

    async fn connect(server: &Server, _in_flight: usize) -> Outcome<Cql> {
        let address = server.addresses.cql.ok_or("this server has no CQL door")?;
        let profile = ExecutionProfile::builder()
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .request_timeout(Some(REQUEST_TIMEOUT))
            .build();
        let session = SessionBuilder::new()
            .known_node_addr(address)
            .pool_size(PoolSize::PerHost(NonZeroUsize::MIN))
            .default_execution_profile_handle(profile.into_handle())
            .build()
            .await?;
        for definition in DEFINITIONS {
            session.query_unpaged(definition, ()).await?;
        }
        let insert = session.prepare("INSERT INTO bench.items (id, value) VALUES (?, ?)").await?;
        let select = session.prepare("SELECT value FROM bench.items WHERE id = ?").await?;
        Ok(Cql { session, insert, select, values: Values::new() })
    }

    async fn fill(&self, item: u64) -> Result<(), String> {
        self.write(item as i64, item.rotate_left(40)).await
    }

    async fn operate(&self, _worker: usize, work: Work, random: u64) -> Result<(), String> {
        let id = (random % Cql::ITEMS) as i64;
        match work {
            Work::Write | Work::Create => self.write(id, random).await,
            Work::Read => self.read(id).await,
        }
    }
}

impl Cql {
    /// Writes row `id`, its value chosen by `random`.
    pub(crate) async fn write(&self, id: i64, random: u64) -> Result<(), String> {
        let value = self.values.value(random, VALUE_BYTES);
        self.session.execute_unpaged(&self.insert, (id, value)).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Reads row `id` and checks that it has a value.
    pub(crate) async fn read(&self, id: i64) -> Result<(), String> {
        let answer =
            self.session.execute_unpaged(&self.select, (id,)).await.map_err(|error| error.to_string())?;
        let rows = answer.into_rows_result().map_err(|error| error.to_string())?;
        let (value,) = rows.single_row::<(&[u8],)>().map_err(|error| format!("row {id}: {error}"))?;
        match value.len() {
            VALUE_BYTES => Ok(()),
            other => Err(format!("row {id} has {other} bytes")),
        }
    }
}
