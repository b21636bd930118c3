//! Watches: who is to be told of the next change of a znode, or of every one.
//!
//! They belong to connections of this node and are no part of the replicated state. Two tables, as
//! in ZooKeeper: *data* watches (set by exists and getData) and *children* watches (set by
//! getChildren). A standard watch fires once and is gone; a persistent one stays, and is in both
//! tables; a persistent recursive one stays too, stands in the table of data watches and is told
//! of every znode below its own as well, each under the znode's path. However many modes a
//! connection's watch on a path has, the connection is told once.
//!
//! Ten thousand may watch one znode, and giving each its event takes a while. So firing only finds
//! out who is owed one ([`Watches::fire`], under the hub's lock), and giving it to them
//! ([`Owed::pay`]) keeps nobody waiting but those who are still owed one themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use door::Outbox;

use crate::{
    acl::{self, Acl},
    auth::Identity,
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

/// How a watch behaves; a connection's watch on a path may have several modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Gone when it has fired.
    Standard = 1,
    /// Stays.
    Persistent = 2,
    /// Stays, and is for all znodes below too.
    Recursive = 4,
}

/// A set of [`Mode`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes(u8);

impl Modes {
    const NONE: Modes = Modes(0);

    fn has(self, mode: Mode) -> bool {
        self.0 & mode as u8 != 0
    }

    fn with(self, mode: Mode) -> Modes {
        Modes(self.0 | mode as u8)
    }

    /// Without this mode, or without any.
    fn without(self, mode: Option<Mode>) -> Modes {
        mode.map_or(Modes::NONE, |mode| Modes(self.0 & !(mode as u8)))
    }
}

/// What a watch takes in memory beside its path, roughly.
const WATCH_BYTES: usize = 160;

/// Who is to be told of an event, ascending.
type Told = Vec<(LinkId, Arc<Listener>)>;

/// One connection's watch on a path.
struct Watch {
    modes: Modes,
    /// Kept here too, so that who is told is found without looking through all watchers.
    listener: Arc<Listener>,
}

type Table = BTreeMap<Arc<str>, BTreeMap<LinkId, Watch>>;

/// A connection as its watches see it: where it is told, and who it is at the moment.
pub(crate) struct Listener {
    outbox: Arc<Outbox>,
    /// Events that fired and are not in the outbox yet. Goes up under the hub's lock.
    owed: AtomicU32,
    identity: Mutex<Arc<Identity>>,
}

impl Listener {
    pub(crate) fn new(outbox: Arc<Outbox>, identity: Identity) -> Listener {
        Listener { outbox, owed: AtomicU32::new(0), identity: Mutex::new(Arc::new(identity)) }
    }

    /// Who it is.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has shown credentials.
    pub(crate) fn identify(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }

    /// Whether events are on their way, of changes that it could see already.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Acquire) > 0
    }

    fn may_read(&self, acl: &Acl) -> bool {
        acl.allows(acl::READ, self.identity().ids())
    }
}

/// An event, and those who are to get it.
pub(crate) struct Owed {
    frame: Vec<u8>,
    acl: Acl,
    told: Told,
}

impl Owed {
    /// Tells them. Who may not read the znode learns nothing.
    pub(crate) fn pay(self) {
        for (_, listener) in self.told {
            if listener.may_read(&self.acl) {
                listener.outbox.push(&self.frame);
            }
            listener.owed.fetch_sub(1, Ordering::Release);
        }
    }
}

/// What a connection watches.
type Watched = BTreeSet<(Kind, Arc<str>)>;

/// All watches of this node.
pub(crate) struct Watches {
    data: Table,
    children: Table,
    watchers: BTreeMap<LinkId, Watched>,
    count: usize,
    /// Watches with the mode recursive: without any, an event concerns one path.
    recursive: usize,
    bytes: usize,
    limit_bytes: usize,
    /// What fired and was not fetched, in order.
    owed: Vec<Owed>,
}

