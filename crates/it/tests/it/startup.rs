//! Starting and stopping: what a stranger meets first. Exit codes are those of the server's
//! documentation.

use std::{fs, net::TcpListener, path::PathBuf};

use crate::harness::{
    Launch, Server,
    cql::{Conn, OPTIONS, SUPPORTED, frame},
    http,
};

const USAGE: i32 = 2;
const DATA_UNUSABLE: i32 = 65;
const PORT_TAKEN: i32 = 73;
const DIRECTORY_IN_USE: i32 = 75;
const NEEDS_INSECURE: i32 = 77;
const SETTINGS_WRONG: i32 = 78;

#[test]
fn an_empty_directory_becomes_a_ready_node_that_tells_where_it_listens() {
    let server = Server::start("start-fresh");
    let open: Vec<&str> = server.doors().keys().map(String::as_str).collect();
    assert_eq!(open, ["cql", "http", "zookeeper"]);
    let ports: std::collections::BTreeSet<u16> = server.doors().values().map(|door| door.port()).collect();
    assert_eq!(ports.len(), 3);
    let said = server.said();
    for (door, address) in server.doors() {
        let row = said.lines().find(|line| line.starts_with(door.as_str()));
        assert!(row.is_some_and(|row| row.contains(&address.to_string())), "{door} {address} in:\n{said}");
    }
    assert!(said.contains("try it"), "{said}");
    for path in ["/health", "/ready"] {
        assert_eq!(http::get(server.http(), path).unwrap().0, 200, "{path}");
    }
    assert_eq!(http::get(server.http(), "/nothing").unwrap().0, 404);
    let (status, metrics) = http::get(server.http(), "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE"), "{metrics}");
}

#[test]
fn an_acknowledged_write_was_synced() {
    let server = Server::start("start-synced");
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE s WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE s.t (id int PRIMARY KEY)");
    let synced = || http::metric(server.http(), "holdfast_log_fsyncs_total");
    for n in 0..10 {
        let before = synced();
        conn.must(&format!("INSERT INTO s.t (id) VALUES ({n})"));
        assert!(synced() > before, "write {n} was acknowledged without a sync");
    }
    let before = synced();
    conn.must("SELECT * FROM s.t WHERE id = 1");
    assert_eq!(synced(), before, "a read syncs nothing");
}

