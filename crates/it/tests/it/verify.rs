//! `holdfast verify` on the directories of real servers: sound ones, one in use, damaged ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

const ROWS: u64 = 3_000;

/// Four hundred bytes that do not compress, from a row's number (SplitMix64).
fn text(id: u64) -> String {
    let mut state = id;
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        format!("{:016x}", (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb))
    };
    (0..25).map(|_| word()).collect()
}

/// A stopped server whose rows are in many small files.
fn in_files(name: &str) -> Server {
    let small = ["engine.memtable_bytes=65536", "engine.file_bytes=65536", "engine.level_bytes=262144"];
    let mut server = Launch::new(name).flags(&small.map(|setting| ["--set", setting]).concat()).start();
    let mut conn = Conn::open(server.cql());
    conn.must("CREATE KEYSPACE v WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    conn.must("CREATE TABLE v.t (id bigint PRIMARY KEY, text text)");
    for id in 0..ROWS {
        conn.must(&format!("INSERT INTO v.t (id, text) VALUES ({id}, '{}')", text(id)));
    }
    assert!(server.stop("TERM").success());
    server
}

fn tree_files(server: &Server) -> Vec<PathBuf> {
    let names = fs::read_dir(server.data().join("tree")).unwrap();
    let mut files: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "tree"));
    files.sort();
    files
}

fn flip_at(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

/// The lines of verify that tell of damage.
fn damaged(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("damaged: ")).collect()
}

#[test]
fn damage_to_files_is_named_and_fails_only_what_they_serve() {
    let mut server = in_files("verify-tree");
    let (code, said) = verify(server.data());
    assert_eq!(code, SOUND, "{said}");
    // Of every fourth file of the table one block, in the first half, where the rows are.
    let mut flipped = Vec::new();
    for file in tree_files(&server).into_iter().step_by(4) {
        let at = fs::metadata(&file).unwrap().len() as usize / 3;
        flip_at(&file, at);
        let (code, said) = verify(server.data());
        assert_eq!(code, DAMAGED, "{said}");
        let name = format!("tree/{}", file.file_name().unwrap().to_str().unwrap());
        let line = damaged(&said).into_iter().find(|line| line.contains(&name)).expect(&said);
        assert!(line.contains("at byte ") && line.contains("(tree "), "{line}");
        if line.contains(": table ") {
            flipped.push(name);
        } else {
            // A Machine's: without its state the node would not start.
            flip_at(&file, at);
        }
        assert_eq!(damaged(&verify(server.data()).1).len(), flipped.len(), "it goes on after the first");
    }
    assert!(flipped.len() >= 3, "{flipped:?} of {:?}", tree_files(&server));

    server.restart();
    let mut conn = Conn::open(server.cql());
    let (mut right, mut failed) = (0, 0);
    for id in 0..ROWS {
        let answer = conn.query(&format!("SELECT text FROM v.t WHERE id = {id}")).unwrap();
        match answer.error() {
            Some((code, message)) => {
                // SERVER_ERROR or READ_FAILURE; which is for the door to say.
                assert!(matches!(code, 0x0000 | 0x1300), "{code:#x} {message}");
                assert!(flipped.iter().any(|name| message.contains(name)), "{message}");
                failed += 1;
            }
            None => {
                let text = text(id);
                let found = answer.body.windows(text.len()).any(|part| part == text.as_bytes());
                assert!(found, "row {id} is wrong");
                right += 1;
            }
        }
    }
    println!("{right} rows are right, {failed} cannot be read, {} files are damaged", flipped.len());
    assert!(failed > 0 && right > ROWS / 2, "{failed} {right}");
    // A scan that comes to damage fails too, and is not short.
    assert!(conn.query("SELECT count(*) FROM v.t").unwrap().error().is_some());
    conn.must(&format!("INSERT INTO v.t (id, text) VALUES ({ROWS}, 'new')"));
    conn.must(&format!("SELECT text FROM v.t WHERE id = {ROWS}"));
    assert!(server.runs());
}

#[test]
fn a_damaged_manifest_is_named_keeps_the_node_from_starting_and_hides_nothing() {
    let server = in_files("verify-manifest");
    let files = tree_files(&server).len();
    flip_at(&server.data().join("tree/MANIFEST"), 40);
    flip_at(&tree_files(&server)[0], 20);
    let (code, said) = verify(server.data());
    assert_eq!(code, DAMAGED, "{said}");
    let lines = damaged(&said);
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("tree/MANIFEST") && lines[1].contains(".tree"), "{said}");
    assert!(said.contains("not checked: which files"), "{said}");
    let count: usize = said.lines().find_map(|line| line.split_once(" files, ")).unwrap().0.parse().unwrap();
    assert!(count > files, "all are read: {said}");
    let (code, said) = Launch::new("verify-manifest-start").over(server.data()).refused();
    assert_eq!(code, DAMAGED, "{said}");
    assert!(said.contains("tree/MANIFEST"), "{said}");
}
