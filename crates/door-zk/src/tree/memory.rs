//! What is in memory and what is in the store, together: finding a znode, listing children, giving
//! what has changed to the store, and letting go of what need not stay.

use std::sync::Arc;

use base::Cause;
use bytes::Bytes;
use metrics::counter;
use store::{Changes, MachineState, Patience, Unread};

use super::{MAX_PATH_BYTES, Node, Place, Stop, Tree, cache::Names, listing::AT_ONCE, record};

impl Tree {
    /// Where it reads what is not in memory.
    pub(crate) fn store(&self) -> &Arc<dyn MachineState> {
        &self.store
    }

    /// From now on it waits for the disk, or not.
    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// The place of the znode at `path`, if there is one; the root answers to the empty path too.
    pub(crate) fn find(&mut self, path: &str) -> Result<Option<Place>, Stop> {
        let path = if path == "/" { "" } else { path };
        if let Some(place) = self.cache.find(path) {
            return Ok(self.cache.slot(place).node.is_some().then_some(place));
        }
        if self.is_whole() || !may_be(path) {
            return Ok(None);
        }
        let mut key = std::mem::take(&mut self.key);
        record::node_key(path, &mut key);
        let value = self.read(&key);
        self.key = key;
        let Some(value) = value? else { return Ok(None) };
        let mut node = Node::decode(&value).map_err(|malformed| Stop::Failed(malformed.into()))?;
        node.acl = self.acls.intern(node.acl);
        Ok(Some(self.cache.put(path, node)))
    }

    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, Unread> {
        match self.store.get(key, Patience::Now) {
            Err(Unread::NotNow) if self.patience == Patience::Wait => {
                counter!("holdfast_zookeeper_waits_total").increment(1);
                self.store.get(key, Patience::Wait)
            }
            read => read,
        }
    }

    /// Whether every znode is in memory: then nothing has to be looked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.cache.present() as u64 == self.size.znodes
    }

    /// The znode at a place that was found.
    pub(crate) fn node(&self, place: Place) -> &Node {
        self.cache.node(place)
    }

    /// The names of a znode's children, in order. Very many that are not in memory are only read by who
    /// waits for the disk: others have them listed first ([`super::Listing`]).
    pub(crate) fn names(&mut self, place: Place) -> Result<&Names, Stop> {
        static NONE: Names = Names::new();
        let children = self.cache.node(place).children;
        if children == 0 {
            return Ok(&NONE);
        }
        if self.cache.names(place).is_none() {
            if children > AT_ONCE && self.patience == Patience::Now {
                return Err(Stop::Cold);
            }
            let names = self.listing_of(place, self.patience)?.take()?.names;
            self.cache.set_names(place, Some(names));
        }
        let names = self.cache.names(place).expect("they were put there just now");
        if names.len() as u64 != u64::from(children) {
            return Err(Stop::Failed(Cause::corrupt("children of a znode are missing, or too many")));
        }
        Ok(names)
    }

    /// Has those znodes leave memory that are beyond the bound. `listed` is one whose children were
    /// asked for: if they are very many, they are not kept, but given back, for they take a while to be
    /// dropped.
    pub(crate) fn trim(&mut self, listed: Option<Place>) -> Option<Names> {
        let crowded = listed.filter(|place| self.cache.is_crowded(*place));
        let names = crowded.and_then(|place| self.cache.set_names(place, None));
        self.cache.trim(&mut self.acls);
        names
    }

    /// Says what has changed since it was called last.
    pub(crate) fn settle(&mut self, changes: &mut Changes) {
        let mut key = std::mem::take(&mut self.key);
        self.cache.settle(|path, node| {
            record::node_key(path, &mut key);
            match node {
                Some(node) => changes.put_with(&key, node.encoded_len(), |out| node.encode(out)),
                None => changes.delete(&key),
            }
        });
        self.key = key;
        self.ends.settle(changes);
        self.cache.trim(&mut self.acls);
    }
}

/// Whether there can be a znode at `path`, the root's being empty.
fn may_be(path: &str) -> bool {
    let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    path.is_empty() || (is_path && path.len() <= MAX_PATH_BYTES)
}
