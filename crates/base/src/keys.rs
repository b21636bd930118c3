//! Order-preserving keys: bytes that compare as the values they stand for.
//!
//! A key is a sequence of components, each self-delimiting, so that component by component
//! comparison is `memcmp` of the whole:
//!
//! ```text
//! component = 0x10                    an empty value (sorts before every other)
//!           | 0x20 body               a value; the body is fixed-width, or escaped (below)
//! escaped   = (byte except 0 | 0x00 0xFF)... 0x00 0x01
//! ```
//!
//! A descending component is the ascending one with every bit inverted. First bytes are therefore
//! never 0x00 nor 0xFF, and `prefix + [0xFF]` is above every key that begins with `prefix`: see
//! [`after_prefix`].

use crate::Malformed;

/// First byte of an empty value.
pub const EMPTY: u8 = 0x10;
/// First byte of a value with a body.
pub const VALUE: u8 = 0x20;

/// The smallest key above every key that begins with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1);
    key.extend_from_slice(prefix);
    key.push(0xff);
    key
}

/// Appends `bytes` escaped and terminated.
pub fn put_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        out.extend_from_slice(&bytes[..zero]);
        out.extend_from_slice(&[0, 0xff]);
        bytes = &bytes[zero + 1..];
    }
    out.extend_from_slice(bytes);
    out.extend_from_slice(&[0, 1]);
}

/// Reads what [`put_escaped`] wrote; returns the value and what follows it.
pub fn take_escaped(mut key: &[u8]) -> Result<(Vec<u8>, &[u8]), Malformed> {
    let mut value = Vec::new();
    loop {
        let zero = key.iter().position(|byte| *byte == 0).ok_or(Malformed("escaped key"))?;
        value.extend_from_slice(&key[..zero]);
        match &key[zero + 1..] {
            [0xff, rest @ ..] => {
                value.push(0);
                key = rest;
            }
            [1, rest @ ..] => return Ok((value, rest)),
            _ => return Err(Malformed("escaped key")),
        }
    }
}

/// Inverts every bit from `start` on, which turns an ascending component into a descending one
/// and back.
pub fn invert(key: &mut [u8], start: usize) {
    for byte in key.iter_mut().skip(start) {
        *byte = !*byte;
    }
}

/// Two's complement big-endian with the sign bit flipped, so that bytes order as the number.
pub fn order_signed(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
}

/// IEEE 754 big-endian bytes to bytes that order as Java's `Float.compare` and `Double.compare`:
/// -0.0 before 0.0, NaN (which the caller has made canonical) after everything.
pub fn order_float(bytes: &mut [u8]) {
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => invert(bytes, 0),
        Some(_) => order_signed(bytes),
        None => {}
    }
}

/// The inverse of [`order_float`].
pub fn unorder_float(bytes: &mut [u8]) {
    match bytes.first() {
        Some(first) if first & 0x80 == 0 => invert(bytes, 0),
        Some(_) => order_signed(bytes),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_escaped(&mut out, bytes);
        out
    }

    proptest! {
        #[test]
        fn escaped_keys_order_and_come_back(a: Vec<u8>, b: Vec<u8>, tail: Vec<u8>) {
            prop_assert_eq!(escaped(&a).cmp(&escaped(&b)), a.cmp(&b));
            let mut key = escaped(&a);
            key.extend_from_slice(&tail);
            prop_assert_eq!(take_escaped(&key), Ok((a, tail.as_slice())));
        }

        #[test]
        fn floats_order_and_come_back(a: f64, b: f64) {
            let key = |v: f64| { let mut k = v.to_be_bytes(); order_float(&mut k); k };
            prop_assert_eq!(key(a).cmp(&key(b)), a.total_cmp(&b));
            let mut back = key(a);
            unorder_float(&mut back);
            prop_assert_eq!(back, a.to_be_bytes());
        }

        #[test]
        fn signed_numbers_order(a: i64, b: i64) {
            let key = |v: i64| { let mut k = v.to_be_bytes(); order_signed(&mut k); k };
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
        }

        #[test]
        fn nothing_with_the_prefix_reaches_after_it(prefix: Vec<u8>, tail: Vec<u8>) {
            let mut key = prefix.clone();
            key.push(VALUE);
            key.extend_from_slice(&tail);
            prop_assert!(key < after_prefix(&prefix));
        }
    }
}
