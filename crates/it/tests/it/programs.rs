//! The mission's two programs and the one that joins them, as they stand in `examples`.
//!
//! The first two name the default ports, so their tests take turns, and say so if something else on
//! this machine listens there.

use std::{
    net::TcpListener,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    harness::{Launch, Program, Server},
    need_python,
};

static DEFAULT_PORTS: Mutex<()> = Mutex::new(());

/// A server where a stranger's first command puts it.
pub(crate) fn at_default_ports(name: &str) -> (MutexGuard<'static, ()>, Server) {
    let turn = DEFAULT_PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    for port in [9042, 2181, 7070] {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            panic!("this test runs a program that names its port, and port {port} is not free: {error}");
        }
    }
    (turn, Launch::new(name).default_ports().start())
}

#[test]
fn the_cassandra_program_prints_alice() {
    need_python!();
    let (_turn, server) = at_default_ports("users");
    let said = Program::run(&server, "users.py", &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    let (id, rest) = said[0].split_once(' ').unwrap();
    assert_eq!(rest, "Alice 30");
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "a UUID: {id}");
    assert!(id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "a UUID: {id}");
}

#[test]
fn the_cassandra_program_finds_every_alice_also_after_a_power_cut() {
    need_python!();
    let (_turn, mut server) = at_default_ports("users-again");
    let first = Program::run(&server, "users.py", &[]);
    server.kill();
    server.restart();
    let second = Program::run(&server, "users.py", &[]);
    assert_eq!(second.len(), 2);
    assert!(second.contains(&first[0]), "{first:?} in {second:?}");
}

#[test]
fn the_zookeeper_program_takes_its_lock() {
    need_python!();
    let (_turn, server) = at_default_ports("lock-program");
    assert_eq!(Program::run(&server, "lock.py", &[]), ["Lock acquired"]);
}

#[test]
fn a_holder_paused_past_its_session_is_refused_by_its_fencing_token() {
    need_python!();
    let server = Server::start("fencing");
    let (cql, zookeeper) = (server.cql().to_string(), server.zookeeper().to_string());
    let worker = |name: &str, work: &str| {
        let args =
            ["--name", name, "--work", work, "--session", "4", "--cql", &cql, "--zookeeper", &zookeeper];
        Program::start(&server, "fencing.py", &args)
    };
    let soon = Duration::from_secs(30);

    let mut alice = worker("alice", "1");
    let token: i64 = alice.expect("alice holds the lock, token", soon).parse().unwrap();
    alice.signal("STOP");
    // Bob waits until alice's session is over, and works.
    let mut bob = worker("bob", "0");
    let newer: i64 = bob.expect("bob holds the lock, token", soon).parse().unwrap();
    assert!(newer > token, "a later holder has a larger token");
    bob.expect(&format!("bob wrote with token {newer}"), soon);
    bob.finish();

    alice.signal("CONT");
    alice.expect(&format!("alice is refused: token {token} is older than {newer}"), soon);

    // And without a pause nobody is in anyone's way.
    let mut carol = worker("carol", "0");
    carol.expect("carol holds the lock", soon);
    carol.expect("carol wrote with token", soon);
}
