//! What a bad or unlucky client does must stay its own affair: garbage, absurd lengths, frames in
//! pieces, answers never read, connections by the thousand.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use door_zk::script::requests;

use crate::{
    harness::{
        Launch, Numbers, Program, Server,
        cql::{self, Conn},
        http, zookeeper,
    },
    need_python,
};

/// Far above what a node needs that holds next to nothing, far below what unbounded reading of
/// claimed lengths would take.
const RESIDENT_BYTES_MAX: u64 = 256 << 20;

/// Both doors serve, and memory is where it should be.
fn serves(server: &mut Server) {
    assert!(server.runs(), "the server died:\n{}", server.said());
    let mut conn = Conn::open(server.cql());
    conn.must("SELECT cluster_name FROM system.local WHERE key = 'local'");
    let mut conn = zookeeper::Conn::open(server.zookeeper());
    let body = requests::look("/zookeeper", false);
    assert_eq!(conn.call(1, zookeeper::opcode::GET_DATA, &body).unwrap().0, 0);
    assert_eq!(http::get(server.http(), "/health").unwrap().0, 200);
    let resident = server.resident_bytes();
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes resident");
}

/// Sends `bytes`, ends the sending side, and reads to the end, which must come: an answer in the
/// protocol's terms or a closed connection, never a connection left hanging.
fn throw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = Conn::silent(address).0;
    // The server may close before it has read everything; that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("a connection was left hanging: {error}; sent {bytes:02x?}"),
    }
    answer
}

#[test]
fn garbage_on_a_port_disturbs_nobody() {
    let mut server = Server::start("garbage");
    let mut numbers = Numbers(1);
    let doors: Vec<SocketAddr> = server.doors().values().copied().collect();
    for round in 0..300 {
        let length = numbers.next() as usize % 2_000;
        let bytes = numbers.bytes(length);
        throw(doors[round % doors.len()], &bytes);
    }
    // Garbage after a good beginning: the beginning's answer may come, and then the end.
    for round in 0..100 {
        let mut bytes = if round % 2 == 0 { cql::startup() } else { zookeeper::connect(10_000) };
        let length = 1 + numbers.next() as usize % 500;
        bytes.extend(numbers.bytes(length));
        throw(if round % 2 == 0 { server.cql() } else { server.zookeeper() }, &bytes);
    }
    // One protocol spoken to the other's port.
    throw(server.cql(), &zookeeper::connect(10_000));
    throw(server.zookeeper(), &cql::startup());
    throw(server.cql(), b"GET / HTTP/1.1\r\n\r\n");
    throw(server.zookeeper(), b"GET / HTTP/1.1\r\n\r\n");
    throw(server.http(), &cql::startup());
    serves(&mut server);
}

#[test]
fn good_requests_with_flipped_bytes_disturb_nobody() {
    let mut server = Server::start("mutated");
    let mut numbers = Numbers(2);
    let mut good_cql = cql::startup();
    good_cql.extend(cql::query(1, "SELECT * FROM system_schema.tables"));
    good_cql.extend(cql::query(2, "CREATE KEYSPACE IF NOT EXISTS m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"));
    let mut good_zk = zookeeper::connect(10_000);
    good_zk.extend(zookeeper::request(1, zookeeper::opcode::GET_DATA, &requests::look("/zookeeper", true)));
    good_zk.extend(zookeeper::request(2, 12, &requests::look("/", false)));
    for _ in 0..400 {
        for (good, address) in [(&good_cql, server.cql()), (&good_zk, server.zookeeper())] {
            let mut bytes = good.clone();
            for _ in 0..1 + numbers.next() % 4 {
                let at = numbers.next() as usize % bytes.len();
                bytes[at] = numbers.next() as u8;
            }
            throw(address, &bytes);
        }
    }
    serves(&mut server);
}

