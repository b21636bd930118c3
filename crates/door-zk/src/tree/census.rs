//! Counting what is below a znode: keys of the store from one moment, corrected by what the store
//! does not know yet.
//!
//! A tree may have millions of znodes, so they are not counted while everyone waits: a [`Census`] is
//! begun under the state's lock, and taken without it.

use std::collections::BTreeMap;

use base::Cause;
use store::{Patience, Records};

use super::{Node, Place, Stop, Tree, record};

/// How many there are of what, and how many bytes of data they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Znodes.
    pub(crate) znodes: u64,
    /// Bytes of their data.
    pub(crate) bytes: u64,
}

/// A census that was begun.
pub(crate) struct Census {
    scans: Vec<Records>,
    /// Keys that the store may not know of, or know otherwise: bytes of data, if the znode is there.
    unsettled: BTreeMap<Vec<u8>, Option<usize>>,
    /// Znodes that count beside those that are found.
    more: u64,
}

impl Tree {
    /// Begins to count what is below a znode.
    pub(crate) fn census(&self, place: Place) -> Result<Census, Stop> {
        let path = self.cache.slot(place).path.clone();
        let mut scans = Vec::new();
        for (from, to) in [record::children_keys(&path), record::deeper_keys(&path)] {
            scans.push(self.store.scan(&from, Some(&to), Patience::Wait)?);
        }
        let below = self
            .cache
            .unsettled()
            .filter(|(other, _)| other.strip_prefix(&*path).is_some_and(|rest| rest.starts_with('/')));
        let unsettled = below.map(|(path, node)| {
            let mut key = Vec::new();
            record::node_key(path, &mut key);
            (key, node.map(Node::data_len))
        });
        Ok(Census { unsettled: unsettled.collect(), scans, more: 0 })
    }
}

impl Census {
    /// Counts so many znodes that are not there.
    pub(crate) fn with(self, more: u64) -> Census {
        Census { more, ..self }
    }

    /// Counts; waits for the disk.
    pub(crate) fn take(self) -> Result<Count, Cause> {
        let mut count = Count { znodes: self.more, bytes: 0 };
        let mut add = |bytes: usize| {
            count.znodes += 1;
            count.bytes += bytes as u64;
        };
        for record in self.scans.into_iter().flatten() {
            let (key, value) = record?;
            if !self.unsettled.contains_key(&*key) {
                add(Node::decode(&value)?.data_len());
            }
        }
        self.unsettled.into_values().flatten().for_each(add);
        Ok(count)
    }
}
