//! Numbers of any length: `varint` and `decimal`.
//!
//! A `varint` is two's complement, big-endian, as short as possible (longer forms are accepted). A
//! `decimal` is a scale (i32) and such a number: `unscaled * 10^-scale`. Texts are converted in
//! time quadratic in their length, so lengths are bounded.

use std::cmp::Ordering;

/// The most digits a literal may have.
const MAX_DIGITS: usize = 32_768;
/// The most bytes a number may have to be ordered as a decimal.
pub(super) const MAX_DECIMAL_KEY_BYTES: usize = 4096;
/// The largest power of ten that is written out as digits when a decimal is read from a key.
const MAX_WRITTEN_ZEROS: i64 = 64;

/// A number as its sign and its decimal digits, most significant first, without leading zeros;
/// zero has none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digits {
    negative: bool,
    digits: Vec<u8>,
}

impl Digits {
    fn new(negative: bool, digits: &[u8]) -> Digits {
        let start = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
        let digits = digits[start..].to_vec();
        Digits { negative: negative && !digits.is_empty(), digits }
    }

    fn from_text(text: &str) -> Option<Digits> {
        let (negative, text) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            text => (false, text),
        };
        if text.is_empty() || text.len() > MAX_DIGITS || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digits: Vec<u8> = text.iter().map(|digit| digit - b'0').collect();
        Some(Digits::new(negative, &digits))
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Little-endian limbs of the magnitude.
        let mut limbs: Vec<u32> = Vec::new();
        for chunk in self.digits.chunks(9) {
            let mut carry = chunk.iter().fold(0u64, |value, digit| value * 10 + u64::from(*digit));
            let factor = 10u64.pow(chunk.len() as u32);
            for limb in &mut limbs {
                carry += u64::from(*limb) * factor;
                *limb = carry as u32;
                carry >>= 32;
            }
            if carry > 0 {
                limbs.push(carry as u32);
            }
        }
        let mut bytes = vec![0];
        bytes.extend(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()));
        if self.negative {
            negate(&mut bytes);
        }
        minimal(&bytes).to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Digits {
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let mut magnitude = bytes.to_vec();
        if negative {
            negate(&mut magnitude);
            // The magnitude of the smallest number of a length does not fit that length signed,
            // but does unsigned, which is how it is read below.
        }
        let mut limbs: Vec<u32> = magnitude
            .rchunks(4)
            .map(|chunk| chunk.iter().fold(0u32, |limb, byte| limb << 8 | u32::from(*byte)))
            .collect();
        let mut reversed = Vec::new();
        while limbs.iter().any(|limb| *limb != 0) {
            let mut remainder = 0u64;
            for limb in limbs.iter_mut().rev() {
                let value = remainder << 32 | u64::from(*limb);
                *limb = (value / 1_000_000_000) as u32;
                remainder = value % 1_000_000_000;
            }
            for _ in 0..9 {
                reversed.push((remainder % 10) as u8);
                remainder /= 10;
            }
        }
        reversed.reverse();
        Digits::new(negative, &reversed)
    }
}

/// Two's complement negation in place.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (value, overflow) = (!*byte).overflowing_add(u8::from(carry));
        *byte = value;
        carry = overflow;
    }
}

/// The shortest form of a two's complement number that is not empty.
pub(super) fn minimal(mut bytes: &[u8]) -> &[u8] {
    while let [first, second, ..] = bytes {
        let redundant = (*first == 0 && second & 0x80 == 0) || (*first == 0xff && second & 0x80 != 0);
        if !redundant {
            break;
        }
        bytes = &bytes[1..];
    }
    bytes
}

/// The bytes of a `varint` literal; `None` if it is no number, or too long.
pub(super) fn varint_from_text(text: &str) -> Option<Vec<u8>> {
    Some(Digits::from_text(text)?.to_bytes())
}

/// The bytes of a `decimal` literal such as `-12.50e3`; `None` if it is no number, or too long.
pub(super) fn decimal_from_text(text: &str) -> Option<Vec<u8>> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if fraction.starts_with(['-', '+']) {
        return None;
    }
    let digits = Digits::from_text(&format!("{whole}{fraction}"))?;
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    let mut bytes = i32::try_from(scale).ok()?.to_be_bytes().to_vec();
    bytes.extend_from_slice(&digits.to_bytes());
    Some(bytes)
}

/// Numeric order of two non-empty two's complement numbers.
pub(super) fn compare_varints(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (minimal(a), minimal(b));
    let negative = |bytes: &[u8]| bytes[0] & 0x80 != 0;
    match (negative(a), negative(b)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        // Of one sign and one length, two's complement orders as bytes.
        (false, false) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, true) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
    }
}

/// Appends bytes that order as the numbers do:
///
/// ```text
/// key = 0 | !len u16 | bytes      negative
///     | 1 | len u16 | bytes       zero and above
/// ```
pub(super) fn varint_key(value: &[u8], out: &mut Vec<u8>) {
    let value = minimal(value);
    let negative = value[0] & 0x80 != 0;
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.push(u8::from(!negative));
    out.extend_from_slice(&if negative { !len } else { len }.to_be_bytes());
    out.extend_from_slice(value);
}

/// Reads what [`varint_key`] wrote; the number and what follows it.
pub(super) fn varint_from_key(key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (sign, rest) = key.split_first()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let len = u16::from_be_bytes(*len);
    let len = if *sign == 0 { !len } else { len };
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some((value.to_vec(), rest))
}

