//! Responses: messages to frames, appended to the buffer that goes to the socket (section 4.2 of
//! the protocol).

use std::borrow::Cow;

use bytes::Bytes;
use store::Consistency;

use super::{
    Version, flag,
    frame::{self, HEADER},
    read::consistency_code,
    types, write,
};
use crate::exec::{ColumnSpec, MarkerMetadata, ResultMetadata, Rows, SchemaChanged};

/// Opcodes of responses.
mod opcode {
    pub(super) const ERROR: u8 = 0x00;
    pub(super) const READY: u8 = 0x02;
    pub(super) const SUPPORTED: u8 = 0x06;
    pub(super) const RESULT: u8 = 0x08;
    pub(super) const EVENT: u8 = 0x0c;
}

/// Kinds of RESULT.
mod kind {
    pub(super) const VOID: i32 = 1;
    pub(super) const ROWS: i32 = 2;
    pub(super) const SET_KEYSPACE: i32 = 3;
    pub(super) const PREPARED: i32 = 4;
    pub(super) const SCHEMA_CHANGE: i32 = 5;
}

/// Bits of the flags of result metadata.
mod bit {
    pub(super) const GLOBAL_TABLE: i32 = 1;
    pub(super) const MORE_PAGES: i32 = 2;
    pub(super) const NO_METADATA: i32 = 4;
}

/// The stream of events: none that a request has.
const EVENT_STREAM: i16 = -1;

/// Where a response belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: Version,
    /// The stream of the request.
    pub(crate) stream: i16,
}

/// An ERROR: a sentence for a person, and what drivers act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: Cow<'static, str>,
    pub(crate) fault: Fault,
}

/// An error code with the fields that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Server,
    Protocol,
    Unavailable {
        consistency: Consistency,
        required: u32,
        alive: u32,
    },
    Overloaded,
    Truncate,
    WriteTimeout {
        consistency: Consistency,
        received: u32,
        required: u32,
        write_type: WriteType,
    },
    ReadTimeout {
        consistency: Consistency,
        received: u32,
        required: u32,
        data_present: bool,
    },
    ReadFailure {
        consistency: Consistency,
        received: u32,
        required: u32,
        failures: u32,
    },
    WriteFailure {
        consistency: Consistency,
        received: u32,
        required: u32,
        failures: u32,
        write_type: WriteType,
    },
    Syntax,
    Unauthorized,
    Invalid,
    Config,
    AlreadyExists {
        keyspace: String,
        table: String,
    },
    Unprepared {
        id: Bytes,
    },
}

/// What kind of write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteType {
    Simple,
    Cas,
}

impl WriteType {
    fn name(self) -> &'static str {
        match self {
            WriteType::Simple => "SIMPLE",
            WriteType::Cas => "CAS",
        }
    }
}

impl Failure {
    pub(crate) fn new(fault: Fault, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { message: message.into(), fault }
    }

    /// The client broke the protocol.
    pub(crate) fn protocol(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(Fault::Protocol, message)
    }
}

