//! `holdfast verify` on the directories of real servers: sound ones, one in use, damaged ones.

use std::{fs, path::Path};

use crate::harness::{Launch, Scratch, Server, cql::Conn, server::verify};

const SOUND: i32 = 0;
const DAMAGED: i32 = 65;
const IN_USE: i32 = 75;

/// A stopped server that holds some rows.
fn written(name: &str) -> Server {
    let mut server = Server::start(name);
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE v WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE v.t (id int PRIMARY KEY, text text)");
    for id in 0..20 {
        conn.must(&format!("INSERT INTO v.t (id, text) VALUES ({id}, 'row {id} is here')"));
    }
    assert!(server.stop("TERM").success());
    server
}

/// Inverts a bit of the first place in `file` where `text` stands.
fn flip(file: &Path, text: &str) -> usize {
    let mut bytes = fs::read(file).unwrap();
    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
    let at = found.unwrap_or_else(|| panic!("{text:?} is not in {}", file.display()));
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    at
}

#[test]
fn a_sound_directory_is_told_and_left_as_it_was() {
    let mut server = written("verify-sound");
    let log = server.data().join("log/00000001.seg");
    let before = fs::read(&log).unwrap();
    let (code, said) = verify(server.data());
    assert_eq!(code, SOUND, "{said}");
    let summary = said.lines().last().unwrap();
    assert!(summary.contains(" files, ") && summary.ends_with(": 0 faults"), "{said}");
    assert_eq!(fs::read(&log).unwrap(), before);
    server.restart();

    let (code, said) = verify(server.data());
    assert_eq!(code, IN_USE, "{said}");
    assert!(said.contains(&server.pid().to_string()), "it names the process: {said}");
}

#[test]
fn a_killed_servers_directory_is_sound() {
    let mut server = Server::start("verify-killed");
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE v WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    server.kill();
    let (code, said) = verify(server.data());
    assert_eq!(code, SOUND, "{said}");
}

#[test]
fn damage_to_the_log_is_named_and_keeps_the_node_from_starting() {
    let server = written("verify-log");
    let log = server.data().join("log/00000001.seg");
    let rows = ["row 3 is here", "row 11 is here"];
    let flipped: Vec<usize> = rows.iter().map(|row| flip(&log, row)).collect();
    let (code, said) = verify(server.data());
    assert_eq!(code, DAMAGED, "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("damaged: ")).collect();
    assert_eq!(lines.len(), 2, "it goes on after the first: {said}");
    for (line, flipped) in lines.iter().zip(flipped) {
        assert!(line.contains("log/00000001.seg") && line.contains("streams: changes of tables"), "{said}");
        let at = line.split("at byte ").nth(1).and_then(|rest| rest.split([' ', ':']).next());
        let at: usize = at.unwrap().parse().unwrap();
        assert!((at..at + 500).contains(&flipped), "the batch that holds byte {flipped}: {line}");
    }
    let (code, said) = Launch::new("verify-log-start").over(server.data()).refused();
    assert_eq!(code, DAMAGED, "{said}");
    assert!(said.contains("00000001.seg"), "{said}");
}

#[test]
fn a_damaged_identity_is_named_and_the_rest_is_read() {
    let server = written("verify-identity");
    let identity = server.data().join("IDENTITY");
    flip(&identity, "host");
    for gone in [false, true] {
        if gone {
            fs::remove_file(&identity).unwrap();
        }
        let (code, said) = verify(server.data());
        assert_eq!(code, DAMAGED, "{said}");
        assert!(said.contains("damaged: IDENTITY"), "{said}");
        assert!(said.contains(": 1 faults"), "the log was read: {said}");
    }
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let scratch = Scratch::new("verify-nothing");
    for directory in [scratch.path().to_owned(), scratch.path().join("not-there")] {
        let (code, said) = verify(&directory);
        assert_eq!(code, DAMAGED, "{said}");
        assert!(said.contains(directory.to_str().unwrap()), "{said}");
    }
    assert!(!scratch.path().join("not-there").exists());
}
