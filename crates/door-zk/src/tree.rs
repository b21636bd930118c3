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
mod record;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

pub(crate) use self::record::{NODE, Restoring, node_key};

use self::journal::Undo;
use crate::{
    acl::{self, Acl},
    faults::Code,
    path,
    wire::{
        reply::{EventKind, Stat},
        request::Ace,
    },
};

/// What a znode takes in memory beside name and data, roughly: itself, its entry in the parent,
/// its allocations.
const NODE_BYTES: usize = 256;

/// Bytes of the longest path. A key of the store is a little longer than a path.
const MAX_PATH_BYTES: usize = 60_000;

/// Bytes of the longest data. A value of the store holds the rest of the znode too.
const MAX_DATA_BYTES: usize = 7 << 20;

/// The slab's place of the root.
const ROOT: u32 = 0;

/// A znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) data: Option<Box<[u8]>>,
    acl: Acl,
    children: BTreeMap<Box<str>, u32>,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    version: i32,
    /// Children ever created: the counter behind sequential names. What clients see as `cversion`
    /// counts deletions too, and is derived from this one.
    creations: i32,
    aversion: i32,
    owner: i64,
}

impl Node {
    /// What clients are told about it.
    pub(crate) fn stat(&self) -> Stat {
        let num_children = self.children.len() as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // Every child that is not there any more was created once and deleted once.
            cversion: self.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: self.owner,
            data_length: self.data.as_ref().map_or(0, |data| data.len() as i32),
            num_children,
            pzxid: self.pzxid,
        }
    }

    /// The names of its children, in order.
    pub(crate) fn children(&self) -> impl ExactSizeIterator<Item = &str> {
        self.children.keys().map(|name| &**name)
    }

    /// Fails unless clients may read it.
    pub(crate) fn check_readable(&self) -> Result<(), Code> {
        self.acl.check(acl::READ)
    }

    fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    fn empty(acl: Acl) -> Node {
        Node {
            data: Some(Box::default()),
            acl,
            children: BTreeMap::new(),
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 0,
            creations: 0,
            aversion: 0,
            owner: 0,
        }
    }
}

/// What stamps a change: when, in which transaction, by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The transaction.
    pub(crate) zxid: i64,
    /// Milliseconds since 1970, by the proposer's clock.
    pub(crate) time_ms: i64,
    /// The session that asks.
    pub(crate) session: i64,
}

/// A change that watches are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Created, deleted or data changed.
    pub(crate) kind: EventKind,
    /// The znode.
    pub(crate) path: Cow<'a, str>,
    /// Whether clients may read it; others must not learn of it.
    pub(crate) readable: bool,
    /// Whether clients may read its parent.
    pub(crate) parent_readable: bool,
}

/// What operations do beside changing the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace<'a> {
    /// Changes that watches are about, in order.
    pub(crate) events: Vec<Event<'a>>,
    /// Paths of the znodes that are not what they were, or not there any more.
    pub(crate) touched: BTreeSet<Cow<'a, str>>,
}

impl<'a> Trace<'a> {
    /// Notes that a znode was made or removed: its parent is not what it was either.
    fn touch_both(&mut self, path: Cow<'a, str>) {
        if !self.touched.contains(path::above(&path)) {
            self.touched.insert(match &path {
                Cow::Borrowed(path) => Cow::Borrowed(path::above(path)),
                Cow::Owned(path) => Cow::Owned(path::above(path).to_owned()),
            });
        }
        self.touched.insert(path);
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
}

/// A create mode's two bits. Containers and nodes with a time to live are refused as a server
/// without extended types refuses the latter.
fn mode(number: i32) -> Result<(bool, bool), Code> {
    match number {
        0..=3 => Ok((number & 1 != 0, number & 2 != 0)),
        4..=6 => Err(Code::UNIMPLEMENTED),
        _ => Err(Code::BAD_ARGUMENTS),
    }
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
    /// Bytes of memory, roughly.
    weight: usize,
    /// How to undo what was done since [`Tree::begin`].
    journal: Option<Vec<Undo>>,
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
        tree
    }

