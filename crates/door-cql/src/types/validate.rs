//! Whether bytes a client bound are a value of a type; if not, why, in Cassandra's words.

use super::{CqlType, Native, duration::Duration, uuid};
use crate::bind::CqlError;

/// The deepest nesting of a value that is looked into.
const MAX_NESTING: usize = 16;

/// Fails unless `bytes` are a value of `ty`.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn validate(ty: &CqlType, bytes: &[u8]) -> Result<(), CqlError> {
    check(ty, bytes, 0).map_err(CqlError::Invalid)
}

fn check(ty: &CqlType, bytes: &[u8], depth: usize) -> Result<(), String> {
    if depth > MAX_NESTING {
        return Err("a value is nested too deeply".to_owned());
    }
    match ty {
        CqlType::Native(native) => check_native(*native, bytes),
        CqlType::Frozen(inner) => check(inner, bytes, depth),
        CqlType::List(inner) => elements(bytes, 1, |_, value| check(inner, value, depth + 1)),
        CqlType::Set(inner) => elements(bytes, 1, |_, value| check(inner, value, depth + 1)),
        CqlType::Map(key, value) => {
            elements(bytes, 2, |i, part| check(if i % 2 == 0 { key } else { value }, part, depth + 1))
        }
        // Values of these cannot be written yet; when they are only compared, bytes are enough.
        CqlType::Tuple(_) | CqlType::Udt(_) | CqlType::Vector(..) | CqlType::Custom(_) => Ok(()),
    }
}

/// Walks the elements of a collection: a count of entries (i32), then `parts` values for each, as
/// length (i32) and bytes.
fn elements(
    mut bytes: &[u8],
    parts: usize,
    mut visit: impl FnMut(usize, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    let short = || "Not enough bytes to read a collection".to_owned();
    let number = |bytes: &mut &[u8]| {
        let (head, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        *bytes = rest;
        Ok::<i32, String>(i32::from_be_bytes(*head))
    };
    let count = usize::try_from(number(&mut bytes)?).map_err(|_| short())?;
    // Each part takes at least its length: a lying count is found out here, before any work.
    if count > bytes.len() / 4 / parts {
        return Err(short());
    }
    for i in 0..count * parts {
        let len = number(&mut bytes)?;
        let len = usize::try_from(len).map_err(|_| "null is not supported inside collections".to_owned())?;
        let (value, rest) = bytes.split_at_checked(len).ok_or_else(short)?;
        visit(i, value)?;
        bytes = rest;
    }
    if bytes.is_empty() { Ok(()) } else { Err("Unexpected extraneous bytes after a collection".to_owned()) }
}

fn check_native(native: Native, bytes: &[u8]) -> Result<(), String> {
    let len = bytes.len();
    let complain = |text: &str| Err(format!("{text} ({len})"));
    match native {
        Native::Ascii => match bytes.iter().find(|byte| **byte > 127) {
            Some(byte) => Err(format!("Invalid byte for ascii: {}", *byte as i8)),
            None => Ok(()),
        },
        Native::Text => match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(_) => Err("String didn't validate.".to_owned()),
        },
        Native::Bigint | Native::Counter if len != 8 && len != 0 => complain("Expected 8 or 0 byte long"),
        Native::Boolean if len > 1 => complain("Expected 1 or 0 byte value"),
        Native::Date if len != 4 => complain("Expected 4 byte long for date"),
        Native::Decimal if len != 0 && len < 5 => complain("Expected 0 or at least 4 bytes"),
        Native::Double if len != 8 && len != 0 => complain("Expected 8 or 0 byte value for a double"),
        Native::Duration => Duration::from_bytes(bytes).map(|_| ()),
        Native::Float if len != 4 && len != 0 => complain("Expected 4 or 0 byte value for a float"),
        Native::Inet if !matches!(len, 0 | 4 | 16) => {
            let hex: String = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            Err(format!("Expected 4 or 16 byte inetaddress; got {hex}"))
        }
        Native::Int if len != 4 && len != 0 => complain("Expected 4 or 0 byte int"),
        Native::Smallint if len != 2 => complain("Expected 2 bytes for a smallint"),
        Native::Time if len != 8 => complain("Expected 8 byte long for time"),
        Native::Timestamp if len != 8 && len != 0 => complain("Expected 8 or 0 byte long for date"),
        Native::Timeuuid if len != 16 && len != 0 => complain("TimeUUID should be 16 or 0 bytes"),
        Native::Timeuuid if len == 16 && uuid::version(number(bytes)) != 1 => {
            Err("Invalid version for TimeUUID type.".to_owned())
        }
        Native::Tinyint if len != 1 => complain("Expected 1 byte for a tinyint"),
        Native::Uuid if len != 16 && len != 0 => complain("UUID should be 16 or 0 bytes"),
        _ => Ok(()),
    }
}

fn number(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(bytes.try_into().expect("16 bytes, as checked"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, which in 0usize..20) {
            let _ = validate(&CqlType::Native(Native::NAMES[which].0), &bytes);
            let _ = validate(&CqlType::parse("map<text, frozen<list<frozen<set<int>>>>>").unwrap(), &bytes);
        }
    }

    #[test]
    fn wrong_values_are_told_as_cassandra_tells_them() {
        let cases: [(&str, &[u8], &str); 8] = [
            ("int", &[0, 0, 0], "Expected 4 or 0 byte int (3)"),
            ("bigint", &[0], "Expected 8 or 0 byte long (1)"),
            ("text", &[0xff], "String didn't validate."),
            ("ascii", &[0x80], "Invalid byte for ascii: -128"),
            ("tinyint", &[], "Expected 1 byte for a tinyint (0)"),
            ("timeuuid", &[0; 16], "Invalid version for TimeUUID type."),
            ("inet", &[1, 2, 3], "Expected 4 or 16 byte inetaddress; got 010203"),
            ("list<int>", &[0x7f, 0xff, 0xff, 0xff], "Not enough bytes to read a collection"),
        ];
        for (ty, bytes, message) in cases {
            let error = validate(&CqlType::parse(ty).unwrap(), bytes).unwrap_err();
            assert_eq!(error, CqlError::Invalid(message.to_owned()), "{ty}");
        }
        assert!(
            validate(&CqlType::parse("list<int>").unwrap(), &[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9]).is_ok()
        );
        assert!(validate(&CqlType::INT, &[]).is_ok());
    }
}
