//! The memory budget: tables may be much larger; Machines may not, and what would make them so is
//! refused with the protocol's overload error while the node goes on.

use std::time::Duration;

use zookeeper_client::{Acls, CreateMode, Error};

use crate::{
    harness::{Launch, cql::Conn},
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

#[tokio::test]
async fn over_the_budget_the_tree_refuses_and_the_session_lives() {
    let mut server = small("memory-zk").start();
    let client = client(&server, Duration::from_secs(30)).await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let data = vec![7; 100_000];
    let mut made = 0;
    let refusal = loop {
        match client.create(&format!("/n{made}"), &data, &options).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1_000, "100 MB fit into a budget of {BUDGET_BYTES} bytes");
    };
    assert!(made as u64 * 100_000 > BUDGET_BYTES / 4, "the budget is for data: only {made} nodes fit");
    assert_ne!(refusal, Error::ConnectionLoss, "a refusal is an answer");
    assert!(server.runs());
    assert_eq!(client.get_data("/n0").await.unwrap().0, data);
    client.delete("/n0", None).await.unwrap();
    client.create("/small", b"fits again", &options).await.unwrap();
}
