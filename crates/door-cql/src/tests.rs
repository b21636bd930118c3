//! The door as a client sees it, without sockets: bytes in, bytes out.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "files and threads of the tests themselves"
)]

mod golden;
mod still;

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use door::{Budget, Close, Guest, Outbox, Session};
use proptest::{collection::vec, prelude::*};
use store::SchemaChange;
use tokio::runtime::Runtime;
use world::{Clock, Entropy};

use still::DAMAGE;
pub(crate) use still::Still;

use crate::{Door, Settings, events, session::CqlSession};

/// A client of a door over a still store.
struct Client {
    session: CqlSession,
    outbox: Arc<Outbox>,
    input: BytesMut,
    runtime: Runtime,
}

impl Client {
    fn new() -> Client {
        Client::of(Still::with(&[]), usize::MAX)
    }

    fn of(still: Arc<Still>, budget_bytes: usize) -> Client {
        let door = Arc::new(door_of(&still));
        let outbox = Arc::new(Outbox::detached());
        let budget = Arc::new(Budget::new(budget_bytes));
        let peer = "127.0.0.1:1".parse().unwrap();
        let guest = Guest { peer, certificate: None, outbox: outbox.clone(), budget };
        let session = CqlSession::new(door, guest);
        Client { session, outbox, input: BytesMut::new(), runtime: world::task::runtime(1).unwrap() }
    }

    /// Sends bytes and returns what comes back until all requests are answered.
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes).unwrap();
        self.hear()
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Close> {
        let _entered = self.runtime.enter();
        self.input.extend_from_slice(bytes);
        self.session.feed(&mut self.input)
    }

    fn hear(&self) -> Vec<u8> {
        for _ in 0..5_000 {
            if self.session.in_flight() == 0 {
                return self.outbox.drain();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("a request was never answered");
    }

    /// A client that has said STARTUP.
    fn started(mut self) -> Client {
        assert_eq!(self.say(&unhex(STARTUP)), unhex("840000000200000000"));
        self
    }
}

/// A door over a still store.
pub(crate) fn door() -> Door {
    door_of(&Still::with(&[]))
}

fn door_of(still: &Arc<Still>) -> Door {
    let settings = Settings { max_frame_bytes: 1 << 20, ..Settings::default() };
    let clock = Clock::simulated(1_700_000_000_000_000);
    Door::new(still.store(), clock, Entropy::seeded(1), &settings)
}

/// STARTUP with `CQL_VERSION` 3.0.0.
const STARTUP: &str = "0400000001000000160001000b43514c5f56455253494f4e0005332e302e30";
const OPTIONS: &str = "040000070500000000";

fn unhex(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn query(stream: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![4, 0, 0, stream, 7];
    bytes.extend_from_slice(&(text.len() as u32 + 7).to_be_bytes());
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&[0, 1, 0]);
    bytes
}

/// The frames of a stream of responses: opcode, stream and body.
fn frames(mut bytes: &[u8]) -> Vec<(u8, i16, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        if matches!(bytes[0], 0x81 | 0x82) {
            // The old versions have one byte for the stream.
            let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
            frames.push((bytes[3], i16::from(bytes[2].cast_signed()), bytes[8..8 + length].to_vec()));
            bytes = &bytes[8 + length..];
            continue;
        }
        assert!(matches!(bytes[0], 0x83 | 0x84), "a frame begins with its version: {}", hex(bytes));
        let length = u32::from_be_bytes(bytes[5..9].try_into().unwrap()) as usize;
        let stream = i16::from_be_bytes([bytes[2], bytes[3]]);
        frames.push((bytes[4], stream, bytes[9..9 + length].to_vec()));
        bytes = &bytes[9 + length..];
    }
    frames
}

fn error_code(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[..4].try_into().unwrap())
}

/// What Cassandra 5.0.6 was seen to answer, with our own versions in the place of its own.
#[test]
fn other_versions_are_answered_so_that_drivers_come_down() {
    for (version, answered) in [(1, 1), (2, 2), (5, 4), (6, 4), (0x41, 4), (0x42, 4)] {
        let mut client = Client::new();
        let old = version <= 2;
        let probe =
            if old { vec![version, 0, 3, 5, 0, 0, 0, 0] } else { vec![version, 0, 0, 3, 5, 0, 0, 0, 0] };
        assert!(client.send(&probe).is_err(), "the connection ends");
        let text = format!(
            "Invalid or unsupported protocol version ({version}); supported versions are (3/v3, 4/v4)"
        );
        let mut expected = vec![0x80 | answered, 0];
        expected.extend_from_slice(if old { &[3, 0] } else { &[0, 3, 0] });
        expected.extend_from_slice(&(text.len() as u32 + 6).to_be_bytes());
        expected.extend_from_slice(&[0, 0, 0, 10]);
        expected.extend_from_slice(&(text.len() as u16).to_be_bytes());
        expected.extend_from_slice(text.as_bytes());
        assert_eq!(hex(&client.hear()), hex(&expected), "version {version}");
    }
}

