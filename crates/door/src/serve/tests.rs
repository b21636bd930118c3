//! The kit with a toy protocol over real sockets: a message is one length byte and that many
//! bytes, and is echoed; the message `q` closes, `big` is answered by a megabyte, `slow` later,
//! `away` by a thread that answers in two parts, in one step, and `far` by it with a megabyte of `8`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod tls;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::net::Stream;

use super::*;
use crate::{Close, ShutdownTrigger};

struct Echo {
    guest: Guest,
    heard: bool,
    pending: Arc<AtomicUsize>,
}

impl Session for Echo {
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), Close> {
        while let Some(&len) = input.first() {
            if len == 0xff {
                return Err(Close::because("too long"));
            }
            let Some(_) = input.get(..usize::from(len) + 1) else { return Ok(()) };
            input.advance(1);
            let message = input.split_to(usize::from(len));
            self.heard = true;
            match &message[..] {
                b"q" => {
                    self.guest.outbox.push(b"bye");
                    return Err(Close::because("asked to"));
                }
                b"big" => self.guest.outbox.push(&vec![7; 1 << 20]),
                b"slow" => {
                    self.pending.fetch_add(1, Ordering::SeqCst);
                    let (outbox, pending) = (self.guest.outbox.clone(), self.pending.clone());
                    world::task::spawn(async move {
                        world::time::sleep(Duration::from_millis(100)).await;
                        outbox.write(|out| {
                            out.extend_from_slice(b"late");
                            pending.fetch_sub(1, Ordering::SeqCst);
                        });
                    });
                }
                b"away" => self.answer_elsewhere(b"aw", b"ay"),
                b"far" => self.answer_elsewhere(b"", &vec![8; 1 << 20]),
                other => self.guest.outbox.push(other),
            }
        }
        Ok(())
    }

    fn established(&self) -> bool {
        self.heard
    }

    fn in_flight(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }
}

impl Echo {
    fn answer_elsewhere(&self, first: &[u8], second: &[u8]) {
        let (outbox, pending) = (self.guest.outbox.clone(), self.pending.clone());
        let (first, second) = (first.to_vec(), second.to_vec());
        self.pending.fetch_add(1, Ordering::SeqCst);
        world::task::spawn_thread("elsewhere", move || {
            world::later::step(|| {
                outbox.push(&first);
                outbox.write(|out| {
                    out.extend_from_slice(&second);
                    pending.fetch_sub(1, Ordering::SeqCst);
                });
            });
        })
        .unwrap();
    }
}

struct House {
    address: SocketAddr,
    trigger: ShutdownTrigger,
    done: world::task::JoinHandle<()>,
}

async fn house(limits: Limits) -> House {
    let make = |guest| Box::new(Echo { guest, heard: false, pending: Arc::default() }) as Box<dyn Session>;
    open("echo", limits, Tls::Off, make).await
}

/// Opens a door on a free port.
async fn open(
    name: &'static str,
    limits: Limits,
    tls: Tls,
    make: impl Fn(Guest) -> Box<dyn Session> + Send + Sync + 'static,
) -> House {
    let listener = world::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = crate::shutdown();
    let done = world::task::spawn(serve(name, listener, limits, tls, shutdown, make));
    House { address, trigger, done }
}

impl House {
    async fn visit(&self) -> Stream {
        world::net::connect(self.address).await.unwrap()
    }
}

fn run(test: impl Future<Output = ()>) {
    world::task::runtime(2).unwrap().block_on(async {
        world::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs");
    });
}

