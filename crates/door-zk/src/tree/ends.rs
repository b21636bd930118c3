//! Which znodes end by themselves: those of sessions, containers, and those with a time to live.
//!
//! All of them are known in memory, by their paths, and have keys of their own in the store: a start
//! reads these, and not every znode there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use base::{Cause, Malformed};
use store::{Changes, MachineState, Patience};

use crate::lifetime::Lifetime;

/// First byte of the key of a session's znode: the session, big-endian, and the path follow.
pub(crate) const EPHEMERAL: u8 = b'e';

/// First byte of the key of a container, or of a znode with a time to live: the path follows.
pub(crate) const REAPED: u8 = b'r';

/// What an entry takes in memory beside its path, roughly.
const ENTRY_BYTES: usize = 96;

/// Not worth a look before something happens to it.
pub(super) const NEVER: i64 = i64::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ends {
    ephemerals: BTreeMap<i64, BTreeSet<Box<str>>>,
    /// And the time before which it need not be looked at, in milliseconds since 1970. That is this
    /// node's own affair.
    reaped: BTreeMap<Box<str>, i64>,
    /// Those that came or went since the store was told last.
    changed: Vec<(Lifetime, Box<str>)>,
    bytes: usize,
}

impl Ends {
    /// Reads them.
    pub(super) fn restore(store: &dyn MachineState) -> Result<Ends, Cause> {
        let mut ends = Ends::default();
        for record in store.scan(&[EPHEMERAL], Some(&[EPHEMERAL + 1]), Patience::Wait)? {
            let (key, _) = record?;
            let (session, path) =
                key[1..].split_first_chunk().ok_or(Malformed("key of an ephemeral znode"))?;
            ends.insert(Lifetime::Session(i64::from_be_bytes(*session)), text(path)?);
        }
        for record in store.scan(&[REAPED], Some(&[REAPED + 1]), Patience::Wait)? {
            let (key, _) = record?;
            ends.insert(Lifetime::Container, text(&key[1..])?);
        }
        Ok(ends)
    }

    /// Notes a znode.
    pub(super) fn remember(&mut self, lifetime: Lifetime, path: &str) {
        if self.insert(lifetime, path) {
            self.changed.push((lifetime, path.into()));
        }
    }

    fn insert(&mut self, lifetime: Lifetime, path: &str) -> bool {
        match lifetime {
            Lifetime::Forever => return false,
            Lifetime::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(path.into());
            }
            Lifetime::Container | Lifetime::Ttl(_) => {
                self.reaped.insert(path.into(), 0);
            }
        }
        self.bytes += ENTRY_BYTES + path.len();
        true
    }

    /// The opposite of [`Ends::remember`].
    pub(super) fn forget(&mut self, lifetime: Lifetime, path: &str) {
        let known = match lifetime {
            Lifetime::Forever => false,
            Lifetime::Session(session) => {
                let paths = self.ephemerals.get_mut(&session);
                let known = paths.is_some_and(|paths| paths.remove(path));
                if self.ephemerals.get(&session).is_some_and(BTreeSet::is_empty) {
                    self.ephemerals.remove(&session);
                }
                known
            }
            Lifetime::Container | Lifetime::Ttl(_) => self.reaped.remove(path).is_some(),
        };
        if known {
            self.bytes -= ENTRY_BYTES + path.len();
            self.changed.push((lifetime, path.into()));
        }
    }

    /// How many changes the store is still to be told of.
    pub(super) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Forgets the changes beyond so many, which were undone.
    pub(super) fn undo(&mut self, beyond: usize) {
        self.changed.truncate(beyond);
    }

    /// Says what has changed.
    pub(super) fn settle(&mut self, changes: &mut Changes) {
        for (lifetime, path) in std::mem::take(&mut self.changed) {
            let (key, is_there) = match lifetime {
                Lifetime::Session(session) => (
                    [&[EPHEMERAL][..], &session.to_be_bytes(), path.as_bytes()].concat(),
                    self.ephemerals.get(&session).is_some_and(|paths| paths.contains(&path)),
                ),
                _ => ([&[REAPED], path.as_bytes()].concat(), self.reaped.contains_key(&path)),
            };
            if is_there {
                changes.put(key, []);
            } else {
                changes.delete(key);
            }
        }
    }

    /// Ephemeral znodes.
    pub(super) fn ephemeral_len(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// The sessions that own ephemeral znodes.
    pub(super) fn owners(&self) -> impl ExactSizeIterator<Item = i64> {
        self.ephemerals.keys().copied()
    }

    /// The paths of a session's ephemeral znodes, in order.
    pub(super) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// Of the containers and the znodes with a time to live whose paths come after `after`, the
    /// first `count`, each with the time before which it need not be looked at.
    pub(super) fn reaped(&self, after: &str, count: usize) -> Vec<(Box<str>, i64)> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.reaped.range::<str, _>(behind).take(count).map(|(path, time)| (path.clone(), *time)).collect()
    }

    /// A container or a znode with a time to live need not be looked at before this time.
    pub(super) fn look_at(&mut self, path: &str, time_ms: i64) {
        if let Some(time) = self.reaped.get_mut(path) {
            *time = time_ms;
        }
    }

    /// Bytes of memory, roughly.
    pub(super) fn weight(&self) -> usize {
        self.bytes
    }
}

fn text(path: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(path).map_err(|_| Malformed("path of a znode that ends"))
}
