//! The toy protocol of the other tests over TLS, beside clients in clear.

use std::{
    io::{ErrorKind, Read, Write},
    sync::{Mutex, mpsc},
};

use bytes::Bytes;
use rustls::{ClientConfig, version};
use world::Clock;

use super::*;
use ::tls::{
    Certificates, ClientAuth,
    forge::{Authority, Folder, Pair, TlsStream, ask, client_config, connection, dial, tls},
};

/// A server with certificates, its runtime behind it, and the authority that its clients believe.
struct Castle {
    runtime: tokio::runtime::Runtime,
    house: House,
    authority: Authority,
    folder: Folder,
    certificates: Arc<Certificates>,
    /// The certificates of clients, as sessions were told.
    guests: Mutex<mpsc::Receiver<Option<Bytes>>>,
}

#[derive(Default)]
struct Plan {
    limits: Limits,
    required: bool,
    clients: Option<ClientAuth>,
    clock: Option<Clock>,
}

fn castle(name: &str, plan: Plan) -> Castle {
    let (authority, folder) = (Authority::new("an authority"), Folder::new(name));
    folder.put(&authority.sign("the server", 2999));
    folder.write("clients.pem", &authority.pem);
    let runtime = world::task::runtime(2).unwrap();
    let clock = plan.clock.unwrap_or_else(Clock::real);
    let certificates = runtime.block_on(Certificates::load(folder.files(plan.clients), clock)).unwrap();
    let offer =
        if plan.required { Tls::Required(certificates.clone()) } else { Tls::Optional(certificates.clone()) };
    let (tell, guests) = mpsc::channel();
    let make = move |guest: Guest| {
        let _ = tell.send(guest.certificate.clone());
        Box::new(Echo { guest, heard: false, pending: Arc::default() }) as Box<dyn Session>
    };
    let house = runtime.block_on(open("castle", plan.limits, offer, make));
    Castle { runtime, house, authority, folder, certificates, guests: Mutex::new(guests) }
}

impl Castle {
    fn config(&self, pair: Option<&Pair>) -> Arc<ClientConfig> {
        client_config(&self.authority, pair, &[&version::TLS12, &version::TLS13])
    }

    fn visit(&self) -> TlsStream {
        tls(self.house.address, self.config(None))
    }
}

/// What the socket gives until it is closed, which it must be.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_ne!(error.kind(), ErrorKind::WouldBlock, "not closed in time");
    }
    bytes
}

