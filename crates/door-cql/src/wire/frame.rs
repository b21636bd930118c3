//! Cutting frames out of a stream of bytes.
//!
//! A version we do not speak is recognised from its first byte, before anything else of the header
//! is believed: versions 1 and 2 have a header of 8 bytes, 5 and later begin with the 9-byte one
//! for this purpose, and other protocols' bytes (HTTP, TLS) are told apart only by being nonsense.

use bytes::{Bytes, BytesMut};

use super::Version;

/// Bytes of a header since version 3.
pub(crate) const HEADER: usize = 9;
/// Bytes of a header before.
const OLD_HEADER: usize = 8;
/// The header's bit that says "response".
const RESPONSE: u8 = 0x80;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) version: Version,
    pub(crate) flags: u8,
    pub(crate) stream: i16,
    pub(crate) opcode: u8,
    pub(crate) body: Bytes,
}

/// What the front of a stream of bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Not enough bytes yet.
    Unfinished,
    /// A frame, taken from the bytes.
    Frame(Frame),
    /// A frame with a body above the bound. Its header is taken from the bytes; `body_bytes` of
    /// it follow, to be skipped.
    TooLong { version: Version, stream: i16, body_bytes: usize },
    /// A version we do not speak; its frames cannot be told from each other.
    Unsupported { version: u8, stream: i16 },
    /// A response where a request belongs.
    WrongDirection,
}

/// Takes the first frame from `input`, if it is whole and its body not above `max_body_bytes`.
pub(crate) fn cut(input: &mut BytesMut, max_body_bytes: usize) -> Cut {
    let Some(&first) = input.first() else { return Cut::Unfinished };
    if first & RESPONSE != 0 {
        return Cut::WrongDirection;
    }
    let Some(version) = Version::from_number(first) else { return unsupported(input, first) };
    let Some(header) = input.first_chunk::<HEADER>() else { return Cut::Unfinished };
    let [_, flags, stream_high, stream_low, opcode, length @ ..] = *header;
    let stream = i16::from_be_bytes([stream_high, stream_low]);
    let body_bytes = u32::from_be_bytes(length) as usize;
    if body_bytes > max_body_bytes {
        let _ = input.split_to(HEADER);
        return Cut::TooLong { version, stream, body_bytes };
    }
    if input.len() < HEADER + body_bytes {
        return Cut::Unfinished;
    }
    let body = input.split_to(HEADER + body_bytes).freeze().split_off(HEADER);
    Cut::Frame(Frame { version, flags, stream, opcode, body })
}

/// Whether a version has the short header with a stream of one byte.
pub(super) fn is_old(version: u8) -> bool {
    matches!(version, 1 | 2)
}

fn unsupported(input: &[u8], version: u8) -> Cut {
    let old = is_old(version);
    if input.len() < if old { OLD_HEADER } else { HEADER } {
        return Cut::Unfinished;
    }
    let stream = if old { i16::from(input[2] as i8) } else { i16::from_be_bytes([input[2], input[3]]) };
    Cut::Unsupported { version, stream }
}
