//! [`Body`]: reading the notations of the protocol (its section 3) from a frame's body.
//!
//! Values come out as slices that share the frame's memory. Counts are checked against the bytes
//! that are left, so a count takes no memory that did not arrive.

use bytes::Bytes;
use store::Consistency;

use crate::exec::BoundValue;

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It is not what its opcode says.
    Protocol(String),
    /// It asks for what nobody gets.
    Invalid(&'static str),
}

type Read<T> = Result<T, Malformed>;

/// A body being read.
pub(crate) struct Body {
    rest: Bytes,
}

impl Body {
    pub(crate) fn new(body: Bytes) -> Body {
        Body { rest: body }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: usize) -> Read<Bytes> {
        if len > self.rest.len() {
            return Err(Malformed::Protocol(format!(
                "Not enough bytes to read a value of {len} bytes: the body has {} left",
                self.rest.len()
            )));
        }
        Ok(self.rest.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(*bytes.first_chunk().expect("N bytes were taken"))
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn short(&mut self) -> Read<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn int(&mut self) -> Read<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn long(&mut self) -> Read<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A `[string]`.
    pub(crate) fn string(&mut self) -> Read<String> {
        let len = self.short()?;
        utf8(self.take(usize::from(len))?)
    }

    /// A `[long string]`, left in its bytes.
    pub(crate) fn long_string(&mut self) -> Read<Text> {
        let len = self.int()?;
        let len =
            usize::try_from(len).map_err(|_| Malformed::Protocol(format!("A string of {len} bytes")))?;
        Text::new(self.take(len)?)
    }

    /// A `[short bytes]`.
    pub(crate) fn short_bytes(&mut self) -> Read<Bytes> {
        let len = self.short()?;
        self.take(usize::from(len))
    }

    /// A `[bytes]`; a negative length is null.
    pub(crate) fn bytes(&mut self) -> Read<Option<Bytes>> {
        match usize::try_from(self.int()?) {
            Ok(len) => Ok(Some(self.take(len)?)),
            Err(_) => Ok(None),
        }
    }

    /// A `[value]`. Only version 4 knows "not set", so `unset` says whether -2 is that.
    pub(crate) fn value(&mut self, unset: bool) -> Read<BoundValue> {
        match self.int()? {
            len @ 0.. => Ok(BoundValue::Value(self.take(len as usize)?)),
            -2 if unset => Ok(BoundValue::Unset),
            -1 => Ok(BoundValue::Null),
            _ if !unset => Ok(BoundValue::Null),
            other => Err(Malformed::Protocol(format!("Invalid value length {other}"))),
        }
    }

    /// A `[short]` count of things of at least `least_bytes` each: never more than can be left.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Read<usize> {
        let count = usize::from(self.short()?);
        if count * least_bytes > self.left() {
            return Err(Malformed::Protocol(format!(
                "Not enough bytes to read {count} elements: the body has {} left",
                self.left()
            )));
        }
        Ok(count)
    }

    /// A `[consistency]`.
    pub(crate) fn consistency(&mut self) -> Read<Consistency> {
        let code = self.short()?;
        if code == NODE_LOCAL {
            return Err(Malformed::Invalid(
                "NODE_LOCAL consistency level is highly dangerous and should be used only for debugging purposes",
            ));
        }
        CONSISTENCIES
            .get(usize::from(code))
            .copied()
            .ok_or_else(|| Malformed::Protocol(format!("Unknown code {code} for a consistency level")))
    }
}

/// Consistency levels by their codes.
const CONSISTENCIES: [Consistency; 11] = [
    Consistency::Any,
    Consistency::One,
    Consistency::Two,
    Consistency::Three,
    Consistency::Quorum,
    Consistency::All,
    Consistency::LocalQuorum,
    Consistency::EachQuorum,
    Consistency::Serial,
    Consistency::LocalSerial,
    Consistency::LocalOne,
];

/// A level that Cassandra has for its own debugging and refuses unless it is told otherwise.
const NODE_LOCAL: u16 = 11;

/// The code of a consistency level.
pub(crate) fn consistency_code(consistency: Consistency) -> u16 {
    let place = CONSISTENCIES.iter().position(|&known| known == consistency);
    place.expect("every level has a code") as u16
}

fn utf8(bytes: Bytes) -> Read<String> {
    String::from_utf8(bytes.into())
        .map_err(|_| Malformed::Protocol("Cannot decode string as UTF8".to_owned()))
}

/// UTF-8 that stays in the frame's memory: a statement's text is looked up far more often than it
/// is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Bytes);

impl Text {
    fn new(bytes: Bytes) -> Read<Text> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Text(bytes)),
            Err(_) => Err(Malformed::Protocol("Cannot decode string as UTF8".to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }
}