#[test]
fn nothing_but_greetings_before_startup() {
    let mut client = Client::new();
    let answer = frames(&client.say(&query(9, "SELECT key FROM system.local")));
    assert_eq!((answer[0].0, answer[0].1, error_code(&answer[0].2)), (0, 9, 0x0a));
    // The connection goes on.
    assert_eq!(frames(&client.say(&unhex(OPTIONS)))[0].0, 6);
    let mut client = client.started();
    assert_eq!(frames(&client.say(&query(9, "SELECT key FROM system.local")))[0].0, 8);
    let again = frames(&client.say(&unhex(STARTUP)));
    assert_eq!(error_code(&again[0].2), 0x0a);
}

#[test]
fn requests_in_one_piece_are_all_answered_on_their_streams() {
    let mut client = Client::new().started();
    let mut bytes = Vec::new();
    for stream in 0..100 {
        bytes.extend_from_slice(&query(stream, "SELECT key FROM system.local"));
    }
    let mut streams: Vec<i16> = frames(&client.say(&bytes)).iter().map(|frame| frame.1).collect();
    streams.sort_unstable();
    assert_eq!(streams, (0..100).collect::<Vec<i16>>());
}

#[test]
fn a_version_is_kept_for_life() {
    let mut client = Client::new().started();
    let mut bytes = unhex(OPTIONS);
    bytes[0] = 3;
    assert!(client.send(&bytes).is_err());
    assert_eq!(error_code(&frames(&client.hear())[0].2), 0x0a);
}

#[test]
fn version_3_is_spoken() {
    let mut client = Client::new();
    let mut startup = unhex(STARTUP);
    startup[0] = 3;
    assert_eq!(client.say(&startup), unhex("830000000200000000"));
    let mut select = query(2, "SELECT key FROM system.local");
    select[0] = 3;
    let answer = client.say(&select);
    assert_eq!((answer[0], answer[4]), (0x83, 8));
}

#[test]
fn a_frame_too_long_is_passed_over() {
    let mut client = Client::new().started();
    let mut bytes = query(5, &" ".repeat(2 << 20));
    bytes.extend_from_slice(&unhex(OPTIONS));
    let mut answers = Vec::new();
    for piece in bytes.chunks(100_000) {
        answers.extend(client.say(piece));
        assert!(client.input.len() < 100_000, "what is passed over is not kept");
    }
    let answers = frames(&answers);
    assert_eq!((answers[0].0, answers[0].1, error_code(&answers[0].2)), (0, 5, 0x2200));
    assert_eq!((answers[1].0, answers[1].1), (6, 7));
}

#[test]
fn before_startup_a_frame_is_short() {
    let mut client = Client::new();
    let header = [4, 0, 0, 0, 1, 0, 0x0f, 0, 0];
    assert!(client.send(&header).is_err());
}

#[test]
fn overload_is_told_and_heartbeats_are_answered() {
    let mut client = Client::of(Still::with(&[]), 100).started();
    let answer = frames(&client.say(&query(1, "SELECT key FROM system.local")));
    assert_eq!((answer[0].0, error_code(&answer[0].2)), (0, 0x1001));
    assert_eq!(frames(&client.say(&unhex(OPTIONS)))[0].0, 6);
}

#[test]
fn the_store_s_overload_is_the_client_s() {
    let mut client = Client::new().started();
    let answer = frames(&client.say(&query(1, "SELECT * FROM sample.t WHERE a = 1 AND b = 'x'")));
    assert_eq!((answer[0].0, error_code(&answer[0].2)), (0, 0x1001));
}

/// A level that Cassandra knows and gives to nobody; one that it does not know.
#[test]
fn levels_that_nobody_gets_are_refused() {
    let mut client = Client::new().started();
    let mut select = query(1, "SELECT key FROM system.local");
    let level = select.len() - 2;
    for (code, error) in [(11, 0x2200), (12, 0x000a)] {
        select[level] = code;
        let answer = frames(&client.say(&select));
        assert_eq!((answer.len(), answer[0].0, error_code(&answer[0].2)), (1, 0, error));
    }
}

/// What a broken file is to a client: a failed read that names it, on a connection that goes on.
#[test]
fn damage_is_a_failed_read() {
    let still = Still::with(&[]);
    still.damage();
    for (version, code) in [(4, 0x1300), (3, 0x1200)] {
        let mut client = Client::of(still.clone(), usize::MAX);
        let mut startup = unhex(STARTUP);
        startup[0] = version;
        client.say(&startup);
        // One row, which is read at once, and a scan, which has a task.
        for text in ["SELECT d FROM sample.t WHERE a = 1 AND b = 'x'", "SELECT d FROM sample.t"] {
            let mut select = query(1, text);
            select[0] = version;
            let answer = frames(&client.say(&select));
            let body = &answer[0].2;
            assert_eq!((answer.len(), answer[0].0, error_code(body)), (1, 0, code), "{text}");
            let length = usize::from(u16::from_be_bytes([body[4], body[5]]));
            assert_eq!(std::str::from_utf8(&body[6..6 + length]), Ok(DAMAGE));
            // Level ONE; nothing received, one required; one failed, or no data.
            let numbers: &[u8] = if version == 4 { &[0, 0, 0, 1, 0] } else { &[0] };
            assert_eq!(body[6 + length..], [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 1], numbers].concat());
        }
        let mut select = query(2, "SELECT key FROM system.local");
        select[0] = version;
        assert_eq!(frames(&client.say(&select))[0].0, 8, "the connection goes on");
    }
}

