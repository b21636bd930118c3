//! The memory budget: tables and znodes may be much larger; what Machines must know in memory may not, and
//! what would make them so is refused with the protocol's overload error while the node goes on.

use std::time::Duration;

use zookeeper_client::{Acls, CreateMode, Error};

use crate::{
    harness::{Launch, Server, cql::Conn},
    rust_zookeeper::client,
};

const BUDGET_BYTES: u64 = 16 << 20;

fn small(name: &str) -> Launch {
    Launch::new(name).config(&format!("[memory]\nbudget_bytes = {BUDGET_BYTES}\n"))
}

/// Rows of 10 kB: five times the budget.
const ROWS: u64 = 8_000;

fn value(n: u64) -> String {
    format!("{n:0>10000}")
}

fn check(conn: &mut Conn) {
    for n in (0..ROWS).step_by(997).chain([ROWS - 1]) {
        let answer = conn.must(&format!("SELECT v FROM filled.t WHERE id = {n}"));
        let value = value(n);
        assert!(answer.body.windows(value.len()).any(|part| part == value.as_bytes()), "row {n}");
    }
}

#[test]
fn tables_may_be_larger_than_memory() {
    let mut server = small("memory-cql").start();
    let mut conn = Conn::open(server.cql());
    conn.must(
        "CREATE KEYSPACE filled WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    conn.must("CREATE TABLE filled.t (id bigint PRIMARY KEY, v text)");
    for n in 0..ROWS {
        conn.must(&format!("INSERT INTO filled.t (id, v) VALUES ({n}, '{}')", value(n)));
    }
    check(&mut conn);
    let most = 4 * BUDGET_BYTES;
    assert!(server.resident_bytes() < most, "{} resident, {most} at most", server.resident_bytes());

    server.kill();
    server.restart();
    let mut conn = Conn::open(server.cql());
    check(&mut conn);
    assert!(server.resident_bytes() < most, "{} resident, {most} at most", server.resident_bytes());
    conn.must("DROP TABLE filled.t");
    conn.must("CREATE TABLE filled.t (id bigint PRIMARY KEY, v text)");
    conn.must("INSERT INTO filled.t (id, v) VALUES (1, 'begun anew')");
}

/// Znodes of 100 kB: five times the budget.
const ZNODES: u64 = 800;

fn data(n: u64) -> Vec<u8> {
    vec![n as u8; 100_000]
}

async fn check_znodes(server: &Server) {
    let client = client(server, Duration::from_secs(30)).await;
    for n in (0..ZNODES).step_by(97).chain([ZNODES - 1, 0]) {
        assert!(client.get_data(&format!("/big/n{n}")).await.unwrap().0 == data(n), "znode {n}");
    }
    assert_eq!(client.list_children("/big").await.unwrap().len() as u64, ZNODES);
}

#[tokio::test]
async fn znodes_may_be_larger_than_memory() {
    let mut server = small("memory-znodes").start();
    let writer = client(&server, Duration::from_secs(30)).await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    writer.create("/big", b"", &options).await.unwrap();
    for n in 0..ZNODES {
        // Files may not be made as fast as this.
        while let Err(error) = writer.create(&format!("/big/n{n}"), &data(n), &options).await {
            assert_ne!(error, Error::ConnectionLoss, "a refusal is an answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    check_znodes(&server).await;
    let most = 5 * BUDGET_BYTES;
    assert!(server.resident_bytes() < most, "{} resident, {most} at most", server.resident_bytes());
    drop(writer);
    server.kill();
    server.restart();
    check_znodes(&server).await;
    assert!(server.resident_bytes() < most, "{} resident, {most} at most", server.resident_bytes());
}

/// What must be known in memory is what ends with its session.
#[tokio::test]
async fn over_the_budget_the_tree_refuses_and_the_session_lives() {
    let mut server = small("memory-zk").start();
    let client = client(&server, Duration::from_secs(30)).await;
    let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    let path = |n: usize| format!("/{n:0>20000}");
    let mut made = 0;
    let refusal = loop {
        match client.create(&path(made), b"", &options).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1_000, "20 MB fit into a budget of {BUDGET_BYTES} bytes");
    };
    assert!(made as u64 * 20_000 > BUDGET_BYTES / 8, "the budget is for data: only {made} znodes fit");
    assert_ne!(refusal, Error::ConnectionLoss, "a refusal is an answer");
    assert!(server.runs());
    for n in 0..made / 2 {
        client.delete(&path(n), None).await.unwrap();
    }
    assert_eq!(client.get_data(&path(made - 1)).await.unwrap().0, b"");
    client.create("/small", b"fits again", &options).await.unwrap();
}
