//! The order of values of one type, as Cassandra compares them.
//!
//! Filters and conditions compare with this. Clustering keys get the same order from their bytes
//! ([`super::keys`]); a property test holds the two together.

use std::cmp::Ordering;

use super::{CqlType, Native, decimal, keys, uuid};

/// Compares two serialized values of `ty`. An empty value is below every other. Both are taken to
/// be valid; of others only the order is unspecified.
pub(crate) fn compare(ty: &CqlType, a: &[u8], b: &[u8]) -> Ordering {
    let Some(native) = ty.native() else {
        return a.cmp(b);
    };
    if a.is_empty() || b.is_empty() {
        return a.len().min(1).cmp(&b.len().min(1));
    }
    match native {
        Native::Bigint
        | Native::Counter
        | Native::Int
        | Native::Smallint
        | Native::Tinyint
        | Native::Timestamp => signed(a).cmp(&signed(b)),
        Native::Varint => decimal::compare_varints(a, b),
        Native::Decimal => by_key(native, a, b),
        Native::Float | Native::Double => float(a).total_cmp(&float(b)),
        Native::Boolean => (a[0] != 0).cmp(&(b[0] != 0)),
        Native::Uuid => match (number(a), number(b)) {
            (Some(a), Some(b)) => uuid::uuid_key(a).cmp(&uuid::uuid_key(b)),
            _ => a.cmp(b),
        },
        Native::Timeuuid => match (number(a), number(b)) {
            (Some(a), Some(b)) => uuid::timeuuid_key(a).cmp(&uuid::timeuuid_key(b)),
            _ => a.cmp(b),
        },
        Native::Ascii
        | Native::Text
        | Native::Blob
        | Native::Date
        | Native::Time
        | Native::Inet
        | Native::Duration => a.cmp(b),
    }
}

fn by_key(native: Native, a: &[u8], b: &[u8]) -> Ordering {
    let key = |value| {
        let mut out = Vec::new();
        keys::put_native(native, value, &mut out);
        out
    };
    key(a).cmp(&key(b))
}

fn number(bytes: &[u8]) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

fn signed(bytes: &[u8]) -> i64 {
    let start = if bytes[0] & 0x80 != 0 { -1 } else { 0 };
    bytes.iter().take(8).fold(start, |value, byte| value << 8 | i64::from(*byte))
}

/// A float or double, all NaNs made one (Java compares them so).
fn float(bytes: &[u8]) -> f64 {
    let value = match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
        (Some(double), _) => f64::from_be_bytes(*double),
        (None, Some(float)) => f64::from(f32::from_be_bytes(*float)),
        (None, None) => return f64::NEG_INFINITY,
    };
    if value.is_nan() { f64::NAN } else { value }
}
