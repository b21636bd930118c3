//! [`Pager`]: where a page ends, for every engine the same.
//!
//! A page ends with the last live row that its limits allow, but only if a live row follows it:
//! `more` is a promise that going on is worth it. It also ends after a number of rows *looked at*,
//! so that long stretches of dead rows do not hold up others; then it promises nothing.

use std::ops::ControlFlow;

use base::{Place, Slice};
use bytes::Bytes;

use crate::ReadSpec;

/// The account of a page under way.
pub(crate) struct Pager<'a> {
    spec: &'a ReadSpec,
    /// Where the page ended, if more may follow.
    pub(crate) more: Option<Place>,
    /// Rows looked at, dead ones included.
    pub(crate) scanned_rows: u64,
    /// Bytes looked at.
    pub(crate) scanned_bytes: u64,
    rows: usize,
    bytes: usize,
    /// The last row of a page that holds all it may: the walk only goes on to see whether a live
    /// row follows.
    full: Option<Place>,
}

impl<'a> Pager<'a> {
    pub(crate) fn new(spec: &'a ReadSpec) -> Pager<'a> {
        Pager { spec, more: None, scanned_rows: 0, scanned_bytes: 0, rows: 0, bytes: 0, full: None }
    }

    /// Whether the page holds all it may: the next live row ends it.
    pub(crate) fn is_full(&self) -> bool {
        self.full.is_some()
    }

    /// Ends a full page where it became full: a live row follows.
    pub(crate) fn end(&mut self) -> ControlFlow<()> {
        self.more = self.full.take();
        ControlFlow::Break(())
    }

    /// Counts a live row that was added to the page, with the bytes it adds. Where it stands is only
    /// asked if it is the last.
    pub(crate) fn added(&mut self, bytes: usize, place: impl FnOnce() -> Place) {
        self.rows += 1;
        self.bytes += bytes;
        if self.rows >= self.spec.limit_rows || self.bytes >= self.spec.limit_bytes {
            self.full = Some(place());
        }
    }

    /// Counts a row, or a partition without rows, that was looked at; ends the page there if that
    /// was the last that may be. What a full page holds ends where it became full.
    pub(crate) fn looked_at(&mut self, place: impl FnOnce() -> Place) -> ControlFlow<()> {
        self.scanned_rows += 1;
        if self.scanned_rows < self.spec.scan_rows {
            return ControlFlow::Continue(());
        }
        if self.is_full() {
            return self.end();
        }
        self.more = Some(place());
        ControlFlow::Break(())
    }
}

/// What a page says something about, of one partition: its slices behind the row `after`, up to
/// the row `last`. Ascending; `reversed` is the order in which the page goes through them.
pub(crate) fn covered(
    slices: &[Slice],
    reversed: bool,
    after: Option<&[u8]>,
    last: Option<&[u8]>,
) -> Vec<Slice> {
    let behind = |key: &[u8]| Bytes::from([key, &[0]].concat());
    let (from, to) = if reversed {
        (last.map(Bytes::copy_from_slice), after.map(Bytes::copy_from_slice))
    } else {
        (after.map(behind), last.map(behind))
    };
    let cut = slices.iter().map(|slice| Slice {
        from: from.as_ref().map_or(&slice.from, |from| from.max(&slice.from)).clone(),
        to: match (&slice.to, &to) {
            (Some(end), Some(to)) => Some(end.min(to).clone()),
            (end, to) => end.clone().or_else(|| to.clone()),
        },
    });
    cut.filter(|slice| slice.to.as_ref().is_none_or(|to| slice.from < *to)).collect()
}
