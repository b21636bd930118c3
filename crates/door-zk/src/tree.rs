//! The tree of znodes: a value, changed by one operation at a time.
//!
//! Each operation checks in the order in which ZooKeeper's `PrepRequestProcessor` checks, because
//! the first failed check is the error a client sees. Operations of a multi are made one after the
//! other, under a journal from which all of them can be undone.
//!
//! The znodes are in the store, each under a key made of its path; memory holds those that were used
//! lately ([`cache`]) and knows by heart only which of them end by themselves ([`ends`]) and which
//! have quotas. An operation first finds the znodes that it needs. Where they are not in memory, that
//! is a look at the store, which may have to wait for the disk; whoever cannot wait is told so
//! ([`Stop::Cold`]), has what is missing brought into the store's memory by a thread that can
//! ([`warm`]), and comes again.

mod cache;
mod census;
mod due;
mod ends;
mod journal;
mod memory;
mod node;
mod record;
mod stop;
mod warm;

use std::{borrow::Cow, sync::Arc};

use base::Cause;
use store::{MachineState, Patience};

pub(crate) use self::{
    cache::Place,
    census::Census,
    node::Node,
    stop::Stop,
    warm::{Missing, Want, away, warm},
};

#[cfg(test)]
pub(crate) use self::record::node_key;

use self::{
    cache::Cache,
    ends::Ends,
    journal::{Journal, Undo},
};
use crate::{
    acl::{self, Acl, AclTable},
    auth::Id,
    faults::Code,
    lifetime::Lifetime,
    path,
    quota::{self, More, Quotas},
    wire::{
        reply::{EventKind, Stat},
        request::{Ace, Form, is_sequential},
    },
};

/// Bytes of the longest path. A key of the store is a little longer than a path.
const MAX_PATH_BYTES: usize = 60_000;

/// Bytes of the longest data. A value of the store holds the rest of the znode too.
const MAX_DATA_BYTES: usize = 7 << 20;

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
    Ok((lifetime.ok_or(Code::BAD_ARGUMENTS)?, is_sequential(mode)))
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

/// How large the tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Znodes, the root included.
    pub(crate) znodes: u64,
    /// Bytes of their paths and data.
    pub(crate) bytes: u64,
}

/// The tree.
pub(crate) struct Tree {
    store: Arc<dyn MachineState>,
    cache: Cache,
    ends: Ends,
    /// Which znodes have limits.
    pub(crate) quotas: Quotas,
    size: Size,
    /// The ACLs of all nodes in memory.
    acls: AclTable,
    /// How to undo what was done since [`Tree::begin`].
    journal: Option<Journal>,
    /// Whether it waits for the disk.
    patience: Patience,
    /// Where keys are made.
    key: Vec<u8>,
}

impl Tree {
    /// The tree as it is before its first transaction. `store` has nothing of it, and about
    /// `cache_bytes` of it are kept in memory.
    pub(crate) fn new(store: Arc<dyn MachineState>, cache_bytes: usize) -> Tree {
        let mut tree = Tree::bare(store, cache_bytes);
        let root = tree.cache.put("", Node::empty(Acl::open()));
        tree.size.znodes = 1;
        tree.cache.touch(root);
        let zookeeper = tree.attach(root, "/zookeeper", Node::empty(Acl::open()));
        // As ZooKeeper's own: the ACL of the configuration was "set" once, from version -1.
        let config = Node { aversion: -1, ..Node::empty(Acl::read_only()) };
        tree.attach(zookeeper, "/zookeeper/config", config);
        tree.attach(zookeeper, path::QUOTA, Node::empty(Acl::open()));
        tree
    }

    /// The tree that is in `store`, of this size. Reads which znodes end by themselves, and which have
    /// limits.
    pub(crate) fn restore(
        store: Arc<dyn MachineState>,
        cache_bytes: usize,
        size: Size,
    ) -> Result<Tree, Cause> {
        let mut tree = Tree::bare(store, cache_bytes);
        tree.size = size;
        tree.ends = Ends::restore(&*tree.store)?;
        for (from, to) in [record::children_keys(path::QUOTA), record::deeper_keys(path::QUOTA)] {
            for record in tree.store.scan(&from, Some(&to), Patience::Wait)? {
                tree.quotas.note(&record::path_of(&record?.0)?);
            }
        }
        // What cannot be deleted is looked up without asking whether it is there.
        tree.patience = Patience::Wait;
        for path in path::PERMANENT {
            tree.find(path)?.ok_or_else(|| Cause::corrupt("znodes are missing"))?;
        }
        tree.patience = Patience::Now;
        Ok(tree)
    }

    fn bare(store: Arc<dyn MachineState>, cache_bytes: usize) -> Tree {
        Tree {
            store,
            cache: Cache::new(cache_bytes),
            ends: Ends::default(),
            quotas: Quotas::default(),
            size: Size::default(),
            acls: AclTable::default(),
            journal: None,
            patience: Patience::Now,
            key: Vec::new(),
        }
    }

