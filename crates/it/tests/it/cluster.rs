//! Three real processes find each other: found, join, join; what one is told all know, whoever is killed.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::harness::{
    Launch, Scratch, Server, certificates::Authority, cql::Conn, eventually, server::binary,
};

/// What a cluster of three does within seconds, on a machine that may be busy compiling.
const LIMIT: Duration = Duration::from_secs(60);

/// Certificates of one authority, for all nodes of a test.
fn certificates(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    let authority = Authority::new("nodes");
    authority.publish(&scratch.path().join("ca.pem"));
    authority.sign(scratch.path(), "node", 2099);
    scratch
}

fn launch(name: &str, certificates: &Path, zone: &str, join: Option<SocketAddr>) -> Launch {
    let file = |name: &str| certificates.join(name).display().to_string();
    let mut flags = vec![
        "--set".to_owned(),
        format!("node.certificate={}", file("node.pem")),
        "--set".to_owned(),
        format!("node.key={}", file("node.key")),
        "--set".to_owned(),
        format!("node.ca={}", file("ca.pem")),
        "--set".to_owned(),
        format!("cluster.zone={zone}"),
    ];
    if let Some(address) = join {
        flags.extend(["--join".to_owned(), address.to_string()]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    Launch::new(name).listen("node", "127.0.0.1:0").flags(&flags)
}

/// What `holdfast ARGUMENTS` says of a running node.
fn tool(arguments: &[&str], http: SocketAddr) -> (bool, String) {
    let output = Command::new(binary()).args(arguments).arg("--http").arg(http.to_string()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Three nodes in three zones, each a voter of every group.
fn three(name: &str, certificates: &Path) -> Vec<Server> {
    let mut nodes = vec![launch(&format!("{name}-1"), certificates, "a", None).start()];
    for (number, zone) in [(2, "b"), (3, "c")] {
        let by = Some(nodes[0].node());
        nodes.push(launch(&format!("{name}-{number}"), certificates, zone, by).start());
    }
    for node in &nodes {
        eventually("every group has three voters", LIMIT, || {
            let (done, said) = tool(&["groups", "--json"], node.http());
            let voters = said.matches(r#""voters":[1,2,3]"#).count();
            // Of two groups: what is wanted, and what is.
            (done && voters == 4).then_some(())
        });
    }
    nodes
}

/// Makes a keyspace by way of a node, however often that must be tried.
fn make(node: &Server, keyspace: &str) {
    let text = format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', \
         'replication_factor': 1}}"
    );
    eventually("a definition is made", LIMIT, || {
        let answer = Conn::open(node.cql()).query(&text).ok()?;
        answer.is_result().then_some(())
    });
}

/// Whether a node knows a keyspace.
fn knows(node: &Server, keyspace: &str) -> bool {
    Conn::open(node.cql()).query(&format!("USE {keyspace}")).is_ok_and(|answer| answer.is_result())
}

#[test]
fn three_nodes_know_what_each_was_told_and_bear_the_loss_of_any() {
    let certificates = certificates("cluster-certificates");
    let mut nodes = three("cluster", certificates.path());
    let (done, said) = tool(&["nodes"], nodes[2].http());
    let members = said.lines().filter(|line| line.contains("member   yes") || line.contains("member  yes"));
    assert!(done && members.count() == 3, "{said}");

    make(&nodes[1], "before");
    for node in &nodes {
        eventually("every node knows it", LIMIT, || knows(node, "before").then_some(()));
    }
    for victim in 0..3 {
        nodes[victim].kill();
        let keyspace = format!("without_{victim}");
        make(&nodes[(victim + 1) % 3], &keyspace);
        nodes[victim].restart();
        eventually("it hears what it missed", LIMIT, || knows(&nodes[victim], &keyspace).then_some(()));
        assert!(knows(&nodes[victim], "before"), "and has what it knew");
    }

    // Rows are another matter.
    let mut conn = Conn::open(nodes[0].cql());
    conn.must("CREATE TABLE before.t (id int PRIMARY KEY)");
    let (_, why) = conn.query("INSERT INTO before.t (id) VALUES (1)").unwrap().error().expect("refused");
    assert!(why.contains("several nodes"), "{why}");
}

#[test]
fn who_may_not_join_is_told_why() {
    let certificates = certificates("join-certificates");
    let founder = launch("join-founder", certificates.path(), "a", None).start();
    let other = launch("join-other", certificates.path(), "a", None).start();

    let mut second = launch("join-second", certificates.path(), "b", Some(founder.node())).start();
    let data = second.data().to_owned();
    second.kill();
    let astray = launch("join-astray", certificates.path(), "b", Some(other.node())).over(&data);
    let (code, said) = astray.refused();
    assert!(code == 65 && said.contains("belongs to cluster"), "{code}: {said}");

    let strangers = self::certificates("join-strangers");
    let stranger = launch("join-stranger", strangers.path(), "b", Some(founder.node()));
    let plain = Launch::new("join-plain").flags(&["--join", "127.0.0.1:1"]);
    let (code, said) = plain.refused();
    assert!(code == 78 && said.contains("node.certificate"), "{code}: {said}");
    let (code, said) = stranger.refused();
    assert!(code == 69 && said.contains("cannot join"), "{code}: {said}");

    let mut conn = Conn::open(other.cql());
    conn.must("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE k.t (id int PRIMARY KEY)");
    let late = launch("join-late", certificates.path(), "b", Some(other.node()));
    let (code, said) = late.refused();
    assert!(code == 65 && said.contains("has tables"), "{code}: {said}");
}

#[test]
fn the_catalog_is_saved_and_begins_another_cluster() {
    let server = Server::start("catalog-backup");
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE k.t (id int PRIMARY KEY, text text)");
    conn.must("INSERT INTO k.t (id, text) VALUES (1, 'x')");
    let file = server.scratch().join("catalog");
    let (done, said) = tool(&["catalog", "backup", file.to_str().unwrap()], server.http());
    assert!(done, "{said}");
    let (again, _) = tool(&["catalog", "backup", file.to_str().unwrap()], server.http());
    assert!(!again, "a backup is not written over");

    let data = server.scratch().join("restored");
    let restore = || {
        let mut command = Command::new(binary());
        command.args(["catalog", "restore"]).arg(&file).arg("--data-dir").arg(&data);
        command.output().unwrap().status.code()
    };
    assert_eq!((restore(), restore()), (Some(0), Some(65)), "once, into an empty directory");
    let restored = Launch::new("catalog-restored").over(&data).start();
    let mut conn = Conn::open(restored.cql());
    conn.must("INSERT INTO k.t (id, text) VALUES (2, 'y')");
    conn.must("SELECT * FROM k.t WHERE id = 1");
}
