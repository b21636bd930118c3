//! The tree as bytes: one record a node, parents before children, children by name.
//!
//! Layout of a record: 1, the parent as the number of its record (the root's is 0 and its own
//! parent), the name, data (0, or 1 and the bytes), the ACL (a count and each entry's
//! permissions), then czxid, mzxid, pzxid, ctime, mtime, owner as i64 and version, creations,
//! aversion as u32. A 0 ends the tree. Equal trees give equal bytes.

use base::{Malformed, Reader, Writer};

use super::{Node, ROOT, Tree};
use crate::acl::Acl;

impl Tree {
    /// Writes the tree. `flush` is called between nodes, to take what has gathered.
    pub(crate) fn write(&self, out: &mut Writer, flush: &mut dyn FnMut(&mut Writer)) {
        // Depth first without recursion: a tree may be deeper than a thread's stack.
        let mut number = 0;
        let mut open = vec![(0, "", ROOT)];
        while let Some((parent, name, id)) = open.pop() {
            let node = self.node(id);
            out.u8(1);
            out.varint(parent);
            out.str(name);
            write_node(out, node);
            flush(out);
            open.extend(node.children.iter().rev().map(|(name, &id)| (number, &**name, id)));
            number += 1;
        }
        out.u8(0);
    }

    /// Reads what [`Tree::write`] wrote.
    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Tree, Malformed> {
        let mut tree = Tree::bare();
        // Each node's path is needed only for ephemerals, which are few; so it is found backwards.
        let mut above: Vec<(u32, Box<str>)> = Vec::new();
        let mut ids: Vec<u32> = Vec::new();
        while input.u8("tree record")? == 1 {
            let parent = usize::try_from(input.varint("parent")?).map_err(|_| Malformed("parent"))?;
            let name = input.str("name")?;
            let node = read_node(input)?;
            let owner = node.owner;
            if ids.is_empty() {
                tree.weight += node.data_len();
                tree.nodes[ROOT as usize] = Some(node);
                ids.push(ROOT);
                above.push((ROOT, Box::default()));
                continue;
            }
            let parent_id = *ids.get(parent).ok_or(Malformed("parent"))?;
            if name.is_empty() || tree.node(parent_id).children.contains_key(name) {
                return Err(Malformed("name"));
            }
            let id = tree.attach(parent_id, name, node);
            ids.push(id);
            above.push((parent_id, name.into()));
            if owner != 0 {
                let path = path_of(id, &above);
                tree.ephemerals.entry(owner).or_default().insert(path);
            }
        }
        if ids.is_empty() { Err(Malformed("tree")) } else { Ok(tree) }
    }
}

/// The path of a node; `above` has the parent and name of every id so far (ids of a tree that was
/// only ever added to count up from 0).
fn path_of(id: u32, above: &[(u32, Box<str>)]) -> Box<str> {
    let mut names = Vec::new();
    let mut at = id;
    while at != ROOT {
        let (parent, name) = &above[at as usize];
        names.push(&**name);
        at = *parent;
    }
    let mut path = String::new();
    for name in names.iter().rev() {
        path.push('/');
        path.push_str(name);
    }
    path.into()
}

fn write_node(out: &mut Writer, node: &Node) {
    match &node.data {
        None => out.u8(0),
        Some(data) => {
            out.u8(1);
            out.bytes(data);
        }
    }
    let perms = node.acl.perms();
    out.varint(perms.len() as u64);
    for perms in perms {
        out.u32(*perms as u32);
    }
    for value in [node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime, node.owner] {
        out.i64(value);
    }
    for value in [node.version, node.creations, node.aversion] {
        out.u32(value as u32);
    }
}

fn read_node(input: &mut Reader<'_>) -> Result<Node, Malformed> {
    let data = match input.u8("data")? {
        0 => None,
        1 => Some(input.bytes("data")?.into()),
        _ => return Err(Malformed("data")),
    };
    let count = input.count("acl")?;
    let mut perms = Vec::with_capacity(count);
    for _ in 0..count {
        perms.push(input.u32("acl")? as i32);
    }
    let node = Node {
        data,
        czxid: input.i64("czxid")?,
        mzxid: input.i64("mzxid")?,
        pzxid: input.i64("pzxid")?,
        ctime: input.i64("ctime")?,
        mtime: input.i64("mtime")?,
        owner: input.i64("owner")?,
        version: input.u32("version")? as i32,
        creations: input.u32("creations")? as i32,
        aversion: input.u32("aversion")? as i32,
        ..Node::empty(Acl::from_perms(perms))
    };
    Ok(node)
}
