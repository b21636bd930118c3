//! The readers of what other nodes say, for tests and fuzzers.

use std::sync::Arc;

use bytes::BytesMut;
use world::garbage::Target;

use crate::{
    Class, Hello, Settings,
    assembly::Assembly,
    frame::{self, ANSWER_MAX, FRAME_MAX, HEADER_BYTES, Kind, Lane, Opening, Welcome, put, take},
};

/// Every reader.
pub const TARGETS: [Target; 2] = [
    Target { name: "link_frames", samples: streams, read: stream },
    Target { name: "link_hello", samples: hellos, read: hello },
];

/// The longest message that the stream below may bring.
const LONGEST: usize = 1000;
/// The room for those of a class.
const WINDOW: usize = 4000;

fn streams() -> Vec<Vec<u8>> {
    let mut out = vec![7];
    let part = |class, last| Kind::Part { class, last };
    put(&mut out, part(Class::Log, false), b"to be ");
    put(&mut out, part(Class::Control, true), b"");
    put(&mut out, part(Class::Log, false), &[7; 300]);
    put(&mut out, Kind::Ping, b"");
    put(&mut out, part(Class::Bulk, true), b"a snapshot");
    put(&mut out, part(Class::Log, true), b"continued");
    put(&mut out, Kind::Credit(Class::Log), &500_u64.to_le_bytes());
    vec![out]
}

/// A connection's bytes behind its hello; the first says how large the pieces are in which they come. However they
/// are cut, the same messages come of them, none longer than may be, and they take no more room than there is.
fn stream(bytes: &[u8]) -> bool {
    let Some((&piece, stream)) = bytes.split_first() else { return false };
    let whole = messages(stream, stream.len().max(1));
    assert_eq!(messages(stream, usize::from(piece).max(1)), whole);
    whole.1
}

/// The messages of a stream, whose bytes come so many at a time; and whether all of it was good.
fn messages(stream: &[u8], piece: usize) -> (Vec<(Class, Vec<u8>)>, bool) {
    let mut settings = Settings { message_bytes: LONGEST, ..Settings::default() };
    for room in [&mut settings.control, &mut settings.log, &mut settings.bulk] {
        room.window_bytes = WINDOW;
    }
    let mut assembly = Assembly::new(Arc::default(), &settings);
    let (mut input, mut came, mut kept) = (BytesMut::new(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            match take(&mut input, FRAME_MAX) {
                Ok(Some((Kind::Part { class, last }, part))) => match assembly.add(class, last, part) {
                    Ok(None) => {}
                    Ok(Some(message)) => {
                        came.push((class, message.to_vec()));
                        kept.push(message);
                    }
                    Err(_) => return (came, false),
                },
                Ok(Some((Kind::Credit(_), bytes))) => {
                    if frame::credit(&bytes).is_err() {
                        return (came, false);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return (came, false),
            }
        }
        assert!(input.len() < HEADER_BYTES + FRAME_MAX, "a frame that is waited for has an end");
    }
    // One message of each class may have begun within its room and gone beyond.
    let bytes: usize = came.iter().map(|(_, message)| message.len()).sum();
    assert!(bytes <= Class::ALL.len() * (WINDOW + FRAME_MAX.max(LONGEST)));
    (came, input.is_empty())
}

fn hellos() -> Vec<Vec<u8>> {
    let (version_min, version_max) = (1, 2);
    let node = base::NodeId(7);
    let hello = Hello { cluster: 1, node, host_uuid: 9, start: 3, version_min, version_max };
    let hello = hello.encode();
    let opening = Opening { format: 1, lane: Lane::Bulk, hello: &hello };
    let welcome = Welcome { format: 1, credits: [1, -1, 1 << 40], hello: &hello };
    let mut frames = Vec::new();
    put(&mut frames, Kind::Hello, &opening.encode());
    vec![opening.encode(), welcome.encode(), frames]
}

/// What two nodes say of themselves: what is read and written again is read as the same.
fn hello(bytes: &[u8]) -> bool {
    let mut is_good = false;
    if let Ok(opening) = Opening::decode(bytes) {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening.clone()));
        is_good |= same(opening.hello);
    }
    if let Ok(welcome) = Welcome::decode(bytes) {
        assert_eq!(Welcome::decode(&welcome.encode()), Ok(welcome.clone()));
        is_good |= same(welcome.hello);
    }
    if let Ok(Some((kind, payload))) = take(&mut BytesMut::from(bytes), ANSWER_MAX) {
        let mut again = Vec::new();
        put(&mut again, kind, &payload);
        assert!(bytes.starts_with(&again));
        is_good = true;
    }
    is_good
}

fn same(bytes: &[u8]) -> bool {
    let Ok(hello) = Hello::decode(bytes) else { return false };
    assert_eq!(Hello::decode(&hello.encode()).as_ref(), Ok(&hello));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stream_of_frames_does_harm() {
        TARGETS[0].attack(7, 20_000);
    }

    #[test]
    fn hellos_come_back() {
        TARGETS[1].attack(7, 20_000);
    }
}
