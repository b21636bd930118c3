//! The door over real sockets and a real clock.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Clock, Entropy, net::Stream};

use super::{client::*, *};
use crate::wire::{
    jute::{put_bool, put_i32, put_i64},
    request::opcode,
};

/// Opens a door whose ticks last 50 ms; gives its address and what ends it.
async fn open_door() -> (SocketAddr, door::ShutdownTrigger, world::task::JoinHandle<()>) {
    let settings = Settings { tick_ms: 50, reap_ms: 20, ..Settings::default() };
    let (machine, door) = crate::new(settings, Clock::real(), Entropy::real());
    let store = OneMachine::over(machine, Durable::default()).store();
    let listener = world::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (trigger, shutdown) = door::shutdown();
    let serving = world::task::spawn(door.serve(listener, store, GROUP, shutdown));
    (address, trigger, serving)
}

async fn ask(stream: &mut Stream, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await.unwrap();
    next_frame(stream).await
}

async fn next_frame(stream: &mut Stream) -> Vec<u8> {
    let length = stream.read_u32().await.unwrap();
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.unwrap();
    body
}

async fn session(address: SocketAddr, timeout_ms: i32) -> Stream {
    let mut stream = world::net::connect(address).await.unwrap();
    let mut connect = Vec::new();
    put_i32(&mut connect, 0);
    put_i64(&mut connect, 0);
    put_i32(&mut connect, timeout_ms);
    put_i64(&mut connect, 0);
    put_i32(&mut connect, -1);
    put_bool(&mut connect, false);
    let reply = ask(&mut stream, &connect).await;
    assert_eq!(reply.len(), 37);
    stream
}

fn request(xid: i32, code: i32, record: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_i32(&mut body, xid);
    put_i32(&mut body, code);
    body.extend_from_slice(record);
    body
}

fn error_of(reply: &[u8]) -> i32 {
    i32::from_be_bytes(reply[12..16].try_into().unwrap())
}

#[test]
fn an_ephemeral_goes_when_its_silent_session_does() {
    world::task::runtime(1).unwrap().block_on(async {
        let (address, trigger, serving) = open_door().await;
        let mut holder = session(address, 200).await;
        let mut watcher = session(address, 1000).await;
        let made = ask(&mut holder, &request(1, opcode::CREATE, &create("/lock", None, &EVERYONE, 1))).await;
        assert_eq!(error_of(&made), 0);
        let clock = Clock::real();
        let silent_since = clock.boot();
        let seen = ask(&mut watcher, &request(1, opcode::EXISTS, &look("/lock", true))).await;
        assert_eq!(error_of(&seen), 0);
        let event = next_frame(&mut watcher).await;
        assert_eq!(event[..4], (-1i32).to_be_bytes());
        let silence = clock.boot() - silent_since;
        assert!(silence >= Duration::from_millis(190), "gone after {silence:?}");
        let gone = ask(&mut watcher, &request(2, opcode::EXISTS, &look("/lock", false))).await;
        assert_eq!(error_of(&gone), -101);
        assert_eq!(holder.read(&mut [0; 8]).await.unwrap(), 0, "the expired client is disconnected");
        trigger.trigger();
        serving.await.unwrap();
    });
}

#[test]
fn a_process_that_stood_still_blames_no_client() {
    world::task::runtime(1).unwrap().block_on(async {
        let house = House::new(Settings { tick_ms: 50, ..Settings::default() });
        let mut client = Client::connect(&house, 100, Ticket::default());
        assert_eq!(client.receive(), ["connected timeout=100"]);
        let reaping = world::task::spawn(crate::serve::end_silent_sessions(house.service.clone()));
        let pause = || world::time::sleep(Duration::from_millis(120));
        pause().await;
        house.clock.advance(Duration::from_secs(3600));
        pause().await;
        assert_eq!(client.receive(), [""; 0], "after an hour in which nobody was heard");
        // A busy machine may run the reaper late, so its turns are not counted.
        let mut told = Vec::new();
        for _ in 0..100 {
            house.clock.advance(Duration::from_millis(30));
            pause().await;
            told = client.receive();
            if !told.is_empty() {
                break;
            }
        }
        assert_eq!(told, ["connection closed"], "after a timeout of silence");
        reaping.abort();
    });
}

#[test]
fn a_pipelined_burst_is_answered_whole() {
    world::task::runtime(1).unwrap().block_on(async {
        let (address, trigger, serving) = open_door().await;
        let mut client = session(address, 1000).await;
        let mut burst = Vec::new();
        for xid in 0..5000 {
            let body = if xid % 2 == 0 {
                request(xid, opcode::CREATE, &create("/n-", Some(&[1; 100]), &EVERYONE, 2))
            } else {
                request(xid, opcode::GET_CHILDREN2, &look("/zookeeper", false))
            };
            burst.extend_from_slice(&(body.len() as u32).to_be_bytes());
            burst.extend_from_slice(&body);
        }
        let (mut reading, mut writing) = client.split();
        let write = async { writing.write_all(&burst).await.unwrap() };
        let read = async {
            for xid in 0..5000i32 {
                let length = reading.read_u32().await.unwrap();
                let mut body = vec![0; length as usize];
                reading.read_exact(&mut body).await.unwrap();
                assert_eq!((body[..4].to_vec(), error_of(&body)), (xid.to_be_bytes().to_vec(), 0));
            }
        };
        tokio::join!(write, read);
        trigger.trigger();
        serving.await.unwrap();
    });
}

#[test]
fn an_empty_container_goes_by_itself() {
    world::task::runtime(1).unwrap().block_on(async {
        let (address, trigger, serving) = open_door().await;
        let mut client = session(address, 1000).await;
        for (path, code, mode) in [("/c", opcode::CREATE_CONTAINER, 4), ("/c/x", opcode::CREATE, 0)] {
            let made = ask(&mut client, &request(1, code, &create(path, None, &EVERYONE, mode))).await;
            assert_eq!(error_of(&made), 0);
        }
        world::time::sleep(Duration::from_millis(100)).await;
        let seen = ask(&mut client, &request(2, opcode::EXISTS, &look("/c", true))).await;
        assert_eq!(error_of(&seen), 0, "it has a child");
        let deleted = ask(&mut client, &request(3, opcode::DELETE, &versioned("/c/x", -1))).await;
        assert_eq!(error_of(&deleted), 0);
        let event = next_frame(&mut client).await;
        assert_eq!(event[..4], (-1i32).to_be_bytes(), "it goes without being asked for");
        let gone = ask(&mut client, &request(4, opcode::EXISTS, &look("/c", false))).await;
        assert_eq!(error_of(&gone), -101);
        trigger.trigger();
        serving.await.unwrap();
    });
}

#[test]
fn four_letters_are_answered_and_the_connection_ends() {
    world::task::runtime(1).unwrap().block_on(async {
        let (address, trigger, serving) = open_door().await;
        let mut stream = world::net::connect(address).await.unwrap();
        stream.write_all(b"ruok").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"imok");
        trigger.trigger();
        serving.await.unwrap();
    });
}