/// Appends bytes that order as the numbers do, equal numbers of different scale being equal. A
/// number is `0.d1d2... * 10^exponent` with `d1` not 0:
///
/// ```text
/// key  = 0 | !body   negative
///      | 1           zero
///      | 2 | body    positive
/// body = exponent i64, ordered | (digit + 1) u8... | 0
/// ```
///
/// What holds no scale is taken for zero.
pub(super) fn decimal_key(value: &[u8], out: &mut Vec<u8>) {
    let (scale, unscaled) = value.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
    let scale = i64::from(i32::from_be_bytes(*scale));
    let number = Digits::from_bytes(unscaled);
    if number.digits.is_empty() {
        out.push(1);
        return;
    }
    out.push(if number.negative { 0 } else { 2 });
    let start = out.len();
    let exponent = number.digits.len() as i64 - scale;
    out.extend_from_slice(&((exponent as u64) ^ (1 << 63)).to_be_bytes());
    let end = number.digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
    out.extend(number.digits[..end].iter().map(|digit| digit + 1));
    out.push(0);
    if number.negative {
        base::keys::invert(out, start);
    }
}

/// Reads what [`decimal_key`] wrote: the number, with no more fraction digits than it needs, and
/// what follows it.
pub(super) fn decimal_from_key(key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (sign, rest) = key.split_first()?;
    let flip = match sign {
        0 => 0xff,
        1 => return Some((vec![0, 0, 0, 0, 0], rest)),
        2 => 0,
        _ => return None,
    };
    let (exponent, rest) = rest.split_first_chunk::<8>()?;
    let mask = if flip == 0 { 0 } else { u64::MAX };
    let exponent = ((u64::from_be_bytes(*exponent) ^ mask) ^ (1 << 63)) as i64;
    let len = rest.iter().position(|byte| byte ^ flip == 0)?;
    let mut digits = Vec::with_capacity(len);
    for byte in &rest[..len] {
        digits.push((byte ^ flip).checked_sub(1).filter(|digit| *digit < 10)?);
    }
    let mut scale = (len as i64).checked_sub(exponent)?;
    if (-MAX_WRITTEN_ZEROS..0).contains(&scale) {
        digits.resize(digits.len() + scale.unsigned_abs() as usize, 0);
        scale = 0;
    }
    let mut value = i32::try_from(scale).ok()?.to_be_bytes().to_vec();
    value.extend_from_slice(&Digits::new(flip != 0, &digits).to_bytes());
    Some((value, &rest[len + 1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn varint(value: i128) -> Vec<u8> {
        minimal(&value.to_be_bytes()).to_vec()
    }

    proptest! {
        #[test]
        fn varints_agree_with_i128(a: i128, b: i128, shift in 0u32..120) {
            let (a, b) = (a >> shift, b >> (shift / 2));
            prop_assert_eq!(varint_from_text(&a.to_string()).unwrap(), varint(a));
            prop_assert_eq!(compare_varints(&varint(a), &b.to_be_bytes()), a.cmp(&b));
            let key = |v: i128| { let mut k = Vec::new(); varint_key(&v.to_be_bytes(), &mut k); k };
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            let own = key(a);
            prop_assert_eq!(varint_from_key(&own).unwrap(), (varint(a), &[][..]));
            prop_assert_eq!(Digits::from_bytes(&a.to_be_bytes()).to_bytes(), varint(a));
        }

        #[test]
        fn decimal_keys_order_as_numbers(a in -10_000i64..10_000, b in -10_000i64..10_000, sa in -3i32..4, sb in -3i32..4) {
            let value = |unscaled: i64, scale: i32| {
                let mut bytes = scale.to_be_bytes().to_vec();
                bytes.extend_from_slice(minimal(&unscaled.to_be_bytes()));
                bytes
            };
            let exact = |unscaled: i64, scale: i32| unscaled * 10i64.pow((4 - scale) as u32);
            let key = |v: &[u8]| { let mut k = Vec::new(); decimal_key(v, &mut k); k };
            let (ka, kb) = (key(&value(a, sa)), key(&value(b, sb)));
            prop_assert_eq!(ka.cmp(&kb), exact(a, sa).cmp(&exact(b, sb)));
            let (back, rest) = decimal_from_key(&ka).unwrap();
            prop_assert!(rest.is_empty());
            prop_assert_eq!(key(&back), ka);
        }

        #[test]
        fn arbitrary_keys_never_panic(bytes: Vec<u8>) {
            let _ = decimal_from_key(&bytes);
            let _ = varint_from_key(&bytes);
        }
    }

    #[test]
    fn decimal_literals() {
        assert_eq!(decimal_from_text("1.50").unwrap(), [0, 0, 0, 2, 0, 150]);
        assert_eq!(decimal_from_text("-1e3").unwrap(), [0xff, 0xff, 0xff, 0xfd, 0xff]);
        assert_eq!(decimal_from_text("0").unwrap(), [0, 0, 0, 0, 0]);
        for wrong in ["", "e5", "1.-5", "1e99999999999", "x", "1..2"] {
            assert_eq!(decimal_from_text(wrong), None, "{wrong}");
        }
        assert_eq!(varint_from_text(&"9".repeat(MAX_DIGITS + 1)), None);
    }
}
