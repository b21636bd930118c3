//! Twenty thousand random requests of eight clients, and what Apache ZooKeeper 3.9.5 answered them
//! over sockets, replayed against this door. `cargo xtask diff zookeeper --record` writes them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use super::{Durable, House, line::Line};
use crate::{
    Settings,
    script::{Scene, Stage, Wire, is_explained, parse, print},
};

const RECORD: &str = "tests/golden/zookeeper-3.9.5.peer.zst";
/// Far above what is recorded.
const RECORD_BYTES: usize = 32 << 20;

/// Connections to a house without sockets.
struct Doorstep {
    house: House,
    lines: BTreeMap<String, Line>,
}

impl Doorstep {
    fn new(is_tiny: bool) -> Doorstep {
        // As the peer was started: the operator's user is `super` with the password `secret`.
        let super_digest = Some("super:lK75jTNcA+U9vtVEw5vB51mj/w4=".to_owned());
        // A few znodes in memory, and a slow disk; or all.
        let (cache_bytes, state) =
            if is_tiny { (2 << 10, Durable::default().cold()) } else { (64 << 20, Durable::default()) };
        let settings = Settings { super_digest, enforce_quota: true, cache_bytes, ..Settings::default() };
        Doorstep { house: House::after(settings, state, &[]), lines: BTreeMap::new() }
    }
}

impl Wire for Doorstep {
    fn connect(&mut self, who: &str) -> io::Result<()> {
        self.lines.insert(who.to_owned(), Line::new(&self.house, 1 << 30));
        Ok(())
    }

    fn leave(&mut self, who: &str) {
        self.lines.remove(who);
    }

    fn send(&mut self, who: &str, bytes: &[u8]) -> io::Result<()> {
        self.lines.get_mut(who).unwrap().send(bytes);
        Ok(())
    }

    fn receive(&mut self, who: &str, into: &mut Vec<u8>) -> io::Result<bool> {
        let line = &self.lines[who];
        let bytes = line.receive();
        into.extend_from_slice(&bytes);
        match (bytes.is_empty(), line.outbox.is_closed()) {
            (true, false) => Err(io::Error::other("an answer is missing")),
            (_, is_closed) => Ok(!is_closed),
        }
    }
}

/// Plays scenes; every one must be told as it was, or differ as is explained.
fn replay(scenes: &[Scene], is_tiny: bool) -> usize {
    let mut stage = Stage::new(Doorstep::new(is_tiny));
    let mut explained = 0;
    for (at, recorded) in scenes.iter().enumerate() {
        stage.wire().house.clock.advance(Duration::from_millis(1));
        let told = stage.play(&recorded.block);
        let told = told.unwrap_or_else(|error| panic!("scene {at}: {error}\n{}", print(&scenes[at..=at])));
        let ours = Scene { block: recorded.block.clone(), told };
        if ours != *recorded {
            assert!(
                is_explained(&ours, recorded),
                "scene {at}:\n{}is told here as\n{}",
                print(&scenes[at..=at]),
                print(&[ours])
            );
            explained += 1;
        }
    }
    explained
}

#[test]
fn twenty_thousand_requests_are_answered_as_zookeeper_answered_them() {
    let packed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD)).unwrap();
    let text = String::from_utf8(zstd::bulk::decompress(&packed, RECORD_BYTES).unwrap()).unwrap();
    let scenes = parse(&text);
    assert_eq!(scenes, parse(&print(&scenes)));
    let requests: usize = scenes.iter().flat_map(|scene| &scene.block).map(|part| part.commands.len()).sum();
    assert!(requests >= 20_000, "only {requests} requests");
    for is_tiny in [false, true] {
        let explained = replay(&scenes, is_tiny);
        assert!(explained < 20, "{explained} scenes differ, if only as is explained");
    }
}

#[test]
#[should_panic(expected = "scene 1")]
fn another_answer_is_noticed() {
    let text = "c0> connects 30000\nc0< connected timeout=30000\n\nc0> create /a\nc0< 1: /a zxid=3\n";
    replay(&parse(text), false);
}

/// A story in which two work at once: their zxids are those of one after the other.
#[test]
fn what_is_done_at_once_is_told_as_if_in_turn() {
    let text = "c0> connects 30000\nc0< connected timeout=30000\n\n\
                c1> connects 30000\nc1< connected timeout=30000\n\n\
                c0> create /a mode=ephemeral\nc0> get /a\nc1> ping\nc1> create /b\n\
                c0< 1: /a zxid=3\n\
                c0< 2: null (c3 m3 p3 ctime=0 mtime=0 version=0 cversion=0 aversion=0 ephemeral=s0 length=0 \
                children=0) zxid>=3\n\
                c1< -2: ok zxid>=2\nc1< 2: /b zxid=4\n\n\
                c0> close\nc0< 3: ok zxid=5\nc0< connection closed\n";
    assert_eq!(replay(&parse(text), true), 0);
}
