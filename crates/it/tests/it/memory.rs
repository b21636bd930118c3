//! The memory budget: over it a write is refused with the protocol's overload error, and the node
//! goes on.

use std::time::Duration;

use zookeeper_client::{Acls, CreateMode, Error};

use crate::{
    harness::{
        Launch,
        cql::{Conn, OVERLOADED},
    },
    rust_zookeeper::client,
};

const BUDGET_BYTES: u64 = 16 << 20;

fn small(name: &str) -> Launch {
    Launch::new(name).config(&format!("[memory]\nbudget_bytes = {BUDGET_BYTES}\n"))
}

/// Writes rows of 10 kB until one is refused; how many were taken, and the refusal.
fn fill(conn: &mut Conn, from: u64) -> (u64, i32, String) {
    let value = "x".repeat(10_000);
    for n in from..from + 10_000 {
        let answer = conn.query(&format!("INSERT INTO filled.t (id, v) VALUES ({n}, '{value}')")).unwrap();
        if let Some((code, text)) = answer.error() {
            return (n - from, code, text);
        }
    }
    panic!("100 MB fit into a budget of {BUDGET_BYTES} bytes")
}

#[test]
fn over_the_budget_writes_are_overloaded_reads_go_on_and_deleting_helps() {
    let mut server = small("memory-cql").start();
    let mut conn = Conn::open(server.cql());
    conn.must(
        "CREATE KEYSPACE filled WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    );
    conn.must("CREATE TABLE filled.t (id bigint PRIMARY KEY, v text)");
    let (taken, code, text) = fill(&mut conn, 0);
    assert_eq!(code, OVERLOADED, "{text}");
    assert!(taken * 10_000 > BUDGET_BYTES / 4, "the budget is for data: only {taken} rows fit");
    assert!(server.runs());
    conn.must("SELECT * FROM filled.t WHERE id = 1");
    assert!(server.resident_bytes() < 12 * BUDGET_BYTES, "{} resident", server.resident_bytes());

    // What was taken is there after a restart, which must fit as well; what was refused is not.
    server.kill();
    server.restart();
    let mut conn = Conn::open(server.cql());
    conn.must(&format!("SELECT * FROM filled.t WHERE id = {}", taken - 1));
    let (_, code, text) = fill(&mut conn, 1_000_000);
    assert_eq!(code, OVERLOADED, "{text}");
    // Room is made by dropping the table.
    conn.must("DROP TABLE filled.t");
    conn.must("CREATE TABLE filled.t (id bigint PRIMARY KEY, v text)");
    conn.must("INSERT INTO filled.t (id, v) VALUES (1, 'fits again')");
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
