//! [`Key`]: a key of a memtable, with its first bytes at hand.

use std::{borrow::Borrow, cmp::Ordering, fmt};

use bytes::Bytes;

/// A key and the number its first eight bytes are. Keys of tables begin with a token, so the number
/// nearly always decides which of two is the lower, without a look at memory elsewhere: putting and
/// finding take half the time (see `docs/engine.md`).
#[derive(Clone, Debug)]
pub(crate) struct Key {
    head: u64,
    pub(crate) bytes: Bytes,
}

/// A key that is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'k> {
    head: u64,
    bytes: &'k [u8],
}

/// What both are compared by.
pub(crate) trait Headed: fmt::Debug {
    fn parts(&self) -> (u64, &[u8]);
}

/// The first eight bytes, big-endian; what is missing of them counts as zeros. Of two keys the lower
/// has no higher number.
pub(crate) fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(8);
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}

impl Key {
    pub(crate) fn new(bytes: Bytes) -> Key {
        Key { head: head(&bytes), bytes }
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }
}

impl<'k> Wanted<'k> {
    pub(crate) fn new(bytes: &'k [u8]) -> Wanted<'k> {
        Wanted { head: head(bytes), bytes }
    }

    pub(crate) fn head(&self) -> u64 {
        self.head
    }
}

impl Headed for Key {
    fn parts(&self) -> (u64, &[u8]) {
        (self.head, &self.bytes)
    }
}

impl Headed for Wanted<'_> {
    fn parts(&self) -> (u64, &[u8]) {
        (self.head, self.bytes)
    }
}

impl<'k> Borrow<dyn Headed + 'k> for Key {
    fn borrow(&self) -> &(dyn Headed + 'k) {
        self
    }
}

impl PartialEq for dyn Headed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Headed + '_ {}

impl PartialOrd for dyn Headed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Headed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_bytes_are(
            a in prop::collection::vec(0u8..3, 0..12),
            b in prop::collection::vec(0u8..3, 0..12),
        ) {
            let (key, other) = (Key::new(a.clone().into()), Key::new(b.clone().into()));
            prop_assert_eq!(key.cmp(&other), a.cmp(&b));
            prop_assert_eq!(key == other, a == b);
            let wanted: &dyn Headed = &Wanted::new(&b);
            prop_assert_eq!(Borrow::<dyn Headed>::borrow(&key).cmp(wanted), a.cmp(&b));
            prop_assert!(a > b || key.head() <= other.head());
        }
    }
}
