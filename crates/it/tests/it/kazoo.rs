//! kazoo, the ZooKeeper client of most Python programs: its operations, its recipes, its sessions.

use std::time::Duration;

use crate::{
    harness::{Program, Server},
    need_python,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_operation_answers_as_zookeeper_does() {
    need_python!();
    let server = Server::start("zk-client");
    assert_eq!(Program::run(&server, "zk_client.py", &[]), ["done"]);
}

#[test]
fn the_recipes_work() {
    need_python!();
    let server = Server::start("zk-recipes");
    assert_eq!(Program::run(&server, "zk_recipes.py", &[]), ["done"]);
}

/// Starts a session with a timeout; the program and the session's id.
fn session(server: &Server, timeout_s: &str) -> (Program, String) {
    let mut program = Program::start(server, "zk_session.py", &[timeout_s]);
    let id = program.expect("session", SOON);
    (program, id)
}

fn ask(program: &mut Program, question: &str, answer: &str) -> String {
    program.tell(question);
    program.expect(answer, Duration::from_secs(60))
}

#[test]
fn a_silent_session_expires_and_its_ephemerals_with_it() {
    need_python!();
    let server = Server::start("zk-expiry");
    let (mut silent, id) = session(&server, "4");
    let (mut other, _) = session(&server, "30");
    ask(&mut silent, "ephemeral /mine", "made");
    ask(&mut other, "watch /mine", "watching");

    silent.signal("STOP");
    assert_eq!(other.expect("event", SOON), "DELETED");
    ask(&mut other, "exists /mine", "absent");
    silent.signal("CONT");
    silent.expect("lost", SOON);
    let new = ask(&mut silent, "session", "session");
    assert_ne!(new, id, "a lost session does not come back");
    ask(&mut silent, "ephemeral /mine", "made");
    ask(&mut other, "exists /mine", "there");
}

#[test]
fn a_session_that_is_idle_but_alive_is_kept() {
    need_python!();
    let server = Server::start("zk-pings");
    let (mut idle, id) = session(&server, "4");
    ask(&mut idle, "ephemeral /mine", "made");
    // Longer than the timeout: kazoo's pings alone keep it.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(ask(&mut idle, "session", "session"), id);
    ask(&mut idle, "exists /mine", "there");
}

#[test]
fn sessions_ephemerals_and_data_outlive_the_server() {
    need_python!();
    let mut server = Server::start("zk-restart");
    let (mut client, id) = session(&server, "20");
    ask(&mut client, "ephemeral /mine", "made");
    ask(&mut client, "put /data kept", "put");
    for how in ["KILL", "TERM"] {
        if how == "KILL" {
            server.kill();
        } else {
            assert!(server.stop("TERM").success());
        }
        server.restart();
        assert_eq!(ask(&mut client, "session", "session"), id, "after SIG{how}");
        ask(&mut client, "exists /mine", "there");
        assert_eq!(ask(&mut client, "get /data", "data"), "kept");
    }
    client.tell("quit");
    client.finish();
    // The session was closed, and its ephemeral went with it.
    let (mut other, _) = session(&server, "20");
    ask(&mut other, "exists /mine", "absent");
}

#[test]
fn a_session_whose_client_died_with_the_server_expires_after_the_restart() {
    need_python!();
    let mut server = Server::start("zk-both-die");
    let (mut client, _) = session(&server, "4");
    ask(&mut client, "ephemeral /mine", "made");
    client.kill();
    server.kill();
    server.restart();
    // It gets one full timeout from the start, then it goes.
    let (mut other, _) = session(&server, "30");
    ask(&mut other, "exists /mine", "there");
    ask(&mut other, "watch /mine", "watching");
    assert_eq!(other.expect("event", SOON), "DELETED");
}
