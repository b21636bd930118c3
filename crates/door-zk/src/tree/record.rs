//! Znodes as keys and values of the store.
//!
//! A key is `n`, then for all but the root the parent's path, a zero byte and the name; the root's
//! parent is nothing, and so is the path of the root as a parent. No path holds a zero byte. So
//! the children of a znode lie side by side, by name, and a parent comes before its children:
//! `/a-b` and what is below it never stands between `/a` and the children of `/a`. (Whole paths as
//! keys would do that: `/a`, `/a-b`, `/a/b`.)
//!
//! A value, version 2, integers little-endian:
//!
//! ```text
//! version    u8   2
//! czxid, mzxid, pzxid, ctime, mtime, owner   i64 each
//! version, creations, aversion, children     u32 each
//! acl        varint count; each entry: perms u32, scheme and id as varint length and UTF-8.
//!            No entries is "everyone may do everything", which nearly every znode has.
//! data       u8   0 null, nothing follows; 1 the rest of the value
//! ```

use base::{Malformed, Reader, Writer};

use super::Node;
use crate::acl::Acl;

/// First byte of a znode's key.
pub(crate) const NODE: u8 = b'n';

/// Between the parent's path and the name.
const SEPARATOR: u8 = 0;

const VERSION: u8 = 2;

/// Bytes of a value beside the data, with the ACL that nearly every znode has.
const FIXED_BYTES: usize = 67;

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

/// The keys of the children of the znode at `path`, from the first to behind the last. A name follows.
pub(super) fn children_keys(path: &str) -> (Vec<u8>, Vec<u8>) {
    let key = |end: u8| [&[NODE], path.as_bytes(), &[end]].concat();
    (key(SEPARATOR), key(SEPARATOR + 1))
}

/// The keys of what is below the children of the znode at `path`, from the first to behind the last.
pub(super) fn deeper_keys(path: &str) -> (Vec<u8>, Vec<u8>) {
    let key = |end: u8| [&[NODE], path.as_bytes(), &[end]].concat();
    (key(b'/'), key(b'/' + 1))
}

/// The path of the znode with this key, if it is one.
pub(super) fn path_of(key: &[u8]) -> Result<String, Malformed> {
    const WHAT: Malformed = Malformed("key of a znode");
    let place = std::str::from_utf8(key).map_err(|_| WHAT)?.strip_prefix(NODE as char).ok_or(WHAT)?;
    let (parent, name) = place.split_once(SEPARATOR as char).ok_or(WHAT)?;
    Ok(format!("{parent}/{name}"))
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
        out.u32(self.children);
        self.acl.write(out);
        match &self.data {
            None => out.u8(0),
            Some(data) => {
                out.u8(1);
                out.raw(data);
            }
        }
    }

    /// Reads a value.
    pub(super) fn decode(value: &[u8]) -> Result<Node, Malformed> {
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
            children: input.u32("children")?,
            data: None,
            ..Node::empty(Acl::read(&mut input)?)
        };
        // Clients are told it as an i32, and there is always room for one more.
        if i32::try_from(node.children).is_err() {
            return Err(Malformed("children"));
        }
        match input.u8("data")? {
            0 => input.end("null data")?,
            1 => node.data = Some(input.rest().into()),
            _ => return Err(Malformed("data")),
        }
        Ok(node)
    }
}
