//! The part of the tree that is in memory: znodes by their paths, within a bound on bytes.
//!
//! Whatever the store knows too may be thrown out at any time; what an entry changed stays until the
//! store has it. A znode that was removed leaves its slot with nothing in it until then, for the
//! store still says that it is there. So the bound is on what can be thrown out, and what is on its
//! way into the store comes on top of it: no more than a batch or two of the log.
//!
//! A path that was looked for in vain has such an empty slot too, while there is room: a znode that is
//! to be made is looked for when it is proposed and again when it is made, and the store need not say
//! twice that it is not there.
//!
//! Which znodes go is decided by a clock: a hand goes around the slots, spares those that were used
//! since it came by, and throws out others. (A list in the order of use would be more exact, and
//! would be written to by every read.)

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use super::Node;
use crate::acl::AclTable;

/// The place of a znode. It holds as long as the state is locked.
pub(crate) type Place = u32;

/// The names of a znode's children.
pub(super) type Names = BTreeSet<Box<str>>;

/// What a slot takes in memory beside path and content: itself, its entry in the map, allocations.
const SLOT_BYTES: usize = 320;

/// The same of a name.
const NAME_BYTES: usize = 48;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) path: Arc<str>,
    /// `None`: it is not there, whatever the store says; that it may throw out too, once the store says so.
    pub(super) node: Option<Node>,
    /// Its children, if they were asked for.
    names: Option<Names>,
    /// What these take.
    names_bytes: usize,
    /// Bytes that were counted for it.
    bytes: usize,
    /// It was used since the hand came by.
    is_hot: bool,
    /// It is not what was given to the store last.
    is_touched: bool,
    /// It was given to the store last time, and may not be in it yet.
    is_settling: bool,
}

impl Slot {
    fn is_pinned(&self) -> bool {
        self.is_touched || self.is_settling
    }

    fn weight(&self) -> usize {
        SLOT_BYTES + self.path.len() + self.node.as_ref().map_or(0, Node::data_len) + self.names_bytes
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    slots: Vec<Option<Slot>>,
    /// Empty places, the last one to be used first.
    free: Vec<Place>,
    /// Never gone through, so their order is nobody's. The hash has no secret: whoever makes names
    /// for it finds some that share a few bits, and slows looking them up by a few microseconds.
    places: HashMap<Arc<str>, Place, BuildHasherDefault<DefaultHasher>>,
    /// Where the hand stands.
    hand: usize,
    /// Bytes of all slots, and of those that cannot be thrown out.
    bytes: usize,
    pinned_bytes: usize,
    limit_bytes: usize,
    /// Slots with a znode.
    present: usize,
    touched: Vec<Place>,
    settling: Vec<Place>,
}

impl Cache {
    pub(super) fn new(limit_bytes: usize) -> Cache {
        Cache {
            slots: Vec::new(),
            free: Vec::new(),
            places: HashMap::default(),
            hand: 0,
            bytes: 0,
            pinned_bytes: 0,
            limit_bytes,
            present: 0,
            touched: Vec::new(),
            settling: Vec::new(),
        }
    }

    /// Bytes of memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many znodes are in memory.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// The slot of a path, which counts as used.
    pub(super) fn find(&mut self, path: &str) -> Option<Place> {
        let place = *self.places.get(path)?;
        self.slot_mut(place).is_hot = true;
        Some(place)
    }

    pub(super) fn slot(&self, place: Place) -> &Slot {
        self.slots[place as usize].as_ref().expect(LIVE)
    }

    fn slot_mut(&mut self, place: Place) -> &mut Slot {
        self.slots[place as usize].as_mut().expect(LIVE)
    }

    pub(super) fn node(&self, place: Place) -> &Node {
        self.slot(place).node.as_ref().expect("who has its place has found it")
    }

    pub(super) fn node_mut(&mut self, place: Place) -> &mut Node {
        self.slot_mut(place).node.as_mut().expect("who has its place has found it")
    }

    /// The names of a znode's children, if they are in memory.
    pub(super) fn names(&self, place: Place) -> Option<&Names> {
        self.slot(place).names.as_ref()
    }

    pub(super) fn set_names(&mut self, place: Place, names: Option<Names>) {
        let slot = self.slot_mut(place);
        slot.names_bytes = names.iter().flatten().map(|name| NAME_BYTES + name.len()).sum();
        slot.names = names;
        self.weigh(place);
    }

