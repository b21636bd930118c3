//! Somebody with a good certificate who speaks the frames by hand, and not well.

use bytes::BytesMut;
use rustls::client::UnbufferedClientConnection;

use super::*;
use crate::{
    ask::connect,
    frame::{self, FORMAT, FRAME_MAX, HELLO_MAX, Kind, Lane, Opening, Welcome},
    wire::{Ended, Wire},
};

type Client = Wire<UnbufferedClientConnection>;

async fn dial(town: &Town, node: &Node) -> Client {
    let certificates = town.certificates().await;
    connect(node.address, &certificates).await.unwrap()
}

fn opening(format: u8) -> Vec<u8> {
    Opening { format, lane: Lane::Prompt, hello: Owner::new(5, 1).hello().encode() }.encode()
}

/// Comes in as node 5.
async fn enter(town: &Town, node: &Node) -> (Client, [i64; 3]) {
    let mut wire = dial(town, node).await;
    wire.say(Kind::Hello, &opening(FORMAT + 1)).await.unwrap();
    let (kind, bytes) = wire.next(HELLO_MAX).await.unwrap();
    assert_eq!(kind, Kind::Welcome);
    let welcome = Welcome::decode(&bytes).unwrap();
    assert_eq!(welcome.format, FORMAT, "the highest that both speak");
    assert_eq!(Hello::decode(welcome.hello).unwrap(), node.owner.hello());
    let credits = welcome.credits;
    (wire, credits)
}

/// What the other side says until it closes.
async fn last_words(wire: &mut Client) -> Vec<(Kind, Bytes)> {
    let mut said = Vec::new();
    loop {
        match wire.next(FRAME_MAX).await {
            Ok(frame) => said.push(frame),
            Err(Ended::Closed | Ended::Socket(_)) => return said,
            Err(other) => panic!("{other}"),
        }
    }
}

fn raw(kind: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&(length | u32::from(kind) << 24).to_le_bytes(), bytes].concat()
}

/// Sends bytes that may be no frame, and `last_words` follow.
async fn babble(wire: &mut Client, bytes: &[u8]) -> Vec<(Kind, Bytes)> {
    wire.out.extend_from_slice(bytes);
    while wire.flush().unwrap().is_blocked {
        wire.writable().await.unwrap();
    }
    last_words(wire).await
}

#[test]
fn who_says_no_hello_is_not_let_in() {
    run(async {
        let town = Town::new("no-hello");
        let nodes = town.nodes(1).await;
        let hello = Kind::Hello;
        let frames = [
            raw(0, 0, &[]),
            raw(0xff, 3, b"abc"),
            raw(1, 0xff_ffff, b"a hello that is too long"),
            raw(0x31, 3, b"log"),
            raw(6, 0, &[]),
            {
                let mut out = Vec::new();
                frame::put(&mut out, hello, &opening(FORMAT)[..20]);
                out
            },
            {
                let mut out = Vec::new();
                frame::put(&mut out, hello, &vec![1; HELLO_MAX + 1]);
                out
            },
        ];
        for frame in frames {
            let mut wire = dial(&town, &nodes[0]).await;
            assert_eq!(babble(&mut wire, &frame).await, [], "{frame:?}");
        }
        let mut wire = dial(&town, &nodes[0]).await;
        wire.say(hello, &opening(0)).await.unwrap();
        let said = last_words(&mut wire).await;
        assert!(matches!(&said[..], [(Kind::Refused, why)] if why.ends_with(b"too old")), "{said:?}");
        let mut wire = dial(&town, &nodes[0]).await;
        *nodes[0].owner.refuses.lock().unwrap() = Some("your disk was rolled back");
        wire.say(hello, &opening(FORMAT)).await.unwrap();
        let said = last_words(&mut wire).await;
        assert_eq!(said, [(Kind::Refused, Bytes::from_static(b"your disk was rolled back"))]);
        *nodes[0].owner.refuses.lock().unwrap() = None;
        let mut wire = dial(&town, &nodes[0]).await;
        let itself = Opening { format: FORMAT, lane: Lane::Bulk, hello: nodes[0].owner.hello().encode() };
        wire.say(hello, &itself.encode()).await.unwrap();
        let said = last_words(&mut wire).await;
        assert_eq!(said, [(Kind::Refused, Bytes::from_static(b"this is node 1 itself"))]);
        assert!(nodes[0].owner.came.lock().unwrap().is_empty());
        enter(&town, &nodes[0]).await;
    });
}