impl Watches {
    /// No watches; at most `limit_bytes` of them.
    pub(crate) fn new(limit_bytes: usize) -> Watches {
        Watches {
            data: Table::new(),
            children: Table::new(),
            watchers: BTreeMap::new(),
            count: 0,
            recursive: 0,
            bytes: 0,
            limit_bytes,
            owed: Vec::new(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The data watches, path by path: those that ZooKeeper lists.
    pub(crate) fn paths(&self) -> impl ExactSizeIterator<Item = (&str, impl Iterator<Item = LinkId>)> {
        self.data.iter().map(|(path, links)| (&**path, links.keys().copied()))
    }

    /// Whether a watch more on each of `paths` fits into memory. Asked before the request that sets
    /// them does anything, so that a client is never told that it watches when it does not.
    pub(crate) fn check_room<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Result<(), Code> {
        let more: usize = paths.into_iter().map(|path| WATCH_BYTES + path.len()).sum();
        if self.bytes + more > self.limit_bytes { Err(Code::THROTTLED) } else { Ok(()) }
    }

    fn table(&mut self, kind: Kind) -> &mut Table {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Children => &mut self.children,
        }
    }

    /// Tells `link` of changes from now on.
    pub(crate) fn add(&mut self, kind: Kind, mode: Mode, path: &str, link: LinkId, listener: &Arc<Listener>) {
        let table = self.table(kind);
        let path = match table.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => Arc::from(path),
        };
        let watch = table
            .entry(path.clone())
            .or_default()
            .entry(link)
            .or_insert_with(|| Watch { modes: Modes::NONE, listener: listener.clone() });
        let before = watch.modes;
        watch.modes = before.with(mode);
        self.recursive += usize::from(mode == Mode::Recursive && !before.has(mode));
        if before == Modes::NONE {
            self.count += 1;
            self.bytes += WATCH_BYTES + path.len();
            self.watchers.entry(link).or_default().insert((kind, path));
        }
    }

    /// Whether `link` has a watch of this kind and mode, or of any mode, on `path`.
    pub(crate) fn contains(&self, kind: Kind, mode: Option<Mode>, path: &str, link: LinkId) -> bool {
        let table = match kind {
            Kind::Data => &self.data,
            Kind::Children => &self.children,
        };
        let watch = table.get(path).and_then(|links| links.get(&link));
        watch.is_some_and(|watch| mode.is_none_or(|mode| watch.modes.has(mode)))
    }

    /// Takes one mode, or all, from the watch of `link` on `path`; whether there was any.
    pub(crate) fn remove(&mut self, kind: Kind, mode: Option<Mode>, path: &str, link: LinkId) -> bool {
        let Some((key, links)) = self.table(kind).get_key_value(path) else { return false };
        let Some(before) = links.get(&link).map(|watch| watch.modes) else { return false };
        let key = key.clone();
        let after = before.without(mode);
        self.set(kind, &key, link, before, after);
        before != after
    }

    /// Forgets all watches of a connection.
    pub(crate) fn remove_all(&mut self, link: LinkId) {
        let Some(on) = self.watchers.remove(&link) else { return };
        for (kind, path) in on {
            let links = self.table(kind).get(&path);
            let before = links.and_then(|links| links.get(&link)).map(|watch| watch.modes);
            self.set(kind, &path, link, before.unwrap_or_default(), Modes::NONE);
        }
    }

    /// Gives the watch of `link` on `path` other modes; without any it is gone.
    fn set(&mut self, kind: Kind, path: &Arc<str>, link: LinkId, before: Modes, after: Modes) {
        self.recursive -= usize::from(before.has(Mode::Recursive) && !after.has(Mode::Recursive));
        let table = self.table(kind);
        let Some(links) = table.get_mut(path) else { return };
        if after != Modes::NONE {
            if let Some(watch) = links.get_mut(&link) {
                watch.modes = after;
            }
            return;
        }
        links.remove(&link);
        if links.is_empty() {
            table.remove(path);
        }
        self.count -= 1;
        self.bytes -= WATCH_BYTES + path.len();
        self.unlist(kind, path, link);
    }

    /// Everyone who watches for `event`, which `zxid` made, is owed it from now on.
    pub(crate) fn fire(&mut self, event: &Event<'_>, zxid: i64) {
        if self.count == 0 {
            return;
        }
        let path = &*event.path;
        let mut told = self.take(Kind::Data, path);
        if self.recursive > 0 {
            self.add_above(path, &mut told);
        }
        let others = match event.kind {
            EventKind::Deleted => {
                // One who watched both is told once.
                let mut others = self.take(Kind::Children, path);
                others.retain(|(link, _)| told.binary_search_by_key(link, |(link, _)| *link).is_err());
                others
            }
            _ => Told::new(),
        };
        self.owe(told, &event.acl, event.kind, path, zxid);
        self.owe(others, &event.acl, EventKind::Deleted, path, zxid);
        if let Some(acl) = &event.parent_acl {
            let parent = path::parent(path);
            let told = self.take(Kind::Children, parent);
            self.owe(told, acl, EventKind::ChildrenChanged, parent, zxid);
        }
    }

    /// What fired since this was asked last, in order. Whoever asks pays.
    pub(crate) fn take_owed(&mut self) -> Vec<Owed> {
        std::mem::take(&mut self.owed)
    }

    fn owe(&mut self, told: Told, acl: &Acl, kind: EventKind, path: &str, zxid: i64) {
        if told.is_empty() {
            return;
        }
        for (_, listener) in &told {
            listener.owed.fetch_add(1, Ordering::Relaxed);
        }
        let mut frame = Vec::with_capacity(path.len() + 32);
        reply::event(&mut frame, kind, path, zxid);
        self.owed.push(Owed { frame, acl: acl.clone(), told });
    }

    /// Who watches `path`; those who watched once no longer do.
    fn take(&mut self, kind: Kind, path: &str) -> Told {
        let table = self.table(kind);
        let Some(links) = table.get(path) else { return Told::new() };
        let told = links.iter().map(|(link, watch)| (*link, watch.listener.clone())).collect();
        if !links.values().any(|watch| watch.modes.has(Mode::Standard)) {
            return told;
        }
        let Some((key, links)) = table.remove_entry(path) else { return told };
        let mut stay = BTreeMap::new();
        for (link, mut watch) in links {
            watch.modes = watch.modes.without(Some(Mode::Standard));
            if watch.modes != Modes::NONE {
                stay.insert(link, watch);
                continue;
            }
            self.unlist(kind, &key, link);
            self.count -= 1;
            self.bytes -= WATCH_BYTES + path.len();
        }
        if !stay.is_empty() {
            self.table(kind).insert(key, stay);
        }
        told
    }

    /// Notes that `link` no longer watches `path`.
    fn unlist(&mut self, kind: Kind, path: &Arc<str>, link: LinkId) {
        if let Some(on) = self.watchers.get_mut(&link) {
            on.remove(&(kind, path.clone()));
            if on.is_empty() {
                self.watchers.remove(&link);
            }
        }
    }

    /// Adds those who watch a znode above `path` and all below it.
    fn add_above(&self, path: &str, told: &mut Told) {
        let mut at = path;
        while at != "/" {
            at = path::parent(at);
            for (link, watch) in self.data.get(at).into_iter().flatten() {
                if watch.modes.has(Mode::Recursive) {
                    told.push((*link, watch.listener.clone()));
                }
            }
        }
        told.sort_unstable_by_key(|(link, _)| *link);
        told.dedup_by_key(|(link, _)| *link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::request::Ace;

    fn event(kind: EventKind, path: &str) -> Event<'_> {
        let parent_acl = (kind != EventKind::DataChanged).then(Acl::open);
        Event { kind, path: path.into(), acl: Acl::open(), parent_acl }
    }

    fn listener() -> Arc<Listener> {
        let identity = Identity::of("127.0.0.1".parse().expect("an address"), None);
        Arc::new(Listener::new(Arc::new(Outbox::detached()), identity))
    }

    /// Fires an event and pays at once.
    fn fire(watches: &mut Watches, event: &Event<'_>, zxid: i64) {
        watches.fire(event, zxid);
        watches.take_owed().into_iter().for_each(Owed::pay);
    }

    /// What was told: kinds and paths.
    fn told(listener: &Listener) -> Vec<(u8, String)> {
        let bytes = listener.outbox.drain();
        let mut rest = &bytes[..];
        let mut told = Vec::new();
        while let crate::wire::Frame::Whole(frame) = crate::wire::frame(rest, 1000) {
            told.push((frame[19], String::from_utf8_lossy(&frame[28..]).into_owned()));
            rest = &rest[4 + frame.len()..];
        }
        told
    }

    fn watches() -> Watches {
        Watches::new(1 << 20)
    }

    /// Tells `link` of the next change.
    fn once(watches: &mut Watches, kind: Kind, path: &str, link: LinkId, listener: &Arc<Listener>) {
        watches.add(kind, Mode::Standard, path, link, listener);
    }

    fn are_gone(watches: &Watches) {
        assert_eq!((watches.count, watches.recursive, watches.bytes), (0, 0, 0));
        assert!(watches.data.is_empty() && watches.children.is_empty() && watches.watchers.is_empty());
    }

    #[test]
    fn a_watch_fires_once_for_whom_set_it() {
        let (a, b) = (listener(), listener());
        let mut watches = watches();
        once(&mut watches, Kind::Data, "/x", 1, &a);
        once(&mut watches, Kind::Data, "/x", 1, &a);
        once(&mut watches, Kind::Children, "/", 2, &b);
        fire(&mut watches, &event(EventKind::Created, "/x"), 1);
        fire(&mut watches, &event(EventKind::DataChanged, "/x"), 2);
        assert_eq!(told(&a), [(1, "/x".to_owned())]);
        assert_eq!(told(&b), [(4, "/".to_owned())]);
        are_gone(&watches);
    }

    #[test]
    fn a_deletion_is_told_once_to_one_who_watched_both() {
        let a = listener();
        let mut watches = watches();
        once(&mut watches, Kind::Data, "/x", 1, &a);
        once(&mut watches, Kind::Children, "/x", 1, &a);
        fire(&mut watches, &event(EventKind::Deleted, "/x"), 1);
        assert_eq!(told(&a), [(2, "/x".to_owned())]);
    }

    #[test]
    fn a_persistent_watch_stays_and_a_recursive_one_sees_all_below() {
        let (a, b) = (listener(), listener());
        let mut watches = watches();
        for kind in [Kind::Data, Kind::Children] {
            watches.add(kind, Mode::Persistent, "/x", 1, &a);
        }
        once(&mut watches, Kind::Data, "/x", 1, &a);
        watches.add(Kind::Data, Mode::Recursive, "/", 2, &b);
        for round in 0..2 {
            fire(&mut watches, &event(EventKind::Created, "/x"), round);
            fire(&mut watches, &event(EventKind::Created, "/x/y"), round);
            fire(&mut watches, &event(EventKind::DataChanged, "/x/y"), round);
            fire(&mut watches, &event(EventKind::Deleted, "/x/y"), round);
            fire(&mut watches, &event(EventKind::Deleted, "/x"), round);
            let kinds = |list: &[(u8, &str)]| {
                list.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect::<Vec<_>>()
            };
            assert_eq!(told(&a), kinds(&[(1, "/x"), (4, "/x"), (4, "/x"), (2, "/x")]));
            let all = kinds(&[(1, "/x"), (1, "/x/y"), (3, "/x/y"), (2, "/x/y"), (2, "/x")]);
            assert_eq!(told(&b), all);
        }
        assert!(!watches.contains(Kind::Data, Some(Mode::Standard), "/x", 1));
        assert!(watches.contains(Kind::Data, Some(Mode::Persistent), "/x", 1));
        assert!(
            watches.contains(Kind::Data, None, "/", 2) && !watches.contains(Kind::Children, None, "/", 2)
        );
        assert!(!watches.remove(Kind::Data, Some(Mode::Standard), "/x", 1));
        assert!(watches.remove(Kind::Data, Some(Mode::Persistent), "/x", 1));
        assert!(
            watches.remove(Kind::Children, None, "/x", 1) && !watches.remove(Kind::Children, None, "/x", 1)
        );
        watches.remove_all(2);
        are_gone(&watches);
    }

    #[test]
    fn what_may_not_be_read_is_not_told() {
        let a = listener();
        let mut watches = watches();
        let pat = Ace { perms: acl::READ, scheme: "digest", id: "pat:WHGn0d6WM4lGFEKDvqymXAwzUzA=" };
        let acl = Acl::from_entries(&[pat], &[]).expect("a valid list");
        let closed = || Event { acl: acl.clone(), ..event(EventKind::Created, "/x") };
        once(&mut watches, Kind::Data, "/x", 1, &a);
        fire(&mut watches, &closed(), 1);
        assert_eq!((told(&a), watches.len()), (vec![], 0));
        once(&mut watches, Kind::Data, "/x", 1, &a);
        a.identify(a.identity().with("digest", Some(b"pat:pass"), None).expect("good credentials"));
        fire(&mut watches, &closed(), 2);
        assert_eq!(told(&a), [(1, "/x".to_owned())]);
    }

    #[test]
    fn a_connection_that_goes_takes_its_watches_along() {
        let a = listener();
        let mut watches = Watches::new(2 * WATCH_BYTES + 4);
        once(&mut watches, Kind::Data, "/x", 1, &a);
        once(&mut watches, Kind::Children, "/y", 1, &a);
        assert_eq!(watches.check_room(["/z"]), Err(Code::THROTTLED));
        watches.remove_all(1);
        assert_eq!(watches.check_room(["/x", "/y"]), Ok(()));
        assert_eq!(watches.check_room(["/x", "/y", "/z"]), Err(Code::THROTTLED));
        are_gone(&watches);
    }
}
