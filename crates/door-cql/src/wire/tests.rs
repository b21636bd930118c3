//! The decoders against what nobody should send, and frames against their known bytes.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};

use super::{
    Version,
    frame::{Cut, Frame, cut},
    opcode, request,
    response::{self, Failure, Fault, Head, WriteType},
};
use crate::{
    exec::{BoundValue, BoundValues},
    fuzzing::{decoded, framed, full_query, stream},
};

const MAX: usize = 1 << 20;

fn frame_of(opcode: u8, body: &[u8]) -> Frame {
    Frame { version: Version::V4, flags: 0, stream: 1, opcode, body: Bytes::copy_from_slice(body) }
}

#[test]
fn a_full_query_is_read() {
    let query = request::query(frame_of(opcode::QUERY, &full_query())).unwrap();
    assert_eq!(query.text.as_str(), "SELECT 1");
    let request = query.parameters.request;
    assert!(query.parameters.skip_metadata);
    let values = vec![BoundValue::Value(Bytes::from_static(b"hi")), BoundValue::Null, BoundValue::Unset];
    assert_eq!(request.values, BoundValues::Positional(values));
    assert_eq!(request.consistency, store::Consistency::LocalQuorum);
    assert_eq!(request.serial_consistency, Some(store::Consistency::Serial));
    assert_eq!(request.page_size, Some(5000));
    assert_eq!(request.paging_state.as_deref(), Some(&[9, 8, 7][..]));
    assert_eq!(request.timestamp_micros, Some(1_700_000_000_000_000));
}

#[test]
fn version_3_has_no_unset() {
    let frame = Frame { version: Version::V3, ..frame_of(opcode::QUERY, &full_query()) };
    let BoundValues::Positional(values) = request::query(frame).unwrap().parameters.request.values else {
        panic!("they have no names");
    };
    assert_eq!(values[2], BoundValue::Null);
}

#[test]
fn named_values_are_read_by_name() {
    let body = [&[0, 0, 0, 1, b'x', 0, 1, 0x41, 0, 1, 0, 1, b'a'][..], &[0, 0, 0, 1, 7]].concat();
    let query = request::query(frame_of(opcode::QUERY, &body)).unwrap();
    let BoundValues::Named(values) = query.parameters.request.values else { panic!("they have names") };
    assert_eq!(values["a"], BoundValue::Value(Bytes::from_static(&[7])));
}

#[test]
fn a_batch_is_read_to_its_end() {
    let statement = [&[0, 0, 0, 0, 1, b'x'][..], &[0, 1, 0, 0, 0, 1, 7]].concat();
    let prepared = [1, 0, 2, 0xab, 0xcd, 0, 0];
    let body = [&[1, 0, 2][..], &statement, &prepared, &[0, 1, 0]].concat();
    assert_eq!(request::batch(frame_of(opcode::BATCH, &body)), Ok(2));
    assert!(request::batch(frame_of(opcode::BATCH, &body[..body.len() - 1])).is_err());
    assert!(request::batch(frame_of(opcode::BATCH, &[3, 0, 0, 0, 1, 0])).is_err());
}

#[test]
fn a_custom_payload_is_passed_over() {
    let payload = [0, 1, 0, 1, b'k', 0, 0, 0, 2, 1, 2];
    let body = [&payload[..], &full_query()].concat();
    let frame = Frame { flags: super::flag::CUSTOM_PAYLOAD, ..frame_of(opcode::QUERY, &body) };
    assert_eq!(request::query(frame).unwrap().text.as_str(), "SELECT 1");
}

#[test]
fn absurd_counts_and_lengths_take_no_memory() {
    let absurd: [&[u8]; 6] = [
        // A string of two gigabytes; of minus one byte.
        &[0x7f, 0xff, 0xff, 0xff, b'x'],
        &[0xff, 0xff, 0xff, 0xff],
        // 65,535 values, none of which is there; then named ones.
        &[0, 0, 0, 0, 0, 1, 0x01, 0xff, 0xff],
        &[0, 0, 0, 0, 0, 1, 0x41, 0xff, 0xff],
        // A value of two gigabytes, and one of a length that means nothing.
        &[0, 0, 0, 0, 0, 1, 0x01, 0, 1, 0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0, 0, 1, 0x01, 0, 1, 0x80, 0, 0, 0],
    ];
    for body in absurd {
        assert!(request::query(frame_of(opcode::QUERY, body)).is_err(), "{body:?}");
    }
    assert!(request::startup(frame_of(opcode::STARTUP, &[0xff, 0xff])).is_err());
    assert!(request::register(frame_of(opcode::REGISTER, &[0xff, 0xff, 0, 0])).is_err());
    assert!(request::batch(frame_of(opcode::BATCH, &[0, 0xff, 0xff, 0, 0])).is_err());
}

#[test]
fn a_frame_above_the_bound_is_known_by_its_header() {
    let mut input = BytesMut::from(&framed(4, 0, 7, opcode::QUERY, &[])[..]);
    input[5..9].copy_from_slice(&u32::MAX.to_be_bytes());
    let too_long = Cut::TooLong { version: Version::V4, stream: 7, body_bytes: u32::MAX as usize };
    assert_eq!(cut(&mut input, MAX), too_long);
    assert!(input.is_empty());
}

