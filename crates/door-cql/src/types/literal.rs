//! Literals to serialized values, with Cassandra's rules about which literal fits which type.

use std::net::IpAddr;

use bytes::Bytes;

use super::{CqlType, Native, decimal, duration::Duration, time, uuid};
use crate::{
    bind::CqlError,
    lang::{Literal, LiteralKind},
};

/// The value of `literal` as `ty`, for the column or marker `receiver` (named in errors).
///
/// # Errors
/// A literal of the wrong kind, or one that is not in the range of the type.
pub(crate) fn literal_value(ty: &CqlType, literal: &Literal, receiver: &str) -> Result<Bytes, CqlError> {
    let Some(native) = ty.native().filter(|native| fits(literal.kind, *native)) else {
        return Err(CqlError::Invalid(format!(
            "Invalid {} constant ({}) for \"{receiver}\" of type {ty}",
            literal.kind.name(),
            literal.text,
        )));
    };
    match parse(native, &literal.text) {
        Some(bytes) => Ok(bytes.into()),
        None => Err(CqlError::Invalid(complaint(native, &literal.text))),
    }
}

/// Whether a literal of that kind may stand for a value of that type at all.
pub(crate) fn fits(kind: LiteralKind, native: Native) -> bool {
    use Native as N;
    match kind {
        LiteralKind::String => {
            matches!(native, N::Ascii | N::Text | N::Inet | N::Date | N::Time | N::Timestamp)
        }
        LiteralKind::Integer => matches!(
            native,
            N::Bigint
                | N::Counter
                | N::Date
                | N::Decimal
                | N::Double
                | N::Duration
                | N::Float
                | N::Int
                | N::Smallint
                | N::Time
                | N::Timestamp
                | N::Tinyint
                | N::Varint
        ),
        LiteralKind::Uuid => matches!(native, N::Uuid | N::Timeuuid),
        LiteralKind::Float => matches!(native, N::Decimal | N::Double | N::Float),
        LiteralKind::Boolean => native == N::Boolean,
        LiteralKind::Hex => native == N::Blob,
        LiteralKind::Duration => native == N::Duration,
    }
}

