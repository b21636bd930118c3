//! Requests that have to wait for the disk: others are served meanwhile, and order stays.
#![allow(clippy::unwrap_used)]

use super::{Durable, House, client::*};
use crate::{Settings, wire::request::opcode};

/// A door without memory for znodes, on a disk that is as slow as the test wants.
struct Slow {
    house: House,
    disk: Durable,
}

impl Slow {
    fn new() -> Slow {
        let disk = Durable::default().cold();
        let settings = Settings { cache_bytes: 0, ..Settings::default() };
        Slow { house: House::after(settings, disk.same(), &[]), disk }
    }

    fn client(&self) -> Client {
        let mut client = Client::connect(&self.house, 10_000, Ticket::default());
        assert_eq!(client.receive(), ["connected timeout=10000"]);
        client
    }

    /// Has what waits read, and the client fed as its task would do it.
    fn read(&self, client: &mut Client) {
        let mut idle = 0;
        while idle < 2 {
            idle = if self.disk.run_one() { 0 } else { idle + 1 };
            if client.holds_back() {
                client.feed();
            }
        }
    }
}

#[test]
fn requests_that_wait_for_the_disk_keep_their_order() {
    let slow = Slow::new();
    let mut client = slow.client();
    client.request(opcode::CREATE, &create("/a", Some(b"1"), &EVERYONE, 0));
    client.request(opcode::CREATE, &create("/a/b", Some(b"2"), &EVERYONE, 0));
    // With the next transaction, what these made is known to be in the store.
    client.request(opcode::DELETE, &versioned("/none", -1));
    client.receive();
    slow.disk.hold();
    client.request(opcode::GET_DATA, &look("/a", false));
    client.request(opcode::SET_DATA, &set_data("/a", Some(b"changed"), -1));
    client.request(opcode::GET_DATA, &look("/a", false));
    client.request(opcode::GET_CHILDREN, &look("/a", true));
    client.request(opcode::GET_ALL_CHILDREN_NUMBER, &text("/"));
    client.request(opcode::DELETE, &versioned("/a/b", -1));
    client.request(opcode::EXISTS, &look("/a/b", false));
    assert_eq!(client.receive(), [""; 0], "the first of them waits");
    slow.read(&mut client);
    let told: Vec<String> = client.receive();
    let short: Vec<&str> = told.iter().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(
        short,
        [
            "4: \"1\"",
            "5: ",
            "6: \"changed\"",
            "7: [b] zxid=5",
            "8: 5 zxid=5",
            "event children /a zxid=6",
            "9: ok zxid=6",
            "10: error -101 zxid=6"
        ],
        "{told:?}"
    );
}

#[test]
fn the_store_is_asked_once_for_a_znode_that_is_to_be_made() {
    let disk = Durable::default();
    let make = |house: &House, paths: &[&str]| {
        let mut client = Client::connect(house, 10_000, Ticket::default());
        client.receive();
        for path in paths {
            client.request(opcode::CREATE, &create(path, None, &EVERYONE, 0));
        }
        client.receive()
    };
    let house = || House::after(Settings::default(), disk.same(), &[]);
    assert_eq!(make(&house(), &["/a", "/not-in-memory"]).len(), 2);
    let house = house();
    make(&house, &["/a/b"]);
    let before = disk.looks();
    assert_eq!(make(&house, &["/a/c", "/a/c"]).len(), 2);
    assert_eq!(
        disk.looks() - before,
        1,
        "/a is in memory, and /a/c is known not to be there, and then to be"
    );
}

/// Writes that were taken behind a read are on their way when it turns out that it has to wait.
#[test]
fn a_read_that_waits_does_not_show_what_was_asked_for_behind_it() {
    for reads in [
        &[(opcode::GET_DATA, look("/a", false))][..],
        &[(opcode::GET_ALL_CHILDREN_NUMBER, text("/")), (opcode::EXISTS, look("/behind", false))],
    ] {
        let slow = Slow::new();
        let mut client = slow.client();
        client.request(opcode::CREATE, &create("/a", Some(b"1"), &EVERYONE, 0));
        client.request(opcode::DELETE, &versioned("/none", -1));
        client.receive();
        slow.house.machine.hold();
        client.request(opcode::CREATE, &create("/before", None, &EVERYONE, 0));
        reads.iter().for_each(|(code, record)| client.request(*code, record));
        client.request(opcode::CREATE, &create("/behind", None, &EVERYONE, 0));
        slow.disk.hold();
        slow.house.machine.release();
        slow.read(&mut client);
        // Zxids that go back are not understood by the client.
        let told = client.receive();
        assert_eq!(told.len(), 2 + reads.len(), "{told:?}");
        assert!(told[reads.len()].ends_with(" zxid=4"), "{told:?}");
        assert_eq!(told.last().unwrap().split_once(": ").unwrap().1, "/behind zxid=5");
    }
}

