//! [`Merge`]: what the owner of a tree says its values mean, and the rule for cells.
//!
//! A tree stores, for one key, one value for each batch that wrote it. What a reader sees is those
//! values folded into one. The same fold runs in reads, in flushes and in compactions, so it must
//! not matter where a fold is cut: that is the first law below, and the whole contract is six.
//!
//! 1. `merge` is associative. (It need not be commutative: it is always told which value is older.)
//! 2. `cover` distributes over it: `cover(merge(a, b), t) = merge(cover(a, t), cover(b, t))`, with
//!    "gone" as the neutral element; and covering at `t` and then at `u` is covering at the later.
//!    So a deletion takes what its timestamp says, whether it arrives before or after.
//! 3. What `purge` gives up is dead, and only hides values with timestamps below `before`: merged with
//!    values that have none such, on either side, what is left says what the whole would have said.
//! 4. If `prefix(k)` is `p`, every key that begins with `p` has the prefix `p`.
//! 5. A value that `oldest` takes, all others take: it is how a batch is checked before it is applied.
//! 6. From `lifetime(v).dies_at` on, purging what is older than anything above `lifetime(v).newest`
//!    leaves nothing of `v`.

use std::{borrow::Cow, fmt};

use base::{Cell, CellView, Malformed, Reader, Writer};
use bytes::Bytes;

/// The meaning of a tree's values. See the laws in the module's documentation: values are opaque
/// to the tree, timestamps are whatever the owner orders deletions by.
pub trait Merge: Send + Sync + fmt::Debug {
    /// One value for two. `older` has the lower sequence.
    fn merge(&self, older: &[u8], newer: &[u8]) -> Result<Vec<u8>, Malformed>;

    /// What is left of `value` under a deletion of everything at or before `deleted_at`; `None`
    /// if nothing is.
    fn cover<'v>(&self, value: &'v [u8], deleted_at: i64) -> Result<Option<Cow<'v, [u8]>>, Malformed>;

    /// The lowest timestamp in `value`: no deletion before it changes anything.
    fn oldest(&self, value: &[u8]) -> Result<i64, Malformed>;

    /// What is left of `value` when tombstones and expired parts that are older than `before` may
    /// go, because nothing that they could hide is left; `None` if nothing is.
    fn purge<'v>(
        &self,
        value: &'v [u8],
        before: i64,
        now_seconds: u32,
    ) -> Result<Option<Cow<'v, [u8]>>, Malformed>;

    /// What is known of how long `value` is worth keeping: from this a forest tells, without reading
    /// them, which files hold nothing else than what may be purged. Law 6.
    fn lifetime(&self, _value: &[u8]) -> Result<Lifetime, Malformed> {
        Ok(Lifetime { newest: i64::MAX, dies_at: None })
    }

    /// Whether a newer value hides all older ones whole, so that timestamps mean nothing. Then law 3
    /// holds for older values only, of any timestamp if there are none; tombstones may go without a
    /// horizon as soon as nothing older is below them; and deletions of ranges are refused.
    fn newest_stands(&self) -> bool {
        false
    }

    /// The part of `key` by which scans find their files: files without it are not read.
    fn prefix<'k>(&self, _key: &'k [u8]) -> Option<&'k [u8]> {
        None
    }
}

/// How long a value is worth keeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetime {
    /// The highest timestamp in it.
    pub newest: i64,
    /// Seconds since 1970 from which on no reader sees anything of it: 0 if it is a tombstone, `None`
    /// if that time does not come.
    pub dies_at: Option<u32>,
}

impl Lifetime {
    /// Of one cell.
    pub(crate) fn of(cell: &CellView<'_>) -> Lifetime {
        let dies_at = match (cell.value, cell.expires_at_seconds) {
            (None, _) => Some(0),
            (Some(_), 0) => None,
            (Some(_), expires_at_seconds) => Some(expires_at_seconds),
        };
        Lifetime { newest: cell.timestamp, dies_at }
    }
}