#[test]
fn who_speaks_badly_is_put_out_and_nobody_else_notices() {
    run(async {
        let mut town = Town::new("garbage");
        town.settings.message_bytes = 100_000;
        town.settings.log.window_bytes = 64 << 10;
        let nodes = town.nodes(2).await;
        let part = |last: bool, bytes: &[u8]| {
            let mut out = Vec::new();
            frame::put(&mut out, Kind::Part { class: Class::Log, last }, bytes);
            out
        };
        let long = vec![7; 30_000];
        for (frames, come) in [
            (raw(0x33, 0, &[]), 0),
            (raw(0x21, FRAME_MAX as u32 + 1, &[]), 0),
            (raw(0x10, 8, &[1; 8]), 0),
            ([part(true, b"whole"), part(false, b"not whole"), opening(FORMAT)].concat(), 1),
            (part(false, b"never ends").repeat(20_000), 0),
            ([part(false, &long).repeat(3), part(true, &long)].concat(), 0),
            (part(false, b"").repeat(2), 0),
        ] {
            nodes[0].owner.came.lock().unwrap().clear();
            let (mut wire, _) = enter(&town, &nodes[0]).await;
            let said = babble(&mut wire, &frames).await;
            assert!(said.iter().all(|(kind, _)| matches!(kind, Kind::Credit(_))), "{said:?}");
            assert_eq!(nodes[0].owner.count(5, Class::Log), come);
        }
        // More than there is room for. Nothing that came is dropped, so none is made.
        *nodes[0].owner.keeps.lock().unwrap() = Some(Vec::new());
        let (mut wire, credits) = enter(&town, &nodes[0]).await;
        assert_eq!(credits[Class::Log as usize], 64 << 10);
        nodes[0].owner.came.lock().unwrap().clear();
        assert_eq!(babble(&mut wire, &part(true, &long).repeat(4)).await, []);
        assert_eq!(nodes[0].owner.count(5, Class::Log), 3, "the third began within the room");
        // Nor does coming again help.
        let (mut wire, credits) = enter(&town, &nodes[0]).await;
        assert!(credits[Class::Log as usize] < 0);
        assert_eq!(babble(&mut wire, &part(true, b"x")).await, []);

        nodes[1].send(1, Class::Control, "all is well").await;
        until(|| nodes[0].owner.count(2, Class::Control) == 1).await;
        assert_eq!(nodes[0].owner.events(), [Event::Connected(2, 1)]);
    });
}

#[test]
fn a_frame_cut_anywhere_is_waited_for_and_lost_with_the_connection() {
    run(async {
        let town = Town::new("cut");
        let nodes = town.nodes(1).await;
        let mut frames = Vec::new();
        frame::put(&mut frames, Kind::Part { class: Class::Log, last: false }, b"to be ");
        frame::put(&mut frames, Kind::Part { class: Class::Log, last: true }, b"continued");
        for cut in 1..frames.len() {
            let (mut wire, _) = enter(&town, &nodes[0]).await;
            for piece in [&frames[..cut], &frames[cut..], &frames[..cut]] {
                wire.out.extend_from_slice(piece);
                assert!(!wire.flush().unwrap().is_blocked);
            }
            until(|| nodes[0].owner.count(5, Class::Log) == cut).await;
            wire.part().await;
        }
        assert!(nodes[0].owner.came(5, Class::Log).iter().all(|message| message == "to be continued"));
    });
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older() {
    run(async {
        let town = Town::new("seat");
        let nodes = town.nodes(1).await;
        let (mut old, _) = enter(&town, &nodes[0]).await;
        let (mut new, _) = enter(&town, &nodes[0]).await;
        assert_eq!(last_words(&mut old).await, []);
        new.say(Kind::Ping, &[]).await.unwrap();
        assert_eq!(new.next(FRAME_MAX).await.unwrap().0, Kind::Pong);
    });
}

#[test]
fn who_falls_silent_is_given_up_on_either_side() {
    run(async {
        let mut town = Town::new("silent");
        (town.settings.keepalive_ms, town.settings.silence_ms, town.settings.greet_ms) = (50, 300, 300);
        let nodes = town.nodes(1).await;
        // One that was let in, and one that only shook hands.
        let (mut inside, _) = enter(&town, &nodes[0]).await;
        let mut outside = dial(&town, &nodes[0]).await;
        assert_eq!(last_words(&mut inside).await, []);
        assert_eq!(last_words(&mut outside).await, []);

        // One that answers hellos and says nothing after that.
        let listener = world::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        nodes[0].link.set_peers(&[(NodeId(5), listener.local_addr().unwrap())].into());
        let config = town.certificates().await.config();
        let pings = Arc::new(Mutex::new(0));
        let counted = pings.clone();
        world::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let wire =
                    Wire::new(stream, tls::ServerChannel::new(config.clone(), BytesMut::new()).unwrap());
                let pings = counted.clone();
                world::task::spawn(async move { be_mute(wire, &pings).await });
            }
        });
        // Both lanes ask once on each connection.
        until(|| *pings.lock().unwrap() >= 4).await;
        let events = nodes[0].owner.events();
        assert_eq!(events[..2], [Event::Connected(5, 3), Event::Disconnected(5)]);
    });
}

async fn be_mute(mut wire: Wire<rustls::server::UnbufferedServerConnection>, pings: &Mutex<u32>) {
    // A busy machine may not let us in in time.
    if wire.shake_hands().await.is_err() || wire.next(HELLO_MAX).await.is_err() {
        return;
    }
    let hello = Owner::new(5, 3).hello().encode();
    let welcome = Welcome { format: FORMAT, credits: [0; 3], hello };
    if wire.say(Kind::Welcome, &welcome.encode()).await.is_err() {
        return;
    }
    while let Ok((kind, _)) = wire.next(FRAME_MAX).await {
        assert_eq!(kind, Kind::Ping);
        *pings.lock().unwrap() += 1;
    }
}
