//! A ZooKeeper session that moves to another connection while its requests are in flight on the
//! first: each of them is done once, in order, before the move, or never; what the first connection
//! was told is true; and nothing of it happens later, not even when the session ends at once.
//!
//! What is expected here is what ZooKeeper 3.9.5 does: with `HOLDFAST_MOVES_AT=ADDRESS` the same is
//! asked of the server there.

use std::{io::Write, net::SocketAddr, time::Duration};

use door_zk::script::requests;

use crate::harness::{
    Server,
    zookeeper::{Conn, connect_as, opcode, read, request},
};

const EPHEMERAL: i32 = 1;
const ROUNDS: usize = 80;

fn create(path: &str, mode: i32) -> Vec<u8> {
    requests::create(path, None, &requests::EVERYONE, mode)
}

/// A new connection of `session`, and the greeting that it got.
fn connected(address: SocketAddr, session: i64, password: &[u8; 16]) -> (Conn, Vec<u8>) {
    let mut stream = Conn::silent(address);
    stream.write_all(&connect_as(30_000, session, password)).unwrap();
    let greeting = read(&mut stream).unwrap();
    (Conn { stream }, greeting)
}

/// The children of a znode, in order.
fn children(conn: &mut Conn, xid: i32, path: &str) -> Vec<String> {
    let (error, body) = conn.call(xid, opcode::GET_CHILDREN, &requests::look(path, false)).unwrap();
    assert_eq!(error, 0);
    let mut rest = &body[4..];
    let mut names = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk() {
        let (name, more) = more.split_at(u32::from_be_bytes(*length) as usize);
        names.push(String::from_utf8(name.to_vec()).unwrap());
        rest = more;
    }
    names.sort();
    names
}

/// The xids that a connection still gets answers to, until the server closes it.
fn answered(mut conn: Conn) -> Vec<i32> {
    let mut xids = Vec::new();
    loop {
        match read(&mut conn.stream) {
            Ok(body) => {
                assert_eq!(body[12..16], [0; 4], "a create that was done");
                xids.push(i32::from_be_bytes(body[..4].try_into().unwrap()));
            }
            Err(error) => {
                let kind = error.kind();
                assert_ne!(kind, std::io::ErrorKind::WouldBlock, "the first connection stays open");
                return xids;
            }
        }
    }
}

/// Moves a session while `count` creates of ephemerals below `parent` are in flight, and gives how
/// many of them were done.
fn round(address: SocketAddr, observer: &mut Conn, xid: i32, parent: &str, count: i32, ends: bool) -> usize {
    assert_eq!(observer.call(xid, opcode::CREATE, &create(parent, 0)).unwrap().0, 0);
    let (mut first, greeting) = connected(address, 0, &[0; 16]);
    let session = i64::from_be_bytes(greeting[8..16].try_into().unwrap());
    let password = greeting[20..36].try_into().unwrap();
    let burst =
        (1..=count).flat_map(|n| request(n, opcode::CREATE, &create(&format!("{parent}/{n:03}"), EPHEMERAL)));
    first.stream.write_all(&burst.collect::<Vec<u8>>()).unwrap();

    let (mut second, greeting) = connected(address, session, &password);
    assert_eq!(greeting[8..16], session.to_be_bytes(), "the session goes on");
    let there = if ends {
        assert_eq!(second.call(1, opcode::CLOSE, &[]).unwrap().0, 0);
        Vec::new()
    } else {
        assert_eq!(second.call(1, opcode::SYNC, &requests::text(parent)).unwrap().0, 0);
        children(&mut second, 2, parent)
    };
    // What the first connection was told, it was told of the first requests, in order.
    let told = answered(first);
    assert_eq!(told, (1..=told.len() as i32).collect::<Vec<_>>());
    // Nothing happens any more.
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(children(observer, xid + 1, parent), there, "{parent} changed behind the move");
    if !ends {
        let expected: Vec<String> = (1..=there.len()).map(|n| format!("{n:03}")).collect();
        assert_eq!(there, expected, "the first requests are done, and the others are not");
        assert!(there.len() >= told.len(), "{} were acknowledged, {there:?} are there", told.len());
        assert_eq!(second.call(3, opcode::CLOSE, &[]).unwrap().0, 0);
    }
    assert_eq!(children(observer, xid + 2, parent), Vec::<String>::new(), "they go with their session");
    there.len().max(told.len())
}

#[test]
fn requests_in_flight_are_done_before_the_session_moves_or_never() {
    let (_server, address) = match std::env::var("HOLDFAST_MOVES_AT") {
        Ok(address) => (None, address.parse().expect("an address")),
        Err(_) => {
            let server = Server::start("moves");
            let address = server.zookeeper();
            (Some(server), address)
        }
    };
    let mut observer = Conn::open(address);
    assert_eq!(observer.call(1, opcode::CREATE, &create("/moves", 0)).unwrap().0, 0);
    let (mut done, mut sent) = (0, 0);
    for at in 0..ROUNDS {
        let count = 1 + (at as i32 * 37) % 200;
        let parent = format!("/moves/{at:03}");
        done += round(address, &mut observer, 10 + at as i32 * 4, &parent, count, at % 3 == 2);
        sent += count as usize;
    }
    println!("{done} of {sent} requests in flight were done");
}
