//! What is in memory and what is in the store, together: finding a znode, listing children, giving
//! what has changed to the store, and letting go of what need not stay.

use std::sync::Arc;

use base::{Cause, Malformed};
use bytes::Bytes;
use metrics::counter;
use store::{Changes, MachineState, Patience, Unread};

use super::{MAX_PATH_BYTES, Node, Place, Stop, Tree, cache::Names, record};

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
        let Some(value) = value? else {
            self.cache.put_absent(path);
            return Ok(None);
        };
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

    /// The names of a znode's children, in order.
    pub(crate) fn names(&mut self, place: Place) -> Result<&Names, Stop> {
        static NONE: Names = Names::new();
        if self.cache.node(place).children == 0 {
            return Ok(&NONE);
        }
        if self.cache.names(place).is_none() {
            let names = self.gather(place)?;
            if names.len() as u64 != u64::from(self.cache.node(place).children) {
                return Err(Stop::Failed(Cause::corrupt("children of a znode are missing, or too many")));
            }
            self.cache.set_names(place, Some(names));
        }
        Ok(self.cache.names(place).expect("they were put there just now"))
    }

    fn gather(&self, place: Place) -> Result<Names, Stop> {
        let path = self.cache.slot(place).path.clone();
        let (from, to) = record::children_keys(&path);
        let mut names = Names::new();
        for record in self.store.scan(&from, Some(&to), self.patience)? {
            let (key, _) = record?;
            let name = std::str::from_utf8(&key[from.len()..]);
            names.insert(name.map_err(|_| Stop::Failed(Malformed("name of a znode").into()))?.into());
        }
        for (other, node) in self.cache.unsettled() {
            if let Some((parent, name)) = other.rsplit_once('/')
                && *parent == *path
            {
                match node {
                    Some(_) => names.insert(name.into()),
                    None => names.remove(name),
                };
            }
        }
        Ok(names)
    }

    /// Has those znodes leave memory that are beyond the bound. `listed` is one whose children were
    /// asked for: if they are very many, they are not kept.
    pub(crate) fn trim(&mut self, listed: Option<Place>) {
        if let Some(place) = listed.filter(|place| self.cache.is_crowded(*place)) {
            self.cache.set_names(place, None);
        }
        self.cache.trim(&mut self.acls);
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
