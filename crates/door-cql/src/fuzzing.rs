//! The readers of bytes from clients, for tests and fuzzers: frames, the bodies of requests, statements.

use bytes::BytesMut;
use world::garbage::Target;

use crate::{
    lang::{parse, parse_type},
    wire::{
        Version,
        frame::{Cut, Frame, HEADER, cut},
        request,
    },
};

/// Every reader.
pub const TARGETS: [Target; 3] = [
    Target { name: "cql_frames", samples: frames, read: stream },
    Target { name: "cql_statement", samples: statements, read: statement },
    Target { name: "cql_type", samples: types, read: type_name },
];

const MAX_BODY: usize = 1 << 20;

/// The bytes of a frame: of a request, if `version` is below 0x80.
pub(crate) fn framed(version: u8, flags: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let head = [&[version, flags][..], &stream.to_be_bytes(), &[opcode], &(body.len() as u32).to_be_bytes()];
    [&head.concat(), body].concat()
}

/// A QUERY with everything a QUERY can have.
pub(crate) fn full_query() -> Vec<u8> {
    let values = [0, 3, 0, 0, 0, 2, b'h', b'i', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let pages = [0, 0, 0x13, 0x88, 0, 0, 0, 3, 9, 8, 7];
    let time = 1_700_000_000_000_000_i64.to_be_bytes();
    [&[0, 0, 0, 8][..], b"SELECT 1", &[0, 6, 0x3f], &values, &pages, &[0, 8], &time].concat()
}

/// One of every request, with all that it can have.
fn frames() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let values = [0, 3, 0, 0, 0, 2, b'h', b'i', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
    let named = [0, 1, 0, 1, b'a', 0, 0, 0, 1, 7];
    let by_name = [&text("SELECT 1")[..], &[0, 1, 0x41], &named].concat();
    let execute = [&[0, 4, 0xa, 0xb, 0xc, 0xd, 0, 1, 1][..], &values].concat();
    let batch = [&[1, 0, 2, 0][..], &text("x"), &values, &[1, 0, 2, 0xab, 0xcd, 0, 0, 0, 1, 0]].concat();
    let startup = [&[0, 1, 0, 11][..], b"CQL_VERSION", &[0, 5], b"3.0.0"].concat();
    let register = [&[0, 1, 0, 13][..], b"SCHEMA_CHANGE"].concat();
    let all = [
        (1, startup),
        (7, full_query()),
        (7, by_name),
        (9, text("SELECT 1")),
        (0xa, execute),
        (0xb, register),
    ];
    let all = all.into_iter().chain([(0xd, batch), (5, Vec::new())]);
    let all: Vec<Vec<u8>> = all.map(|(opcode, body)| framed(4, 0, 1, opcode, &body)).collect();
    [vec![all.concat()], all].concat()
}

/// A stream of frames, each body by every decoder. Good if all of it was frames, and each body what its
/// opcode says.
pub(crate) fn stream(bytes: &[u8]) -> bool {
    let mut input = BytesMut::from(bytes);
    let mut is_good = true;
    loop {
        let before = input.len();
        match cut(&mut input, MAX_BODY) {
            Cut::Frame(frame) => {
                assert_eq!(before - input.len(), HEADER + frame.body.len());
                is_good &= decoded(&frame);
                decoded(&Frame { version: Version::V3, ..frame });
            }
            Cut::TooLong { body_bytes, .. } => {
                assert!(body_bytes > MAX_BODY && before - input.len() == HEADER);
                is_good = false;
            }
            Cut::Unfinished => {
                assert_eq!(input.len(), before, "nothing of an unfinished frame is taken");
                return is_good && before == 0;
            }
            Cut::Unsupported { .. } | Cut::WrongDirection => return false,
        }
    }
}

/// Whether a body is what its opcode says, after all decoders had it.
pub(crate) fn decoded(frame: &Frame) -> bool {
    let as_one = [
        (1, request::startup(frame.clone()).is_ok()),
        (7, request::query(frame.clone()).is_ok()),
        (9, request::prepare(frame.clone()).is_ok()),
        (0xa, request::execute(frame.clone()).is_ok()),
        (0xd, request::batch(frame.clone()).is_ok()),
        (0xb, request::register(frame.clone()).is_ok()),
        (5, true),
    ];
    as_one.iter().any(|(opcode, is_ok)| frame.opcode == *opcode && *is_ok)
}

/// The statements of the golden file that parse.
fn statements() -> Vec<Vec<u8>> {
    let lines = include_str!("lang/statements.txt").lines().filter(|line| parse(line).is_ok());
    let found: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
    assert!(found.len() > 30, "statements of every kind");
    found
}

/// A statement: what is read and printed is read again as the same.
fn statement(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(parsed) = parse(&text) else { return false };
    let printed = parsed.statement.to_string();
    assert_eq!(parse(&printed), Ok(parsed), "{printed}");
    true
}

fn types() -> Vec<Vec<u8>> {
    let types =
        ["int", "frozen<map<text, list<frozen<tuple<int, uuid>>>>>", "vector<float, 3>", "ks.\"Type\""];
    types.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The name of a type.
fn type_name(bytes: &[u8]) -> bool {
    parse_type(&String::from_utf8_lossy(bytes)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reader_of_requests_panics_whatever_the_bytes() {
        for target in TARGETS {
            target.attack(5, 10_000);
        }
    }
}
