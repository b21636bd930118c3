//! The tree of znodes: a value, changed by one operation at a time.
//!
//! Each operation checks in the order in which ZooKeeper's `PrepRequestProcessor` checks, because
//! the first failed check is the error a client sees. Operations of a multi are made one after the
//! other, under a journal from which all of them can be undone.
//!
//! Nodes stand in a slab and know their children by name, so a path is looked up name by name and
//! no path is stored twice. (A map from whole paths would look up faster in deep trees and take
//! three times the memory.)

mod journal;
mod node;
mod record;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

pub(crate) use self::{
    node::Node,
    record::{NODE, Restoring, node_key},
};

use self::journal::{Journal, Undo};
use crate::{
    acl::{self, Acl, AclTable},
    auth::Id,
    faults::Code,
    lifetime::Lifetime,
    path,
    quota::{self, More, Quotas},
    wire::{
        reply::{EventKind, Stat},
        request::{Ace, Form},
    },
};

/// What a znode takes in memory beside name and data, roughly: itself, its entry in the parent,
/// its allocations.
const NODE_BYTES: usize = 256;

/// Bytes of the longest path. A key of the store is a little longer than a path.
const MAX_PATH_BYTES: usize = 60_000;

/// Bytes of the longest data. A value of the store holds the rest of the znode too.
const MAX_DATA_BYTES: usize = 7 << 20;

/// Paths of touched znodes for which memory is kept.
const TOUCHED_KEPT: usize = 1024;

/// The slab's place of the root.
const ROOT: u32 = 0;

/// What stamps a change: when, in which transaction, by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// The transaction.
    pub(crate) zxid: i64,
    /// Milliseconds since 1970, by the proposer's clock.
    pub(crate) time_ms: i64,
    /// The session that asks.
    pub(crate) session: i64,
    /// Who asks.
    pub(crate) ids: &'a [Id<'a>],
    /// Whether hard limits of quotas are kept.
    pub(crate) enforces_quotas: bool,
}

impl Stamp<'_> {
    /// Fails unless who asks may do `perms` with what `acl` guards.
    fn check(&self, acl: &Acl, perms: i32) -> Result<(), Code> {
        acl.check(perms, self.ids.iter().copied())
    }
}

/// A change that watches are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Created, deleted or data changed.
    pub(crate) kind: EventKind,
    /// The znode.
    pub(crate) path: Cow<'a, str>,
    /// Who may do what with it: who may not read it must not learn of the event.
    pub(crate) acl: Acl,
    /// The same of its parent, when that has one child more or fewer.
    pub(crate) parent_acl: Option<Acl>,
}

/// What operations do beside changing the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace<'a> {
    /// Changes that watches are about, in order.
    pub(crate) events: Vec<Event<'a>>,
    /// Nobody watches anything: no events are wanted.
    pub(crate) is_unwatched: bool,
}

impl<'a> Trace<'a> {
    /// Notes a change, if anybody wants to know.
    fn note(&mut self, event: impl FnOnce() -> Event<'a>) {
        if !self.is_unwatched {
            self.events.push(event());
        }
    }
}

/// A znode to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    /// The path; of a sequential node, without its suffix.
    pub(crate) path: &'a str,
    /// The content.
    pub(crate) data: Option<&'a [u8]>,
    /// The ACL as given.
    pub(crate) acl: &'a [Ace<'a>],
    /// The create mode as given.
    pub(crate) mode: i32,
    /// The request it came in.
    pub(crate) form: Form,
}

/// How long a znode of this mode and form lives, and whether its name gets a number. The form
/// decides, as in ZooKeeper: a container made by create is none.
fn lifetime(mode: i32, form: Form, session: i64) -> Result<(Lifetime, bool), Code> {
    let has_ttl = matches!(mode, 5 | 6);
    let lifetime = match (mode, form) {
        (0..=4, Form::Container) => Some(Lifetime::Container),
        (1 | 3, Form::Plain | Form::WithStat) => Some(Lifetime::Session(session)),
        (0..=4, Form::Plain | Form::WithStat) => Some(Lifetime::Forever),
        (_, Form::Ttl(ms)) if has_ttl => Lifetime::ttl(ms),
        _ => None,
    };
    Ok((lifetime.ok_or(Code::BAD_ARGUMENTS)?, matches!(mode, 2 | 3 | 6)))
}

