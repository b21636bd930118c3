//! [`Latest`]: the rule of trees whose owner applies in order and has no timestamps, such as the
//! state of a Machine: what was written last is what there is.

use std::borrow::Cow;

use base::Malformed;
use bytes::Bytes;

use super::rule::{Lifetime, Merge};

/// The newest value stands, whatever it says. A value is `1 | bytes`, a tombstone is `0`; see
/// [`encode_latest`]. Ranges cannot be deleted: that would take timestamps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latest;

const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

/// A value of a [`Latest`] tree; `None` is the deletion of its key.
pub fn encode_latest(value: Option<&[u8]>) -> Bytes {
    match value {
        None => Bytes::from_static(&[TOMBSTONE]),
        Some(value) => [&[VALUE], value].concat().into(),
    }
}

/// The mirror of [`encode_latest`]. Shares the memory of `value`.
pub fn decode_latest(value: &Bytes) -> Result<Option<Bytes>, Malformed> {
    Ok(if is_value(value)? { Some(value.slice(1..)) } else { None })
}

/// Whether it is no tombstone.
fn is_value(value: &[u8]) -> Result<bool, Malformed> {
    match value {
        [TOMBSTONE] => Ok(false),
        [VALUE, ..] => Ok(true),
        _ => Err(Malformed("flag of a value")),
    }
}

impl Merge for Latest {
    fn merge(&self, older: &[u8], newer: &[u8]) -> Result<Vec<u8>, Malformed> {
        is_value(older)?;
        is_value(newer)?;
        Ok(newer.to_vec())
    }

    fn cover<'v>(&self, value: &'v [u8], _deleted_at: i64) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        is_value(value)?;
        Ok(Some(Cow::Borrowed(value)))
    }

    /// Values have no timestamp: all are equally old.
    fn oldest(&self, value: &[u8]) -> Result<i64, Malformed> {
        is_value(value)?;
        Ok(0)
    }

    fn purge<'v>(
        &self,
        value: &'v [u8],
        before: i64,
        _now_seconds: u32,
    ) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        let spent = !is_value(value)? && before > 0;
        Ok((!spent).then_some(Cow::Borrowed(value)))
    }

    fn lifetime(&self, value: &[u8]) -> Result<Lifetime, Malformed> {
        Ok(Lifetime { newest: 0, dies_at: if is_value(value)? { None } else { Some(0) } })
    }

    fn newest_stands(&self) -> bool {
        true
    }
}