async fn read_exactly(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn is_closed(stream: &mut Stream) -> bool {
    let mut rest = Vec::new();
    matches!(stream.read_to_end(&mut rest).await, Ok(0) | Err(_))
}

#[test]
fn messages_come_whole_however_they_are_cut() {
    run(async {
        let house = house(Limits::default()).await;
        let mut client = house.visit().await;
        for piece in [&b"\x03a"[..], b"bc\x02", b"de\x01f\x05"] {
            client.write_all(piece).await.unwrap();
            world::time::sleep(Duration::from_millis(5)).await;
        }
        client.write_all(b"ghijk").await.unwrap();
        assert_eq!(read_exactly(&mut client, 11).await, b"abcdefghijk");
    });
}

#[test]
fn a_session_that_closes_is_sent_first() {
    run(async {
        let house = house(Limits::default()).await;
        let mut client = house.visit().await;
        client.write_all(b"\x01q\x05after").await.unwrap();
        assert_eq!(read_exactly(&mut client, 3).await, b"bye");
        assert!(is_closed(&mut client).await);
    });
}

#[test]
fn one_connection_too_many_is_closed_and_its_place_is_free_again() {
    run(async {
        let house = house(Limits { connections: 1, ..Limits::default() }).await;
        let mut first = house.visit().await;
        first.write_all(b"\x01a").await.unwrap();
        read_exactly(&mut first, 1).await;
        assert!(is_closed(&mut house.visit().await).await);
        drop(first);
        loop {
            let mut next = house.visit().await;
            let _ = next.write_all(b"\x01a").await;
            if next.read_u8().await.is_ok() {
                break;
            }
        }
    });
}

#[test]
fn silence_before_the_handshake_ends_and_later_does_not() {
    run(async {
        let house = house(Limits { handshake_ms: 100, ..Limits::default() }).await;
        let (mut silent, mut idle) = (house.visit().await, house.visit().await);
        idle.write_all(b"\x01a").await.unwrap();
        assert_eq!(read_exactly(&mut idle, 1).await, b"a");
        assert!(is_closed(&mut silent).await);
        world::time::sleep(Duration::from_millis(200)).await;
        idle.write_all(b"\x01b").await.unwrap();
        assert_eq!(read_exactly(&mut idle, 1).await, b"b");
    });
}

#[test]
fn a_client_that_never_reads_is_dropped_and_others_are_served() {
    run(async {
        let limits = Limits { unsent_bytes: 3 << 20, pause_bytes: 3 << 20, ..Limits::default() };
        let house = house(limits).await;
        let (mut deaf, mut polite) = (house.visit().await, house.visit().await);
        // Asked for in one breath: more than the kernel's buffers and ours take.
        let many = b"\x03big".repeat(100);
        let mut broken = false;
        for _ in 0..1000 {
            if deaf.write_all(&many).await.is_err() {
                broken = true;
                break;
            }
            polite.write_all(b"\x01a").await.unwrap();
            assert_eq!(read_exactly(&mut polite, 1).await, b"a");
        }
        assert!(broken, "nobody stopped the client that does not read");
    });
}

#[test]
fn a_stalled_write_ends() {
    run(async {
        let limits = Limits { stall_ms: 200, pause_bytes: 1 << 20, ..Limits::default() };
        let house = house(limits).await;
        let mut deaf = house.visit().await;
        for _ in 0..20 {
            deaf.write_all(b"\x03big").await.unwrap();
        }
        world::time::sleep(Duration::from_millis(600)).await;
        let mut rest = Vec::new();
        // Twenty were asked for; what arrives is what the kernel had taken before the stall.
        let _ = deaf.read_to_end(&mut rest).await;
        assert!(rest.len() < 20 << 20, "{}", rest.len());
    });
}

#[test]
fn what_is_in_flight_is_answered_before_the_door_closes() {
    run(async {
        let house = house(Limits::default()).await;
        let (mut busy, mut idle) = (house.visit().await, house.visit().await);
        busy.write_all(b"\x01a\x04slow").await.unwrap();
        idle.write_all(b"\x01a").await.unwrap();
        assert_eq!(read_exactly(&mut busy, 1).await, b"a");
        assert_eq!(read_exactly(&mut idle, 1).await, b"a");
        house.trigger.trigger();
        assert!(is_closed(&mut idle).await);
        assert_eq!(read_exactly(&mut busy, 4).await, b"late");
        assert!(is_closed(&mut busy).await);
        house.done.await.unwrap();
        assert!(world::net::connect(house.address).await.is_err(), "the door is closed");
    });
}

#[test]
fn answers_arrive_though_the_door_closed_on_a_client_that_went_on_talking() {
    run(async {
        let house = house(Limits::default()).await;
        let mut client = house.visit().await;
        client.write_all(b"\x04slow").await.unwrap();
        world::time::sleep(Duration::from_millis(20)).await;
        house.trigger.trigger();
        world::time::sleep(Duration::from_millis(20)).await;
        // Nobody reads these any more, and a reset would make the second write fail.
        client.write_all(b"\x01a").await.unwrap();
        world::time::sleep(Duration::from_millis(150)).await;
        client.write_all(b"\x01a").await.unwrap();
        world::time::sleep(Duration::from_millis(20)).await;
        client.write_all(b"\x01a").await.unwrap();
        assert_eq!(read_exactly(&mut client, 4).await, b"late");
    });
}

#[test]
fn a_client_that_says_no_more_gets_its_answers() {
    run(async {
        let house = house(Limits::default()).await;
        let mut client = house.visit().await;
        client.write_all(b"\x04slow").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_exactly(&mut client, 4).await, b"late");
        assert!(is_closed(&mut client).await);
    });
}

