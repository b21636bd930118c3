//! Dates and times: their texts, and counting days.
//!
//! A `timestamp` is milliseconds since 1970 (i64), a `date` is days since 1970 plus 2^31 (u32), a
//! `time` is nanoseconds since midnight (i64). Texts without a time zone are read as UTC.

/// Microseconds in a second.
pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
const MILLIS_PER_DAY: i64 = 86_400_000;
/// What a `date` adds to its days.
const DATE_ZERO: i64 = 1 << 31;

/// A cursor over ASCII text.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn accept(&mut self, byte: u8) -> bool {
        let hit = self.0.first() == Some(&byte);
        if hit {
            self.0 = &self.0[1..];
        }
        hit
    }

    /// A number of `min..=max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let len = self.0.iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
        if len < min {
            return None;
        }
        let value = self.0[..len].iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        self.0 = &self.0[len..];
        Some(value)
    }

    /// A fraction of a second of 1 to 9 digits, in nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let before = self.0.len();
        let value = self.number(1, 9)?;
        Some(value * 10i64.pow(9 - (before - self.0.len()) as u32))
    }

    /// `[-]y...-m[m]-d[d]`, as days since 1970.
    fn date(&mut self) -> Option<i64> {
        let negative = self.accept(b'-');
        let year = self.number(1, 7)?;
        let year = if negative { -year } else { year };
        let month = self.accept(b'-').then(|| self.number(1, 2))??;
        let day = self.accept(b'-').then(|| self.number(1, 2))??;
        let days = days_from_civil(year, month, day)?;
        Some(days)
    }

    /// `h[h]:mm[:ss[.fraction]]`, as nanoseconds. Seconds may be required.
    fn clock(&mut self, needs_seconds: bool) -> Option<i64> {
        let hour = self.number(1, 2).filter(|hour| *hour < 24)?;
        let minute = self.accept(b':').then(|| self.number(1, 2))??;
        let mut second = 0;
        let mut nanos = 0;
        if self.accept(b':') {
            second = self.number(1, 2)?;
            if self.accept(b'.') {
                nanos = self.fraction()?;
            }
        } else if needs_seconds {
            return None;
        }
        (minute < 60 && second < 60).then_some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
    }

    /// A time zone, as milliseconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        let _ = self.accept(b' ');
        match self.0 {
            b"" | b"Z" | b"UTC" | b"GMT" => {
                self.0 = b"";
                return Some(0);
            }
            _ => {}
        }
        let sign = if self.accept(b'+') {
            1
        } else if self.accept(b'-') {
            -1
        } else {
            return None;
        };
        let hours = self.number(2, 2).filter(|hours| *hours <= 18)?;
        let _ = self.accept(b':');
        let minutes =
            if self.0.is_empty() { 0 } else { self.number(2, 2).filter(|minutes| *minutes < 60)? };
        Some(sign * (hours * 60 + minutes) * 60_000)
    }
}

/// Days since 1970 of a day of the proleptic Gregorian calendar (Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms"); `None` if there is no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Milliseconds since 1970 of a timestamp literal: a number of milliseconds, or
/// `yyyy-mm-dd[( |T)hh:mm[:ss[.fraction]]][zone]`.
pub(super) fn timestamp_from_text(text: &str) -> Option<i64> {
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    let mut nanos = 0;
    if scan.accept(b'T') || (scan.0.get(1).is_some_and(u8::is_ascii_digit) && scan.accept(b' ')) {
        nanos = scan.clock(false)?;
    }
    let zone = scan.zone()?;
    scan.0.is_empty().then_some(days * MILLIS_PER_DAY + nanos / 1_000_000 - zone)
}

/// The number a `date` literal stands for: a raw number, or `yyyy-mm-dd`.
pub(super) fn date_from_text(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut scan = Scan(text.as_bytes());
    let days = scan.date()?;
    if scan.0.is_empty() { u32::try_from(days + DATE_ZERO).ok() } else { None }
}

/// Nanoseconds since midnight of a `time` literal: a number of them, or `hh:mm:ss[.fraction]`.
pub(super) fn time_from_text(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|nanos| *nanos < NANOS_PER_DAY);
    }
    let mut scan = Scan(text.as_bytes());
    let nanos = scan.clock(true)?;
    scan.0.is_empty().then_some(nanos)
}

/// The `date` of a moment given in milliseconds.
pub(crate) fn days_to_date(millis: i64) -> u32 {
    // Moments more than 2^31 days away wrap.
    (millis.div_euclid(MILLIS_PER_DAY) + DATE_ZERO) as u32
}

/// Milliseconds since 1970 at which a `date` begins.
pub(crate) fn date_to_millis(date: u32) -> i64 {
    (i64::from(date) - DATE_ZERO) * MILLIS_PER_DAY
}

/// The `time` of a moment given in microseconds.
pub(crate) fn micros_to_time(micros: i64) -> i64 {
    micros.rem_euclid(NANOS_PER_DAY / 1000) * 1000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn timestamps() {
        let cases = [
            ("1970-01-01", 0),
            ("1970-01-02 00:00", 86_400_000),
            ("2011-02-03T04:05:06.789+0000", 1_296_705_906_789),
            ("2011-02-03 04:05:06+01:00", 1_296_702_306_000),
            ("2011-02-03 04:05:06.789123 UTC", 1_296_705_906_789),
            ("2011-02-03T04:05Z", 1_296_705_900_000),
            ("2011-02-03+0000", 1_296_691_200_000),
            ("-5", -5),
            ("1969-12-31T23:59:59.999Z", -1),
        ];
        for (text, millis) in cases {
            assert_eq!(timestamp_from_text(text), Some(millis), "{text}");
        }
        for wrong in
            ["", "2011-02-30", "2011-13-01", "2011-02-03T25:00", "2011-02-03T04:05 Mars", "x", "2011-02"]
        {
            assert_eq!(timestamp_from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date_from_text("1970-01-01"), Some(1 << 31));
        assert_eq!(date_from_text("1969-12-31"), Some((1 << 31) - 1));
        assert_eq!(date_from_text("-5877641-06-23"), Some(0));
        assert_eq!(date_from_text("5881580-07-11"), Some(u32::MAX));
        assert_eq!(date_from_text("5881580-07-12"), None);
        assert_eq!(date_from_text("2147483648"), Some(1 << 31));
        assert_eq!(time_from_text("08:12:54.123"), Some(29_574_123_000_000));
        assert_eq!(time_from_text("86399999999999"), Some(NANOS_PER_DAY - 1));
        assert_eq!(time_from_text("86400000000000"), None);
        assert_eq!(time_from_text("08:12"), None);
        assert_eq!(date_to_millis(days_to_date(-1)), -MILLIS_PER_DAY);
        assert_eq!(micros_to_time(-1), NANOS_PER_DAY - 1000);
    }
}