/// The version after `current`, which must be `expected` unless that is -1. Never -1, for that
/// could not be asked for (ZOOKEEPER-4743).
fn next_version(current: i32, expected: i32) -> Result<i32, Code> {
    if expected != -1 && expected != current {
        return Err(Code::BAD_VERSION);
    }
    Ok(match current.wrapping_add(1) {
        -1 => 0,
        next => next,
    })
}

/// Fails unless a znode can be stored as a key and a value. ZooKeeper bounds both by the length of
/// a message, which is an operator's to choose.
fn fits(path: &str, data: Option<&[u8]>) -> Result<(), Code> {
    let fits = path.len() <= MAX_PATH_BYTES && data.is_none_or(|data| data.len() <= MAX_DATA_BYTES);
    if fits { Ok(()) } else { Err(Code::BAD_ARGUMENTS) }
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    /// Empty places in `nodes`, the last one to be used first.
    free: Vec<u32>,
    /// The paths of each session's ephemeral nodes.
    ephemerals: BTreeMap<i64, BTreeSet<Box<str>>>,
    /// The paths of containers and of nodes with a time to live.
    reaped: BTreeSet<Box<str>>,
    /// The znodes with limits.
    pub(crate) quotas: Quotas,
    /// Bytes of memory, roughly.
    weight: usize,
    /// The ACLs of all nodes.
    acls: AclTable,
    /// How to undo what was done since [`Tree::begin`].
    journal: Option<Journal>,
    /// The paths of znodes that are not what the store knows.
    touched: Vec<Box<str>>,
}

impl Tree {
    /// The tree as it is before its first transaction.
    pub(crate) fn new() -> Tree {
        let mut tree = Tree::bare();
        let zookeeper = tree.attach(ROOT, "zookeeper", Node::empty(Acl::open()));
        // As ZooKeeper's own: the ACL of the configuration was "set" once, from version -1.
        let config = Node { aversion: -1, ..Node::empty(Acl::read_only()) };
        tree.attach(zookeeper, "config", config);
        tree.attach(zookeeper, "quota", Node::empty(Acl::open()));
        for path in path::PERMANENT {
            let id = tree.find(path).expect("it was made just now");
            tree.touch(id, path);
        }
        tree
    }

    /// A root and nothing else.
    fn bare() -> Tree {
        Tree {
            nodes: vec![Some(Node::empty(Acl::open()))],
            free: Vec::new(),
            ephemerals: BTreeMap::new(),
            reaped: BTreeSet::new(),
            quotas: Quotas::default(),
            weight: NODE_BYTES,
            acls: AclTable::default(),
            journal: None,
            touched: Vec::new(),
        }
    }

