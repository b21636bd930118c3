//! `duration`: months, days and nanoseconds, which have no common measure and hence no order.
//!
//! Its bytes are three signed varints in Cassandra's form: zigzag, then a first byte whose leading
//! ones count the bytes that follow, most significant first. Its texts are `1y2mo3d4h` (units in
//! falling order), ISO 8601 (`P1Y2M3DT4H`, `P2W`) and the ISO form `P0001-02-03T04:05:06`.

/// A duration. All parts have one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Duration {
    pub(super) months: i64,
    pub(super) days: i64,
    pub(super) nanos: i64,
}

/// Units of the simple form, longest names first where one begins another: name, and months, days
/// or nanoseconds it stands for. They must come in this order of size.
const UNITS: [(&str, Duration); 11] = [
    ("y", Duration { months: 12, days: 0, nanos: 0 }),
    ("mo", Duration { months: 1, days: 0, nanos: 0 }),
    ("w", Duration { months: 0, days: 7, nanos: 0 }),
    ("d", Duration { months: 0, days: 1, nanos: 0 }),
    ("h", Duration { months: 0, days: 0, nanos: 3_600_000_000_000 }),
    ("m", Duration { months: 0, days: 0, nanos: 60_000_000_000 }),
    ("s", Duration { months: 0, days: 0, nanos: 1_000_000_000 }),
    ("ms", Duration { months: 0, days: 0, nanos: 1_000_000 }),
    ("us", Duration { months: 0, days: 0, nanos: 1000 }),
    ("µs", Duration { months: 0, days: 0, nanos: 1000 }),
    ("ns", Duration { months: 0, days: 0, nanos: 1 }),
];

impl Duration {
    /// Adds `count` times `unit`; `None` if a part gets too large.
    fn add(&mut self, count: i64, unit: Duration) -> Option<()> {
        let fits = |value: &i64| i32::try_from(*value).is_ok();
        self.months = self.months.checked_add(count.checked_mul(unit.months)?).filter(fits)?;
        self.days = self.days.checked_add(count.checked_mul(unit.days)?).filter(fits)?;
        self.nanos = self.nanos.checked_add(count.checked_mul(unit.nanos)?)?;
        Some(())
    }

    /// Reads one of its texts.
    pub(super) fn from_text(text: &str) -> Option<Duration> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, text),
        };
        let lower = body.to_lowercase();
        let value = match lower.strip_prefix('p') {
            Some(iso) if iso.contains('-') => alternative(iso),
            Some(iso) => designated(iso),
            None => simple(&lower),
        }?;
        let sign = if negative { -1 } else { 1 };
        Some(Duration { months: sign * value.months, days: sign * value.days, nanos: sign * value.nanos })
    }

    /// Its bytes.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        for part in [self.months, self.days, self.nanos] {
            put_vint(part, &mut out);
        }
        out
    }

    /// Reads its bytes; says what is wrong with them in Cassandra's words.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Duration, String> {
        if bytes.len() < 3 {
            return Err(format!("Expected at least 3 bytes for a duration ({})", bytes.len()));
        }
        let mut rest = bytes;
        let mut parts = [0; 3];
        for part in &mut parts {
            *part = take_vint(&mut rest).ok_or("Invalid duration: it ends in the middle of a number")?;
        }
        let [months, days, nanos] = parts;
        for (name, value) in [("months", months), ("days", days)] {
            if i32::try_from(value).is_err() {
                return Err(format!("The duration {name} must be a 32 bits integer but was: {value}"));
            }
        }
        if parts.iter().any(|part| *part < 0) && parts.iter().any(|part| *part > 0) {
            return Err(format!(
                "The duration months, days and nanoseconds must be all of the same sign ({months}, {days}, {nanos})"
            ));
        }
        Ok(Duration { months, days, nanos })
    }
}

/// `1y2mo3w4d5h6m7s8ms9us10ns`, any of them but in this order.
fn simple(mut text: &str) -> Option<Duration> {
    let mut value = Duration::default();
    let mut next_unit = 0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let count = text[..digits].parse().ok()?;
        let rest = &text[digits..];
        let len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let found = UNITS[next_unit..].iter().position(|(name, _)| *name == &rest[..len])?;
        value.add(count, UNITS[next_unit + found].1)?;
        next_unit += found + 1;
        text = &rest[len..];
    }
    Some(value)
}

