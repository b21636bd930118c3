//! TLS with real clients: beside clear on one port, required, with client certificates, and with
//! certificates that change while the server runs.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    path::Path,
    time::Duration,
};

use crate::{
    harness::{Launch, Program, Server, certificates::Authority, eventually, zookeeper},
    need_python,
};

const SOON: Duration = Duration::from_secs(60);

/// A launch with a server's certificate, signed by an authority that `ca.pem` is of, and `settings`
/// besides; and that authority.
fn launch(name: &str, settings: &str) -> (Launch, Authority) {
    let launch = Launch::new(name);
    let authority = Authority::new("an authority");
    let folder = launch.scratch().to_owned();
    authority.publish(&folder.join("ca.pem"));
    authority.sign(&folder, "server", 2999);
    authority.sign(&folder, "worker", 2999);
    let tls = "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nreload_ms = 100\n";
    (launch.config(&format!("{tls}{settings}")), authority)
}

fn run(server: &Server, program: &str, args: &[&str]) {
    let folder = server.scratch().to_str().unwrap().to_owned();
    let program = Program::start_with(server, program, args, &[("HOLDFAST_TLS", &folder)]);
    assert_eq!(program.finish(), ["done"]);
}

/// A stranger that every client refuses: another authority, and a certificate that has expired.
fn strangers(folder: &Path, authority: &Authority) {
    let other = Authority::new("another authority");
    other.publish(&folder.join("other-ca.pem"));
    other.sign(folder, "stranger", 2999);
    authority.sign(folder, "expired", 2001);
}

#[test]
fn kazoo_in_clear_and_in_tls_on_one_port() {
    need_python!();
    let (launch, authority) = launch("tls-both", "[zookeeper]\ntls = \"optional\"\n");
    strangers(launch.scratch(), &authority);
    run(&launch.start(), "zk_tls.py", &["optional"]);
}

#[test]
fn kazoo_shows_its_certificate_and_is_known_by_it() {
    need_python!();
    let settings = "client_ca = \"ca.pem\"\n[zookeeper]\ntls = \"required\"\n";
    let (launch, authority) = launch("tls-required", settings);
    strangers(launch.scratch(), &authority);
    authority.sign(launch.scratch(), "colleague", 2999);
    let server = launch.start();
    run(&server, "zk_tls.py", &["required"]);
    // Nothing is said to a client in clear, not even which server this is.
    let mut clear = zookeeper::Conn::silent(server.zookeeper());
    clear.write_all(b"srvr").unwrap();
    let mut answer = Vec::new();
    match clear.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(answer, b"");
}

/// The buffer that the first byte was looked at in is given back.
#[test]
fn an_idle_session_in_clear_is_small_where_tls_is_offered_too() {
    let (launch, _) = launch("tls-idle", "[zookeeper]\ntls = \"optional\"\n");
    let server = launch.start();
    let open = |count| (0..count).map(|_| zookeeper::Conn::open(server.zookeeper())).collect::<Vec<_>>();
    let _warm = open(200);
    let before = server.resident_bytes();
    let sessions = open(600);
    let each = server.resident_bytes().saturating_sub(before) / sessions.len() as u64;
    assert!(each < 6 << 10, "{each} bytes each");
}

#[test]
fn the_cassandra_driver_and_http_speak_tls() {
    need_python!();
    let settings = "[cql]\ntls = \"required\"\n[http]\ntls = \"optional\"\n";
    let (launch, authority) = launch("tls-cql", settings);
    strangers(launch.scratch(), &authority);
    run(&launch.start(), "cql_tls.py", &[]);
}

#[test]
fn certificates_change_under_a_running_server() {
    need_python!();
    let (launch, _) = launch("tls-reload", "[zookeeper]\ntls = \"optional\"\n");
    let server = launch.start();
    let folder = server.scratch().to_owned();
    let env = [("HOLDFAST_TLS", folder.to_str().unwrap())];
    let mut program = Program::start_with(&server, "zk_tls.py", &["reload"], &env);
    program.expect("connected", SOON);

    // A key that is not the certificate's changes nothing but the log.
    let good = fs::read(folder.join("server.key")).unwrap();
    fs::copy(folder.join("worker.key"), folder.join("server.key")).unwrap();
    let complaint = "new certificates do not work; the old ones stay";
    eventually("the complaint", SOON, || server.said().contains(complaint).then_some(()));
    assert!(server.said().contains("server.pem: does not go with server.key"), "{}", server.said());
    program.tell("same");
    program.expect("connected", SOON);
    fs::write(folder.join("server.key"), good).unwrap();

    let successor = Authority::new("its successor");
    successor.publish(&folder.join("new-ca.pem"));
    successor.sign(&folder, "server", 2999);
    program.tell("changed");
    assert_eq!(program.finish().last().unwrap(), "done");
}

#[test]
fn a_start_without_good_certificates_is_refused_with_the_reason() {
    let (launch, _) = launch("tls-refused", "[zookeeper]\ntls = \"optional\"\n");
    let folder = launch.scratch().to_owned();
    fs::copy(folder.join("worker.key"), folder.join("server.key")).unwrap();
    let (code, said) = launch.refused();
    assert!(code == 78 && said.contains("tls: server.pem: does not go with server.key"), "{code} {said}");
    fs::remove_file(folder.join("server.key")).unwrap();
    let (code, said) = launch.refused();
    assert!(code == 78 && said.contains("tls: server.key: No such file"), "{code} {said}");
    let (code, said) = Launch::new("tls-nothing").flags(&["--set", "cql.tls=required"]).refused();
    assert!(code == 78 && said.contains("cql.tls needs tls.certificate and tls.key"), "{code} {said}");
}