    /// Notes among the names of a znode's children, if they are in memory, that one came or went.
    pub(super) fn change_name(&mut self, place: Place, name: &str, is_there: bool) {
        let slot = self.slot_mut(place);
        let Some(names) = &mut slot.names else { return };
        let changed = if is_there { names.insert(name.into()) } else { names.remove(name) };
        if changed {
            let bytes = NAME_BYTES + name.len();
            slot.names_bytes = if is_there { slot.names_bytes + bytes } else { slot.names_bytes - bytes };
            self.weigh(place);
        }
    }

    /// Puts a znode into memory; its path has no znode there.
    pub(super) fn put(&mut self, path: &str, node: Node) -> Place {
        self.present += 1;
        if let Some(&place) = self.places.get(path) {
            let slot = self.slot_mut(place);
            debug_assert!(slot.node.is_none(), "two znodes of one path");
            slot.node = Some(node);
            self.weigh(place);
            return place;
        }
        self.add(path, Some(node))
    }

    /// Notes that neither memory nor the store has a znode at a path.
    pub(super) fn put_absent(&mut self, path: &str) {
        debug_assert!(!self.places.contains_key(path), "what has a slot is known to be there, or not");
        self.add(path, None);
    }

    fn add(&mut self, path: &str, node: Option<Node>) -> Place {
        let path: Arc<str> = path.into();
        let slot = Slot {
            path: path.clone(),
            node,
            names: None,
            names_bytes: 0,
            bytes: 0,
            is_hot: true,
            is_touched: false,
            is_settling: false,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = Some(slot);
                place
            }
            None => {
                self.slots.push(Some(slot));
                Place::try_from(self.slots.len() - 1).expect("memory ends before 2^32 slots")
            }
        };
        self.places.insert(path, place);
        self.weigh(place);
        place
    }

    /// Takes a znode out of its slot, which is touched and stays.
    pub(super) fn take(&mut self, place: Place) -> Node {
        self.present -= 1;
        let slot = self.slot_mut(place);
        (slot.names, slot.names_bytes) = (None, 0);
        let node = slot.node.take().expect("who has its place has found it");
        self.weigh(place);
        node
    }

    /// Counts the bytes of a slot again.
    pub(super) fn weigh(&mut self, place: Place) {
        let slot = self.slots[place as usize].as_mut().expect(LIVE);
        let bytes = slot.weight();
        let was = std::mem::replace(&mut slot.bytes, bytes);
        self.bytes = self.bytes - was + slot.bytes;
        if slot.is_pinned() {
            self.pinned_bytes = self.pinned_bytes - was + slot.bytes;
        }
    }

    /// Notes that a slot is not what the store knows.
    pub(super) fn touch(&mut self, place: Place) {
        let slot = self.slots[place as usize].as_mut().expect(LIVE);
        if slot.is_touched {
            return;
        }
        if !slot.is_pinned() {
            self.pinned_bytes += slot.bytes;
        }
        slot.is_touched = true;
        self.touched.push(place);
    }

    /// How many slots are touched.
    pub(super) fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Those that were touched last, beyond so many, are again what they were.
    pub(super) fn untouch(&mut self, beyond: usize) {
        for place in self.touched.split_off(beyond) {
            self.slot_mut(place).is_touched = false;
            self.unpin(place);
        }
    }

    /// Of a slot that a mark was taken from: it may go now.
    fn unpin(&mut self, place: Place) {
        let slot = self.slot(place);
        if slot.is_pinned() {
            return;
        }
        let (bytes, is_empty) = (slot.bytes, slot.node.is_none());
        self.pinned_bytes -= bytes;
        if is_empty {
            self.drop_slot(place);
        }
    }

    fn drop_slot(&mut self, place: Place) -> Option<Node> {
        let slot = self.slots[place as usize].take().expect(LIVE);
        self.free.push(place);
        self.places.remove(&slot.path);
        self.bytes -= slot.bytes;
        self.present -= usize::from(slot.node.is_some());
        slot.node
    }

    /// Hands out what is to be written into the store; what was handed out before is in it.
    pub(super) fn settle(&mut self, mut each: impl FnMut(&str, Option<&Node>)) {
        let settling = std::mem::take(&mut self.settling);
        for &place in &settling {
            self.slot_mut(place).is_settling = false;
            self.unpin(place);
        }
        self.settling = std::mem::replace(&mut self.touched, settling);
        self.touched.clear();
        self.touched.shrink_to(KEPT);
        for &place in &self.settling {
            let slot = self.slots[place as usize].as_mut().expect(LIVE);
            (slot.is_touched, slot.is_settling) = (false, true);
            each(&slot.path, slot.node.as_ref());
        }
    }

