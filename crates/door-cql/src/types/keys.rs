//! Clustering keys: components whose bytes order as their values do (see [`base::keys`]).
//!
//! ```text
//! component = EMPTY                    the empty value, below every other
//!           | VALUE body
//! body      = 4 or 8 bytes, sign flipped           int bigint timestamp smallint tinyint
//!           | 4 or 8 bytes, ordered floats         float double, NaN made one
//!           | bytes as they are                    date time, boolean as 0 or 1
//!           | 17 bytes                             uuid: version, upper half (by time in version 1), lower
//!           | 16 bytes                             timeuuid: by time, then signed bytes
//!           | see `decimal.rs`                     varint decimal
//!           | escaped                              text ascii blob inet, and every type without an order
//! ```
//!
//! Values that compare equal get equal keys, so what is read back is one of them: `1.0` for
//! `1.00`, the shortest form of a varint. A descending component is inverted.

use base::keys::{EMPTY, VALUE, invert, order_float, order_signed, put_escaped, take_escaped, unorder_float};

use super::{CqlType, Native, decimal, uuid};

/// Appends one component.
pub(crate) fn put(ty: &CqlType, descending: bool, value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    match ty.native() {
        Some(native) => put_native(native, value, out),
        None => put_opaque(value, out),
    }
    if descending {
        invert(out, start);
    }
}

/// Reads the component at the start of `key`: its value and what follows it. `None` when the bytes
/// are no component of `ty`.
pub(crate) fn take<'a>(ty: &CqlType, descending: bool, key: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    if !descending {
        return take_ascending(ty, key);
    }
    // How far the component reaches is known only after reading it, so all that follows is
    // inverted with it.
    let mut inverted = key.to_vec();
    invert(&mut inverted, 0);
    let (value, rest) = take_ascending(ty, &inverted)?;
    Some((value, &key[key.len() - rest.len()..]))
}

/// The most bytes a value of `ty` may have to be put in order with others, where there is a bound.
pub(crate) fn max_len(ty: &CqlType) -> Option<usize> {
    match ty.native() {
        Some(Native::Decimal) => Some(decimal::MAX_DECIMAL_KEY_BYTES),
        Some(Native::Varint) => Some(usize::from(u16::MAX)),
        _ => None,
    }
}

fn put_opaque(value: &[u8], out: &mut Vec<u8>) {
    if value.is_empty() {
        out.push(EMPTY);
    } else {
        out.push(VALUE);
        put_escaped(out, value);
    }
}

pub(super) fn put_native(native: Native, value: &[u8], out: &mut Vec<u8>) {
    let Some(first) = value.first() else {
        out.push(EMPTY);
        return;
    };
    out.push(VALUE);
    let start = out.len();
    match native {
        Native::Int
        | Native::Bigint
        | Native::Counter
        | Native::Timestamp
        | Native::Smallint
        | Native::Tinyint => {
            out.extend_from_slice(value);
            order_signed(&mut out[start..]);
        }
        Native::Float | Native::Double => {
            out.extend_from_slice(&one_nan(value));
            order_float(&mut out[start..]);
        }
        Native::Date | Native::Time => out.extend_from_slice(value),
        Native::Boolean => out.push(u8::from(*first != 0)),
        Native::Uuid => out.extend_from_slice(&uuid::uuid_key(number(value))),
        Native::Timeuuid => out.extend_from_slice(&uuid::timeuuid_key(number(value))),
        Native::Varint => decimal::varint_key(value, out),
        Native::Decimal => decimal::decimal_key(value, out),
        Native::Text | Native::Ascii | Native::Blob | Native::Inet | Native::Duration => {
            put_escaped(out, value)
        }
    }
}

