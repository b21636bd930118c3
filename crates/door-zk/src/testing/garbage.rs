//! What no honest client sends: nobody else notices, and no memory is taken on its word.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{House, client::*};
use crate::{
    Settings,
    fuzzing::{kazoo, recording},
    wire::request::opcode,
};

/// What a client gets for a recording that arrives in pieces of these sizes.
fn replies(pieces: impl Iterator<Item = usize>) -> Vec<u8> {
    let house = House::new(Settings::default());
    let mut client = Client::connect(&house, 10_000, Ticket::default());
    client.line.receive();
    let bytes = recording();
    let mut rest = &bytes[..];
    for piece in pieces {
        let (now, later) = rest.split_at(piece.clamp(1, rest.len()));
        client.send(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    client.line.receive()
}

#[test]
fn a_stream_cut_anywhere_is_the_same_stream() {
    let whole = replies(std::iter::repeat(usize::MAX));
    assert!(whole.len() > 500);
    assert_eq!(replies(std::iter::repeat(1)), whole);
    for piece in [2, 3, 5, 7, 64] {
        assert_eq!(replies(std::iter::repeat(piece)), whole, "pieces of {piece}");
    }
}

/// Another client's view is as it should be.
fn others_are_served(house: &House) {
    let mut other = Client::connect(house, 10_000, Ticket::default());
    other.request(opcode::CREATE, &create("/other", None, &EVERYONE, 0));
    let lines = other.receive();
    assert_eq!(lines[0], "connected timeout=10000");
    assert!(lines[1].starts_with("1: /other zxid="), "{lines:?}");
}

proptest! {
    #[test]
    fn arbitrary_first_bytes_harm_nobody(bytes: Vec<u8>) {
        let house = House::new(Settings::default());
        let mut client = Client::silent(&house);
        client.send(&bytes);
        client.send(&bytes);
        others_are_served(&house);
    }

    #[test]
    fn a_mutated_recording_harms_nobody(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        piece in 1usize..200,
        real: bool,
    ) {
        let house = House::new(Settings::default());
        let mut client = Client::connect(&house, 10_000, Ticket::default());
        client.receive();
        let mut bytes = if real { kazoo() } else { recording() };
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for part in bytes.chunks(piece) {
            client.send(part);
        }
        drop(client);
        prop_assert_eq!(house.hub().lock().watches.len(), 0);
        others_are_served(&house);
    }
}

#[test]
fn an_oversized_frame_ends_the_connection_at_its_length() {
    let house = House::new(Settings { message_bytes: 1000, ..Settings::default() });
    for length in [1001u32, u32::MAX, 1 << 31] {
        let mut client = Client::connect(&house, 10_000, Ticket::default());
        client.receive();
        client.send(&length.to_be_bytes());
        assert_eq!(client.receive(), ["connection closed"]);
    }
    others_are_served(&house);
}

#[test]
fn a_multi_of_ten_thousand_operations_is_one_transaction() {
    let house = House::new(Settings::default());
    let mut client = Client::connect(&house, 10_000, Ticket::default());
    let mut operations: Vec<_> =
        (0..10_000).map(|n| (opcode::CREATE, create(&format!("/n{n}"), None, &EVERYONE, 0))).collect();
    client.request(opcode::MULTI, &transaction(&operations));
    assert_eq!(house.hub().lock().replica.zxid, 2);
    assert_eq!(house.hub().lock().replica.tree.size().znodes, 10_004);
    let weight = house.hub().lock().replica.weight();
    // The second time the last one fails, and nothing of the others stays.
    for (n, operation) in operations.iter_mut().enumerate().take(9_999) {
        *operation = (opcode::CREATE, create(&format!("/m{n}"), None, &EVERYONE, 0));
    }
    client.request(opcode::MULTI, &transaction(&operations));
    assert_eq!(house.hub().lock().replica.tree.size().znodes, 10_004);
    assert_eq!(house.hub().lock().replica.weight(), weight);
    let lines = client.receive();
    assert!(lines[2].starts_with("2: [error 0]") && lines[2].ends_with("[error -110] zxid=3"));
}

#[test]
fn a_client_that_does_not_read_is_asked_no_more() {
    let house = House::new(Settings { in_flight: 100_000, ..Settings::default() });
    let mut client = Client::connect(&house, 10_000, Ticket::default());
    client.request(opcode::CREATE, &create("/big", Some(&[7; 500_000]), &EVERYONE, 0));
    client.receive();
    for _ in 0..100 {
        client.request(opcode::GET_DATA, &look("/big", false));
    }
    assert!(client.holds_back());
    assert!(client.line.outbox.unsent() < 2_000_000, "{} bytes", client.line.outbox.unsent());
    // It reads again, and gets all of them.
    let mut got = 0;
    while got < 100 {
        let lines = client.receive();
        assert!(!lines.is_empty());
        got += lines.len();
        client.feed();
    }
}

#[test]
fn requests_in_flight_hold_no_more_than_the_budget() {
    let house = House::new(Settings::default());
    let mut client = Client::with_budget(&house, 10_000);
    client.receive();
    house.machine.hold();
    client.request(opcode::DELETE, &versioned("/none", -1));
    for _ in 0..30 {
        client.request(opcode::EXISTS, &look(&"/x".repeat(500), false));
    }
    house.machine.release();
    let answers: Vec<_> = client.receive();
    let throttled = answers.iter().filter(|line| line.contains("error -127")).count();
    let absent = answers.iter().filter(|line| line.contains("error -101")).count();
    assert!(throttled >= 20 && absent >= 9 && throttled + absent == 31, "{throttled} + {absent}");
    // What was held is given back.
    client.request(opcode::EXISTS, &look(&"/x".repeat(4000), false));
    assert!(client.receive()[0].contains("error -101"));
}