/// Last write wins: a value is one [`Cell`] (see [`encode_cell`]), and the order of cells decides.
/// Tombstones and times to live are cells, so an expired cell goes on hiding older ones until it
/// may be purged.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastWriteWins {
    /// Bytes of a key that are its prefix for filters; 0 for none. Keys that are shorter have none.
    pub prefix_bytes: usize,
}

impl Merge for LastWriteWins {
    fn merge(&self, older: &[u8], newer: &[u8]) -> Result<Vec<u8>, Malformed> {
        let stands = if decode_cell(newer)?.supersedes(&decode_cell(older)?) { newer } else { older };
        Ok(stands.to_vec())
    }

    fn cover<'v>(&self, value: &'v [u8], deleted_at: i64) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        Ok((self.oldest(value)? > deleted_at).then_some(Cow::Borrowed(value)))
    }

    fn oldest(&self, value: &[u8]) -> Result<i64, Malformed> {
        let (head, _) = split_cell(value)?;
        Ok(head.timestamp)
    }

    fn purge<'v>(
        &self,
        value: &'v [u8],
        before: i64,
        now_seconds: u32,
    ) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        let cell = decode_cell(value)?;
        let spent = !cell.is_live(now_seconds) && cell.timestamp < before;
        Ok((!spent).then_some(Cow::Borrowed(value)))
    }

    fn lifetime(&self, value: &[u8]) -> Result<Lifetime, Malformed> {
        let (head, _) = split_cell(value)?;
        Ok(Lifetime::of(&head.as_view()))
    }

    fn prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        (self.prefix_bytes > 0).then(|| key.get(..self.prefix_bytes)).flatten()
    }
}

const TOMBSTONE: u8 = 1;
const EXPIRING: u8 = 2;

/// A cell as a value:
///
/// ```text
/// flags u8 (1 tombstone, 2 expiring) | timestamp i64 | if expiring: ttl u32, expires at u32
///     | the value, to the end; nothing for a tombstone
/// ```
pub fn encode_cell(cell: &Cell) -> Bytes {
    let expiring = cell.ttl_seconds != 0 || cell.expires_at_seconds != 0;
    let value = cell.value.as_deref();
    let mut out = Writer::with_capacity(17 + value.map_or(0, <[u8]>::len));
    out.u8(if value.is_none() { TOMBSTONE } else { 0 } | if expiring { EXPIRING } else { 0 });
    out.raw(&cell.timestamp.to_le_bytes());
    if expiring {
        out.u32(cell.ttl_seconds);
        out.u32(cell.expires_at_seconds);
    }
    out.raw(value.unwrap_or_default());
    out.into_vec().into()
}

/// The mirror of [`encode_cell`].
pub fn decode_cell(value: &[u8]) -> Result<Cell, Malformed> {
    let (mut cell, rest) = split_cell(value)?;
    if let Some(value) = &mut cell.value {
        *value = Bytes::copy_from_slice(rest);
    }
    Ok(cell)
}

/// The cell with an empty value, and its value.
fn split_cell(value: &[u8]) -> Result<(Cell, &[u8]), Malformed> {
    let mut reader = Reader::new(value);
    let flags = reader.u8("cell flags")?;
    let timestamp = reader.i64("cell timestamp")?;
    let (mut ttl_seconds, mut expires_at_seconds) = (0, 0);
    if flags & EXPIRING != 0 {
        (ttl_seconds, expires_at_seconds) = (reader.u32("cell ttl")?, reader.u32("cell expiry")?);
    }
    if flags > (TOMBSTONE | EXPIRING) || flags & TOMBSTONE != 0 && !reader.is_empty() {
        return Err(Malformed("cell flags"));
    }
    let value = (flags & TOMBSTONE == 0).then(Bytes::new);
    Ok((Cell { timestamp, ttl_seconds, expires_at_seconds, value }, reader.rest()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cell_comes_back(
            timestamp: i64,
            times: Option<(u32, u32)>,
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
        ) {
            let (ttl_seconds, expires_at_seconds) = times.unwrap_or_default();
            let cell = Cell { timestamp, ttl_seconds, expires_at_seconds, value: value.map(Bytes::from) };
            prop_assert_eq!(decode_cell(&encode_cell(&cell)).unwrap(), cell);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = decode_cell(&bytes);
        }
    }
}
