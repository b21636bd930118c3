//! Many clients of the ZooKeeper door at once: what idle ones cost, who is told of what, and what
//! becomes of one that does not read.

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use door_zk::script::requests;

use crate::{
    harness::{
        Program, Server, eventually, http,
        zookeeper::{self, Conn, opcode},
    },
    need_python,
};

const SESSIONS: u64 = 5_000;

/// What an idle session may cost. In release it is less than half of this.
const SESSION_BYTES_MAX: u64 = 8 << 10;

/// How long a step of the crowd may take on a busy machine.
const STEP: Duration = Duration::from_secs(100);

/// The record of create: a znode for everyone.
fn create_record(path: &str) -> Vec<u8> {
    requests::create(path, Some(b""), &requests::EVERYONE, 0)
}

fn create(conn: &mut Conn, xid: i32, path: &str) {
    assert_eq!(conn.call(xid, opcode::CREATE, &create_record(path)).unwrap().0, 0);
}

/// The record of setData, for any version.
fn set_data(path: &str) -> Vec<u8> {
    requests::set_data(path, Some(b"x"), -1)
}

/// The record of addWatch, persistent and recursive.
fn watch_all(path: &str) -> Vec<u8> {
    requests::versioned(path, 1)
}

#[test]
fn thousands_of_sessions_cost_little_idle_and_all_are_told() {
    need_python!();
    let server = Server::start("crowd");
    let mut conn = Conn::open(server.zookeeper());
    create(&mut conn, 1, "/hot");
    let before = server.resident_bytes();
    let mut crowd = Program::start(&server, "crowd.py", &[&SESSIONS.to_string()]);
    crowd.expect("held", STEP);
    let each = server.resident_bytes().saturating_sub(before) / SESSIONS;
    assert!(each < SESSION_BYTES_MAX, "an idle session costs {each} bytes");

    let log_bytes = |server: &Server| http::metric(server.http(), "holdfast_log_bytes_total");
    let logged = log_bytes(&server);
    assert!(logged > 0.0);
    crowd.tell("ping");
    crowd.expect("pinged", STEP);
    assert_eq!(log_bytes(&server), logged, "keepalives never reach the log");

    crowd.tell("watch");
    crowd.expect("watching", STEP);
    for xid in 2..5 {
        assert_eq!(conn.call(xid, opcode::SET_DATA, &set_data("/hot")).unwrap().0, 0);
    }
    crowd.tell("told 3");
    crowd.expect("told", STEP);
    assert!(crowd.close_input().last().is_some());
    // Gone, they leave nothing behind that grows.
    let mut again = Program::start(&server, "crowd.py", &[&SESSIONS.to_string()]);
    again.expect("held", STEP);
    let twice = server.resident_bytes().saturating_sub(before) / SESSIONS;
    assert!(twice < 2 * SESSION_BYTES_MAX, "after a second crowd a session costs {twice} bytes");
}

/// One long name: every event of its znode is as long.
const LONG: usize = 50_000;

/// More than the server keeps for one client, and the kernel on both sides.
const EVENTS: usize = 1_200;

#[test]
fn a_watcher_that_does_not_read_is_dropped_and_no_other() {
    let mut server = Server::start("slow-reader");
    let long = format!("/{}", "n".repeat(LONG));
    let mut conn = Conn::open(server.zookeeper());
    create(&mut conn, 1, &long);
    let mut watchers: Vec<Conn> = (0..3).map(|_| Conn::open(server.zookeeper())).collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.call(1, opcode::ADD_WATCH, &watch_all("/")).unwrap().0, 0);
    }
    let mut deaf = watchers.pop().unwrap();
    let readers: Vec<_> = watchers
        .into_iter()
        .map(|mut watcher| {
            std::thread::spawn(move || {
                let mut zxid = 0;
                for _ in 0..EVENTS {
                    let event = zookeeper::read(&mut watcher.stream).unwrap();
                    let next = i64::from_be_bytes(event[4..12].try_into().unwrap());
                    assert!(event[..4] == [0xff; 4] && next > zxid, "events in order");
                    zxid = next;
                }
            })
        })
        .collect();
    for xid in 2..2 + EVENTS as i32 {
        assert_eq!(conn.call(xid, opcode::SET_DATA, &set_data(&long)).unwrap().0, 0);
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let resident = server.resident_bytes();
    assert!(resident < 256 << 20, "{resident} bytes resident");
    eventually("the deaf one is dropped", Duration::from_secs(10), || {
        let dropped = http::metric(server.http(), "holdfast_door_dropped_connections_total");
        (dropped >= 1.0).then_some(())
    });
    // It gets what was under way, and then the end: never all.
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match deaf.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    assert!(got < EVENTS * LONG, "{got} bytes");
    assert!(server.runs());
}

const OPERATIONS: i32 = 10_000;

#[test]
fn a_multi_of_ten_thousand_operations_is_one_and_survives_a_crash() {
    let mut server = Server::start("long-multi");
    let mut conn = Conn::open(server.zookeeper());
    let mut other = Conn::open(server.zookeeper());
    let multi = |paths: &mut dyn Iterator<Item = String>| {
        let operations: Vec<_> = paths.map(|path| (opcode::CREATE, create_record(&path))).collect();
        requests::transaction(&operations)
    };
    let (code, answer) =
        conn.call(1, opcode::MULTI, &multi(&mut (0..OPERATIONS).map(|n| format!("/{n:05}")))).unwrap();
    // Each result: its header and the path.
    assert_eq!((code, answer.len()), (0, OPERATIONS as usize * (9 + 4 + 6) + 9));
    let count = |conn: &mut Conn, xid| {
        let (code, answer) = conn.call(xid, opcode::COUNT, &requests::text("/")).unwrap();
        assert_eq!(code, 0);
        i32::from_be_bytes(answer.try_into().unwrap())
    };
    // And those of the tree itself.
    let all = OPERATIONS + 3;
    assert_eq!(count(&mut other, 1), all);
    // One that fails at its last leaves nothing of the others.
    let mut paths = (1..OPERATIONS).map(|n| format!("/again-{n:05}")).chain(["/00000".to_owned()]);
    assert_eq!(
        conn.call(2, opcode::MULTI, &multi(&mut paths)).unwrap().0,
        0,
        "a success that tells of failures"
    );
    assert_eq!(count(&mut other, 2), all);
    server.kill();
    server.restart();
    assert_eq!(count(&mut Conn::open(server.zookeeper()), 1), all);
}
