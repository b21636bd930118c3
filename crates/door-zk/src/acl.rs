//! Access control lists.
//!
//! Only the id `world:anyone` exists so far, with any permissions; every other scheme is refused
//! as invalid when a list is given, so a list that is stored is a list that is enforced.

use std::sync::{Arc, LazyLock};

use base::{Malformed, Reader, Writer};

use crate::{faults::Code, wire::request::Ace};

/// Read data and list children.
pub(crate) const READ: i32 = 1;
/// Set data.
pub(crate) const WRITE: i32 = 1 << 1;
/// Create children.
pub(crate) const CREATE: i32 = 1 << 2;
/// Delete children.
pub(crate) const DELETE: i32 = 1 << 3;
/// All of the above, and set the list.
pub(crate) const ALL: i32 = 31;

const SCHEME: &str = "world";
const ANYONE: &str = "anyone";

/// A valid list: the permissions of each entry, every entry being for `world:anyone`. Clones share
/// their memory, since nearly all znodes have the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Arc<[i32]>);

static OPEN: LazyLock<Acl> = LazyLock::new(|| Acl([ALL].into()));
static READ_ONLY: LazyLock<Acl> = LazyLock::new(|| Acl([READ].into()));

impl Acl {
    /// Everyone may do everything.
    pub(crate) fn open() -> Acl {
        OPEN.clone()
    }

    /// Everyone may read.
    pub(crate) fn read_only() -> Acl {
        READ_ONLY.clone()
    }

    /// The list of these entries, without duplicates. An empty list, a null field or a scheme that
    /// is not there make it invalid.
    pub(crate) fn from_entries(entries: &[Ace<'_>]) -> Result<Acl, Code> {
        if entries.iter().any(|entry| entry.scheme != SCHEME || entry.id != ANYONE) {
            return Err(Code::INVALID_ACL);
        }
        match entries {
            [] => Err(Code::INVALID_ACL),
            [Ace { perms: ALL, .. }] => Ok(Acl::open()),
            _ => {
                let mut perms: Vec<i32> = Vec::new();
                for entry in entries {
                    if !perms.contains(&entry.perms) {
                        // 32 permission bits make few distinct sensible entries; the bound keeps
                        // a list of tens of thousands from being compared pair by pair.
                        if perms.len() == MAX_ENTRIES {
                            return Err(Code::INVALID_ACL);
                        }
                        perms.push(entry.perms);
                    }
                }
                Ok(Acl(perms.into()))
            }
        }
    }

    /// Writes it as a part of a znode's value; see [`crate::tree`].
    pub(crate) fn write(&self, out: &mut Writer) {
        if *self == Acl::open() {
            return out.varint(0);
        }
        out.varint(self.0.len() as u64);
        for perms in &*self.0 {
            out.u32(*perms as u32);
            out.str(SCHEME);
            out.str(ANYONE);
        }
    }

    /// Reads what [`Acl::write`] wrote.
    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Acl, Malformed> {
        let count = input.count("acl")?;
        if count == 0 {
            return Ok(Acl::open());
        }
        if count > MAX_ENTRIES {
            return Err(Malformed("acl"));
        }
        let mut perms = Vec::with_capacity(count);
        for _ in 0..count {
            perms.push(input.u32("perms")? as i32);
            if (input.str("scheme")?, input.str("id")?) != (SCHEME, ANYONE) {
                return Err(Malformed("acl"));
            }
        }
        Ok(Acl(perms.into()))
    }

    /// Fails unless someone unknown may do `perm`.
    pub(crate) fn check(&self, perm: i32) -> Result<(), Code> {
        if self.allows(perm) { Ok(()) } else { Err(Code::NO_AUTH) }
    }

    /// Whether someone unknown may do `perm`.
    pub(crate) fn allows(&self, perm: i32) -> bool {
        self.0.iter().any(|perms| perms & perm != 0)
    }
}

/// Distinct entries of one list.
const MAX_ENTRIES: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn world(perms: i32) -> Ace<'static> {
        Ace { perms, scheme: "world", id: "anyone" }
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let digest = Ace { perms: ALL, scheme: "digest", id: "u:h" };
        for list in [&[][..], &[digest], &[world(1), digest], &[Ace { id: "someone", ..world(1) }]] {
            assert_eq!(Acl::from_entries(list), Err(Code::INVALID_ACL), "{list:?}");
        }
    }

    #[test]
    fn any_entry_may_allow_it() {
        let acl = Acl::from_entries(&[world(READ), world(CREATE), world(READ)]).unwrap();
        assert_eq!(*acl.0, [READ, CREATE]);
        assert!(acl.allows(READ) && acl.allows(CREATE) && !acl.allows(WRITE));
        assert_eq!(Acl::from_entries(&[world(0)]).unwrap().check(READ), Err(Code::NO_AUTH));
    }
}
