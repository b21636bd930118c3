//! UUIDs: their text, their two orders, and the making of time-based ones (RFC 9562, version 1).

use std::sync::Mutex;

use world::{Clock, Entropy};

/// 100 ns intervals between 1582-10-15, where UUID time begins, and 1970.
const EPOCH_TICKS: u64 = 0x01b2_1dd2_1381_4000;

/// Reads the 36-character form.
pub(super) fn from_text(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value = 0u128;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else {
            value = value << 4 | u128::from((*byte as char).to_digit(16)?);
        }
    }
    Some(value)
}

/// The version nibble.
pub(super) fn version(uuid: u128) -> u8 {
    (uuid >> 76) as u8 & 0xf
}

/// The upper half with the parts of the time put in the order of their weight: version nibble,
/// then the time.
fn by_time(upper: u64) -> u64 {
    upper << 48 | (upper << 16 & 0xffff_0000_0000) | upper >> 32
}

/// The inverse of [`by_time`].
fn from_time(ordered: u64) -> u64 {
    ordered << 32 | (ordered >> 16 & 0xffff_0000) | ordered >> 48
}

/// Bytes that order as Cassandra orders `uuid`: by version, version 1 by time, then as numbers.
pub(super) fn uuid_key(uuid: u128) -> [u8; 17] {
    let upper = (uuid >> 64) as u64;
    let upper = if version(uuid) == 1 { by_time(upper) } else { upper };
    let mut key = [0; 17];
    key[0] = version(uuid);
    key[1..9].copy_from_slice(&upper.to_be_bytes());
    key[9..].copy_from_slice(&(uuid as u64).to_be_bytes());
    key
}

/// The inverse of [`uuid_key`].
pub(super) fn uuid_from_key(key: &[u8; 17]) -> u128 {
    let number = u128::from_be_bytes(*key.last_chunk().expect("16 of 17 bytes"));
    let upper = (number >> 64) as u64;
    let upper = if key[0] == 1 { from_time(upper) } else { upper };
    u128::from(upper) << 64 | u128::from(number as u64)
}

/// Bytes that order as Cassandra orders `timeuuid`: by time, then the rest as *signed* bytes.
pub(super) fn timeuuid_key(uuid: u128) -> [u8; 16] {
    let upper = by_time((uuid >> 64) as u64);
    let lower = uuid as u64 ^ 0x8080_8080_8080_8080;
    (u128::from(upper) << 64 | u128::from(lower)).to_be_bytes()
}

/// The inverse of [`timeuuid_key`].
pub(super) fn timeuuid_from_key(key: &[u8; 16]) -> u128 {
    let number = u128::from_be_bytes(*key);
    let upper = from_time((number >> 64) as u64);
    let lower = number as u64 ^ 0x8080_8080_8080_8080;
    u128::from(upper) << 64 | u128::from(lower)
}

/// Microseconds since 1970 of a version 1 UUID.
pub(crate) fn unix_micros(uuid: u128) -> i64 {
    let ticks = by_time((uuid >> 64) as u64) & 0x0fff_ffff_ffff_ffff;
    (ticks as i64 - EPOCH_TICKS as i64).div_euclid(10)
}

/// The version 1 UUID of a moment, with the given lower half (clock sequence and node). Times
/// that UUIDs cannot tell wrap around.
pub(crate) fn from_unix_ticks(ticks_since_1970: i64, lower: u64) -> u128 {
    let ticks = (EPOCH_TICKS as i64).wrapping_add(ticks_since_1970) as u64 & 0x0fff_ffff_ffff_ffff;
    u128::from(from_time(1 << 60 | ticks)) << 64 | u128::from(lower)
}

/// Makes time-based UUIDs that never repeat: time goes on even when the clock does not.
#[derive(Debug)]
pub(crate) struct TimeUuids {
    last_ticks: Mutex<i64>,
    lower: u64,
}

impl TimeUuids {
    /// A maker with a random clock sequence and a random node, marked as such by the multicast
    /// bit (RFC 9562 section 6.10).
    pub(crate) fn new(entropy: &Entropy) -> TimeUuids {
        let variant = 0b10 << 62;
        let lower = (entropy.u64() & !(0b11 << 62)) | variant | 1 << 40;
        TimeUuids { last_ticks: Mutex::new(0), lower }
    }

    /// The next one.
    pub(crate) fn next(&self, clock: &Clock) -> u128 {
        let now = (clock.wall_micros() as i64).saturating_mul(10);
        let mut last = self.last_ticks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *last = now.max(*last + 1);
        from_unix_ticks(*last, self.lower)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_back(uuid: u128) {
            prop_assert_eq!(uuid_from_key(&uuid_key(uuid)), uuid);
            prop_assert_eq!(timeuuid_from_key(&timeuuid_key(uuid)), uuid);
        }

        #[test]
        fn time_uuids_tell_their_time(micros in 0i64..4_000_000_000_000_000, lower: u64) {
            let uuid = from_unix_ticks(micros * 10, lower);
            prop_assert_eq!(version(uuid), 1);
            prop_assert_eq!(unix_micros(uuid), micros);
        }
    }

    #[test]
    fn a_known_time_uuid() {
        // Its time as Python's `uuid` module tells it.
        let uuid = from_text("2b1cf6a0-336d-11e8-b467-0ed5f89f718b").unwrap();
        assert_eq!(version(uuid), 1);
        assert_eq!(unix_micros(uuid), 1_522_340_460_257_040);
        assert_eq!(from_text("2b1cf6a0-336d-11e8-b467-0ed5f89f718"), None);
        assert_eq!(from_text("2b1cf6a0-336d-11e8-b467_0ed5f89f718b"), None);
    }

    #[test]
    fn time_uuids_never_repeat_on_a_standing_clock() {
        let (clock, makers) = (Clock::simulated(5), TimeUuids::new(&Entropy::seeded(1)));
        let (a, b) = (makers.next(&clock), makers.next(&clock));
        assert!(timeuuid_key(a) < timeuuid_key(b));
        assert_eq!(a >> 62 & 3, 2, "the variant of RFC 9562");
    }
}
