//! Znodes as keys and values of the store.
//!
//! A key is `n`, then for all but the root the parent's path, a zero byte and the name; the root's
//! parent is nothing, and so is the path of the root as a parent. No path holds a zero byte. So
//! the children of a znode lie side by side, by name, and a parent comes before its children:
//! `/a-b` and what is below it never stands between `/a` and the children of `/a`. (Whole paths as
//! keys would do that: `/a`, `/a-b`, `/a/b`.)
//!
//! A value, version 1, integers little-endian:
//!
//! ```text
//! version    u8   1
//! czxid, mzxid, pzxid, ctime, mtime, owner   i64 each
//! version, creations, aversion               u32 each
//! acl        varint count; each entry: perms u32, scheme and id as varint length and UTF-8.
//!            No entries is "everyone may do everything", which nearly every znode has.
//! data       u8   0 null, nothing follows; 1 the rest of the value
//! ```

use base::{Cause, Malformed, Reader, Writer};

use super::{Node, ROOT, Tree};
use crate::{acl::Acl, lifetime::Lifetime, path};

/// First byte of a znode's key.
pub(crate) const NODE: u8 = b'n';

/// Between the parent's path and the name.
const SEPARATOR: u8 = 0;

const VERSION: u8 = 1;

/// Bytes of a value beside the data, with the ACL that nearly every znode has.
const FIXED_BYTES: usize = 63;

/// The key of the znode at `path`, in the place of what is in `key`.
pub(crate) fn node_key(path: &str, key: &mut Vec<u8>) {
    key.clear();
    key.push(NODE);
    if let Some((parent, name)) = path.rsplit_once('/')
        && !name.is_empty()
    {
        key.extend_from_slice(parent.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(name.as_bytes());
    }
}

impl Node {
    /// About how many bytes [`Node::encode`] writes.
    pub(crate) fn encoded_len(&self) -> usize {
        FIXED_BYTES + self.data_len()
    }

    /// Writes its value.
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u8(VERSION);
        for value in [self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime, self.owner] {
            out.i64(value);
        }
        for value in [self.version, self.creations, self.aversion] {
            out.u32(value as u32);
        }
        self.acl.write(out);
        match &self.data {
            None => out.u8(0),
            Some(data) => {
                out.u8(1);
                out.raw(data);
            }
        }
    }

    fn decode(value: &[u8]) -> Result<Node, Malformed> {
        let mut input = Reader::new(value);
        if input.u8("version of a znode")? != VERSION {
            return Err(Malformed("version of a znode"));
        }
        let mut node = Node {
            czxid: input.i64("czxid")?,
            mzxid: input.i64("mzxid")?,
            pzxid: input.i64("pzxid")?,
            ctime: input.i64("ctime")?,
            mtime: input.i64("mtime")?,
            owner: input.i64("owner")?,
            version: input.u32("version")? as i32,
            creations: input.u32("creations")? as i32,
            aversion: input.u32("aversion")? as i32,
            data: None,
            ..Node::empty(Acl::read(&mut input)?)
        };
        match input.u8("data")? {
            0 => input.end("null data")?,
            1 => node.data = Some(input.rest().into()),
            _ => return Err(Malformed("data")),
        }
        Ok(node)
    }
}

/// A tree that is being read from its keys and values. Nothing is held twice: a value is dropped
/// when its node stands.
pub(crate) struct Restoring {
    tree: Tree,
    has_root: bool,
    /// Where the last node was put: the next one most likely belongs there too.
    parent_path: String,
    parent: u32,
}

impl Restoring {
    /// Nothing was read yet.
    pub(crate) fn new() -> Restoring {
        Restoring { tree: Tree::bare(), has_root: false, parent_path: String::new(), parent: ROOT }
    }

    /// Takes the next znode: `place` is its key behind the first byte. Keys ascend.
    pub(crate) fn add(&mut self, place: &[u8], value: &[u8]) -> Result<(), Cause> {
        let node = Node::decode(value)?;
        if place.is_empty() {
            if self.has_root {
                return Err(Cause::corrupt("the tree of znodes has two roots"));
            }
            self.has_root = true;
            self.tree.weight += node.data_len();
            self.tree.nodes[ROOT as usize] = Some(node);
            return Ok(());
        }
        let at = place.iter().position(|byte| *byte == SEPARATOR).ok_or(Malformed("key of a znode"))?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed("name of a znode"));
        let (parent_path, name) = (text(&place[..at])?, text(&place[at + 1..])?);
        if !path::is_name(name) {
            return Err(Malformed("name of a znode").into());
        }
        self.enter(parent_path)?;
        let above = self.tree.node(self.parent);
        if above.children.last_key_value().is_some_and(|(last, _)| **last >= *name) {
            return Err(Cause::corrupt("the znodes do not come in order"));
        }
        if matches!(above.lifetime(), Lifetime::Session(_)) {
            return Err(Cause::corrupt("an ephemeral znode has a child"));
        }
        let lifetime = node.lifetime();
        if lifetime != Lifetime::Forever || parent_path.starts_with(path::QUOTA) {
            self.tree.remember(lifetime, &format!("{parent_path}/{name}"));
        }
        self.tree.attach(self.parent, name, node);
        Ok(())
    }

    /// Finds the parent of the next node.
    fn enter(&mut self, path: &str) -> Result<(), Cause> {
        if !self.has_root {
            return Err(Cause::corrupt("the root of the znodes is missing"));
        }
        // The root answers to "/" as well, which is no parent's path.
        if self.parent_path != path {
            let parent = self.tree.find(path).filter(|_| path != "/");
            self.parent = parent.ok_or_else(|| Cause::corrupt("the parent of a znode is missing"))?;
            path.clone_into(&mut self.parent_path);
        }
        Ok(())
    }

    /// The tree, when all nodes were given.
    pub(crate) fn finish(self) -> Result<Tree, Cause> {
        // What cannot be deleted is looked up without asking whether it is there.
        let whole = path::PERMANENT.iter().all(|path| self.tree.find(path).is_some());
        if self.has_root && whole { Ok(self.tree) } else { Err(Cause::corrupt("znodes are missing")) }
    }
}
