//! Hybrid logical clock values (Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! A value is one u64: 48 bits of milliseconds since 1970 (good until the year 10889) and 16 bits
//! of logical counter. Values compare as numbers. Reading the clock is the caller's business, so
//! the rule is a pure function.

/// A hybrid logical time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The smallest value whose physical part is `millis`.
    pub fn from_millis(millis: u64) -> Hlc {
        Hlc(millis << 16)
    }

    /// The physical part: milliseconds since 1970.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The next value to issue after having issued or seen `self`, when the clock shows
    /// `now_millis`: the clock if it is ahead, else one more than the last. A counter that is full
    /// carries into the milliseconds, which keeps order at the price of running ahead.
    #[must_use]
    pub fn next(self, now_millis: u64) -> Hlc {
        Hlc::from_millis(now_millis).max(Hlc(self.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_when_the_clock_does() {
        let first = Hlc::default().next(1_000);
        assert_eq!(first.millis(), 1_000);
        let second = first.next(10);
        assert!(second > first);
        assert_eq!(second.millis(), 1_000);
        assert_eq!(second.next(2_000), Hlc::from_millis(2_000));
    }
}