    /// The znode at `path`; the root answers to the empty path too.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.find(path).map(|id| self.node(id))
    }

    /// Znodes, the root included.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Ephemeral znodes.
    pub(crate) fn ephemeral_len(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// The sessions that own ephemeral znodes.
    pub(crate) fn owners(&self) -> impl ExactSizeIterator<Item = i64> {
        self.ephemerals.keys().copied()
    }

    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.weight + self.acls.weight()
    }

    /// Makes a znode; gives its path, which a sequential one learns only now.
    pub(crate) fn create<'a>(
        &mut self,
        stamp: Stamp<'_>,
        draft: Draft<'a>,
        trace: &mut Trace<'a>,
    ) -> Result<Cow<'a, str>, Code> {
        let (lifetime, sequential) = lifetime(draft.mode, draft.form, stamp.session)?;
        let (parent_path, _) = path::split(draft.path)?;
        let acl = Acl::from_entries(draft.acl, stamp.ids)?;
        let parent = self.find(parent_path).ok_or(Code::NO_NODE)?;
        let above = self.node(parent);
        stamp.check(&above.acl, acl::CREATE)?;
        let path = if sequential {
            // Java's "%010d" and Rust's agree on negative numbers, to which the counter may wrap.
            Cow::Owned(format!("{}{:010}", draft.path, above.creations))
        } else {
            Cow::Borrowed(draft.path)
        };
        path::validate(&path)?;
        fits(&path, draft.data)?;
        let (_, name) = path::split(&path)?;
        if name.is_empty() || above.children.contains_key(name) {
            // An empty name here is the root itself: every other one has failed above.
            return Err(Code::NODE_EXISTS);
        }
        if matches!(above.lifetime(), Lifetime::Session(_)) {
            return Err(Code::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let more = More::made(draft.data);
        quota::check(self, stamp, &path, more)?;
        let above = self.node(parent);
        trace.note(|| Event {
            kind: EventKind::Created,
            path: path.clone(),
            acl: acl.clone(),
            parent_acl: Some(above.acl.clone()),
        });
        let node = Node {
            data: draft.data.map(Box::from),
            czxid: stamp.zxid,
            mzxid: stamp.zxid,
            pzxid: stamp.zxid,
            ctime: stamp.time_ms,
            mtime: stamp.time_ms,
            owner: lifetime.owner(),
            ..Node::empty(acl)
        };
        self.remember(lifetime, &path);
        let id = self.attach(parent, name, node);
        self.touch(id, &path);
        self.touch(parent, parent_path);
        let above = self.node_mut(parent);
        let undo =
            Undo::Create { parent, path: Box::default(), creations: above.creations, pzxid: above.pzxid };
        above.creations = above.creations.wrapping_add(1);
        above.pzxid = stamp.zxid;
        self.record(undo, &path);
        quota::count(self, &path, more);
        Ok(path)
    }

    /// Removes a znode.
    pub(crate) fn delete<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        version: i32,
        trace: &mut Trace<'a>,
    ) -> Result<(), Code> {
        let (parent_path, name) = path::split(path)?;
        if path::is_permanent(path) {
            return Err(Code::BAD_ARGUMENTS);
        }
        let parent = self.find(parent_path).ok_or(Code::NO_NODE)?;
        let above = self.node(parent);
        stamp.check(&above.acl, acl::DELETE)?;
        let node = self.node(*above.children.get(name).ok_or(Code::NO_NODE)?);
        next_version(node.version, version)?;
        if !node.children.is_empty() {
            return Err(Code::NOT_EMPTY);
        }
        self.remove(parent, Cow::Borrowed(path), stamp.zxid, trace);
        Ok(())
    }

    /// Sets the data of a znode; gives its Stat.
    pub(crate) fn set_data<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        data: Option<&[u8]>,
        version: i32,
        trace: &mut Trace<'a>,
    ) -> Result<Stat, Code> {
        path::validate(path)?;
        let id = self.find(path).ok_or(Code::NO_NODE)?;
        let node = self.node(id);
        stamp.check(&node.acl, acl::WRITE)?;
        let was_bytes = node.data_len();
        let more = More::replaced(was_bytes, data);
        quota::check(self, stamp, path, more)?;
        let node = self.node_mut(id);
        let next = next_version(node.version, version)?;
        fits(path, data)?;
        let was = std::mem::replace(&mut node.data, data.map(Box::from));
        let undo =
            Undo::SetData { id, data: was, mzxid: node.mzxid, mtime: node.mtime, version: node.version };
        node.version = next;
        node.mzxid = stamp.zxid;
        node.mtime = stamp.time_ms;
        let stat = node.stat();
        trace.note(|| Event {
            kind: EventKind::DataChanged,
            path: Cow::Borrowed(path),
            acl: node.acl.clone(),
            parent_acl: None,
        });
        self.weight = self.weight - was_bytes + data.map_or(0, <[u8]>::len);
        self.record(undo, path);
        self.touch(id, path);
        quota::count(self, path, more);
        Ok(stat)
    }

    /// Puts other data into a znode that is there, as the tree itself does: without a version, a
    /// time or an event.
    pub(crate) fn rewrite(&mut self, path: &str, data: String) {
        let Some(id) = self.find(path) else { return };
        let node = self.node_mut(id);
        let was_bytes = node.data_len();
        let bytes = data.len();
        let was = node.data.replace(data.into_bytes().into());
        let undo =
            Undo::SetData { id, data: was, mzxid: node.mzxid, mtime: node.mtime, version: node.version };
        self.weight = self.weight - was_bytes + bytes;
        self.record(undo, path);
        self.touch(id, path);
    }

    /// Sets the ACL of a znode, whose ACL has this version; gives its Stat.
    pub(crate) fn set_acl(
        &mut self,
        stamp: Stamp<'_>,
        path: &str,
        entries: &[Ace<'_>],
        version: i32,
    ) -> Result<Stat, Code> {
        path::validate(path)?;
        let acl = Acl::from_entries(entries, stamp.ids)?;
        let id = self.find(path).ok_or(Code::NO_NODE)?;
        let node = self.node(id);
        stamp.check(&node.acl, acl::ADMIN)?;
        let aversion = next_version(node.aversion, version)?;
        let acl = self.acls.intern(acl);
        let node = self.node_mut(id);
        node.aversion = aversion;
        let was = std::mem::replace(&mut node.acl, acl);
        let stat = node.stat();
        self.acls.release(&was);
        self.touch(id, path);
        Ok(stat)
    }

    /// Fails unless a znode is there and has this version; -1 is any.
    pub(crate) fn check(&self, stamp: Stamp<'_>, path: &str, version: i32) -> Result<(), Code> {
        path::validate(path)?;
        let node = self.get(path).ok_or(Code::NO_NODE)?;
        stamp.check(&node.acl, acl::READ)?;
        next_version(node.version, version).map(drop)
    }

    /// Removes a znode that has outlived itself.
    pub(crate) fn reap<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        trace: &mut Trace<'a>,
    ) -> Result<(), Code> {
        let id = self.find(path).ok_or(Code::NO_NODE)?;
        let node = self.node(id);
        // It may have got a child, or new data, since it was looked at.
        if !node.is_due(stamp.time_ms) {
            return Err(Code::BAD_VERSION);
        }
        self.remove(node.parent, Cow::Borrowed(path), stamp.zxid, trace);
        Ok(())
    }

    /// Of the containers and the znodes with a time to live whose paths come after `after`, the
    /// first `count`: the paths of those that have outlived themselves, and the last path that was
    /// looked at, if there may be more behind it.
    pub(crate) fn due(&self, time_ms: i64, after: &str, count: usize) -> (Vec<String>, Option<String>) {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let paths: Vec<&str> = self.reaped.range::<str, _>(behind).take(count).map(|path| &**path).collect();
        let last = (paths.len() == count).then(|| paths.last().map(|path| (*path).to_owned())).flatten();
        let due = |path: &&&str| self.get(path).is_some_and(|node| node.is_due(time_ms));
        (paths.iter().filter(due).map(|path| (*path).to_owned()).collect(), last)
    }

    /// The paths of a session's ephemeral znodes, in order.
    pub(crate) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session).into_iter().flatten().map(|path| &**path)
    }

    /// Removes the ephemeral znodes of a session, in the order of their paths.
    pub(crate) fn remove_ephemerals<'a>(&mut self, session: i64, zxid: i64, trace: &mut Trace<'a>) {
        for path in self.ephemerals.remove(&session).unwrap_or_default() {
            let parent = self.find(path::above(&path)).expect("a node's parent is there");
            self.remove(parent, Cow::Owned(path.into()), zxid, trace);
        }
    }

    /// Takes out a childless node that is known to be there.
    fn remove<'a>(&mut self, parent: u32, path: Cow<'a, str>, zxid: i64, trace: &mut Trace<'a>) {
        let (id, node) = self.detach(parent, last_name(&path));
        self.forget(node.lifetime(), &path);
        let more = More::removed(node.data_len());
        let above = self.node_mut(parent);
        let pzxid = std::mem::replace(&mut above.pzxid, zxid);
        let (acl, parent_acl) = (node.acl.clone(), Some(above.acl.clone()));
        if self.journal.is_some() {
            self.record(
                Undo::Delete { id, parent, path: Box::default(), node: Box::new(node), pzxid },
                &path,
            );
        }
        quota::count(self, &path, more);
        self.touched.push(path.as_ref().into());
        self.touch(parent, path::above(&path));
        trace.note(|| Event { kind: EventKind::Deleted, path, acl, parent_acl });
    }

    /// Notes that a znode is not what the store knows.
    fn touch(&mut self, id: u32, path: &str) {
        let node = self.node_mut(id);
        if !std::mem::replace(&mut node.is_touched, true) {
            self.touched.push(path.into());
        }
    }

    /// Hands out the paths of the znodes that are not what they were when it was called last, or not
    /// there any more, with what they are now. A path may come more than once.
    pub(crate) fn save(&mut self, mut each: impl FnMut(&str, Option<&Node>)) {
        let mut touched = std::mem::take(&mut self.touched);
        for path in touched.drain(..) {
            let id = self.find(&path);
            if let Some(id) = id {
                self.node_mut(id).is_touched = false;
            }
            each(&path, id.map(|id| self.node(id)));
        }
        // Its memory is used again, unless it is much.
        if touched.capacity() <= TOUCHED_KEPT {
            self.touched = touched;
        }
    }

    /// Notes a node that will end by itself, or holds limits.
    fn remember(&mut self, lifetime: Lifetime, path: &str) {
        self.quotas.note(path);
        if let Lifetime::Session(session) = lifetime {
            self.ephemerals.entry(session).or_default().insert(path.into());
        } else if lifetime.is_reaped() {
            self.reaped.insert(path.into());
        }
    }

    /// The opposite.
    fn forget(&mut self, lifetime: Lifetime, path: &str) {
        self.quotas.forget(path);
        if let Lifetime::Session(session) = lifetime
            && let Some(paths) = self.ephemerals.get_mut(&session)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&session);
            }
        } else if lifetime.is_reaped() {
            self.reaped.remove(path);
        }
    }

    fn find(&self, path: &str) -> Option<u32> {
        if path.is_empty() || path == "/" {
            return Some(ROOT);
        }
        let mut names = path.strip_prefix('/')?.split('/');
        names.try_fold(ROOT, |id, name| self.node(id).children.get(name).copied())
    }

    fn node(&self, id: u32) -> &Node {
        self.nodes[id as usize].as_ref().expect("ids in the tree are of live nodes")
    }

    fn node_mut(&mut self, id: u32) -> &mut Node {
        self.nodes[id as usize].as_mut().expect("ids in the tree are of live nodes")
    }

    /// Puts a node under `parent`.
    fn attach(&mut self, parent: u32, name: &str, mut node: Node) -> u32 {
        node.acl = self.acls.intern(node.acl);
        node.parent = parent;
        self.count_below(parent, |below| below + 1);
        self.weight += NODE_BYTES + name.len() + node.data_len();
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                u32::try_from(self.nodes.len() - 1).expect("memory ends before 2^32 nodes")
            }
        };
        self.node_mut(parent).children.insert(name.into(), id);
        id
    }

    /// Counts a node more or fewer below `id` and all above it.
    fn count_below(&mut self, id: u32, count: impl Fn(u32) -> u32) {
        let mut at = id;
        loop {
            let node = self.node_mut(at);
            node.below = count(node.below);
            if at == ROOT {
                return;
            }
            at = node.parent;
        }
    }

    /// The opposite of [`Tree::attach`].
    fn detach(&mut self, parent: u32, name: &str) -> (u32, Node) {
        let id = self.node_mut(parent).children.remove(name).expect("the node is there");
        let node = self.nodes[id as usize].take().expect("ids in the tree are of live nodes");
        self.free.push(id);
        self.count_below(parent, |below| below - 1);
        self.acls.release(&node.acl);
        self.weight -= NODE_BYTES + name.len() + node.data_len();
        (id, node)
    }
}

/// The last name of a path that has one.
fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
