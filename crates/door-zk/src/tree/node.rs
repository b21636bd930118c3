//! One znode: its fields, and what clients are told of them.

use crate::{
    acl::{self, Acl},
    auth::Id,
    faults::Code,
    lifetime::Lifetime,
    wire::reply::Stat,
};

/// A znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its content; null is kept apart from empty.
    pub(crate) data: Option<Box<[u8]>>,
    pub(super) acl: Acl,
    /// How many children it has.
    pub(super) children: u32,
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) pzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    /// Children ever created: the counter behind sequential names. What clients see as `cversion`
    /// counts deletions too, and is derived from this one.
    pub(super) creations: i32,
    pub(super) aversion: i32,
    pub(super) owner: i64,
}

impl Node {
    /// What clients are told about it.
    pub(crate) fn stat(&self) -> Stat {
        let num_children = self.children as i32;
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // Every child that is not there any more was created once and deleted once.
            cversion: self.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            // The other lifetimes are no client's business.
            ephemeral_owner: if let Lifetime::Session(session) = self.lifetime() { session } else { 0 },
            data_length: self.data_len() as i32,
            num_children,
            pzxid: self.pzxid,
        }
    }

    /// Who or what it ends with; see [`Lifetime`].
    #[cfg(test)]
    pub(crate) fn owner(&self) -> i64 {
        self.owner
    }

    /// How long it lives.
    pub(super) fn lifetime(&self) -> Lifetime {
        Lifetime::of_owner(self.owner)
    }

    /// Whether it has outlived itself at this time.
    pub(super) fn is_due(&self, time_ms: i64) -> bool {
        self.children == 0
            && match self.lifetime() {
                Lifetime::Forever | Lifetime::Session(_) => false,
                Lifetime::Container => self.creations != 0,
                Lifetime::Ttl(ttl_ms) => time_ms.saturating_sub(self.mtime) > ttl_ms,
            }
    }

    /// When it may be due, in milliseconds since 1970, if nothing happens to it before; `None` for
    /// never.
    pub(super) fn due_after(&self) -> Option<i64> {
        match self.lifetime() {
            Lifetime::Ttl(ttl_ms) if self.children == 0 => Some(self.mtime.saturating_add(ttl_ms)),
            _ => None,
        }
    }

    /// Who may do what with it.
    pub(crate) fn acl(&self) -> &Acl {
        &self.acl
    }

    /// Fails unless someone with these ids may read it.
    pub(crate) fn check_readable<'a>(&self, ids: impl Iterator<Item = Id<'a>> + Clone) -> Result<(), Code> {
        self.acl.check(acl::READ, ids)
    }

    /// Bytes of its content.
    pub(crate) fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    pub(super) fn empty(acl: Acl) -> Node {
        Node {
            data: Some(Box::default()),
            acl,
            children: 0,
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
