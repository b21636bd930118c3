//! Nothing acknowledged is lost: fifty times `kill -9` under load through both doors, and every
//! acknowledged write read back.
//!
//! Four kinds of load run at once, each with a history that can be judged afterwards:
//! - rows, each written once: every acknowledged one is there, with its value;
//! - a chain of conditional writes on one row by several writers: each takes the value from n to
//!   n + 1 and signs it, so the acknowledged ones must lie on one chain (no number signed twice),
//!   and the value read afterwards is never behind the last acknowledged one;
//! - a chain of versioned setData on one znode, judged in the same way;
//! - sequential znodes: every acknowledged name is there, and none was given twice.
//!
//! A write whose answer did not come may have happened or not; it is never counted as lost.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use scylla::{client::session::Session, statement::Consistency};
use tokio::{sync::watch, task::JoinSet};
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::{
    harness::{Launch, Server, server::verify},
    rust_cql::{futures, keyspace, run, session},
    rust_zookeeper::client,
};

const ROUNDS: u32 = 50;

/// How long a round's load runs before the kill: different in each round, so that kills fall into
/// every phase, connecting included.
fn load_time(round: u32) -> Duration {
    Duration::from_millis(120 + u64::from(round * 37 % 400))
}

/// What was acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// Rows by key.
    rows: BTreeMap<i64, String>,
    /// Who signed which number of the conditional chain.
    swaps: BTreeMap<i64, String>,
    /// Who wrote which version of the znode.
    versions: BTreeMap<i32, String>,
    /// Sequential znodes.
    names: BTreeMap<String, String>,
}

/// One acknowledged write.
enum Ack {
    Row(i64, String),
    Swap(i64, String),
    Version(i32, String),
    Name(String, String),
}

impl Ack {
    /// The key, if it is a row's.
    fn row(&self) -> Option<i64> {
        match self {
            Ack::Row(key, _) => Some(*key),
            _ => None,
        }
    }
}