/// A validated 16-byte value; others have been refused before they could be part of a key.
fn number(value: &[u8]) -> u128 {
    value.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn one_nan(value: &[u8]) -> Vec<u8> {
    match (value.first_chunk::<8>(), value.first_chunk::<4>()) {
        (Some(double), _) if f64::from_be_bytes(*double).is_nan() => vec![0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
        (None, Some(float)) if f32::from_be_bytes(*float).is_nan() => vec![0x7f, 0xc0, 0, 0],
        _ => value.to_vec(),
    }
}

fn take_ascending<'a>(ty: &CqlType, key: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let (marker, rest) = key.split_first()?;
    match *marker {
        EMPTY => return Some((Vec::new(), rest)),
        VALUE => {}
        _ => return None,
    }
    let fixed = |len: usize| {
        let (value, rest) = rest.split_at_checked(len)?;
        Some((value.to_vec(), rest))
    };
    let mapped = |len: usize, map: fn(&mut [u8])| {
        let (mut value, rest) = fixed(len)?;
        map(&mut value);
        Some((value, rest))
    };
    match ty.native() {
        Some(Native::Int) => mapped(4, order_signed),
        Some(Native::Bigint | Native::Counter | Native::Timestamp) => mapped(8, order_signed),
        Some(Native::Smallint) => mapped(2, order_signed),
        Some(Native::Tinyint) => mapped(1, order_signed),
        Some(Native::Float) => mapped(4, unorder_float),
        Some(Native::Double) => mapped(8, unorder_float),
        Some(Native::Date) => fixed(4),
        Some(Native::Time) => fixed(8),
        Some(Native::Boolean) => fixed(1),
        Some(Native::Uuid) => {
            let (key, rest) = rest.split_first_chunk::<17>()?;
            Some((uuid::uuid_from_key(key).to_be_bytes().to_vec(), rest))
        }
        Some(Native::Timeuuid) => {
            let (key, rest) = rest.split_first_chunk::<16>()?;
            Some((uuid::timeuuid_from_key(key).to_be_bytes().to_vec(), rest))
        }
        Some(Native::Varint) => decimal::varint_from_key(rest),
        Some(Native::Decimal) => decimal::decimal_from_key(rest),
        Some(Native::Text | Native::Ascii | Native::Blob | Native::Inet | Native::Duration) | None => {
            take_escaped(rest).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cmp::Ordering;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::types::{compare, validate};

    /// Valid values of a type, small ones often so that ties and neighbours occur.
    fn value(native: Native) -> BoxedStrategy<Vec<u8>> {
        let bytes = |len: usize| {
            let small = (0u8..3, any::<bool>()).prop_map(move |(low, negative)| {
                let mut value = vec![if negative { 0xff } else { 0 }; len];
                value[len - 1] = low;
                value
            });
            prop_oneof![small, vec(any::<u8>(), len)]
        };
        match native {
            Native::Int => bytes(4).boxed(),
            Native::Float => any::<f32>().prop_map(|v| v.to_be_bytes().to_vec()).boxed(),
            Native::Double => any::<f64>().prop_map(|v| v.to_be_bytes().to_vec()).boxed(),
            Native::Bigint | Native::Counter | Native::Timestamp | Native::Time => bytes(8).boxed(),
            Native::Smallint => bytes(2).boxed(),
            Native::Tinyint | Native::Boolean => bytes(1).boxed(),
            Native::Date => bytes(4).boxed(),
            Native::Inet => prop_oneof![bytes(4), bytes(16)].boxed(),
            Native::Uuid => bytes(16).boxed(),
            Native::Timeuuid => bytes(16)
                .prop_map(|mut v| {
                    v[6] = v[6] & 0xf | 0x10;
                    v
                })
                .boxed(),
            Native::Ascii => "[\\x00-\\x7f]{0,6}".prop_map(String::into_bytes).boxed(),
            Native::Text => any::<String>().prop_map(String::into_bytes).boxed(),
            Native::Blob | Native::Duration => vec(any::<u8>(), 0..6).boxed(),
            Native::Varint => vec(any::<u8>(), 1..6).boxed(),
            Native::Decimal => (-3i32..4, vec(any::<u8>(), 1..4))
                .prop_map(|(scale, unscaled)| [scale.to_be_bytes().to_vec(), unscaled].concat())
                .boxed(),
        }
    }

    fn ordered() -> impl Strategy<Value = (CqlType, Vec<u8>, Vec<u8>)> {
        let natives = Native::NAMES.map(|(native, _)| native).into_iter().filter(|n| *n != Native::Duration);
        proptest::sample::select(natives.collect::<Vec<_>>())
            .prop_flat_map(|native| (Just(CqlType::Native(native)), value(native), value(native)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn keys_order_as_values_and_come_back((ty, a, b) in ordered(), descending: bool, tail: Vec<u8>) {
            prop_assert!(validate(&ty, &a).is_ok());
            let key = |value: &[u8]| { let mut out = Vec::new(); put(&ty, descending, value, &mut out); out };
            let order = if descending { compare(&ty, &b, &a) } else { compare(&ty, &a, &b) };
            prop_assert_eq!(key(&a).cmp(&key(&b)), order, "{}", ty);

            let mut with_tail = key(&a);
            with_tail.extend_from_slice(&tail);
            let (back, rest) = take(&ty, descending, &with_tail).unwrap();
            prop_assert_eq!(rest, tail.as_slice());
            prop_assert_eq!(compare(&ty, &back, &a), Ordering::Equal);
            prop_assert_eq!(key(&back), key(&a));
            prop_assert!(validate(&ty, &back).is_ok());
            let canonical = matches!(ty.native(), Some(Native::Boolean | Native::Varint | Native::Decimal));
            let nan = matches!(ty.native(), Some(Native::Float | Native::Double)) && back != a;
            prop_assert!(canonical || nan || back == a);
        }

        #[test]
        fn empty_is_below_everything((ty, a, _) in ordered()) {
            let key = |value: &[u8]| { let mut out = Vec::new(); put(&ty, false, value, &mut out); out };
            prop_assert_eq!(key(&[]).cmp(&key(&a)), compare(&ty, &[], &a));
            let empty = key(&[]);
            prop_assert_eq!(take(&ty, false, &empty), Some((Vec::new(), &[][..])));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, which in 0usize..20, descending: bool) {
            let _ = take(&CqlType::Native(Native::NAMES[which].0), descending, &bytes);
        }
    }
}
