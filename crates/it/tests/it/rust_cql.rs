//! The Rust driver: prepares what it reads of the system tables, asks for LOCAL_QUORUM by default,
//! and never for `peers_v2`.

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    errors::{DbError, ExecutionError, RequestAttemptError},
    statement::{Consistency, unprepared::Statement},
};

use crate::harness::Server;

/// A session as the driver makes it by default.
pub(crate) async fn session(server: &Server) -> Session {
    SessionBuilder::new().known_node_addr(server.cql()).build().await.unwrap()
}

/// Makes a keyspace with one replica and uses it.
pub(crate) async fn keyspace(session: &Session, name: &str) {
    let text = format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    run(session, &text).await;
    session.use_keyspace(name, false).await.unwrap();
}

/// Runs a statement that must succeed.
pub(crate) async fn run(session: &Session, text: &str) {
    session.query_unpaged(text, ()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
}

#[tokio::test]
async fn rows_are_written_read_changed_and_deleted() {
    let server = Server::start("rust-crud");
    let session = session(&server).await;
    keyspace(&session, "crud").await;
    run(&session, "CREATE TABLE t (p text, c int, v blob, n bigint, PRIMARY KEY (p, c))").await;

    let insert = session.prepare("INSERT INTO t (p, c, v, n) VALUES (?, ?, ?, ?)").await.unwrap();
    for c in 0..10_i32 {
        let row = ("key", c, vec![c as u8; 100], i64::from(c) << 40);
        session.execute_unpaged(&insert, row).await.unwrap();
    }
    let select = session.prepare("SELECT c, v, n FROM t WHERE p = ? AND c >= ?").await.unwrap();
    let rows = session.execute_unpaged(&select, ("key", 7)).await.unwrap().into_rows_result().unwrap();
    let rows: Vec<(i32, Vec<u8>, i64)> = rows.rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|(c, ..)| *c).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(rows[2], (9, vec![9; 100], 9 << 40));

    let update = session.prepare("UPDATE t SET n = ? WHERE p = ? AND c = ?").await.unwrap();
    session.execute_unpaged(&update, (Some(-1_i64), "key", 7)).await.unwrap();
    session.execute_unpaged(&update, (None::<i64>, "key", 8)).await.unwrap();
    run(&session, "DELETE FROM t WHERE p = 'key' AND c = 9").await;
    run(&session, "DELETE FROM t WHERE p = 'key' AND c < 5").await;
    let rows = session.query_unpaged("SELECT c, n FROM t WHERE p = 'key'", ()).await.unwrap();
    let rows: Vec<(i32, Option<i64>)> =
        rows.into_rows_result().unwrap().rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, [(5, Some(5 << 40)), (6, Some(6 << 40)), (7, Some(-1)), (8, None)]);
    run(&session, "DELETE FROM t WHERE p = 'key'").await;
    let rows = session.query_unpaged("SELECT c FROM t WHERE p = 'key'", ()).await.unwrap();
    assert_eq!(rows.into_rows_result().unwrap().rows_num(), 0);
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let server = Server::start("rust-pages");
    let session = session(&server).await;
    keyspace(&session, "pages").await;
    run(&session, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let insert = session.prepare("INSERT INTO t (id, v) VALUES (?, ?)").await.unwrap();
    for batch in 0..20 {
        let writes = (0..50).map(|n| session.execute_unpaged(&insert, (batch * 50 + n, "v")));
        for write in futures(writes).await {
            write.unwrap();
        }
    }
    let mut select = session.prepare("SELECT id FROM t").await.unwrap();
    select.set_page_size(33);
    let mut ids = Vec::new();
    let mut state = scylla::response::PagingState::start();
    loop {
        let (page, next) = session.execute_single_page(&select, (), state).await.unwrap();
        let page = page.into_rows_result().unwrap();
        assert!(page.rows_num() <= 33);
        ids.extend(page.rows::<(i32,)>().unwrap().map(|row| row.unwrap().0));
        match next.into_paging_control_flow() {
            std::ops::ControlFlow::Continue(more) => state = more,
            std::ops::ControlFlow::Break(()) => break,
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn refusals_are_the_protocols_own() {
    let server = Server::start("rust-refusals");
    let session = session(&server).await;
    keyspace(&session, "refusals").await;
    run(&session, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;

    let db_error = async |text: &str| match session.query_unpaged(text, ()).await {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => error,
        other => panic!("{text}: {other:?}"),
    };
    assert!(matches!(db_error("SELEC * FROM t").await, DbError::SyntaxError));
    assert!(matches!(db_error("SELECT * FROM nothing").await, DbError::Invalid));
    assert!(matches!(db_error("INSERT INTO t (v) VALUES ('no key')").await, DbError::Invalid));
    assert!(matches!(
        db_error("CREATE TABLE t (id int PRIMARY KEY)").await,
        DbError::AlreadyExists { keyspace, table } if keyspace == "refusals" && table == "t"
    ));

    // Three replicas on one node: the driver's default level can't be met, and is told the numbers.
    run(
        &session,
        "CREATE KEYSPACE three WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}",
    )
    .await;
    run(&session, "CREATE TABLE three.t (id int PRIMARY KEY)").await;
    assert!(matches!(
        db_error("INSERT INTO three.t (id) VALUES (1)").await,
        DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 }
    ));
    let mut one = Statement::new("INSERT INTO three.t (id) VALUES (1)");
    one.set_consistency(Consistency::One);
    session.query_unpaged(one, ()).await.unwrap();
}

#[tokio::test]
async fn the_driver_knows_the_schema_and_the_ring() {
    let server = Server::start("rust-schema");
    let session = session(&server).await;
    keyspace(&session, "ring").await;
    run(&session, "CREATE TABLE t (a int, b text, c int, d text, PRIMARY KEY ((a, b), c))").await;
    session.await_schema_agreement().await.unwrap();
    session.refresh_metadata().await.unwrap();
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].address.to_string(), server.cql().to_string());
    let table = &state.get_keyspace("ring").unwrap().tables["t"];
    assert_eq!(
        (&table.partition_key[..], &table.clustering_key[..]),
        (&["a".into(), "b".into()][..], &["c".into()][..])
    );
    let owners = state.get_endpoints("ring", "t", &(1, "x")).unwrap();
    assert_eq!(owners.len(), 1, "the one node owns every token");
}

#[tokio::test]
async fn a_statement_prepared_before_a_restart_is_executed_after_it() {
    let mut server = Server::start("rust-prepared");
    let profile = ExecutionProfile::builder().consistency(Consistency::One).build();
    let session = SessionBuilder::new()
        .known_node_addr(server.cql())
        .default_execution_profile_handle(profile.into_handle())
        .build()
        .await
        .unwrap();
    keyspace(&session, "kept").await;
    run(&session, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let insert = session.prepare("INSERT INTO t (id, v) VALUES (?, ?)").await.unwrap();
    session.execute_unpaged(&insert, (1, "before")).await.unwrap();
    server.kill();
    server.restart();
    // The driver finds its way back by itself; until then it says that it has no connection.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Err(error) = session.execute_unpaged(&insert, (2, "after")).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let rows = session.query_unpaged("SELECT v FROM t WHERE id = 1", ()).await.unwrap();
    assert_eq!(rows.into_rows_result().unwrap().single_row::<(String,)>().unwrap().0, "before");
}

#[tokio::test]
async fn a_truncated_table_is_empty_and_stays_so_after_a_crash() {
    let mut server = Server::start("rust-truncate");
    let session = session(&server).await;
    keyspace(&session, "emptied").await;
    run(&session, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let insert = session.prepare("INSERT INTO t (id, v) VALUES (?, ?)").await.unwrap();
    let count = session.prepare("SELECT count(*) FROM t").await.unwrap();
    let rows = async || {
        let rows = session.execute_unpaged(&count, ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(i64,)>().unwrap().0
    };
    for id in 0..100 {
        session.execute_unpaged(&insert, (id, "old")).await.unwrap();
    }
    assert_eq!(rows().await, 100);
    run(&session, "TRUNCATE t").await;
    assert_eq!(rows().await, 0);
    for id in 0..3 {
        session.execute_unpaged(&insert, (id, "new")).await.unwrap();
    }
    assert_eq!(rows().await, 3);
    server.kill();
    server.restart();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Err(error) = session.execute_unpaged(&insert, (3, "after")).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(rows().await, 4);
}

/// Awaits all at once.
pub(crate) async fn futures<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut all {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    all.into_iter().map(|(_, output)| output.expect("all are ready")).collect()
}