#[test]
fn clear_and_tls_share_a_port() {
    let castle = castle("both", Plan::default());
    let (mut clear, mut sealed) = (dial(castle.house.address), castle.visit());
    for _ in 0..3 {
        ask(&mut clear, b"\x03abc\x01d", b"abcd").unwrap();
        ask(&mut sealed, b"\x03abc\x01d", b"abcd").unwrap();
    }
    assert_eq!(sealed.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let old = client_config(&castle.authority, None, &[&version::TLS12]);
    ask(&mut tls(castle.house.address, old), b"\x01a", b"a").unwrap();
    let guests: Vec<_> = castle.guests.lock().unwrap().try_iter().collect();
    assert_eq!(guests, [None, None, None], "nobody was asked for a certificate");
}

#[test]
fn large_answers_arrive_and_a_message_may_be_cut_anywhere() {
    let castle = castle("large", Plan::default());
    let mut client = castle.visit();
    let big = vec![7; 1 << 20];
    ask(&mut client, b"\x03big", &big).unwrap();
    let many: Vec<u8> = [&big[..], b"x", &big, &big].concat();
    ask(&mut client, b"\x03big\x01x\x03big\x03big", &many).unwrap();
    for piece in [b"\x03", b"a", b"b"] {
        client.write_all(piece).unwrap();
        client.flush().unwrap();
    }
    ask(&mut client, b"c", b"abc").unwrap();
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let castle = castle("bytewise", Plan::default());
    let mut socket = dial(castle.house.address);
    socket.set_nodelay(true).unwrap();
    let mut client = connection(castle.config(None));
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    for byte in hello {
        socket.write_all(&[byte]).unwrap();
    }
    ask(&mut rustls::StreamOwned::new(client, socket), b"\x01a", b"a").unwrap();
}

/// Most clients that are not Java's leave Nagle's algorithm on: put off, each would take 40 ms.
#[test]
fn the_end_of_a_handshake_is_acknowledged_at_once() {
    let castle = castle("prompt", Plan::default());
    let mut took: Vec<_> = (0..31)
        .map(|_| {
            let mut client = castle.visit();
            client.conn.complete_io(&mut client.sock).unwrap();
            let began = Clock::real().boot();
            ask(&mut client, b"\x01a", b"a").unwrap();
            Clock::real().boot() - began
        })
        .collect();
    took.sort();
    assert!(took[15] < Duration::from_millis(35), "{took:?}");
}

#[test]
fn where_tls_is_required_clear_gets_no_answer() {
    let castle = castle("required", Plan { required: true, ..Plan::default() });
    let mut clear = dial(castle.house.address);
    clear.write_all(b"\x01a").unwrap();
    assert_eq!(rest(&mut clear), b"");
    ask(&mut castle.visit(), b"\x01a", b"a").unwrap();
    assert_eq!(castle.guests.lock().unwrap().try_iter().count(), 1, "the other never became a session");
}

#[test]
fn a_client_that_must_show_a_certificate_is_known_by_it() {
    let castle = castle("need", Plan { clients: Some(ClientAuth::Need), ..Plan::default() });
    let error = ask(&mut castle.visit(), b"\x01a", b"a").unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    let stranger = Authority::new("another").sign("a stranger", 2999);
    let error =
        ask(&mut tls(castle.house.address, castle.config(Some(&stranger))), b"\x01a", b"a").unwrap_err();
    assert!(error.to_string().contains("UnknownCA"), "{error}");
    assert_eq!(castle.guests.lock().unwrap().try_iter().count(), 0);

    let friend = castle.authority.sign("a friend", 2999);
    ask(&mut tls(castle.house.address, castle.config(Some(&friend))), b"\x01a", b"a").unwrap();
    let told: Vec<_> = castle.guests.lock().unwrap().try_iter().collect();
    let [Some(certificate)] = &told[..] else { panic!("{told:?}") };
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    assert_eq!(certificate[..], *CertificateDer::from_pem_slice(friend.certificate.as_bytes()).unwrap());
}

#[test]
fn a_client_that_may_show_a_certificate_must_not_show_a_wrong_one() {
    // A clock far behind: what expires in 2001 is good in 2000, whatever the machine's clock says.
    let clock = Clock::simulated(980_000_000_000_000);
    let plan = Plan { clients: Some(ClientAuth::Want), clock: Some(clock.clone()), ..Plan::default() };
    let castle = castle("want", plan);
    ask(&mut castle.visit(), b"\x01a", b"a").unwrap();
    let pair = castle.authority.sign("a friend", 2001);
    let visit = || ask(&mut tls(castle.house.address, castle.config(Some(&pair))), b"\x01a", b"a");
    visit().unwrap();
    clock.jump_to(1_100_000_000_000_000);
    let error = visit().unwrap_err();
    assert!(error.to_string().contains("CertificateExpired"), "{error}");
}

#[test]
fn an_expired_server_is_refused_by_its_clients() {
    let castle = castle("expired", Plan::default());
    castle.folder.put(&castle.authority.sign("the server of old", 2001));
    castle.runtime.block_on(castle.certificates.refresh()).unwrap().unwrap();
    let error = ask(&mut castle.visit(), b"\x01a", b"a").unwrap_err();
    assert!(error.to_string().contains("certificate expired"), "{error}");
    ask(&mut dial(castle.house.address), b"\x01a", b"a").unwrap();
}

#[test]
fn certificates_are_read_again_and_bad_ones_change_nothing() {
    let castle = castle("reload", Plan::default());
    let shown = |client: &mut TlsStream| {
        ask(client, b"\x01a", b"a").unwrap();
        client.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let mut early = castle.visit();
    let first = shown(&mut early);
    let refresh = || castle.runtime.block_on(castle.certificates.refresh());
    assert_eq!(refresh(), None, "nothing has changed");

    let second = castle.authority.sign("the server", 2999);
    castle.folder.write("server.pem", &second.certificate);
    let fault = refresh().unwrap().unwrap_err().to_string();
    assert!(fault.contains("server.pem: does not go with"), "{fault}");
    assert_eq!(refresh(), None, "told once");
    assert_eq!(shown(&mut castle.visit()), first);
    std::fs::remove_file(castle.folder.path("server.key")).unwrap();
    assert!(refresh().unwrap().unwrap_err().to_string().contains("server.key: "));

    castle.folder.write("server.key", &second.key);
    assert_eq!(refresh(), Some(Ok(())));
    assert_ne!(shown(&mut castle.visit()), first);
    assert_eq!(shown(&mut early), first, "connections keep what they began with");
}

#[test]
fn the_timer_reads_them_too_and_ends_with_the_house() {
    let castle = castle("timer", Plan::default());
    let (trigger, mut shutdown) = crate::shutdown();
    let end = async move { shutdown.wait().await };
    let fresh = castle.certificates.clone().keep_fresh(Duration::from_millis(10), end);
    let fresh = castle.runtime.spawn(fresh);
    castle.folder.put(&castle.authority.sign("the server of old", 2001));
    let changed = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        ask(&mut castle.visit(), b"\x01a", b"a").is_err()
    });
    assert!(changed, "the new certificate was never shown");
    trigger.trigger();
    castle.runtime.block_on(fresh).unwrap();
}

