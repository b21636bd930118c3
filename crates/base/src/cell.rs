//! A cell and its merge rule: last write wins, with every tie decided, so that replicas that saw
//! the same writes in any order hold the same bytes.

use std::cmp::Ordering;

use bytes::Bytes;

/// The timestamp before every write's.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// One version of one column of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Microseconds since 1970, chosen by the client or the coordinator.
    pub timestamp: i64,
    /// The time to live it was written with, in seconds; 0 is for ever.
    pub ttl_seconds: u32,
    /// Seconds since 1970 at which it counts as deleted; 0 is never.
    pub expires_at_seconds: u32,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Cell {
    /// A cell that lives until it is overwritten.
    pub fn live(timestamp: i64, value: Bytes) -> Cell {
        Cell { timestamp, ttl_seconds: 0, expires_at_seconds: 0, value: Some(value) }
    }

    /// A tombstone.
    pub fn tombstone(timestamp: i64) -> Cell {
        Cell { timestamp, ttl_seconds: 0, expires_at_seconds: 0, value: None }
    }

    /// The same version, its value borrowed.
    pub fn as_view(&self) -> CellView<'_> {
        CellView {
            timestamp: self.timestamp,
            ttl_seconds: self.ttl_seconds,
            expires_at_seconds: self.expires_at_seconds,
            value: self.value.as_deref(),
        }
    }

    /// Whether a reader at `now_seconds` sees a value.
    pub fn is_live(&self, now_seconds: u32) -> bool {
        self.as_view().is_live(now_seconds)
    }

    /// Which of two versions stands: see [`CellView::supersedes`].
    pub fn supersedes(&self, other: &Cell) -> bool {
        self.as_view().supersedes(&other.as_view())
    }
}

/// A [`Cell`] whose value is where it was read from: the merge rule needs no copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellView<'a> {
    /// See [`Cell::timestamp`].
    pub timestamp: i64,
    /// See [`Cell::ttl_seconds`].
    pub ttl_seconds: u32,
    /// See [`Cell::expires_at_seconds`].
    pub expires_at_seconds: u32,
    /// See [`Cell::value`].
    pub value: Option<&'a [u8]>,
}

impl CellView<'_> {
    /// Whether a reader at `now_seconds` sees a value.
    pub fn is_live(&self, now_seconds: u32) -> bool {
        self.value.is_some() && (self.expires_at_seconds == 0 || now_seconds < self.expires_at_seconds)
    }

    /// Which of two versions stands. The order is Cassandra's (`Cells.resolveRegular`, with
    /// CASSANDRA-14592): the later timestamp; at a tie a tombstone before an expiring cell before
    /// a live one; then the later expiry; then the larger value. It is total and does not depend
    /// on the clock, hence merging is commutative, associative and idempotent.
    pub fn supersedes(&self, other: &CellView<'_>) -> bool {
        self.rank(other) == Ordering::Greater
    }

    fn rank(&self, other: &CellView<'_>) -> Ordering {
        fn finality(cell: &CellView<'_>) -> u8 {
            match (&cell.value, cell.expires_at_seconds) {
                (None, _) => 2,
                (Some(_), 0) => 0,
                (Some(_), _) => 1,
            }
        }
        self.timestamp
            .cmp(&other.timestamp)
            .then_with(|| finality(self).cmp(&finality(other)))
            .then_with(|| self.expires_at_seconds.cmp(&other.expires_at_seconds))
            .then_with(|| self.value.cmp(&other.value))
            .then_with(|| self.ttl_seconds.cmp(&other.ttl_seconds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell() -> impl Strategy<Value = Cell> {
        (0i64..3, 0u32..3, 0u32..3, proptest::option::of(0u8..3)).prop_map(
            |(timestamp, ttl, expires, value)| Cell {
                timestamp,
                ttl_seconds: ttl,
                expires_at_seconds: expires,
                value: value.map(|v| Bytes::copy_from_slice(&[v])),
            },
        )
    }

    fn merge(a: &Cell, b: &Cell) -> Cell {
        if b.supersedes(a) { b.clone() } else { a.clone() }
    }

    proptest! {
        #[test]
        fn merging_is_a_semilattice(a in cell(), b in cell(), c in cell()) {
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        }
    }

    #[test]
    fn a_tombstone_wins_a_tie_and_an_expired_cell_is_not_seen() {
        let live = Cell::live(5, Bytes::from_static(b"x"));
        assert!(Cell::tombstone(5).supersedes(&live));
        assert!(!Cell::tombstone(4).supersedes(&live));
        let expiring = Cell { ttl_seconds: 10, expires_at_seconds: 110, ..live.clone() };
        assert!(expiring.supersedes(&live));
        assert!(expiring.is_live(109));
        assert!(!expiring.is_live(110));
    }
}
