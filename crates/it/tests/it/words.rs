//! ZooKeeper's four-letter words, typed into the port of a real server.

use std::io::{Read, Write};

use crate::harness::{Launch, Server, zookeeper::Conn};

fn typed(server: &Server, bytes: &[u8]) -> String {
    let mut stream = Conn::silent(server.zookeeper());
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn words_tell_of_the_disk_of_sessions_and_of_connections() {
    let server = Launch::new("words").flags(&["--set", "zookeeper.four_letter_words=[\"*\"]"]).start();
    let conn = Conn::open(server.zookeeper());
    let dirs = typed(&server, b"dirs");
    let sizes: Vec<u64> =
        dirs.lines().map(|line| line.split_once(": ").unwrap().1.parse().unwrap()).collect();
    assert!(dirs.starts_with("datadir_size: ") && dirs.contains("\nlogdir_size: "), "{dirs}");
    assert!(sizes.len() == 2 && sizes[1] > 0, "{dirs}");
    let dump = typed(&server, b"dump");
    assert!(dump.starts_with("SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at "), "{dump}");
    let own = format!("\tip: /{} sessionId: 0x", conn.stream.local_addr().unwrap());
    assert!(dump.contains(&own) && dump.contains("Sessions with Ephemerals (0):\n"), "{dump}");
    assert_eq!(typed(&server, b"stmk\0\0\0\0\0\0\0\x02"), "2");
    assert_eq!(typed(&server, b"gtmk"), "2");
    assert_eq!(typed(&server, b"hash"), "", "too few transactions for a digest");
}
