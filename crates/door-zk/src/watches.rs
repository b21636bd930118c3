//! Watches: who is to be told, once, of the next change of a znode.
//!
//! They belong to connections of this node and are no part of the replicated state. Two tables, as
//! in ZooKeeper: *data* watches (set by exists and getData) and *children* watches (set by
//! getChildren). A watch fires once and is gone; two of one kind by one connection on one path are
//! one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use door::Outbox;

use crate::{
    faults::Code,
    path,
    tree::Event,
    wire::reply::{self, EventKind},
};

/// A connection, by its number on this node.
pub(crate) type LinkId = u64;

/// What a watch is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The znode: created, deleted, data set.
    Data,
    /// Its children: one created or deleted; itself deleted.
    Children,
}

/// What a watch takes in memory beside its path, roughly.
const WATCH_BYTES: usize = 160;

type Table = BTreeMap<Arc<str>, BTreeSet<LinkId>>;

struct Watcher {
    outbox: Arc<Outbox>,
    on: BTreeSet<(Kind, Arc<str>)>,
}

/// All watches of this node.
pub(crate) struct Watches {
    data: Table,
    children: Table,
    watchers: BTreeMap<LinkId, Watcher>,
    count: usize,
    bytes: usize,
    limit_bytes: usize,
}

impl Watches {
    /// No watches; at most `limit_bytes` of them.
    pub(crate) fn new(limit_bytes: usize) -> Watches {
        Watches {
            data: Table::new(),
            children: Table::new(),
            watchers: BTreeMap::new(),
            count: 0,
            bytes: 0,
            limit_bytes,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether one more watch on `path` fits into memory. Asked before the read that sets it, so
    /// that a client is never told that it watches when it does not.
    pub(crate) fn check_room(&self, path: &str) -> Result<(), Code> {
        if self.bytes + WATCH_BYTES + path.len() > self.limit_bytes { Err(Code::THROTTLED) } else { Ok(()) }
    }

    /// Tells `link` of the next change.
    pub(crate) fn add(&mut self, kind: Kind, path: &str, link: LinkId, outbox: &Arc<Outbox>) {
        let table = match kind {
            Kind::Data => &mut self.data,
            Kind::Children => &mut self.children,
        };
        let path = match table.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Arc::from(path),
        };
        if table.entry(path.clone()).or_default().insert(link) {
            self.count += 1;
            self.bytes += WATCH_BYTES + path.len();
            let watcher = self
                .watchers
                .entry(link)
                .or_insert_with(|| Watcher { outbox: outbox.clone(), on: BTreeSet::new() });
            watcher.on.insert((kind, path));
        }
    }

    /// Forgets all watches of a connection.
    pub(crate) fn remove(&mut self, link: LinkId) {
        let Some(watcher) = self.watchers.remove(&link) else { return };
        for (kind, path) in watcher.on {
            let table = match kind {
                Kind::Data => &mut self.data,
                Kind::Children => &mut self.children,
            };
            if let Some(links) = table.get_mut(&path) {
                links.remove(&link);
                if links.is_empty() {
                    table.remove(&path);
                }
            }
            self.forget(&path);
        }
    }

    /// Tells everyone who watches for `event`, which `zxid` made.
    pub(crate) fn fire(&mut self, event: &Event<'_>, zxid: i64) {
        if self.count == 0 {
            return;
        }
        let path = &*event.path;
        let told = self.take(Kind::Data, path);
        self.tell(&told, event.readable, event.kind, path, zxid);
        if event.kind == EventKind::DataChanged {
            return;
        }
        if event.kind == EventKind::Deleted {
            // One who watched both is told once.
            let mut others = self.take(Kind::Children, path);
            others.retain(|link| !told.contains(link));
            self.tell(&others, event.readable, EventKind::Deleted, path, zxid);
        }
        let parent = path::parent(path);
        let told = self.take(Kind::Children, parent);
        self.tell(&told, event.parent_readable, EventKind::ChildrenChanged, parent, zxid);
    }

    /// Removes the watches of one kind on a path and gives who had them.
    fn take(&mut self, kind: Kind, path: &str) -> BTreeSet<LinkId> {
        let table = match kind {
            Kind::Data => &mut self.data,
            Kind::Children => &mut self.children,
        };
        let Some((path, links)) = table.remove_entry(path) else { return BTreeSet::new() };
        let key = (kind, path);
        for link in &links {
            if let Some(watcher) = self.watchers.get_mut(link) {
                watcher.on.remove(&key);
            }
            self.forget(&key.1);
        }
        links
    }

    fn forget(&mut self, path: &str) {
        self.count -= 1;
        self.bytes -= WATCH_BYTES + path.len();
    }

    fn tell(&self, links: &BTreeSet<LinkId>, readable: bool, kind: EventKind, path: &str, zxid: i64) {
        // Who may not read the znode loses the watch and learns nothing.
        if links.is_empty() || !readable {
            return;
        }
        let mut frame = Vec::with_capacity(path.len() + 32);
        reply::event(&mut frame, kind, path, zxid);
        for link in links {
            if let Some(watcher) = self.watchers.get(link) {
                watcher.outbox.push(&frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, path: &str) -> Event<'_> {
        Event { kind, path: path.into(), readable: true, parent_readable: true }
    }

    /// What was told: kinds and paths.
    fn told(outbox: &Outbox) -> Vec<(u8, String)> {
        let bytes = outbox.drain();
        let mut rest = &bytes[..];
        let mut told = Vec::new();
        while let crate::wire::Frame::Whole(frame) = crate::wire::frame(rest, 1000) {
            told.push((frame[19], String::from_utf8_lossy(&frame[28..]).into_owned()));
            rest = &rest[4 + frame.len()..];
        }
        told
    }

    #[test]
    fn a_watch_fires_once_for_whom_set_it() {
        let (a, b) = (Arc::new(Outbox::detached()), Arc::new(Outbox::detached()));
        let mut watches = Watches::new(1 << 20);
        watches.add(Kind::Data, "/x", 1, &a);
        watches.add(Kind::Data, "/x", 1, &a);
        watches.add(Kind::Children, "/", 2, &b);
        watches.fire(&event(EventKind::Created, "/x"), 1);
        watches.fire(&event(EventKind::DataChanged, "/x"), 2);
        assert_eq!(told(&a), [(1, "/x".to_owned())]);
        assert_eq!(told(&b), [(4, "/".to_owned())]);
        assert_eq!((watches.len(), watches.bytes), (0, 0));
    }

    #[test]
    fn a_deletion_is_told_once_to_one_who_watched_both() {
        let a = Arc::new(Outbox::detached());
        let mut watches = Watches::new(1 << 20);
        watches.add(Kind::Data, "/x", 1, &a);
        watches.add(Kind::Children, "/x", 1, &a);
        watches.fire(&event(EventKind::Deleted, "/x"), 1);
        assert_eq!(told(&a), [(2, "/x".to_owned())]);
    }

    #[test]
    fn what_may_not_be_read_is_not_told() {
        let a = Arc::new(Outbox::detached());
        let mut watches = Watches::new(1 << 20);
        watches.add(Kind::Data, "/x", 1, &a);
        watches.fire(&Event { readable: false, ..event(EventKind::Created, "/x") }, 1);
        assert_eq!((told(&a), watches.len()), (vec![], 0));
    }

    #[test]
    fn a_connection_that_goes_takes_its_watches_along() {
        let a = Arc::new(Outbox::detached());
        let mut watches = Watches::new(2 * WATCH_BYTES + 4);
        watches.add(Kind::Data, "/x", 1, &a);
        watches.add(Kind::Children, "/y", 1, &a);
        assert_eq!(watches.check_room("/z"), Err(Code::THROTTLED));
        watches.remove(1);
        assert_eq!((watches.len(), watches.bytes), (0, 0));
        assert!(watches.data.is_empty() && watches.children.is_empty());
    }
}