#[test]
fn a_bad_file_is_named_with_its_reason() {
    let (authority, folder) = (Authority::new("an authority"), Folder::new("faults"));
    let good = authority.sign("the server", 2999);
    let runtime = world::task::runtime(1).unwrap();
    let fault = |clients| {
        let loaded = runtime.block_on(Certificates::load(folder.files(clients), Clock::real()));
        loaded.unwrap_err().to_string()
    };
    let complains = |fault: String, wanted: [&str; 2]| {
        assert!(wanted.iter().all(|part| fault.contains(part)), "{fault} says nothing of {wanted:?}");
    };
    folder.write("server.key", &good.key);
    complains(fault(None), ["server.pem", "No such file"]);
    folder.write("server.pem", "nothing of the kind");
    complains(fault(None), ["server.pem", "no certificate in PEM"]);
    folder.write("server.pem", &good.certificate.replace("MII", "!!!"));
    complains(fault(None), ["server.pem", "base64"]);
    folder.write("server.pem", &"x".repeat(2 << 20));
    complains(fault(None), ["server.pem", "longer than"]);
    folder.write("server.pem", &good.certificate);
    folder.write("server.key", &good.certificate);
    complains(fault(None), ["server.key", "no private key"]);
    folder.write("server.key", &authority.sign("another", 2999).key);
    complains(fault(None), ["server.pem", "does not go with"]);
    folder.write("server.key", &good.key);
    complains(fault(Some(ClientAuth::Need)), ["clients.pem", "No such file"]);
    folder.write("clients.pem", "");
    complains(fault(Some(ClientAuth::Need)), ["clients.pem", "no certificate in PEM"]);
    folder.write("clients.pem", &authority.pem);
    assert!(
        runtime.block_on(Certificates::load(folder.files(Some(ClientAuth::Need)), Clock::real())).is_ok()
    );
    assert!(!format!("{:?}", folder.files(None)).is_empty());
}