#[test]
fn a_prepared_statement_s_id_is_known_and_others_are_unprepared() {
    let mut client = Client::new().started();
    let text = "SELECT key FROM system.local WHERE key = ?";
    let mut prepare = vec![4, 0, 0, 1, 9];
    prepare.extend_from_slice(&(text.len() as u32 + 4).to_be_bytes());
    prepare.extend_from_slice(&(text.len() as u32).to_be_bytes());
    prepare.extend_from_slice(text.as_bytes());
    let prepared = frames(&client.say(&prepare));
    assert_eq!((prepared[0].0, &prepared[0].2[..6]), (8, &[0, 0, 0, 4, 0, 16][..]));
    let id = prepared[0].2[6..22].to_vec();
    assert_eq!(id, crate::statements::id_of(None, text));

    let execute = |id: &[u8]| {
        let tail = [&[0, 1, 0x03, 0, 1, 0, 0, 0, 5][..], b"local"].concat();
        let mut bytes = vec![4, 0, 0, 2, 0x0a];
        bytes.extend_from_slice(&((2 + id.len() + tail.len()) as u32).to_be_bytes());
        bytes.extend_from_slice(&(id.len() as u16).to_be_bytes());
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&tail);
        bytes
    };
    let rows = frames(&client.say(&execute(&id)));
    // Rows, without metadata as asked for, one column, one row: "local".
    let expected = [&[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5][..], b"local"].concat();
    assert_eq!((rows[0].0, hex(&rows[0].2)), (8, hex(&expected)));

    for unknown in [&[7; 16][..], &[1, 2, 3]] {
        let answer = frames(&client.say(&execute(unknown)));
        assert_eq!(error_code(&answer[0].2), 0x2500);
        assert!(answer[0].2.ends_with(unknown), "the id comes back");
    }
}

#[test]
fn who_registered_hears_of_schema_changes() {
    let still = Still::with(&[]);
    let mut client = Client::of(still.clone(), usize::MAX).started();
    let (_trigger, shutdown) = door::shutdown();
    let (listeners, statements) =
        (client.session.door().listeners.clone(), client.session.door().statements.clone());
    client.runtime.spawn(events::tell(listeners, statements, store::Catalog::events(&*still), shutdown));
    let events = ["SCHEMA_CHANGE", "STATUS_CHANGE", "TOPOLOGY_CHANGE"];
    let mut register = vec![4, 0, 0, 1, 0x0b, 0, 0, 0, 49, 0, 3];
    for event in events {
        register.extend_from_slice(&(event.len() as u16).to_be_bytes());
        register.extend_from_slice(event.as_bytes());
    }
    register[8] = (register.len() - 9) as u8;
    assert_eq!(frames(&client.say(&register))[0].0, 2);

    // Of the first there is nothing to be told.
    still.tell(SchemaChange::TruncateTable { space: "sample".to_owned(), name: "t".to_owned() });
    still.tell(SchemaChange::DropTable { space: "sample".to_owned(), name: "t".to_owned() });
    let heard = (0..1000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(1));
        Some(client.hear()).filter(|bytes| !bytes.is_empty())
    });
    let body = b"\0\x0dSCHEMA_CHANGE\0\x07DROPPED\0\x05TABLE\0\x06sample\0\x01t".to_vec();
    assert_eq!(frames(&heard.unwrap()), [(0x0c, -1, body)]);
}

#[test]
fn unknown_and_refused_operations_are_told() {
    let mut client = Client::new().started();
    let cases = [
        // An opcode nobody has, a response's, AUTH_RESPONSE unasked, an empty BATCH, a stream
        // that is the server's, a compressed frame.
        ("040000017700000000", 0x0a),
        ("040000010200000000", 0x0a),
        ("040000010f00000004ffffffff", 0x0a),
        ("040000010d00000006000000000100", 0x2200),
        ("0400ffff0500000000", 0x0a),
        ("04010001070000000100", 0x0a),
    ];
    for (request, code) in cases {
        let answer = frames(&client.say(&unhex(request)));
        assert_eq!((answer.len(), answer[0].0, error_code(&answer[0].2)), (1, 0, code), "{request}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_is_answered_in_the_protocol_s_terms_or_ends(bytes in vec(any::<u8>(), 0..200), greeted: bool) {
        let mut client = Client::new();
        if greeted {
            client = client.started();
        }
        let _ = client.send(&bytes);
        let answer = client.hear();
        if !matches!(answer.first(), Some(0x81 | 0x82)) {
            frames(&answer);
        }
    }
}