    /// What the store may not know yet: paths, and what is there.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (&str, Option<&Node>)> {
        let places = self.settling.iter().chain(&self.touched);
        places.map(|place| self.slot(*place)).map(|slot| (&*slot.path, slot.node.as_ref()))
    }

    /// Throws out what is beyond the bound.
    pub(super) fn trim(&mut self, acls: &mut AclTable) {
        while self.bytes - self.pinned_bytes > self.limit_bytes {
            self.hand = (self.hand + 1) % self.slots.len();
            let place = self.hand as Place;
            let Some(slot) = &mut self.slots[self.hand] else { continue };
            if slot.is_pinned() || std::mem::take(&mut slot.is_hot) {
                continue;
            }
            if let Some(node) = self.drop_slot(place) {
                acls.release(&node.acl);
            }
        }
    }

    /// Whether the children of a znode take so much that nothing else would be left in memory.
    pub(super) fn is_crowded(&self, place: Place) -> bool {
        self.slot(place).bytes > self.limit_bytes / 8
    }
}

const LIVE: &str = "a place is that of a slot";

/// Places of touched slots for which memory is kept.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Acl;

    fn paths(cache: &Cache) -> Vec<&str> {
        let mut paths: Vec<&str> = cache.places.keys().map(|path| &**path).collect();
        paths.sort_unstable();
        paths
    }

    fn cache_of(limit: usize, paths: &[&str]) -> Cache {
        let mut cache = Cache::new(limit);
        for path in paths {
            cache.put(path, Node::empty(Acl::open()));
        }
        cache
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = cache_of(2 * (SLOT_BYTES + 3), &["/a", "/b"]);
        cache.trim(&mut AclTable::default());
        assert_eq!(paths(&cache), ["/a", "/b"], "as many as fit");
        cache.put("/c", Node::empty(Acl::open()));
        cache.trim(&mut AclTable::default());
        assert_eq!(cache.present(), 2);
        for at in 0..50 {
            let kept = paths(&cache)[0].to_owned();
            cache.put(&format!("/{at}"), Node::empty(Acl::open()));
            cache.slots.iter_mut().flatten().for_each(|slot| slot.is_hot = *slot.path == *kept);
            cache.trim(&mut AclTable::default());
            assert!(cache.find(&kept).is_some());
        }
        assert_eq!((cache.places.len(), cache.pinned_bytes), (2, 0));
    }

    #[test]
    fn what_the_store_may_not_know_stays() {
        let mut cache = cache_of(0, &["/a", "/b", "/c"]);
        let (a, b) = (cache.find("/a"), cache.find("/b"));
        a.into_iter().chain(b).for_each(|place| cache.touch(place));
        b.map(|place| cache.take(place));
        cache.trim(&mut AclTable::default());
        assert_eq!(paths(&cache), ["/a", "/b"]);
        let mut given = Vec::new();
        cache.settle(|path, node| given.push((path.to_owned(), node.is_some())));
        assert_eq!(given, [("/a".to_owned(), true), ("/b".to_owned(), false)]);
        cache.trim(&mut AclTable::default());
        assert_eq!(paths(&cache), ["/a", "/b"], "they are on their way");
        a.into_iter().for_each(|place| cache.touch(place));
        cache.settle(|path, _| assert_eq!(path, "/a"));
        cache.trim(&mut AclTable::default());
        assert_eq!(paths(&cache), ["/a"]);
        cache.settle(|path, _| panic!("{path}"));
        cache.trim(&mut AclTable::default());
        assert_eq!((paths(&cache).len(), cache.bytes(), cache.pinned_bytes), (0, 0, 0));
    }

    #[test]
    fn what_was_looked_for_in_vain_takes_its_room_and_no_more() {
        let mut cache = cache_of(2 * (SLOT_BYTES + 3), &["/a"]);
        for path in ["/x", "/y", "/z"] {
            cache.put_absent(path);
        }
        assert_eq!((cache.present(), cache.bytes()), (1, 4 * (SLOT_BYTES + 2)));
        cache.trim(&mut AclTable::default());
        assert_eq!(cache.places.len(), 2);
        let mut cache = cache_of(0, &[]);
        cache.put_absent("/x");
        let place = cache.put("/x", Node::empty(Acl::open()));
        assert_eq!((cache.find("/x"), cache.present()), (Some(place), 1));
    }

    #[test]
    fn what_was_touched_for_nothing_is_as_before() {
        let mut cache = cache_of(0, &["/a", "/b"]);
        let (a, b) = (cache.find("/a"), cache.find("/b"));
        a.into_iter().for_each(|place| cache.touch(place));
        let mark = cache.touched();
        b.into_iter().for_each(|place| cache.touch(place));
        b.map(|place| cache.take(place));
        cache.untouch(mark);
        assert_eq!(paths(&cache), ["/a"]);
        cache.settle(|path, _| assert_eq!(path, "/a"));
    }
}
