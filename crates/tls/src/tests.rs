//! A channel and a client without a socket between them: what they say, what they hold, and what
//! becomes of bytes that were tampered with.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    io::{Read, Write},
    sync::Arc,
};

use bytes::BytesMut;
use rustls::{ClientConfig, ClientConnection, ServerConfig, pki_types::ServerName, version};
use world::{Clock, Entropy};

use crate::{
    Broken, Certificates, Channel, ClientAuth, ClientChannel, ServerChannel, Side,
    forge::{Authority, Folder, client_config, connection},
};

/// What a server and a client with certificates go by.
fn both(name: &str) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let (authority, folder) = (Authority::new("an authority"), Folder::new(name));
    folder.put(&authority.sign("the server", 2999));
    folder.write("clients.pem", &authority.pem);
    let runtime = world::task::runtime(1).unwrap();
    let loaded = Certificates::load(folder.files(Some(ClientAuth::Need)), Clock::real());
    let pair = authority.sign("a friend", 2999);
    let client = client_config(&authority, Some(&pair), &[&version::TLS12, &version::TLS13]);
    (runtime.block_on(loaded).unwrap().config(), client)
}

/// Takes everything that the client has to say.
fn say(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client everything that the channel has to say, and `heard` what was in it.
fn hear(client: &mut ClientConnection, channel: &mut ServerChannel, heard: &mut Vec<u8>) -> usize {
    let mut unsent = channel.unsent();
    let length = unsent.len();
    while !unsent.is_empty() {
        client.read_tls(&mut unsent).unwrap();
        let mut opened = vec![0; client.process_new_packets().unwrap().plaintext_bytes_to_read()];
        client.reader().read_exact(&mut opened).unwrap();
        heard.extend(opened);
    }
    channel.sent(length)
}

/// A channel and a client that have shaken hands, and what the client said for it, in flights.
fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (ServerChannel, ClientConnection, Vec<Vec<u8>>) {
    let mut client = connection(client.clone());
    client.set_buffer_limit(None);
    let mut channel = ServerChannel::new(server.clone(), BytesMut::new()).unwrap();
    let mut flights = Vec::new();
    while channel.is_handshaking() || client.is_handshaking() {
        let flight = say(&mut client);
        channel.received.extend_from_slice(&flight);
        flights.push(flight);
        channel.open(&mut BytesMut::new()).unwrap();
        assert_eq!(hear(&mut client, &mut channel, &mut Vec::new()), 0, "a handshake answers no request");
    }
    (channel, client, flights)
}

#[test]
fn an_idle_channel_holds_no_buffers() {
    let (server, client) = both("idle-channel");
    let (mut channel, mut client, _) = shake(&server, &client);
    assert!(channel.certificate().is_some());
    let mut input = BytesMut::new();
    for size in [1, 100_000] {
        client.writer().write_all(&vec![7; size]).unwrap();
        while client.wants_write() {
            channel.received.extend_from_slice(&say(&mut client));
            channel.open(&mut input).unwrap();
        }
        let mut answers = vec![8; size];
        let (mut heard, mut arrived) = (Vec::new(), 0);
        while !answers.is_empty() {
            let sealed = channel.seal(&answers).unwrap();
            assert!(channel.unsent().len() > sealed && channel.unsent().len() < 66 << 10);
            answers.drain(..sealed);
            arrived += hear(&mut client, &mut channel, &mut heard);
        }
        assert!(heard == vec![8; size]);
        assert_eq!(arrived, size, "answers count as sent when the last of their record is");
        assert_eq!(channel.received.capacity(), 0);
        assert!(channel.unsent().is_empty());
    }
    assert_eq!(input.len(), 100_001);
    assert!(size_of::<ServerChannel>() <= 2048, "{}", size_of::<ServerChannel>());
}

/// A node ends when a thread panics, so nothing that a stranger says may make rustls or us do that.
#[test]
fn bytes_that_were_tampered_with_are_refused_in_peace() {
    let (server, client) = both("tampered");
    let (_, _, flights) = shake(&server, &client);
    let entropy = Entropy::seeded(16);
    let (mut refused, mut waiting) = (0, 0);
    for _ in 0..3000 {
        let mut bytes = flights[entropy.below(flights.len() as u64) as usize].clone();
        for _ in 0..=entropy.below(3) {
            let at = entropy.below(bytes.len() as u64) as usize;
            match entropy.below(4) {
                0 => bytes[at] ^= 1 << entropy.below(8),
                1 => bytes[at] = entropy.u64() as u8,
                2 => bytes.truncate(at.max(1)),
                _ => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        let mut channel = ServerChannel::new(server.clone(), BytesMut::new()).unwrap();
        let mut input = BytesMut::new();
        let piece = 1 + entropy.below(bytes.len() as u64) as usize;
        let broken = bytes.chunks(piece).any(|piece| {
            channel.received.extend_from_slice(piece);
            channel.open(&mut input).is_err()
        });
        assert!(channel.is_handshaking() && input.is_empty() && channel.certificate().is_none());
        if broken {
            refused += 1;
            assert_eq!(channel.received.capacity(), 0);
        } else {
            waiting += 1;
        }
    }
    assert!(refused > 1000 && waiting > 100, "{refused} {waiting}");
}

#[test]
fn a_record_that_never_ends_is_not_waited_for() {
    let (server, _) = both("unending");
    let mut channel = ServerChannel::new(server, BytesMut::new()).unwrap();
    // A handshake message of 64 KiB in records of a byte.
    let mut head = b"\x16\x03\x01\x00\x04\x01\x00\xff\xff".to_vec();
    let taken = (0..100_000).take_while(|_| {
        channel.received.extend_from_slice(&head);
        head = b"\x16\x03\x01\x00\x01\x00".to_vec();
        channel.open(&mut BytesMut::new()).is_ok()
    });
    let taken = taken.count();
    assert!(taken < 20_000, "{taken}");
}

/// What a peer goes by, whose authority is `authority`.
fn peer(name: &str, authority: &Authority, shown_by: &Authority) -> Arc<Certificates> {
    let folder = Folder::new(name);
    folder.put(&shown_by.sign("a node", 2999));
    folder.write("clients.pem", &authority.pem);
    let loaded = Certificates::load(folder.files(Some(ClientAuth::Peer)), Clock::real());
    world::task::runtime(1).unwrap().block_on(loaded).unwrap()
}

/// What `from` has sealed goes to `to`.
fn pass<A: Side, B: Side>(
    from: &mut Channel<A>,
    to: &mut Channel<B>,
    input: &mut BytesMut,
) -> Result<(), Broken> {
    to.received.extend_from_slice(from.unsent());
    from.sent(from.unsent().len());
    to.open(input)
}

fn meet(a: &Certificates, b: &Certificates) -> Result<(ClientChannel, ServerChannel), Broken> {
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let mut client = ClientChannel::to(a.client_config().unwrap(), name)?;
    let mut server = ServerChannel::new(b.config(), BytesMut::new())?;
    let mut input = BytesMut::new();
    client.open(&mut input)?;
    for _ in 0..4 {
        let heard = pass(&mut client, &mut server, &mut input);
        pass(&mut server, &mut client, &mut input)?;
        heard?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking() && input.is_empty());
    Ok((client, server))
}

#[test]
fn peers_believe_each_other_by_their_authority_whatever_their_names() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (a, b) = (peer("peer-a", &ours, &ours), peer("peer-b", &ours, &ours));
    let (mut client, mut server) = meet(&a, &b).unwrap();
    assert!(client.certificate().is_some() && server.certificate().is_some());
    let mut input = BytesMut::new();
    client.seal(b"ping").unwrap();
    pass(&mut client, &mut server, &mut input).unwrap();
    server.seal(b"pong").unwrap();
    pass(&mut server, &mut client, &mut input).unwrap();
    assert_eq!(&input[..], b"pingpong");

    // Signed by another authority, on either side; and by ours, but believing another.
    let (stranger, deceived) = (peer("stranger", &ours, &theirs), peer("deceived", &theirs, &ours));
    for (from, to) in [(&a, &stranger), (&stranger, &a), (&a, &deceived), (&deceived, &a)] {
        let Err(Broken(why)) = meet(from, to) else { panic!("they met") };
        assert!(why.contains("UnknownIssuer") || why.contains("UnknownCA"), "{why}");
    }
}

/// Links between nodes stand for weeks, in which keys change often.
#[test]
fn keys_change_on_the_way() {
    let authority = Authority::new("ours");
    let (a, b) = (peer("keys-a", &authority, &authority), peer("keys-b", &authority, &authority));
    let (mut client, mut server) = meet(&a, &b).unwrap();
    let mut input = BytesMut::new();
    for round in 0..10 {
        if round % 3 != 0 {
            client.change_keys();
        }
        if round % 3 != 1 {
            server.change_keys();
        }
        // That keys change is said when something is opened, or with what is sealed next.
        pass(&mut client, &mut server, &mut input).unwrap();
        assert_eq!(client.seal(b"ping").unwrap(), 4);
        pass(&mut client, &mut server, &mut input).unwrap();
        pass(&mut server, &mut client, &mut input).unwrap();
        assert_eq!(server.seal(b"pong").unwrap(), 4);
        pass(&mut server, &mut client, &mut input).unwrap();
    }
    assert_eq!(input, b"pingpong".repeat(10)[..]);
}