/// Answers from another thread than the connection's may be pushed, and the end behind them, at any
/// moment: here just when the driver has found nothing to send.
#[test]
fn a_last_answer_that_comes_with_the_end_is_sent() {
    struct Late(Arc<Outbox>);
    impl Session for Late {
        fn feed(&mut self, input: &mut BytesMut) -> Result<(), Close> {
            input.clear();
            Ok(())
        }
        fn established(&self) -> bool {
            true
        }
        fn in_flight(&self) -> usize {
            0
        }
        fn holds_back(&self) -> bool {
            self.0.push(b"bye");
            self.0.close();
            false
        }
    }
    run(async {
        let make = |guest: Guest| Box::new(Late(guest.outbox)) as Box<dyn Session>;
        let house = open("late", Limits::default(), Tls::Off, make).await;
        let mut client = world::net::connect(house.address).await.unwrap();
        client.write_all(b"a").await.unwrap();
        assert_eq!(read_exactly(&mut client, 3).await, b"bye");
        assert!(is_closed(&mut client).await);
    });
}

#[test]
fn an_unfinished_message_takes_memory_only_with_leave() {
    struct Hoard;
    impl Session for Hoard {
        fn feed(&mut self, _input: &mut BytesMut) -> Result<(), Close> {
            Ok(())
        }
        fn established(&self) -> bool {
            true
        }
        fn in_flight(&self) -> usize {
            0
        }
    }
    run(async {
        let limits = Limits { budget_bytes: 1 << 20, ..Limits::default() };
        let house = open("hoard", limits, Tls::Off, |_| Box::new(Hoard)).await;
        let mut client = world::net::connect(house.address).await.unwrap();
        let chunk = vec![0; 64 << 10];
        let mut sent = 0;
        while client.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
            assert!(sent < 64 << 20, "the message grows without bound");
        }
    });
}

#[test]
fn who_completes_an_answer_may_send_it() {
    run(async {
        let house = house(Limits::default()).await;
        let mut client = house.visit().await;
        for _ in 0..200 {
            client.write_all(b"\x04away").await.unwrap();
            assert_eq!(read_exactly(&mut client, 4).await, b"away");
            client.write_all(b"\x02in").await.unwrap();
            assert_eq!(read_exactly(&mut client, 2).await, b"in");
        }
        client.write_all(b"\x04away").await.unwrap();
        world::time::sleep(Duration::from_millis(20)).await;
        house.trigger.trigger();
        assert_eq!(read_exactly(&mut client, 4).await, b"away");
        assert!(is_closed(&mut client).await);
    });
}

#[test]
fn what_the_socket_does_not_take_from_another_thread_the_task_sends() {
    run(async {
        let limits = Limits { unsent_bytes: 64 << 20, pause_bytes: 64 << 20, ..Limits::default() };
        let house = house(limits).await;
        let mut client = house.visit().await;
        for _ in 0..10 {
            client.write_all(b"\x03far").await.unwrap();
            world::time::sleep(Duration::from_millis(10)).await;
        }
        client.write_all(b"\x03end").await.unwrap();
        let answers = read_exactly(&mut client, (10 << 20) + 3).await;
        // What comes back from elsewhere is whole; `end` may come before some of it.
        let eights = answers.iter().filter(|byte| **byte == 8).count();
        let end = answers.windows(3).position(|part| part == b"end").unwrap();
        assert_eq!((eights, end % (1 << 20)), (10 << 20, 0));
    });
}