#[test]
fn signals_stop_it_cleanly_and_it_starts_again() {
    let mut server = Server::start("start-stop");
    for signal in ["TERM", "INT"] {
        let mut conn = Conn::open(server.cql());
        let status = server.stop(signal);
        assert!(status.success(), "{status}: {}", server.said());
        // The door closed the connection; nothing is left that a script would take for a running node.
        assert!(conn.recv().is_err());
        assert!(!server.data().join("listen.json").exists());
        server.restart();
    }
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_stop() {
    let mut server = Server::start("start-idle-stop");
    let _silent = [Conn::silent(server.cql()), Conn::silent(server.zookeeper()), Conn::silent(server.http())];
    let _idle = Conn::open(server.cql());
    assert!(server.stop("TERM").success());
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let server = Server::start("start-locked");
    let (code, said) = Launch::new("start-second").over(server.data()).refused();
    assert_eq!(code, DIRECTORY_IN_USE, "{said}");
    assert!(said.contains(server.data().to_str().unwrap()), "{said}");
    // The first is not disturbed.
    Conn::open(server.cql());
}

#[test]
fn a_killed_node_leaves_no_lock_behind() {
    let mut server = Server::start("start-killed");
    server.kill();
    server.restart();
}

#[test]
fn a_taken_port_is_refused_with_its_door() {
    for door in ["cql", "zookeeper", "http"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let launch = Launch::new("start-taken").listen(door, &address);
        let (code, said) = launch.refused();
        assert_eq!(code, PORT_TAKEN, "{said}");
        assert!(said.contains(door) && said.contains(&address), "{said}");
    }
}

#[test]
fn addresses_that_others_can_reach_need_a_word() {
    let launch = Launch::new("start-open").listen("cql", "0.0.0.0:0");
    let (code, said) = launch.refused();
    assert_eq!(code, NEEDS_INSECURE, "{said}");
    assert!(said.contains("--insecure") && said.contains("cql"), "{said}");
    let server = Launch::new("start-insecure")
        .listen("cql", "0.0.0.0:0")
        .flags(&["--insecure", "--advertise", "cql=127.0.0.1:9042"])
        .start();
    assert!(server.cql().ip().is_unspecified());
    let mut conn = Conn::open(([127, 0, 0, 1], server.cql().port()).into());
    let local = conn.must("SELECT rpc_address, broadcast_address FROM system.local WHERE key = 'local'");
    assert!(
        local.body.windows(4).any(|bytes| bytes == [127, 0, 0, 1]),
        "clients are told an address they can reach"
    );
}

#[test]
fn a_door_can_stay_shut() {
    let server = Launch::new("start-off").listen("zookeeper", "off").start();
    let open: Vec<&str> = server.doors().keys().map(String::as_str).collect();
    assert_eq!(open, ["cql", "http"]);
    assert!(!server.said().lines().any(|line| line.starts_with("zookeeper")));
    let mut conn = Conn::open(server.cql());
    std::io::Write::write_all(&mut conn.0, &frame(3, OPTIONS, &[])).unwrap();
    let answer = conn.recv().unwrap();
    assert_eq!((answer.opcode, answer.stream), (SUPPORTED, 3));
}

#[test]
fn in_memory_nothing_is_written_and_nothing_kept() {
    let mut server = Launch::new("start-memory").in_memory().start();
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE gone WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE gone.t (id int PRIMARY KEY)");
    conn.must("INSERT INTO gone.t (id) VALUES (1)");
    let mut left: Vec<_> =
        fs::read_dir(server.scratch()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["server.log"], "a node in memory writes no file");
    assert!(server.stop("TERM").success());
    server.restart();
    let mut conn = Conn::open(server.cql());
    let answer = conn.query("SELECT * FROM gone.t").unwrap();
    assert!(answer.error().is_some(), "the table outlived the process");
}

/// The first segment of a node's log.
fn first_segment(server: &Server) -> PathBuf {
    server.data().join("log").join("00000001.seg")
}

#[test]
fn a_log_of_another_version_is_refused_and_left_alone() {
    let mut server = Server::start("start-version");
    assert!(server.stop("TERM").success());
    // The segment's header says version 0, and is whole: magic, version, checksum of both.
    let segment = first_segment(&server);
    let now = fs::read(&segment).unwrap();
    let mut older = now.clone();
    older[8..12].copy_from_slice(&0_u32.to_le_bytes());
    let check = crc64_nvme(&older[..12]) as u32;
    older[12..16].copy_from_slice(&check.to_le_bytes());
    fs::write(&segment, &older).unwrap();
    let (code, said) = Launch::new("start-older").over(server.data()).refused();
    assert_eq!(code, DATA_UNUSABLE, "{said}");
    assert!(said.contains("00000001.seg") && said.contains("version 0"), "{said}");
    assert!(fs::read(&segment).unwrap() == older, "a refused file is not touched");
    fs::write(&segment, &now).unwrap();
    server.restart();
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_with_its_place() {
    let mut server = Server::start("start-damage");
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE d WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE d.t (id int PRIMARY KEY, v text)");
    conn.must("INSERT INTO d.t (id, v) VALUES (1, 'to be damaged')");
    conn.must("INSERT INTO d.t (id, v) VALUES (2, 'after it')");
    assert!(server.stop("TERM").success());
    let segment = first_segment(&server);
    let sound = fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    let at = sound
        .windows(13)
        .position(|bytes| bytes == b"to be damaged")
        .expect("the log holds what was written");
    damaged[at] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let (code, said) = Launch::new("start-damaged").over(server.data()).refused();
    assert_eq!(code, DATA_UNUSABLE, "{said}");
    assert!(said.contains("00000001.seg") && said.contains("byte"), "{said}");
    fs::write(&segment, &sound).unwrap();
    server.restart();
    Conn::open(server.cql()).must("SELECT * FROM d.t WHERE id = 1");
}

/// CRC-64/NVME, bit by bit: a test that writes a header must not ask the code it tests.
fn crc64_nvme(bytes: &[u8]) -> u64 {
    let mut crc = !0_u64;
    for byte in bytes {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x9a6c_9329_ac4b_c9b5 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn wrong_flags_and_settings_are_refused_with_their_name() {
    for (flags, code, names) in [
        (vec!["--listen", "kafka=127.0.0.1:0"], USAGE, "kafka"),
        (vec!["--listen", "cql=nowhere"], USAGE, "nowhere"),
        (vec!["--frobnicate"], USAGE, "--frobnicate"),
        (vec!["--set", "cql.filtering=sometimes"], SETTINGS_WRONG, "sometimes"),
        (vec!["--set", "cql.nothing=1"], SETTINGS_WRONG, "nothing"),
        (vec!["--config", "missing.toml"], SETTINGS_WRONG, "missing.toml"),
    ] {
        let (got, said) = Launch::new("start-wrong").flags(&flags).refused();
        assert_eq!(got, code, "{flags:?}: {said}");
        assert!(said.contains(names), "{flags:?}: {said}");
    }
    let (code, said) = Launch::new("start-wrong-file").config("[memory]\nbudget_byte = 5\n").refused();
    assert_eq!(code, SETTINGS_WRONG, "{said}");
    assert!(said.contains("budget_byte"), "{said}");
}