fn parse(native: Native, text: &str) -> Option<Vec<u8>> {
    Some(match native {
        // An empty string is an empty value.
        Native::Inet | Native::Timestamp if text.is_empty() => Vec::new(),
        Native::Ascii => text.is_ascii().then(|| text.as_bytes().to_vec())?,
        Native::Text => text.as_bytes().to_vec(),
        Native::Bigint | Native::Counter => text.parse::<i64>().ok()?.to_be_bytes().to_vec(),
        Native::Int => text.parse::<i32>().ok()?.to_be_bytes().to_vec(),
        Native::Smallint => text.parse::<i16>().ok()?.to_be_bytes().to_vec(),
        Native::Tinyint => text.parse::<i8>().ok()?.to_be_bytes().to_vec(),
        Native::Blob => hex(text.get(2..)?)?,
        Native::Boolean => vec![u8::from(text.eq_ignore_ascii_case("true"))],
        Native::Date => time::date_from_text(text)?.to_be_bytes().to_vec(),
        Native::Time => time::time_from_text(text)?.to_be_bytes().to_vec(),
        Native::Timestamp => time::timestamp_from_text(text)?.to_be_bytes().to_vec(),
        Native::Decimal => decimal::decimal_from_text(text)?,
        Native::Varint => decimal::varint_from_text(text)?,
        Native::Double => text.parse::<f64>().ok()?.to_be_bytes().to_vec(),
        Native::Float => text.parse::<f32>().ok()?.to_be_bytes().to_vec(),
        Native::Duration => Duration::from_text(text)?.to_bytes(),
        Native::Inet => inet(text)?,
        Native::Uuid => uuid::from_text(text)?.to_be_bytes().to_vec(),
        Native::Timeuuid => {
            let value = uuid::from_text(text).filter(|value| uuid::version(*value) == 1)?;
            value.to_be_bytes().to_vec()
        }
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

/// An address. Host names, which Cassandra looks up, are refused: a statement that means something
/// else tomorrow is no statement.
fn inet(text: &str) -> Option<Vec<u8>> {
    // An address of version 4 in the clothes of version 6 is one of version 4, as in Java.
    Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

/// Whether a text is a whole number, of any length.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn complaint(native: Native, text: &str) -> String {
    match native {
        Native::Ascii => format!("Invalid ASCII character in string literal: {text}"),
        Native::Bigint | Native::Counter => format!("Unable to make long from '{text}'"),
        Native::Int => format!("Unable to make int from '{text}'"),
        Native::Smallint => format!("Unable to make short from '{text}'"),
        Native::Tinyint => format!("Unable to make byte from '{text}'"),
        Native::Blob => format!("cannot parse '{}' as hex bytes", text.get(2..).unwrap_or(text)),
        Native::Date if is_whole(text) => format!("Unable to make unsigned int (for date) from: '{text}'"),
        Native::Date => format!("Unable to coerce '{text}' to a formatted date (long)"),
        Native::Time if is_whole(text) => format!("Unable to make long (for time) from: '{text}'"),
        Native::Time => format!("(TimeType) Unable to coerce '{text}' to a formatted time (long)"),
        Native::Timestamp if is_whole(text) => format!("Unable to make long (for date) from: '{text}'"),
        Native::Timestamp => format!("Unable to parse a date/time from '{text}'"),
        Native::Decimal => format!("unable to make BigDecimal from '{text}'"),
        Native::Varint => format!("unable to make int from '{text}'"),
        Native::Double | Native::Float => format!("Unable to make {native} from '{text}'"),
        Native::Duration => format!("Unable to convert '{text}' to a duration"),
        Native::Inet => format!("Unable to make inet address from '{text}'"),
        Native::Uuid => format!("Unable to make UUID from '{text}'"),
        Native::Timeuuid => format!("TimeUUID supplied as string is not a version 1 UUID ({text})"),
        Native::Text | Native::Boolean => format!("Unable to make {native} from '{text}'"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(ty: &str, kind: LiteralKind, text: &str) -> Result<Bytes, String> {
        let literal = Literal { kind, text: text.to_owned() };
        literal_value(&CqlType::parse(ty).unwrap(), &literal, "v").map_err(|error| error.to_string())
    }

    #[test]
    fn literals_become_values() {
        use LiteralKind as K;
        let cases: [(&str, K, &str, &[u8]); 12] = [
            ("int", K::Integer, "-1", &[0xff; 4]),
            ("tinyint", K::Integer, "127", &[127]),
            ("blob", K::Hex, "0xCAfe", &[0xca, 0xfe]),
            ("blob", K::Hex, "0x", &[]),
            ("boolean", K::Boolean, "TRUE", &[1]),
            ("text", K::String, "é", "é".as_bytes()),
            ("inet", K::String, "127.0.0.1", &[127, 0, 0, 1]),
            ("float", K::Float, "1.5", &[0x3f, 0xc0, 0, 0]),
            ("double", K::Float, "-Infinity", &[0xff, 0xf0, 0, 0, 0, 0, 0, 0]),
            ("varint", K::Integer, "256", &[1, 0]),
            ("timestamp", K::Integer, "1", &[0, 0, 0, 0, 0, 0, 0, 1]),
            ("date", K::String, "1970-01-02", &[0x80, 0, 0, 1]),
        ];
        for (ty, kind, text, bytes) in cases {
            assert_eq!(value(ty, kind, text).unwrap(), bytes, "{ty} {text}");
        }
    }

    #[test]
    fn wrong_literals_are_told_as_cassandra_tells_them() {
        use LiteralKind as K;
        let cases = [
            ("text", K::Integer, "30", "Invalid INTEGER constant (30) for \"v\" of type text"),
            ("int", K::String, "x", "Invalid STRING constant (x) for \"v\" of type int"),
            ("list<int>", K::Integer, "1", "Invalid INTEGER constant (1) for \"v\" of type list<int>"),
            ("int", K::Integer, "99999999999", "Unable to make int from '99999999999'"),
            ("timestamp", K::String, "soon", "Unable to parse a date/time from 'soon'"),
        ];
        for (ty, kind, text, message) in cases {
            assert_eq!(value(ty, kind, text), Err(message.to_owned()));
        }
    }
}