impl Acknowledged {
    fn take(&mut self, ack: Ack) {
        let (what, earlier) = match ack {
            Ack::Row(key, value) => (key.to_string(), self.rows.insert(key, value)),
            Ack::Swap(n, writer) => (format!("number {n}"), self.swaps.insert(n, writer)),
            Ack::Version(version, writer) => {
                (format!("version {version}"), self.versions.insert(version, writer))
            }
            Ack::Name(name, writer) => (name.clone(), self.names.insert(name, writer)),
        };
        assert_eq!(earlier, None, "{what} was acknowledged twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_nothing_that_was_acknowledged() {
    let mut server = Launch::new("durability").small_files().start();
    prepare(&server).await;
    let mut acknowledged = Acknowledged::default();
    for round in 0..ROUNDS {
        let acks = load_until_killed(&mut server, round).await;
        let new_rows: Vec<i64> = acks.iter().filter_map(Ack::row).collect();
        acks.into_iter().for_each(|ack| acknowledged.take(ack));
        if round % 10 == 9 {
            let (code, said) = verify(server.data());
            assert_eq!(code, 0, "what a kill leaves is no damage: {said}");
        }
        server.restart();
        judge_chains(&server, &acknowledged, round).await;
        judge_rows(&server, &acknowledged, &new_rows).await;
    }
    judge_everything(&server, &acknowledged).await;
    assert!(acknowledged.rows.len() > 50 * 20, "too little load: {} rows", acknowledged.rows.len());
    assert!(acknowledged.swaps.len() > 50, "too little load: {} swaps", acknowledged.swaps.len());
    assert!(acknowledged.versions.len() > 50, "too little load: {} versions", acknowledged.versions.len());
    assert!(acknowledged.names.len() > 50, "too little load: {} names", acknowledged.names.len());
}

async fn prepare(server: &Server) {
    let cql = session(server).await;
    keyspace(&cql, "d").await;
    run(&cql, "CREATE TABLE rows (id bigint PRIMARY KEY, v text)").await;
    run(&cql, "CREATE TABLE chain (id int PRIMARY KEY, n bigint, writer text)").await;
    run(&cql, "INSERT INTO chain (id, n, writer) VALUES (1, 0, 'nobody') IF NOT EXISTS").await;
    let zk = client(server, Duration::from_secs(30)).await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    zk.create("/chain", b"nobody", &options).await.unwrap();
    zk.create("/names", b"", &options).await.unwrap();
}

/// Starts the load, kills the server in the middle of it, and gives what had been acknowledged.
async fn load_until_killed(server: &mut Server, round: u32) -> Vec<Ack> {
    let mut load = JoinSet::new();
    let (stop, stopped) = watch::channel(false);
    let cql = Arc::new(connected(server).await);
    for writer in 0..8 {
        load.spawn(write_rows(cql.clone(), i64::from(round * 8 + writer) * 1_000_000, stopped.clone()));
    }
    for writer in 0..2 {
        load.spawn(swap(cql.clone(), format!("{round}/{writer}"), stopped.clone()));
    }
    let zk = client(server, Duration::from_secs(30)).await;
    for writer in 0..2 {
        load.spawn(set_data(zk.clone(), format!("{round}/{writer}"), stopped.clone()));
        load.spawn(create(zk.clone(), format!("{round}/{writer}"), stopped.clone()));
    }
    tokio::time::sleep(load_time(round)).await;
    server.kill();
    stop.send_replace(true);
    let mut acks = Vec::new();
    while let Some(done) = load.join_next().await {
        acks.extend(done.unwrap());
    }
    acks
}

/// A driver's session. The statements that load the server are not retried by the driver.
async fn connected(server: &Server) -> Session {
    let cql = session(server).await;
    cql.use_keyspace("d", false).await.unwrap();
    cql
}

/// What `attempt` gave, or `None` if the load is over: the server is gone.
async fn unless_stopped<F: Future>(stopped: &mut watch::Receiver<bool>, attempt: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = attempt => Some(output),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    }
}

async fn write_rows(cql: Arc<Session>, from: i64, mut stopped: watch::Receiver<bool>) -> Vec<Ack> {
    let mut acks = Vec::new();
    let Ok(insert) = cql.prepare("INSERT INTO rows (id, v) VALUES (?, ?)").await else { return acks };
    for key in from.. {
        let value = format!("the value of {key}");
        match unless_stopped(&mut stopped, cql.execute_unpaged(&insert, (key, &value))).await {
            Some(Ok(_)) => acks.push(Ack::Row(key, value)),
            Some(Err(_)) | None => break,
        }
    }
    acks
}

async fn swap(cql: Arc<Session>, writer: String, mut stopped: watch::Receiver<bool>) -> Vec<Ack> {
    let mut acks = Vec::new();
    let text = "UPDATE chain SET n = ?, writer = ? WHERE id = 1 IF n = ?";
    let Ok(update) = cql.prepare(text).await else { return acks };
    let mut known = 0;
    loop {
        let attempt = cql.execute_unpaged(&update, (known + 1, &writer, known));
        let Some(Ok(answer)) = unless_stopped(&mut stopped, attempt).await else { return acks };
        let answer = answer.into_rows_result().unwrap();
        // `[applied]`, and where it was not, what stands in the way.
        let (applied, n) = match answer.single_row::<(bool, Option<i64>)>() {
            Ok((applied, n)) => (applied, n),
            Err(_) => (answer.single_row::<(bool,)>().unwrap().0, None),
        };
        if applied {
            known += 1;
            acks.push(Ack::Swap(known, writer.clone()));
        } else {
            known = n.expect("the row is there");
        }
    }
}

async fn set_data(zk: Client, writer: String, mut stopped: watch::Receiver<bool>) -> Vec<Ack> {
    let mut acks = Vec::new();
    let mut known = 0;
    loop {
        match unless_stopped(&mut stopped, zk.set_data("/chain", writer.as_bytes(), Some(known))).await {
            Some(Ok(stat)) => {
                assert_eq!(stat.version, known + 1);
                known = stat.version;
                acks.push(Ack::Version(known, writer.clone()));
            }
            Some(Err(Error::BadVersion)) => {
                match unless_stopped(&mut stopped, zk.check_stat("/chain")).await {
                    Some(Ok(stat)) => known = stat.expect("the node is there").version,
                    _ => return acks,
                }
            }
            Some(Err(_)) | None => return acks,
        }
    }
}

async fn create(zk: Client, writer: String, mut stopped: watch::Receiver<bool>) -> Vec<Ack> {
    let mut acks = Vec::new();
    let options = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    loop {
        match unless_stopped(&mut stopped, zk.create("/names/n-", writer.as_bytes(), &options)).await {
            Some(Ok((_, sequence))) => acks.push(Ack::Name(format!("n-{sequence}"), writer.clone())),
            Some(Err(_)) | None => return acks,
        }
    }
}

/// The chains as they are now, against what was acknowledged.
async fn judge_chains(server: &Server, acknowledged: &Acknowledged, round: u32) {
    let cql = connected(server).await;
    let mut select = cql.prepare("SELECT n, writer FROM chain WHERE id = 1").await.unwrap();
    select.set_consistency(Consistency::Serial);
    let answer = cql.execute_unpaged(&select, ()).await.unwrap().into_rows_result().unwrap();
    let (n, writer) = answer.single_row::<(i64, String)>().unwrap();
    let last = acknowledged.swaps.last_key_value();
    assert!(
        last.is_none_or(|(last, _)| n >= *last),
        "round {round}: {last:?} was acknowledged, {n} is there"
    );
    if let Some(signed) = acknowledged.swaps.get(&n) {
        assert_eq!(*signed, writer, "round {round}: number {n} was acknowledged to another");
    }

    let zk = client(server, Duration::from_secs(30)).await;
    let (writer, stat) = zk.get_data("/chain").await.unwrap();
    let last = acknowledged.versions.last_key_value();
    assert!(
        last.is_none_or(|(last, _)| stat.version >= *last),
        "round {round}: {last:?} was acknowledged, version {} is there",
        stat.version
    );
    if let Some(signed) = acknowledged.versions.get(&stat.version) {
        assert_eq!(
            signed.as_bytes(),
            writer,
            "round {round}: version {} was acknowledged to another",
            stat.version
        );
    }
}

/// The rows of one round, by key.
async fn judge_rows(server: &Server, acknowledged: &Acknowledged, keys: &[i64]) {
    let cql = connected(server).await;
    let select = cql.prepare("SELECT v FROM rows WHERE id = ?").await.unwrap();
    for keys in keys.chunks(200) {
        let reads = keys.iter().map(|key| cql.execute_unpaged(&select, (*key,)));
        for (key, answer) in keys.iter().zip(futures(reads).await) {
            let answer = answer.unwrap().into_rows_result().unwrap();
            let found = answer.maybe_first_row::<(String,)>().unwrap();
            assert_eq!(found.map(|(value,)| value).as_ref(), acknowledged.rows.get(key), "row {key}");
        }
    }
}

/// All rows by a scan, and all names: what early rounds wrote has outlived every kill since.
async fn judge_everything(server: &Server, acknowledged: &Acknowledged) {
    let began = Instant::now();
    let cql = connected(server).await;
    let scan = cql.prepare("SELECT id, v FROM rows").await.unwrap();
    let mut there = BTreeMap::new();
    let mut state = scylla::response::PagingState::start();
    loop {
        let (page, next) = cql.execute_single_page(&scan, (), state).await.unwrap();
        let page = page.into_rows_result().unwrap();
        there.extend(page.rows::<(i64, String)>().unwrap().map(Result::unwrap));
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Continue(more) => state = more,
            std::ops::ControlFlow::Break(()) => break,
        }
    }
    for (key, value) in &acknowledged.rows {
        assert_eq!(there.get(key), Some(value), "row {key}");
    }
    let zk = client(server, Duration::from_secs(30)).await;
    let names = zk.list_children("/names").await.unwrap();
    for name in acknowledged.names.keys() {
        assert!(names.contains(name), "{name} was acknowledged and is gone");
    }
    println!(
        "{} rows, {} swaps, {} versions, {} names were acknowledged and are there (judged in {:?})",
        acknowledged.rows.len(),
        acknowledged.swaps.len(),
        acknowledged.versions.len(),
        acknowledged.names.len(),
        began.elapsed()
    );
}
