//! Hybrid logical clock values (after Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! A value is one u64 of microseconds since 1970. Where the paper keeps a logical counter beside
//! the physical time, this one borrows microseconds that have not come yet: issuing faster than
//! the clock moves, or after it moved back, runs ahead of it by one microsecond a value. That
//! keeps a value usable as a cell's timestamp as it is. Reading the clock is the caller's
//! business, so the rule is a pure function.

/// A hybrid logical time, in microseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The next value to issue after having issued or seen `self`, when the clock shows
    /// `now_micros`: the clock if it is ahead, else one more than the last.
    #[must_use]
    pub fn next(self, now_micros: u64) -> Hlc {
        Hlc(now_micros.max(self.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_when_the_clock_does() {
        let first = Hlc::default().next(1_000);
        assert_eq!(first, Hlc(1_000));
        let second = first.next(10);
        assert_eq!(second, Hlc(1_001));
        assert_eq!(second.next(2_000), Hlc(2_000));
    }
}