/// What follows the P of `P1Y2M3DT4H5M6S` or `P2W`.
fn designated(text: &str) -> Option<Duration> {
    let mut value = Duration::default();
    let (date, time) = match text.split_once('t') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return None,
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let mut add = |mut part: &str, units: &[(char, &str)]| {
        let mut next = 0;
        while !part.is_empty() {
            let digits = part.find(|c: char| !c.is_ascii_digit())?;
            let count = part[..digits].parse().ok()?;
            let letter = part[digits..].chars().next()?;
            let found = units[next..].iter().position(|(unit, _)| *unit == letter)?;
            let name = units[next + found].1;
            let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name).expect("names above are units");
            value.add(count, *unit)?;
            next += found + 1;
            part = &part[digits + letter.len_utf8()..];
        }
        Some(())
    };
    if let Some(weeks) = date.strip_suffix('w') {
        if !time.is_empty() || !weeks.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        add(date, &[('w', "w")])?;
    } else {
        add(date, &[('y', "y"), ('m', "mo"), ('d', "d")])?;
        add(time, &[('h', "h"), ('m', "m"), ('s', "s")])?;
    }
    Some(value)
}

/// What follows the P of `P0001-02-03T04:05:06`.
fn alternative(text: &str) -> Option<Duration> {
    let mut value = Duration::default();
    let (date, time) = text.split_once('t')?;
    let parts = date.split('-').zip([4, 2, 2]).chain(time.split(':').zip([2, 2, 2]));
    let mut count = 0;
    for ((part, width), unit) in parts.zip(["y", "mo", "d", "h", "m", "s"]) {
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit).expect("names above are units");
        value.add(part.parse().ok()?, *unit)?;
        count += 1;
    }
    (count == 6 && date.split('-').count() == 3 && time.split(':').count() == 3).then_some(value)
}

fn put_vint(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    // A first byte with n leading ones leaves 7 - n bits of its own (none at 7 and 8).
    let bits = 64 - zigzag.leading_zeros() as usize;
    let extra = (0..8).find(|extra| bits <= 7 + 7 * extra).unwrap_or(8);
    let bytes = zigzag.to_be_bytes();
    if extra == 8 {
        out.push(0xff);
        out.extend_from_slice(&bytes);
    } else {
        let start = out.len();
        out.extend_from_slice(&bytes[7 - extra..]);
        out[start] |= !(0xffu8 >> extra);
    }
}

fn take_vint(bytes: &mut &[u8]) -> Option<i64> {
    let (first, rest) = bytes.split_first()?;
    let extra = first.leading_ones() as usize;
    let (tail, rest) = rest.split_at_checked(extra)?;
    let own = if extra >= 8 { 0 } else { u64::from(first & (0xff >> extra)) };
    let zigzag = tail.iter().fold(own, |value, byte| value << 8 | u64::from(*byte));
    *bytes = rest;
    Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_back(months: u16, days: u16, nanos in 0..i64::MAX, negative: bool) {
            let sign = if negative { -1 } else { 1 };
            let value = Duration { months: sign * i64::from(months), days: sign * i64::from(days), nanos: sign * nanos };
            prop_assert_eq!(Duration::from_bytes(&value.to_bytes()), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_and_texts_never_panic(bytes: Vec<u8>, text: String) {
            let _ = Duration::from_bytes(&bytes);
            let _ = Duration::from_text(&text);
        }

        #[test]
        fn vints_come_back(value: i64) {
            let mut out = Vec::new();
            put_vint(value, &mut out);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_vint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn three_forms_of_one_duration() {
        let expected = Duration { months: 14, days: 3, nanos: 14_706_000_000_000 };
        for text in ["1y2mo3d4h5m6s", "P1Y2M3DT4H5M6S", "P0001-02-03T04:05:06", "1Y2MO3D4H5M6S"] {
            assert_eq!(Duration::from_text(text), Some(expected), "{text}");
        }
        assert_eq!(Duration::from_text("-P2W"), Some(Duration { days: -14, ..Duration::default() }));
        assert_eq!(Duration::from_text("5us"), Duration::from_text("5µs"));
        for wrong in
            ["", "P", "PT", "1d1y", "1d1d", "1", "1x", "P1D1Y", "P1W1D", "P1-2-3T4:5:6", "99999999999y", "-"]
        {
            assert_eq!(Duration::from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn vints_in_cassandras_form() {
        let encoded = |value| {
            let mut out = Vec::new();
            put_vint(value, &mut out);
            out
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(64), [0x80, 0x80]);
        assert_eq!(encoded(i64::MIN), [0xff; 9]);
    }
}