    /// How large it is.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Ephemeral znodes.
    pub(crate) fn ephemeral_len(&self) -> usize {
        self.ends.ephemeral_len()
    }

    /// The sessions that own ephemeral znodes.
    pub(crate) fn owners(&self) -> impl ExactSizeIterator<Item = i64> {
        self.ends.owners()
    }

    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.cache.bytes() + self.acls.weight() + self.ends.weight()
    }

    /// Makes a znode; gives its path, which a sequential one learns only now.
    pub(crate) fn create<'a>(
        &mut self,
        stamp: Stamp<'_>,
        draft: Draft<'a>,
        trace: &mut Trace<'a>,
    ) -> Result<Cow<'a, str>, Stop> {
        let (lifetime, sequential) = lifetime(draft.mode, draft.form, stamp.session)?;
        let (parent_path, _) = path::split(draft.path)?;
        let acl = Acl::from_entries(draft.acl, stamp.ids)?;
        let parent = self.find(parent_path)?.ok_or(Code::NO_NODE)?;
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
        let has_ephemeral_parent = matches!(above.lifetime(), Lifetime::Session(_));
        if self.find(&path)?.is_some() {
            return Err(Code::NODE_EXISTS.into());
        }
        if has_ephemeral_parent {
            return Err(Code::NO_CHILDREN_FOR_EPHEMERALS.into());
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
        let place = self.attach(parent, &path, node);
        let above = self.cache.node_mut(parent);
        let (creations, pzxid) = (above.creations, above.pzxid);
        above.creations = creations.wrapping_add(1);
        above.pzxid = stamp.zxid;
        self.record(|| Undo::Create { parent, place, creations, pzxid });
        quota::count(self, &path, more)?;
        Ok(path)
    }

    /// Removes a znode.
    pub(crate) fn delete<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        version: i32,
        trace: &mut Trace<'a>,
    ) -> Result<(), Stop> {
        let (parent_path, _) = path::split(path)?;
        if path::is_permanent(path) {
            return Err(Code::BAD_ARGUMENTS.into());
        }
        let parent = self.find(parent_path)?.ok_or(Code::NO_NODE)?;
        stamp.check(&self.node(parent).acl, acl::DELETE)?;
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        let node = self.node(place);
        next_version(node.version, version)?;
        if node.children != 0 {
            return Err(Code::NOT_EMPTY.into());
        }
        self.remove(parent, place, Cow::Borrowed(path), stamp.zxid, trace)
    }

    /// Sets the data of a znode; gives its Stat.
    pub(crate) fn set_data<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        data: Option<&[u8]>,
        version: i32,
        trace: &mut Trace<'a>,
    ) -> Result<Stat, Stop> {
        path::validate(path)?;
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        let node = self.node(place);
        stamp.check(&node.acl, acl::WRITE)?;
        let more = More::replaced(node.data_len(), data);
        quota::check(self, stamp, path, more)?;
        let node = self.node(place);
        let next = next_version(node.version, version)?;
        fits(path, data)?;
        self.put_data(place, data.map(Box::from));
        let node = self.cache.node_mut(place);
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
        quota::count(self, path, more)?;
        Ok(stat)
    }

    /// Puts other data into a znode that is there, as the tree itself does: without a version, a
    /// time or an event.
    pub(crate) fn rewrite(&mut self, path: &str, data: String) -> Result<(), Stop> {
        if let Some(place) = self.find(path)? {
            self.put_data(place, Some(data.into_bytes().into()));
        }
        Ok(())
    }

    /// Puts other data into a znode, such that it can be undone.
    fn put_data(&mut self, place: Place, data: Option<Box<[u8]>>) {
        self.cache.touch(place);
        let was = self.set_bytes(place, data);
        let node = self.cache.node(place);
        let (mzxid, mtime, version) = (node.mzxid, node.mtime, node.version);
        self.record(|| Undo::SetData { place, data: was, mzxid, mtime, version });
    }

    /// Puts other data into a znode; gives what was there.
    fn set_bytes(&mut self, place: Place, data: Option<Box<[u8]>>) -> Option<Box<[u8]>> {
        let node = self.cache.node_mut(place);
        let was_bytes = node.data_len() as u64;
        let was = std::mem::replace(&mut node.data, data);
        self.size.bytes = self.size.bytes.saturating_sub(was_bytes).saturating_add(node.data_len() as u64);
        self.cache.weigh(place);
        was
    }

    /// Sets the ACL of a znode, whose ACL has this version; gives its Stat.
    pub(crate) fn set_acl(
        &mut self,
        stamp: Stamp<'_>,
        path: &str,
        entries: &[Ace<'_>],
        version: i32,
    ) -> Result<Stat, Stop> {
        path::validate(path)?;
        let acl = Acl::from_entries(entries, stamp.ids)?;
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        let node = self.node(place);
        stamp.check(&node.acl, acl::ADMIN)?;
        let aversion = next_version(node.aversion, version)?;
        let acl = self.acls.intern(acl);
        let node = self.cache.node_mut(place);
        node.aversion = aversion;
        let was = std::mem::replace(&mut node.acl, acl);
        let stat = node.stat();
        self.acls.release(&was);
        self.cache.touch(place);
        Ok(stat)
    }

    /// Fails unless a znode is there and has this version; -1 is any.
    pub(crate) fn check(&mut self, stamp: Stamp<'_>, path: &str, version: i32) -> Result<(), Stop> {
        path::validate(path)?;
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        let node = self.node(place);
        stamp.check(&node.acl, acl::READ)?;
        Ok(next_version(node.version, version).map(drop)?)
    }

    /// Removes a znode that has outlived itself.
    pub(crate) fn reap<'a>(
        &mut self,
        stamp: Stamp<'_>,
        path: &'a str,
        trace: &mut Trace<'a>,
    ) -> Result<(), Stop> {
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        // It may have got a child, or new data, since it was looked at.
        if !self.node(place).is_due(stamp.time_ms) {
            return Err(Code::BAD_VERSION.into());
        }
        let parent = self.find(path::above(path))?.ok_or_else(orphan)?;
        self.remove(parent, place, Cow::Borrowed(path), stamp.zxid, trace)
    }

    /// The paths of a session's ephemeral znodes, in order.
    pub(crate) fn ephemerals(&self, session: i64) -> impl Iterator<Item = &str> {
        self.ends.ephemerals(session)
    }

    /// Removes the ephemeral znodes of a session, in the order of their paths.
    pub(crate) fn remove_ephemerals<'a>(
        &mut self,
        session: i64,
        zxid: i64,
        trace: &mut Trace<'a>,
    ) -> Result<(), Stop> {
        let paths: Vec<String> = self.ends.ephemerals(session).map(str::to_owned).collect();
        for path in paths {
            let parent = self.find(path::above(&path))?.ok_or_else(orphan)?;
            let place = self.find(&path)?.ok_or_else(orphan)?;
            self.remove(parent, place, Cow::Owned(path), zxid, trace)?;
        }
        Ok(())
    }

    /// Takes out a childless node.
    fn remove<'a>(
        &mut self,
        parent: Place,
        place: Place,
        path: Cow<'a, str>,
        zxid: i64,
        trace: &mut Trace<'a>,
    ) -> Result<(), Stop> {
        let node = self.detach(parent, place);
        self.forget(node.lifetime(), &path);
        let more = More::removed(node.data_len());
        let above = self.cache.node_mut(parent);
        let pzxid = std::mem::replace(&mut above.pzxid, zxid);
        let acls = (!trace.is_unwatched).then(|| (node.acl.clone(), above.acl.clone()));
        self.record(|| Undo::Delete { parent, place, node: Box::new(node), pzxid });
        quota::count(self, &path, more)?;
        if let Some((acl, parent_acl)) = acls {
            trace.note(|| Event { kind: EventKind::Deleted, path, acl, parent_acl: Some(parent_acl) });
        }
        Ok(())
    }

    /// Notes a node that will end by itself, or holds limits.
    fn remember(&mut self, lifetime: Lifetime, path: &str) {
        self.quotas.note(path);
        self.ends.remember(lifetime, path);
    }

    /// The opposite.
    fn forget(&mut self, lifetime: Lifetime, path: &str) {
        self.quotas.forget(path);
        self.ends.forget(lifetime, path);
    }

    /// Puts a node at `path` under `parent`, which changes both.
    fn attach(&mut self, parent: Place, path: &str, mut node: Node) -> Place {
        node.acl = self.acls.intern(node.acl);
        // Numbers that lie, which only a damaged state has, end no process: they saturate.
        self.size.znodes = self.size.znodes.saturating_add(1);
        self.size.bytes = self.size.bytes.saturating_add((path.len() + node.data_len()) as u64);
        let place = self.cache.put(path, node);
        self.cache.node_mut(parent).children += 1;
        self.cache.change_name(parent, last_name(path), true);
        self.cache.touch(place);
        self.cache.touch(parent);
        place
    }

    /// The opposite of [`Tree::attach`].
    fn detach(&mut self, parent: Place, place: Place) -> Node {
        let node = self.cache.take(place);
        self.acls.release(&node.acl);
        let path = self.cache.slot(place).path.clone();
        self.size.znodes = self.size.znodes.saturating_sub(1);
        self.size.bytes = self.size.bytes.saturating_sub((path.len() + node.data_len()) as u64);
        let above = self.cache.node_mut(parent);
        above.children = above.children.saturating_sub(1);
        if above.children == 0 && above.lifetime().is_reaped() {
            let above = self.cache.slot(parent).path.clone();
            self.ends.look_at(&above, 0);
        }
        self.cache.change_name(parent, last_name(&path), false);
        self.cache.touch(place);
        self.cache.touch(parent);
        node
    }
}

/// The last name of a path that has one.
fn last_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn orphan() -> Stop {
    Stop::Failed(Cause::corrupt("a znode that ends by itself, or its parent, is missing"))
}