#[test]
fn absurd_lengths_take_no_memory() {
    let mut server = Server::start("absurd");
    let before = server.resident_bytes();
    for length in [0x7fff_ffff_u32, 0x8000_0000, 0xffff_ffff, 0x1000_0000, 0x0fff_ffff] {
        // A CQL frame that claims so many bytes, with a start-up before it and without.
        let mut claims = vec![4, 0, 0, 1, cql::QUERY];
        claims.extend(length.to_be_bytes());
        claims.extend([0; 64]);
        throw(server.cql(), &claims);
        throw(server.cql(), &[cql::startup(), claims].concat());
        // A ZooKeeper packet that does.
        throw(server.zookeeper(), &length.to_be_bytes());
        throw(
            server.zookeeper(),
            &[&zookeeper::connect(10_000)[..], &length.to_be_bytes(), &[0; 64]].concat(),
        );
        // And lengths inside a sound frame: a query text, a string map, a path, a number of values.
        throw(server.cql(), &[cql::startup(), cql::frame(1, cql::QUERY, &length.to_be_bytes())].concat());
        throw(server.cql(), &cql::frame(0, cql::STARTUP, &[0xff, 0xff, 0xff, 0xff]));
        let mut body = 8_u32.to_be_bytes().to_vec();
        body.extend(b"SELECT 1");
        body.extend([0, 1, 1, 0xff, 0xff]);
        body.extend(length.to_be_bytes());
        throw(server.cql(), &[cql::startup(), cql::frame(1, cql::QUERY, &body)].concat());
        let bad_path = zookeeper::request(1, zookeeper::opcode::GET_DATA, &length.to_be_bytes());
        throw(server.zookeeper(), &[zookeeper::connect(10_000), bad_path].concat());
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes were taken for lengths that were only claimed");
    // A statement nested deeper than any stack.
    let deep = format!("SELECT * FROM t WHERE a = {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let mut conn = Conn::open(server.cql());
    assert!(conn.query(&deep).unwrap().error().is_some());
    let deep =
        format!("CREATE TABLE t (a {}int{} PRIMARY KEY)", "frozen<list<".repeat(20_000), ">>".repeat(20_000));
    assert!(conn.query(&deep).unwrap().error().is_some());
    serves(&mut server);
}

#[test]
fn a_frame_larger_than_allowed_is_refused_in_the_protocols_terms() {
    let server = Launch::new("frame-max").flags(&["--set", "cql.max_frame_bytes=1048576"]).start();
    let mut conn = Conn::open(server.cql());
    let head = [&[4_u8, 0, 0, 9, cql::QUERY][..], &(2_u32 << 20).to_be_bytes()].concat();
    conn.0.write_all(&head).unwrap();
    // An error on the request's stream, or the end; never silence.
    if let Ok(answer) = conn.recv() {
        let (code, text) = answer.error().expect("an ERROR");
        assert!(code == cql::PROTOCOL_ERROR || code == 0x2200, "{code:#x}: {text}");
    }
    let mut conn = zookeeper::Conn::open(server.zookeeper());
    conn.stream.write_all(&(2_u32 << 20).to_be_bytes()).unwrap();
    let mut rest = Vec::new();
    let end = conn.stream.read_to_end(&mut rest);
    assert!(rest.is_empty() && end.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true));
}

#[test]
fn frames_cut_at_every_byte_are_put_together() {
    let mut server = Server::start("split");
    let (hello, ask) = (cql::startup(), cql::query(1, "SELECT key FROM system.local WHERE key = 'local'"));
    for at in 1..hello.len().max(ask.len()) {
        let mut conn = Conn::silent(server.cql());
        in_two(&mut conn.0, &hello, at.min(hello.len() - 1));
        assert_eq!(conn.recv().unwrap().opcode, cql::READY, "cut at {at}");
        in_two(&mut conn.0, &ask, at.min(ask.len() - 1));
        assert!(conn.recv().unwrap().is_result(), "cut at {at}");
    }
    let get = zookeeper::request(1, zookeeper::opcode::GET_DATA, &requests::look("/zookeeper", false));
    let zk_talk = [zookeeper::connect(10_000), get].concat();
    for at in 1..zk_talk.len() {
        let mut stream = zookeeper::Conn::silent(server.zookeeper());
        in_two(&mut stream, &zk_talk, at);
        assert_eq!(zookeeper::read(&mut stream).unwrap().len(), 37, "cut at {at}");
        assert_eq!(zookeeper::read(&mut stream).unwrap()[..4], 1_i32.to_be_bytes(), "cut at {at}");
    }
    // And byte by byte.
    let mut conn = Conn::open(server.cql());
    for byte in &ask {
        conn.0.write_all(&[*byte]).unwrap();
    }
    assert!(conn.recv().unwrap().is_result());
    serves(&mut server);
}

/// Sends `bytes` in two packets.
fn in_two(stream: &mut TcpStream, bytes: &[u8], at: usize) {
    stream.write_all(&bytes[..at]).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    stream.write_all(&bytes[at..]).unwrap();
}

/// Sends `request` again and again without reading, until the server takes no more, or closes.
fn send_without_reading(stream: &mut TcpStream, request: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut sent = 0;
    while Instant::now() < deadline && sent < 20_000 {
        match stream.write_all(request) {
            Ok(()) => sent += 1,
            Err(_) => break,
        }
    }
    sent
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount_and_others_are_served() {
    let mut server = Server::start("never-reads");
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE n WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE n.t (id int PRIMARY KEY, v text)");
    conn.must(&format!("INSERT INTO n.t (id, v) VALUES (1, '{}')", "x".repeat(200_000)));

    // Each of these would have to hold gigabytes of answers.
    let mut deaf_cql: Vec<Conn> = (0..4).map(|_| Conn::open(server.cql())).collect();
    for conn in &mut deaf_cql {
        send_without_reading(&mut conn.0, &cql::query(1, "SELECT v FROM n.t WHERE id = 1"));
    }
    let mut zk = zookeeper::Conn::open(server.zookeeper());
    let create = requests::create("/big", Some(&[7; 200_000]), &requests::EVERYONE, 0);
    assert_eq!(zk.call(1, 1, &create).unwrap().0, 0);
    let mut deaf_zk: Vec<zookeeper::Conn> =
        (0..4).map(|_| zookeeper::Conn::open(server.zookeeper())).collect();
    let get = zookeeper::request(2, zookeeper::opcode::GET_DATA, &requests::look("/big", false));
    for conn in &mut deaf_zk {
        send_without_reading(&mut conn.stream, &get);
    }
    // While all of them are deaf, others are answered at once.
    let asked = Instant::now();
    conn.must("SELECT v FROM n.t WHERE id = 1");
    assert_eq!(zk.call(3, zookeeper::opcode::GET_DATA, &requests::look("/big", false)).unwrap().0, 0);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    serves(&mut server);
}

#[test]
fn a_thousand_idle_connections_at_each_door_leave_others_served() {
    need_python!();
    const COUNT: u64 = 1_000;
    let mut server = Server::start("idle");
    let before = server.resident_bytes();
    let mut idle = Program::start(&server, "idle.py", &[&COUNT.to_string()]);
    assert_eq!(idle.expect("held", Duration::from_secs(100)), (2 * COUNT).to_string());
    serves(&mut server);
    let each = server.resident_bytes().saturating_sub(before) / (2 * COUNT);
    assert!(each < 32 << 10, "an idle connection costs {each} bytes");
    let said = idle.close_input();
    assert_eq!(said.last().map(String::as_str), Some("answered"));
    serves(&mut server);
}