#[test]
fn garbage_behind_the_first_byte_is_closed_with_an_alert() {
    let castle = castle("garbage", Plan::default());
    for garbage in [
        &b"\x16garbage that is no record of anything"[..],
        b"\x16\x03\x01\xff\xff a record that is too long",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00 a hello of one byte",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00 the wrong message",
    ] {
        let mut client = dial(castle.house.address);
        client.write_all(garbage).unwrap();
        let answer = rest(&mut client);
        assert_eq!(answer.first(), Some(&0x15), "no alert but {answer:?} to {garbage:?}");
    }
    // A message of 16 MB is announced: what could be said of that?
    let mut client = dial(castle.house.address);
    client.write_all(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff\x16\x03\x01\x00\x01\x00").unwrap();
    rest(&mut client);
    // Garbage in the middle.
    let mut client = castle.visit();
    ask(&mut client, b"\x01a", b"a").unwrap();
    client.sock.write_all(b"\x17\x03\x03\x00\x20garbage that nobody has sealed..").unwrap();
    let mut answer = [0; 1];
    let error = client.read(&mut answer).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    ask(&mut castle.visit(), b"\x01a", b"a").unwrap();
}

#[test]
fn a_handshake_that_never_ends_is_ended_and_its_place_is_free() {
    let limits = Limits { handshake_ms: 3_000, handshakes: 2, ..Limits::default() };
    let castle = castle("endless", Plan { limits, ..Plan::default() });
    let mut mute = dial(castle.house.address);
    let mut slow: Vec<_> = (0..5).map(|_| dial(castle.house.address)).collect();
    for client in &mut slow {
        // The head of a record, and nothing of it.
        client.write_all(b"\x16\x03\x01\x02\x00").unwrap();
    }
    let crowded = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        slow.iter().filter(|client| is_open(client)).count() == 2
    });
    assert!(crowded, "there are two places for five");
    ask(&mut dial(castle.house.address), b"\x01a", b"a").unwrap();
    for client in &mut slow {
        rest(client);
    }
    ask(&mut castle.visit(), b"\x01a", b"a").unwrap();
    // This one did not even say whether it speaks TLS.
    assert_eq!(rest(&mut mute), b"");
    // Nor is a client that has shaken hands and says nothing listened to for ever.
    let mut silent = castle.visit();
    silent.conn.complete_io(&mut silent.sock).unwrap();
    assert_eq!(rest(&mut silent), b"");
}

fn is_open(stream: &std::net::TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    open
}

#[test]
fn both_ends_say_that_they_end() {
    let castle = castle("ends", Plan::default());
    let mut client = castle.visit();
    ask(&mut client, b"\x01q", b"bye").unwrap();
    // Without the server's word this would be an unexpected end.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);

    // A client that says it sends no more, in one breath with its question, gets its answer.
    let mut client = castle.visit();
    client.conn.complete_io(&mut client.sock).unwrap();
    client.conn.writer().write_all(b"\x01a\x04slow").unwrap();
    client.conn.send_close_notify();
    client.conn.write_tls(&mut client.sock).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"alate");

    // A door that closes says so too.
    let mut client = castle.visit();
    ask(&mut client, b"\x01a", b"a").unwrap();
    castle.house.trigger.trigger();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    castle.runtime.block_on(castle.house.done).unwrap();
}

#[test]
fn a_client_that_never_reads_is_dropped_in_tls_too() {
    let limits = Limits { unsent_bytes: 3 << 20, pause_bytes: 3 << 20, ..Limits::default() };
    let castle = castle("deaf", Plan { limits, ..Plan::default() });
    let (mut deaf, mut polite) = (castle.visit(), castle.visit());
    let many = b"\x03big".repeat(100);
    // With pauses: the megabytes take the toy longer to make than the questions take to ask.
    let dropped = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        ask(&mut polite, b"\x01a", b"a").unwrap();
        deaf.write_all(&many).and_then(|()| deaf.flush()).is_err()
    });
    assert!(dropped, "nobody stopped the client that does not read");
}
