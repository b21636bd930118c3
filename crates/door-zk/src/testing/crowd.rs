//! Many watchers, many sessions: who is told what, in which order, and who waits for whom.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::Duration;

use super::{House, client::*};
use crate::{
    Settings,
    acl::Acl,
    tree::Event,
    watches::Owed,
    wire::{reply::EventKind, request::opcode},
};

fn connected(house: &House) -> Client {
    let mut client = Client::connect(house, 10_000, Ticket::default());
    assert_eq!(client.receive(), ["connected timeout=10000"]);
    client
}

#[test]
fn ten_thousand_watchers_of_one_znode_are_told_of_every_change_in_order() {
    let house = House::new(Settings::default());
    let mut writer = connected(&house);
    writer.request(opcode::CREATE, &create("/hot", None, &EVERYONE, 0));
    let mut watchers: Vec<Client> = (0..10_000).map(|_| connected(&house)).collect();
    for watcher in &mut watchers {
        watcher.request(opcode::ADD_WATCH, &versioned("/hot", 0));
        watcher.receive();
    }
    let zxid = house.hub().lock().replica.zxid;
    for data in [b"1", b"2", b"3"] {
        writer.request(opcode::SET_DATA, &set_data("/hot", Some(data), -1));
    }
    writer.request(opcode::DELETE, &versioned("/hot", -1));
    let told: Vec<String> = [("changed", 1), ("changed", 2), ("changed", 3), ("deleted", 4)]
        .iter()
        .map(|(kind, more)| format!("event {kind} /hot zxid={}", zxid + more))
        .collect();
    for watcher in &mut watchers {
        assert_eq!(watcher.receive(), told);
    }
    drop(watchers);
    assert_eq!(house.hub().lock().watches.len(), 0);
}

#[test]
fn who_is_owed_an_event_waits_for_it_and_nobody_else_does() {
    let house = House::new(Settings::default());
    let (mut watcher, mut other) = (connected(&house), connected(&house));
    watcher.request(opcode::GET_DATA, &look("/", true));
    watcher.receive();
    // As an entry does that changes the root, but for the time between finding out whom to tell and
    // telling.
    let telling = house.hub().telling();
    let owed = {
        let mut state = house.hub().lock();
        let (kind, path) = (EventKind::DataChanged, "/".into());
        state.watches.fire(&Event { kind, path, acl: Acl::open(), parent_acl: None }, 7);
        state.watches.take_owed()
    };
    other.request(opcode::GET_DATA, &look("/", false));
    other.request(opcode::PING, &[]);
    assert_eq!(other.receive().len(), 2, "it reads while others are owed an event");
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            watcher.request(opcode::PING, &[]);
            watcher.request(opcode::GET_DATA, &look("/", false));
            watcher.receive()
        });
        // Time to do it wrong.
        world::task::runtime(1).unwrap().block_on(world::time::sleep(Duration::from_millis(20)));
        owed.into_iter().for_each(Owed::pay);
        drop(telling);
        let told = watcher.join().unwrap();
        assert_eq!(told[0], "event changed / zxid=7");
        assert!(told[1].starts_with("-2: ok") && told[2].starts_with("3: "), "{told:?}");
    });
}

#[test]
fn keepalives_never_reach_the_log() {
    let house = House::new(Settings::default());
    let mut clients: Vec<Client> = (0..100).map(|_| connected(&house)).collect();
    let (log, state) = (house.machine.log(), house.machine.state());
    for _ in 0..10 {
        house.clock.advance(Duration::from_millis(6000));
        for client in &mut clients {
            client.request(opcode::PING, &[]);
            assert_eq!(client.receive(), ["-2: ok zxid=100"]);
        }
        crate::serve::expire(&house.service);
    }
    assert_eq!(house.machine.log(), log);
    assert!(house.machine.state() == state && house.hub().lock().sessions.len() == 100);
}

#[test]
fn an_answer_that_is_too_long_is_an_error_and_sets_no_watch() {
    let house = House::new(Settings { answer_bytes: 2000, ..Settings::default() });
    let mut client = connected(&house);
    client.request(opcode::CREATE, &create("/wide", Some(&[b'x'; 2001]), &EVERYONE, 0));
    let names: Vec<String> = (0..100).map(|n| format!("/wide/{n:016}")).collect();
    for name in &names {
        client.request(opcode::CREATE, &create(name, Some(&[b'x'; 900]), &EVERYONE, 1));
    }
    client.receive();
    client.request(opcode::GET_CHILDREN, &look("/wide", true));
    assert_eq!(client.receive(), ["102: error -5 zxid=102"], "2004 bytes");
    client.request(opcode::GET_EPHEMERALS, &text("/"));
    assert_eq!(client.receive(), ["103: error -5 zxid=102"]);
    client.request(opcode::GET_DATA, &look("/wide", true));
    assert_eq!(client.receive(), ["104: error -5 zxid=102"]);
    assert_eq!(house.hub().lock().watches.len(), 0);
    client.request(opcode::DELETE, &versioned(&names[0], -1));
    client.request(opcode::GET_CHILDREN2, &look("/wide", true));
    let lines = client.receive();
    assert!(lines[1].starts_with("106: [0000000000000001 "), "1984 bytes");
    assert_eq!(house.hub().lock().watches.len(), 1);
    let reads = |count| transaction(&vec![(opcode::GET_DATA, look(&names[1], false)); count]);
    client.request(opcode::MULTI_READ, &reads(3));
    assert_eq!(client.receive(), ["107: error -5 zxid=103"]);
    client.request(opcode::MULTI_READ, &reads(1));
    assert!(client.receive()[0].starts_with("108: [\"xxxx"));
}

#[test]
fn a_long_answer_waits_until_there_is_memory_for_it() {
    let house = House::new(Settings::default());
    let mut writer = connected(&house);
    writer.request(opcode::CREATE, &create("/long", Some(&[b'x'; 100_000]), &EVERYONE, 0));
    writer.request(opcode::CREATE, &create("/short", Some(&[b'x'; 50_000]), &EVERYONE, 0));
    let mut client = Client::with_budget(&house, 40_000);
    client.receive();
    client.request(opcode::GET_DATA, &look("/long", true));
    assert_eq!(client.receive(), ["1: error -127 zxid=4"]);
    client.request(opcode::GET_DATA, &look("/short", true));
    assert!(client.receive()[0].starts_with("2: \"xxxx"));
    assert_eq!(house.hub().lock().watches.len(), 1);
}