    /// A root and nothing else.
    fn bare() -> Tree {
        Tree {
            nodes: vec![Some(Node::empty(Acl::open()))],
            free: Vec::new(),
            ephemerals: BTreeMap::new(),
            weight: NODE_BYTES,
            journal: None,
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
    pub(crate) fn owners(&self) -> impl Iterator<Item = i64> {
        self.ephemerals.keys().copied()
    }

    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Makes a znode; gives its path, which a sequential one learns only now.
    pub(crate) fn create<'a>(
        &mut self,
        stamp: Stamp,
        draft: Draft<'a>,
        trace: &mut Trace<'a>,
    ) -> Result<Cow<'a, str>, Code> {
        let (ephemeral, sequential) = mode(draft.mode)?;
        let (parent_path, _) = path::split(draft.path)?;
        let acl = Acl::from_entries(draft.acl)?;
        let parent = self.find(parent_path).ok_or(Code::NO_NODE)?;
        let above = self.node(parent);
        above.acl.check(acl::CREATE)?;
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
        if above.owner != 0 {
            return Err(Code::NO_CHILDREN_FOR_EPHEMERALS);
        }
        if parent_path.starts_with(path::QUOTA) {
            // A quota that nobody enforces must not look as if it were one.
            return Err(Code::UNIMPLEMENTED);
        }
        trace.touch_both(path.clone());
        trace.events.push(Event {
            kind: EventKind::Created,
            path: path.clone(),
            readable: acl.allows(acl::READ),
            parent_readable: above.acl.allows(acl::READ),
        });
        let node = Node {
            data: draft.data.map(Box::from),
            czxid: stamp.zxid,
            mzxid: stamp.zxid,
            pzxid: stamp.zxid,
            ctime: stamp.time_ms,
            mtime: stamp.time_ms,
            owner: if ephemeral { stamp.session } else { 0 },
            ..Node::empty(acl)
        };
        if ephemeral {
            self.ephemerals.entry(stamp.session).or_default().insert(Box::from(&*path));
        }
        self.attach(parent, name, node);
        let above = self.node_mut(parent);
        let undo =
            Undo::Create { parent, path: Box::default(), creations: above.creations, pzxid: above.pzxid };
        above.creations = above.creations.wrapping_add(1);
        above.pzxid = stamp.zxid;
        self.record(undo, &path);
        Ok(path)
    }

    /// Removes a znode.
    pub(crate) fn delete<'a>(
        &mut self,
        stamp: Stamp,
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
        above.acl.check(acl::DELETE)?;
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
        stamp: Stamp,
        path: &'a str,
        data: Option<&[u8]>,
        version: i32,
        trace: &mut Trace<'a>,
    ) -> Result<Stat, Code> {
        path::validate(path)?;
        let id = self.find(path).ok_or(Code::NO_NODE)?;
        let node = self.node_mut(id);
        node.acl.check(acl::WRITE)?;
        let next = next_version(node.version, version)?;
        fits(path, data)?;
        let was_bytes = node.data_len();
        let was = std::mem::replace(&mut node.data, data.map(Box::from));
        let undo =
            Undo::SetData { id, data: was, mzxid: node.mzxid, mtime: node.mtime, version: node.version };
        node.version = next;
        node.mzxid = stamp.zxid;
        node.mtime = stamp.time_ms;
        let (stat, readable) = (node.stat(), node.acl.allows(acl::READ));
        self.weight = self.weight - was_bytes + data.map_or(0, <[u8]>::len);
        self.record(undo, path);
        trace.touched.insert(Cow::Borrowed(path));
        trace.events.push(Event {
            kind: EventKind::DataChanged,
            path: Cow::Borrowed(path),
            readable,
            parent_readable: false,
        });
        Ok(stat)
    }

    /// Fails unless a znode is there and has this version; -1 is any.
    pub(crate) fn check(&self, path: &str, version: i32) -> Result<(), Code> {
        path::validate(path)?;
        let node = self.get(path).ok_or(Code::NO_NODE)?;
        node.check_readable()?;
        next_version(node.version, version).map(drop)
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
        self.forget_ephemeral(node.owner, &path);
        let above = self.node_mut(parent);
        let pzxid = std::mem::replace(&mut above.pzxid, zxid);
        let parent_readable = above.acl.allows(acl::READ);
        let readable = node.acl.allows(acl::READ);
        if self.journal.is_some() {
            self.record(
                Undo::Delete { id, parent, path: Box::default(), node: Box::new(node), pzxid },
                &path,
            );
        }
        trace.touch_both(path.clone());
        trace.events.push(Event { kind: EventKind::Deleted, path, readable, parent_readable });
    }

    fn forget_ephemeral(&mut self, owner: i64, path: &str) {
        if let Some(paths) = self.ephemerals.get_mut(&owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&owner);
            }
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
    fn attach(&mut self, parent: u32, name: &str, node: Node) -> u32 {
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

    /// The opposite.
    fn detach(&mut self, parent: u32, name: &str) -> (u32, Node) {
        let id = self.node_mut(parent).children.remove(name).expect("the node is there");
        let node = self.nodes[id as usize].take().expect("ids in the tree are of live nodes");
        self.free.push(id);
        self.weight -= NODE_BYTES + name.len() + node.data_len();
        (id, node)
    }
}

/// The last name of a path that has one.
fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
