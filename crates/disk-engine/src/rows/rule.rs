//! [`RowRule`]: how fragments of one row become one, for reads, flushes and compactions alike.
//!
//! Of each column the version stands that no other supersedes, whichever was written first; the
//! later row deletion stands, and takes what is not above it. So the order in which fragments are
//! merged does not matter at all, which is more than the tree asks for.
//!
//! Values are never copied one by one: cells are looked at where they lie, and only what stands is
//! written out.

use std::borrow::Cow;

use base::{CellView, ColumnId, Malformed};

use super::{
    fragment::{Cells, Fragment, encode},
    key,
};
use crate::tree::{Lifetime, Merge};

/// The rule of tables: values are row fragments, keys are those of `key`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowRule;

impl Merge for RowRule {
    fn merge(&self, older: &[u8], newer: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (older, newer) = (Fragment::decode(older)?, Fragment::decode(newer)?);
        let deleted_at = older.deleted_at.max(newer.deleted_at);
        let mut cells = Vec::with_capacity(16);
        merge_cells(older.cells(), newer.cells(), |column, cell| {
            if cell.timestamp > deleted_at {
                cells.push((column, cell));
            }
        })?;
        Ok(encode(deleted_at, &cells).expect("cells of two fragments go only before a row deletion"))
    }

    fn cover<'v>(&self, value: &'v [u8], deleted_at: i64) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        let fragment = Fragment::decode(value)?;
        let row_deletion =
            if fragment.deleted_at > deleted_at { fragment.deleted_at } else { base::NO_TIMESTAMP };
        keep(value, fragment, row_deletion, |cell| cell.timestamp > deleted_at)
    }

    fn oldest(&self, value: &[u8]) -> Result<i64, Malformed> {
        let fragment = Fragment::decode(value)?;
        // A deletion is before all cells of its fragment; they are read to know that they can be.
        let mut oldest = i64::MAX;
        for cell in fragment.cells() {
            oldest = oldest.min(cell?.1.timestamp);
        }
        Ok(if fragment.deleted_at == base::NO_TIMESTAMP { oldest } else { fragment.deleted_at })
    }

    fn purge<'v>(
        &self,
        value: &'v [u8],
        before: i64,
        now_seconds: u32,
    ) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
        let fragment = Fragment::decode(value)?;
        let row_deletion =
            if fragment.deleted_at >= before { fragment.deleted_at } else { base::NO_TIMESTAMP };
        keep(value, fragment, row_deletion, |cell| cell.timestamp >= before || cell.is_live(now_seconds))
    }

    fn lifetime(&self, value: &[u8]) -> Result<Lifetime, Malformed> {
        let fragment = Fragment::decode(value)?;
        let mut lifetime = Lifetime { newest: fragment.deleted_at, dies_at: Some(0) };
        for cell in fragment.cells() {
            let cell = Lifetime::of(&cell?.1);
            lifetime.newest = lifetime.newest.max(cell.newest);
            lifetime.dies_at = lifetime.dies_at.zip(cell.dies_at).map(|(one, other)| one.max(other));
        }
        Ok(lifetime)
    }

    fn prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key::prefix(key)
    }
}

/// Hands on the cells of two fragments, ascending by column, of each column the one that stands.
fn merge_cells<'a>(
    one: Cells<'a>,
    other: Cells<'a>,
    mut stands: impl FnMut(ColumnId, CellView<'a>),
) -> Result<(), Malformed> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    loop {
        let next = match (one.peek(), other.peek()) {
            (Some(Ok((a, _))), Some(Ok((b, _)))) if a == b => {
                let (Some(Ok((column, first))), Some(Ok((_, second)))) = (one.next(), other.next()) else {
                    unreachable!("both were looked at");
                };
                Ok((column, if second.supersedes(&first) { second } else { first }))
            }
            (Some(Ok((a, _))), Some(Ok((b, _)))) if b < a => other.next().expect("it was looked at"),
            (Some(_), _) => one.next().expect("it was looked at"),
            (None, Some(_)) => other.next().expect("it was looked at"),
            (None, None) => return Ok(()),
        };
        let (column, cell) = next?;
        stands(column, cell);
    }
}

/// The fragment with this row deletion and the cells that `stands` takes: as it is if that is all.
fn keep<'v>(
    value: &'v [u8],
    fragment: Fragment<'v>,
    row_deletion: i64,
    stands: impl Fn(&CellView<'_>) -> bool,
) -> Result<Option<Cow<'v, [u8]>>, Malformed> {
    let mut whole = row_deletion == fragment.deleted_at;
    for cell in fragment.cells() {
        whole &= stands(&cell?.1);
    }
    if whole {
        return Ok(Some(Cow::Borrowed(value)));
    }
    let mut cells = Vec::with_capacity(16);
    for cell in fragment.cells() {
        let (column, cell) = cell?;
        if stands(&cell) {
            cells.push((column, cell));
        }
    }
    Ok(encode(row_deletion, &cells).map(Cow::Owned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base::{Cell, NO_TIMESTAMP};
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{rows::key::PartitionKey, tree::tests::laws::check_laws};

    prop_compose! {
        fn any_cell()(
            timestamp in 0i64..10,
            times in prop::option::of((1u32..3, 1u32..12)),
            value in prop::option::of(0u8..3),
        ) -> Cell {
            let (ttl_seconds, expires_at_seconds) = times.unwrap_or_default();
            let value = value.map(|value| Bytes::copy_from_slice(&[value]));
            Cell { timestamp, ttl_seconds, expires_at_seconds, value }
        }
    }

    prop_compose! {
        fn fragments()(
            deleted_at in prop_oneof![2 => Just(NO_TIMESTAMP), 1 => 0i64..10],
            cells in prop::collection::btree_map(0u32..4, any_cell(), 0..4),
            other in any_cell(),
        ) -> Vec<u8> {
            let standing = cells.iter().filter(|(_, cell)| cell.timestamp > deleted_at);
            let cells: Vec<_> = standing.map(|(column, cell)| (ColumnId(*column), cell.as_view())).collect();
            let something = || encode(NO_TIMESTAMP, &[(ColumnId(1), other.as_view())]);
            encode(deleted_at, &cells).or_else(something).unwrap()
        }
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let bytes = || prop::collection::vec(prop_oneof![0u8..3, 0xfeu8..], 0..4);
        prop_oneof![
            (any::<i64>(), bytes(), bytes())
                .prop_map(|(token, key, row)| PartitionKey::new(token, &key).row(&row).to_vec()),
            any::<Vec<u8>>(),
        ]
    }

    #[test]
    fn it_keeps_the_laws() {
        check_laws(&RowRule, fragments().boxed(), keys(), |value, now_seconds| {
            let cells = Fragment::decode(value).unwrap().cells().map(Result::unwrap);
            let live = cells.filter(|(_, cell)| cell.is_live(now_seconds));
            let live: Vec<_> = live.map(|(column, cell)| (column, cell.value.unwrap().to_vec())).collect();
            (!live.is_empty()).then_some(live)
        });
    }

    proptest! {
        /// More than the laws ask for, and what replicas need: the order does not matter, nor
        /// whether something is heard twice.
        #[test]
        fn merging_is_a_semilattice(a in fragments(), b in fragments()) {
            let merge = |a: &[u8], b: &[u8]| RowRule.merge(a, b).unwrap();
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(merge(&merge(&a, &b), &b), merge(&a, &b));
        }
    }
}