#[test]
fn others_are_served_while_one_waits_for_the_disk() {
    let slow = Slow::new();
    let (mut one, mut other) = (slow.client(), slow.client());
    one.request(opcode::CREATE, &create("/a", None, &EVERYONE, 0));
    other.request(opcode::CREATE, &create("/b", None, &EVERYONE, 0));
    one.request(opcode::GET_DATA, &look("/a", false));
    slow.disk.hold();
    one.receive();
    one.request(opcode::GET_DATA, &look("/zookeeper/config", false));
    assert_eq!(one.receive(), [""; 0]);
    other.receive();
    other.request(opcode::PING, &[]);
    other.request(opcode::GET_DATA, &look("/b", false));
    let told = other.receive();
    assert!(told[0].starts_with("-2:") && told[1].starts_with("3:"), "{told:?}");
    slow.read(&mut one);
    assert_eq!(one.receive().len(), 1);
}

#[test]
fn who_leaves_while_it_waits_leaves_nothing_behind() {
    let slow = Slow::new();
    let mut client = slow.client();
    client.request(opcode::CREATE, &create("/a", None, &EVERYONE, 1));
    client.request(opcode::SYNC, &look("/", false));
    slow.disk.hold();
    client.request(opcode::GET_DATA, &look("/zookeeper", false));
    client.request(opcode::SET_DATA, &set_data("/a", None, -1));
    drop(client);
    while slow.disk.run_one() {}
    assert_eq!(slow.house.hub().lock().replica.zxid, 2, "the set behind the read was never taken");
}

#[test]
fn what_waits_is_not_proposed_behind_the_session_on_another_connection() {
    let slow = Slow::new();
    let mut client = slow.client();
    client.request(opcode::CREATE, &create("/a", None, &EVERYONE, 0));
    client.request(opcode::DELETE, &versioned("/none", -1));
    client.receive();
    slow.disk.hold();
    client.request(opcode::SET_DATA, &set_data("/a", Some(b"late"), -1));
    let mut again = Client::connect(&slow.house, 10_000, client.talk.ticket);
    slow.read(&mut again);
    assert_eq!(again.receive(), ["connected timeout=10000"]);
    again.request(opcode::GET_DATA, &look("/a", false));
    slow.read(&mut again);
    assert!(again.receive()[0].contains("version=0"), "what the old connection asked for last is void");
}

/// Entries are applied while everyone waits, so all that they need is asked for before.
#[test]
fn nothing_waits_for_the_numbers_of_a_quota_while_it_is_applied() {
    let slow = Slow::new();
    let mut client = slow.client();
    let limits = Some(&b"count=10,bytes=100"[..]);
    for (path, data) in [
        ("/a", None),
        ("/a/b", Some(&b"1"[..])),
        ("/zookeeper/quota/a", None),
        ("/zookeeper/quota/a/zookeeper_limits", limits),
        ("/zookeeper/quota/a/zookeeper_stats", None),
    ] {
        client.request(opcode::CREATE, &create(path, data, &EVERYONE, 0));
    }
    slow.read(&mut client);
    client.receive();
    let before = slow.house.machine.waits();
    for (code, record) in [
        (opcode::SET_DATA, set_data("/a/b", Some(b"22"), -1)),
        (opcode::CREATE, create("/a/s-", Some(b"333"), &EVERYONE, 2)),
        (opcode::CREATE, create("/a/c", Some(b"4444"), &EVERYONE, 0)),
        (opcode::DELETE, versioned("/a/b", -1)),
        (opcode::SET_ACL, set_acl("/a/c", &EVERYONE, -1)),
    ] {
        // With the next transaction, what others changed is known to be in the store.
        client.request(opcode::DELETE, &versioned("/none", -1));
        client.request(opcode::DELETE, &versioned("/none", -1));
        slow.read(&mut client);
        client.request(code, &record);
        slow.read(&mut client);
        assert_eq!(slow.house.machine.waits(), before, "opcode {code}");
    }
    let told = client.receive();
    assert!(told.iter().skip(2).step_by(3).all(|line| !line.contains("error")), "{told:?}");
    client.request(opcode::GET_DATA, &look("/zookeeper/quota/a/zookeeper_stats", false));
    slow.read(&mut client);
    assert!(client.receive()[0].contains("\"count=3,bytes=7\""));
}