/// Appends a frame whose body `encode` appends.
fn put(out: &mut Vec<u8>, head: Head, opcode: u8, warnings: &[String], encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    // Version 3 has no place for warnings.
    let warned = !warnings.is_empty() && head.version >= Version::V4;
    out.extend_from_slice(&[0x80 | head.version as u8, if warned { flag::WARNING } else { 0 }]);
    out.extend_from_slice(&head.stream.to_be_bytes());
    out.extend_from_slice(&[opcode, 0, 0, 0, 0]);
    if warned {
        write::string_list(out, warnings.iter().map(String::as_str));
    }
    encode(out);
    let length = out.len() - start - HEADER;
    let length = u32::try_from(length).expect("pages are bounded far below 4 GiB");
    out[start + HEADER - 4..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

pub(crate) fn ready(out: &mut Vec<u8>, head: Head) {
    put(out, head, opcode::READY, &[], |_| {});
}

/// SUPPORTED, with its options and their values.
pub(crate) fn supported(out: &mut Vec<u8>, head: Head, options: &[(&str, &[&str])]) {
    put(out, head, opcode::SUPPORTED, &[], |out| {
        write::short(out, options.len() as u16);
        for (key, values) in options {
            write::string(out, key);
            write::string_list(out, values.iter().copied());
        }
    });
}

pub(crate) fn void(out: &mut Vec<u8>, head: Head, warnings: &[String]) {
    put(out, head, opcode::RESULT, warnings, |out| write::int(out, kind::VOID));
}

pub(crate) fn set_keyspace(out: &mut Vec<u8>, head: Head, warnings: &[String], keyspace: &str) {
    put(out, head, opcode::RESULT, warnings, |out| {
        write::int(out, kind::SET_KEYSPACE);
        write::string(out, keyspace);
    });
}

pub(crate) fn schema_change(out: &mut Vec<u8>, head: Head, warnings: &[String], changed: &SchemaChanged) {
    put(out, head, opcode::RESULT, warnings, |out| {
        write::int(out, kind::SCHEMA_CHANGE);
        change(out, changed);
    });
}

/// The EVENT that tells other connections of a schema change.
pub(crate) fn schema_event(out: &mut Vec<u8>, version: Version, changed: &SchemaChanged) {
    put(out, Head { version, stream: EVENT_STREAM }, opcode::EVENT, &[], |out| {
        write::string(out, "SCHEMA_CHANGE");
        change(out, changed);
    });
}

fn change(out: &mut Vec<u8>, changed: &SchemaChanged) {
    write::string(out, if changed.created { "CREATED" } else { "DROPPED" });
    write::string(out, if changed.table.is_some() { "TABLE" } else { "KEYSPACE" });
    write::string(out, &changed.keyspace);
    if let Some(table) = &changed.table {
        write::string(out, table);
    }
}

/// RESULT of kind Rows; without the columns' names and types if the client knows them.
pub(crate) fn rows(out: &mut Vec<u8>, head: Head, warnings: &[String], rows: &Rows, skip_metadata: bool) {
    out.reserve(rows.cells.len() + 128);
    put(out, head, opcode::RESULT, warnings, |out| {
        write::int(out, kind::ROWS);
        let paging_state = rows.paging_state.as_deref();
        result_metadata(out, head.version, Some(&rows.metadata), paging_state, skip_metadata);
        write::number(out, rows.count as usize);
        out.extend_from_slice(&rows.cells);
    });
}

/// RESULT of kind Prepared; a statement that returns no rows has no `result`.
pub(crate) fn prepared(
    out: &mut Vec<u8>,
    head: Head,
    warnings: &[String],
    id: &[u8; 16],
    markers: &MarkerMetadata,
    result: Option<&ResultMetadata>,
) {
    put(out, head, opcode::RESULT, warnings, |out| {
        write::int(out, kind::PREPARED);
        write::short_bytes(out, id);
        write::int(out, if markers.markers.is_empty() { 0 } else { bit::GLOBAL_TABLE });
        write::number(out, markers.markers.len());
        if head.version >= Version::V4 {
            write::number(out, markers.partition_key_markers.len());
            for &marker in &markers.partition_key_markers {
                write::short(out, marker);
            }
        }
        if !markers.markers.is_empty() {
            write::string(out, &markers.keyspace);
            write::string(out, &markers.table);
            columns(out, head.version, &markers.markers);
        }
        result_metadata(out, head.version, result, None, false);
    });
}

fn result_metadata(
    out: &mut Vec<u8>,
    version: Version,
    metadata: Option<&ResultMetadata>,
    paging_state: Option<&[u8]>,
    skip: bool,
) {
    let more = if paging_state.is_some() { bit::MORE_PAGES } else { 0 };
    let told = metadata.filter(|_| !skip);
    write::int(out, more | if told.is_some() { bit::GLOBAL_TABLE } else { bit::NO_METADATA });
    write::number(out, metadata.map_or(0, |metadata| metadata.columns.len()));
    if let Some(paging_state) = paging_state {
        write::bytes(out, paging_state);
    }
    if let Some(metadata) = told {
        write::string(out, &metadata.keyspace);
        write::string(out, &metadata.table);
        columns(out, version, &metadata.columns);
    }
}

fn columns(out: &mut Vec<u8>, version: Version, columns: &[ColumnSpec]) {
    for column in columns {
        write::string(out, &column.name);
        types::option(out, version, &column.ty);
    }
}

/// ERROR.
pub(crate) fn error(out: &mut Vec<u8>, head: Head, failure: &Failure) {
    let fault = spoken(&failure.fault, head.version);
    put(out, head, opcode::ERROR, &[], |out| {
        write::int(out, code(&fault));
        write::string(out, &failure.message);
        fields(out, &fault);
    });
}

/// The answer to a version we do not speak: in the client's own if it has the short header of
/// versions 1 and 2, else in our highest, which is how a client learns of it.
pub(crate) fn unsupported_version(out: &mut Vec<u8>, version: u8, stream: i16) {
    let message =
        format!("Invalid or unsupported protocol version ({version}); supported versions are (3/v3, 4/v4)");
    if !frame::is_old(version) {
        let head = Head { version: Version::HIGHEST, stream };
        return error(out, head, &Failure::protocol(message));
    }
    out.extend_from_slice(&[0x80 | version, 0, stream as u8, opcode::ERROR]);
    write::number(out, 4 + 2 + message.len());
    write::int(out, code(&Fault::Protocol));
    write::string(out, &message);
}

/// The fault in the words of a version: 3 knows no failures, only timeouts.
fn spoken(fault: &Fault, version: Version) -> Cow<'_, Fault> {
    match *fault {
        Fault::ReadFailure { consistency, received, required, .. } if version < Version::V4 => {
            Cow::Owned(Fault::ReadTimeout { consistency, received, required, data_present: false })
        }
        Fault::WriteFailure { consistency, received, required, write_type, .. } if version < Version::V4 => {
            Cow::Owned(Fault::WriteTimeout { consistency, received, required, write_type })
        }
        _ => Cow::Borrowed(fault),
    }
}

fn code(fault: &Fault) -> i32 {
    match fault {
        Fault::Server => 0x0000,
        Fault::Protocol => 0x000a,
        Fault::Unavailable { .. } => 0x1000,
        Fault::Overloaded => 0x1001,
        Fault::Truncate => 0x1003,
        Fault::WriteTimeout { .. } => 0x1100,
        Fault::ReadTimeout { .. } => 0x1200,
        Fault::ReadFailure { .. } => 0x1300,
        Fault::WriteFailure { .. } => 0x1500,
        Fault::Syntax => 0x2000,
        Fault::Unauthorized => 0x2100,
        Fault::Invalid => 0x2200,
        Fault::Config => 0x2300,
        Fault::AlreadyExists { .. } => 0x2400,
        Fault::Unprepared { .. } => 0x2500,
    }
}

fn fields(out: &mut Vec<u8>, fault: &Fault) {
    let counts = |out: &mut Vec<u8>, consistency: Consistency, numbers: &[u32]| {
        write::short(out, consistency_code(consistency));
        for &number in numbers {
            write::number(out, number as usize);
        }
    };
    match fault {
        Fault::Unavailable { consistency, required, alive } => {
            counts(out, *consistency, &[*required, *alive])
        }
        Fault::WriteTimeout { consistency, received, required, write_type } => {
            counts(out, *consistency, &[*received, *required]);
            write::string(out, write_type.name());
        }
        Fault::ReadTimeout { consistency, received, required, data_present } => {
            counts(out, *consistency, &[*received, *required]);
            out.push(u8::from(*data_present));
        }
        Fault::ReadFailure { consistency, received, required, failures } => {
            counts(out, *consistency, &[*received, *required, *failures]);
            out.push(0);
        }
        Fault::WriteFailure { consistency, received, required, failures, write_type } => {
            counts(out, *consistency, &[*received, *required, *failures]);
            write::string(out, write_type.name());
        }
        Fault::AlreadyExists { keyspace, table } => {
            write::string(out, keyspace);
            write::string(out, table);
        }
        Fault::Unprepared { id } => write::short_bytes(out, id),
        Fault::Server | Fault::Protocol | Fault::Overloaded | Fault::Truncate | Fault::Syntax => {}
        Fault::Unauthorized | Fault::Invalid | Fault::Config => {}
    }
}
