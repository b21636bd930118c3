//! CQL's native protocol, version 4 (and 3, which differs in what it lacks): bytes to messages and
//! back, nothing else.
//!
//! A frame is a 9-byte header (version, flags, stream, opcode, length) and a body. Everything is
//! big-endian. Requests are decoded by plain functions of bytes ([`frame`], [`request`]) that take
//! no memory on the word of a length; responses are appended to a buffer ([`response`]).

pub(crate) mod frame;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod response;
mod types;
mod write;

#[cfg(test)]
mod tests;

/// A protocol version this door speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V3 = 3,
    V4 = 4,
}

impl Version {
    /// What an unsupported version is answered in.
    pub(crate) const HIGHEST: Version = Version::V4;

    /// The version of a header's first byte without its direction bit.
    pub(crate) fn from_number(number: u8) -> Option<Version> {
        match number {
            3 => Some(Version::V3),
            4 => Some(Version::V4),
            _ => None,
        }
    }
}

/// Opcodes of requests.
pub(crate) mod opcode {
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const PREPARE: u8 = 0x09;
    pub(crate) const EXECUTE: u8 = 0x0a;
    pub(crate) const REGISTER: u8 = 0x0b;
    pub(crate) const BATCH: u8 = 0x0d;
    pub(crate) const AUTH_RESPONSE: u8 = 0x0f;
}

/// Bits of a header's flags.
pub(crate) mod flag {
    pub(crate) const COMPRESSED: u8 = 0x01;
    pub(crate) const CUSTOM_PAYLOAD: u8 = 0x04;
    pub(crate) const WARNING: u8 = 0x08;
}