#[test]
fn other_versions_and_other_protocols_are_told_apart() {
    let front = |bytes: &[u8]| cut(&mut BytesMut::from(bytes), MAX);
    // Versions 1 and 2 have a stream of one byte and a header of 8.
    assert_eq!(front(&[1, 0, 5, 5, 0, 0, 0, 0]), Cut::Unsupported { version: 1, stream: 5 });
    assert_eq!(front(&framed(0x42, 0, 3, 5, &[])), Cut::Unsupported { version: 0x42, stream: 3 });
    assert_eq!(front(b"GET / HTTP/1.1\r\n"), Cut::Unsupported { version: b'G', stream: 0x5420 });
    assert_eq!(front(&framed(0x84, 0, 0, 5, &[])), Cut::WrongDirection);
    assert_eq!(front(&framed(4, 0, 0, 5, &[])[..8]), Cut::Unfinished);
}

/// What every error carries behind its message, from section 9 of the protocol.
#[test]
fn errors_carry_their_fields() {
    let consistency = store::Consistency::LocalQuorum;
    let (keyspace, table) = ("k".to_owned(), "t".to_owned());
    let write_type = WriteType::Simple;
    let cases: [(Fault, i32, Vec<u8>); 15] = [
        (Fault::Server, 0x0000, vec![]),
        (Fault::Protocol, 0x000a, vec![]),
        (
            Fault::Unavailable { consistency, required: 2, alive: 1 },
            0x1000,
            vec![0, 6, 0, 0, 0, 2, 0, 0, 0, 1],
        ),
        (Fault::Overloaded, 0x1001, vec![]),
        (Fault::Truncate, 0x1003, vec![]),
        (
            Fault::WriteTimeout { consistency, received: 1, required: 2, write_type: WriteType::Cas },
            0x1100,
            vec![0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 3, b'C', b'A', b'S'],
        ),
        (
            Fault::ReadTimeout { consistency, received: 1, required: 2, data_present: true },
            0x1200,
            vec![0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 1],
        ),
        (
            Fault::ReadFailure { consistency, received: 0, required: 1, failures: 1 },
            0x1300,
            vec![0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0],
        ),
        (
            Fault::WriteFailure { consistency, received: 0, required: 1, failures: 1, write_type },
            0x1500,
            [&[0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 6][..], b"SIMPLE"].concat(),
        ),
        (Fault::Syntax, 0x2000, vec![]),
        (Fault::Unauthorized, 0x2100, vec![]),
        (Fault::Invalid, 0x2200, vec![]),
        (Fault::Config, 0x2300, vec![]),
        (Fault::AlreadyExists { keyspace, table }, 0x2400, vec![0, 1, b'k', 0, 1, b't']),
        (Fault::Unprepared { id: Bytes::from_static(&[1, 2]) }, 0x2500, vec![0, 2, 1, 2]),
    ];
    let head = Head { version: Version::V4, stream: 2 };
    for (fault, code, fields) in cases {
        let mut out = Vec::new();
        response::error(&mut out, head, &Failure::new(fault, "m"));
        let body = [&code.to_be_bytes()[..], &[0, 1, b'm'], &fields].concat();
        assert_eq!(out, framed(0x84, 0, 2, 0, &body), "{code:#06x}");
    }
}

#[test]
fn version_3_hears_of_failures_as_timeouts() {
    let fault =
        Fault::ReadFailure { consistency: store::Consistency::One, received: 0, required: 1, failures: 1 };
    let mut out = Vec::new();
    response::error(&mut out, Head { version: Version::V3, stream: 0 }, &Failure::new(fault, ""));
    assert_eq!(out, framed(0x83, 0, 0, 0, &[0, 0, 0x12, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
}

#[test]
fn warnings_stand_before_the_body_and_not_in_version_3() {
    let warnings = ["careful".to_owned()];
    let mut out = Vec::new();
    response::void(&mut out, Head { version: Version::V4, stream: 1 }, &warnings);
    assert_eq!(out, framed(0x84, 8, 1, 8, &[&[0, 1, 0, 7][..], b"careful", &[0, 0, 0, 1]].concat()));
    out.clear();
    response::void(&mut out, Head { version: Version::V3, stream: 1 }, &warnings);
    assert_eq!(out, framed(0x83, 0, 1, 8, &[0, 0, 0, 1]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_cut_and_read(bytes in vec(any::<u8>(), 0..300)) {
        stream(&bytes);
    }

    #[test]
    fn arbitrary_bodies_are_read(flags: u8, v3: bool, body in vec(any::<u8>(), 0..200)) {
        let version = if v3 { Version::V3 } else { Version::V4 };
        decoded(&Frame { version, flags, stream: 0, opcode: 0, body: body.into() });
    }

    #[test]
    fn damaged_queries_are_read(at in 0..60usize, byte: u8, keep in 0..60usize) {
        let mut body = full_query();
        let place = at.min(body.len() - 1);
        body[place] = byte;
        body.truncate(keep.max(1));
        decoded(&frame_of(opcode::QUERY, &body));
    }

    #[test]
    fn what_is_cut_anywhere_is_the_same_frame(body in vec(any::<u8>(), 0..100), at in 0..109usize) {
        let bytes = framed(4, 0, 9, opcode::QUERY, &body);
        let mut input = BytesMut::from(&bytes[..at.min(bytes.len())]);
        let mut found = cut(&mut input, MAX);
        if found == Cut::Unfinished {
            input.extend_from_slice(&bytes[at.min(bytes.len())..]);
            found = cut(&mut input, MAX);
        }
        let Cut::Frame(frame) = found else { panic!("{found:?}") };
        prop_assert_eq!((frame.stream, &frame.body[..]), (9, &body[..]));
    }
}
