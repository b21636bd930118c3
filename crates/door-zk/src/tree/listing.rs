//! The names of a znode's children, where there are many: begun under the state's lock, as a census is,
//! and read without it.
//!
//! Children may come and go meanwhile. Each time the znode gets another pzxid, so one look says whether
//! what was read is still all there is.

use std::sync::Arc;

use base::Malformed;
use store::{Patience, Records, Unread};

use super::{Place, Stop, Tree, cache::Names, record};

/// Children whose names are read at once, which takes less than a millisecond.
pub(super) const AT_ONCE: u32 = 1000;

/// What tells whether a znode is the same, with the same children: czxid and pzxid.
type Version = (i64, i64);

/// Names that are to be read.
pub(crate) struct Listing {
    path: Arc<str>,
    version: Version,
    records: Records,
    /// Bytes of a key before the name.
    before: usize,
    /// Names that the store may not know of, or know to be there that are not.
    unsettled: Vec<(Box<str>, bool)>,
}

/// Names that were read.
pub(crate) struct Listed {
    path: Arc<str>,
    version: Version,
    pub(super) names: Names,
}

impl Tree {
    /// Begins to list the children of the znode at `path`, if it is there.
    pub(crate) fn listing(&mut self, path: &str) -> Result<Option<Listing>, Stop> {
        let Some(place) = self.find(path)? else { return Ok(None) };
        Ok(Some(self.listing_of(place, Patience::Wait)?))
    }

    pub(super) fn listing_of(&self, place: Place, patience: Patience) -> Result<Listing, Unread> {
        let path = self.cache.slot(place).path.clone();
        let (from, to) = record::children_keys(&path);
        let of_it = self.cache.unsettled().filter_map(|(other, node)| {
            let (parent, name) = other.rsplit_once('/')?;
            (*parent == *path).then(|| (name.into(), node.is_some()))
        });
        let unsettled = of_it.collect();
        let records = self.store.scan(&from, Some(&to), patience)?;
        Ok(Listing { version: self.version(place), path, records, before: from.len(), unsettled })
    }

    fn version(&self, place: Place) -> Version {
        let node = self.cache.node(place);
        (node.czxid, node.pzxid)
    }

    /// Keeps names for whoever asks next, unless children came or went since. What is not kept is given
    /// back: it takes a while to be dropped, and the state is locked.
    pub(crate) fn keep(&mut self, listed: Listed) -> Option<Listed> {
        match self.cache.find(&listed.path) {
            Some(place) if self.cache.slot(place).node.is_some() && self.version(place) == listed.version => {
                self.cache.set_names(place, Some(listed.names));
                None
            }
            _ => Some(listed),
        }
    }
}

impl Listing {
    /// Reads them; waits for the disk if it was begun so.
    pub(crate) fn take(self) -> Result<Listed, Stop> {
        let mut names = Names::new();
        for record in self.records {
            let (key, _) = record?;
            let name = std::str::from_utf8(&key[self.before..]);
            names.insert(name.map_err(|_| Stop::Failed(Malformed("name of a znode").into()))?.into());
        }
        for (name, is_there) in self.unsettled {
            if is_there {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        Ok(Listed { path: self.path, version: self.version, names })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::{
        Settings,
        testing::{House, client::*},
        wire::request::opcode,
    };

    #[test]
    fn names_are_kept_unless_children_came_or_went_while_they_were_read() {
        let house = House::new(Settings::default());
        let mut client = Client::connect(&house, 10_000, Ticket::default());
        for path in ["/w", "/w/a", "/w/b"] {
            client.request(opcode::CREATE, &create(path, None, &EVERYONE, 0));
        }
        let listed = |between: &mut dyn FnMut()| {
            let listing = house.hub().lock().replica.tree.listing("/w").unwrap().unwrap();
            between();
            let listed = listing.take().unwrap();
            assert_eq!(listed.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
            house.hub().lock().replica.tree.keep(listed).is_none()
        };
        assert!(!listed(&mut || client.request(opcode::CREATE, &create("/w/c", None, &EVERYONE, 0))));
        client.request(opcode::DELETE, &versioned("/w/c", -1));
        assert!(listed(&mut || client.request(opcode::SET_DATA, &set_data("/w", Some(b"x"), -1))));
        for path in ["/w/b", "/w/a", "/w"] {
            client.request(opcode::DELETE, &versioned(path, -1));
        }
        assert!(house.hub().lock().replica.tree.listing("/w").unwrap().is_none());
        house.hub().list("/w").unwrap();
    }
}
