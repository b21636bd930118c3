//! Access control lists: what may be done with a znode, and by whom.
//!
//! A list is checked and completed when it is given: `world:anyone`, ids of scheme `digest` and
//! `ip`, and `auth`, which stands for whoever gives the list and is replaced by its ids. A list
//! that is stored is a list that is enforced. Nearly all znodes have one of very few lists, so
//! equal ones are kept once ([`AclTable`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use base::{Malformed, Reader, Writer};

use crate::{
    auth::{self, Id},
    faults::Code,
    wire::request::Ace,
};

/// Read data and list children.
pub(crate) const READ: i32 = 1;
/// Set data.
pub(crate) const WRITE: i32 = 1 << 1;
/// Create children.
pub(crate) const CREATE: i32 = 1 << 2;
/// Delete children.
pub(crate) const DELETE: i32 = 1 << 3;
/// Set the list.
pub(crate) const ADMIN: i32 = 1 << 4;
/// All of the above.
pub(crate) const ALL: i32 = 31;

/// Entries of one list. The bound keeps a list of tens of thousands from being compared pair by
/// pair.
const MAX_ENTRIES: usize = 64;

/// Bytes of all schemes and ids of one list; a list is a part of a znode's value.
const MAX_BYTES: usize = 64 << 10;

const WORLD: Id<'static> = Id { scheme: "world", id: "anyone" };

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    perms: i32,
    scheme: Box<str>,
    id: Box<str>,
}

impl Grant {
    fn new(perms: i32, whom: Id<'_>) -> Grant {
        Grant { perms, scheme: whom.scheme.into(), id: whom.id.into() }
    }

    fn whom(&self) -> Id<'_> {
        Id { scheme: &self.scheme, id: &self.id }
    }

    fn bytes(&self) -> usize {
        self.scheme.len() + self.id.len()
    }
}

/// A valid list. Clones share their memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Acl(Arc<[Grant]>);

static OPEN: LazyLock<Acl> = LazyLock::new(|| Acl([Grant::new(ALL, WORLD)].into()));
static READ_ONLY: LazyLock<Acl> = LazyLock::new(|| Acl([Grant::new(READ, WORLD)].into()));

impl Acl {
    /// Everyone may do everything.
    pub(crate) fn open() -> Acl {
        OPEN.clone()
    }

    /// Everyone may read.
    pub(crate) fn read_only() -> Acl {
        READ_ONLY.clone()
    }

    /// The list of these entries, without duplicates, as given by someone with these ids. It is
    /// invalid when it is empty, when a scheme is not there, and when an id is none of its scheme.
    pub(crate) fn from_entries(entries: &[Ace<'_>], giver: &[Id<'_>]) -> Result<Acl, Code> {
        if let [Ace { perms: ALL, scheme: "world", id: "anyone" }] = entries {
            return Ok(Acl::open());
        }
        let mut distinct: Vec<&Ace<'_>> = Vec::new();
        for entry in entries {
            if !distinct.contains(&entry) {
                distinct.push(entry);
            }
            if distinct.len() > MAX_ENTRIES {
                return Err(Code::INVALID_ACL);
            }
        }
        let mut grants: Vec<Grant> = Vec::new();
        for entry in distinct {
            let whom = Id { scheme: entry.scheme, id: entry.id };
            if whom == WORLD || auth::is_valid(whom.scheme, whom.id) {
                grants.push(Grant::new(entry.perms, whom));
                continue;
            }
            let known = giver.iter().filter(|id| whom.scheme == "auth" && id.is_authenticated());
            let before = grants.len();
            grants.extend(known.map(|id| Grant::new(entry.perms, *id)));
            if grants.len() == before {
                return Err(Code::INVALID_ACL);
            }
        }
        let bytes: usize = grants.iter().map(Grant::bytes).sum();
        if grants.is_empty() || grants.len() > MAX_ENTRIES || bytes > MAX_BYTES {
            return Err(Code::INVALID_ACL);
        }
        Ok(Acl(grants.into()))
    }

    /// Writes it as a part of a znode's value; see [`crate::tree`].
    pub(crate) fn write(&self, out: &mut Writer) {
        if *self == *OPEN {
            return out.varint(0);
        }
        out.varint(self.0.len() as u64);
        for grant in &*self.0 {
            out.u32(grant.perms as u32);
            out.str(&grant.scheme);
            out.str(&grant.id);
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
        let mut grants = Vec::with_capacity(count);
        for _ in 0..count {
            let perms = input.u32("perms")? as i32;
            grants.push(Grant::new(perms, Id { scheme: input.str("scheme")?, id: input.str("id")? }));
        }
        Ok(Acl(grants.into()))
    }

    /// Its entries.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = Ace<'_>> {
        self.0.iter().map(|grant| Ace { perms: grant.perms, scheme: &grant.scheme, id: &grant.id })
    }

    /// Fails unless someone with these ids may do one of `perms`.
    pub(crate) fn check<'a>(
        &self,
        perms: i32,
        ids: impl Iterator<Item = Id<'a>> + Clone,
    ) -> Result<(), Code> {
        if self.allows(perms, ids) { Ok(()) } else { Err(Code::NO_AUTH) }
    }

    /// Whether someone with these ids may do one of `perms`.
    pub(crate) fn allows<'a>(&self, perms: i32, ids: impl Iterator<Item = Id<'a>> + Clone) -> bool {
        let mut grants = self.0.iter().filter(|grant| grant.perms & perms != 0);
        if self.0.first().is_some_and(|first| first.perms & perms != 0 && first.whom() == WORLD) {
            return true;
        }
        ids.clone().any(|id| id.scheme == auth::SUPER)
            || grants.any(|grant| {
                let whom = grant.whom();
                whom == WORLD || ids.clone().any(|id| id.scheme == whom.scheme && id.matches(whom.id))
            })
    }
}

/// The lists of a tree, each once, with the number of znodes that have it.
#[derive(Debug, Default)]
pub(crate) struct AclTable {
    uses: BTreeMap<Acl, usize>,
    bytes: usize,
}

/// What an entry of a list takes in memory beside its texts, roughly.
const GRANT_BYTES: usize = 64;

impl AclTable {
    /// The one copy of a list that one more znode has.
    pub(crate) fn intern(&mut self, acl: Acl) -> Acl {
        // The most common one is everywhere and always kept.
        if Arc::ptr_eq(&acl.0, &OPEN.0) || acl == *OPEN {
            return Acl::open();
        }
        if let Some((kept, _)) = self.uses.get_key_value(&acl) {
            let kept = kept.clone();
            *self.uses.entry(acl).or_default() += 1;
            return kept;
        }
        self.bytes += weight(&acl);
        self.uses.insert(acl.clone(), 1);
        acl
    }

    /// One znode fewer has this list.
    pub(crate) fn release(&mut self, acl: &Acl) {
        if let Some(uses) = self.uses.get_mut(acl) {
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(acl);
                self.bytes -= weight(acl);
            }
        }
    }

    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.bytes
    }
}

fn weight(acl: &Acl) -> usize {
    acl.0.iter().map(|grant| GRANT_BYTES + grant.bytes()).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PAT: Id<'static> = Id { scheme: "digest", id: "pat:hash" };
    const HOME: Id<'static> = Id { scheme: "ip", id: "127.0.0.1" };

    fn ace(perms: i32, whom: Id<'static>) -> Ace<'static> {
        Ace { perms, scheme: whom.scheme, id: whom.id }
    }

    fn allows(acl: &Acl, perms: i32, ids: &[Id<'static>]) -> bool {
        acl.allows(perms, ids.iter().copied())
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let of = |scheme, id| ace(ALL, Id { scheme, id });
        for list in [
            &[][..],
            &[of("digest", "nobody")],
            &[ace(1, WORLD), of("ip", "somewhere")],
            &[of("world", "someone")],
            &[of("", "")],
            &[of("sasl", "x")],
            &[of("auth", "")],
        ] {
            assert_eq!(Acl::from_entries(list, &[HOME]), Err(Code::INVALID_ACL), "{list:?}");
        }
        let texts: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("u{n}:h")).collect();
        let many: Vec<_> = texts.iter().map(|id| Ace { perms: 1, scheme: "digest", id }).collect();
        assert_eq!(Acl::from_entries(&many, &[]), Err(Code::INVALID_ACL));
        assert_eq!(Acl::from_entries(&many[1..], &[]).unwrap().entries().len(), MAX_ENTRIES);
        let long = format!("u:{}", "h".repeat(MAX_BYTES));
        assert_eq!(
            Acl::from_entries(&[Ace { perms: 1, scheme: "digest", id: &long }], &[]),
            Err(Code::INVALID_ACL)
        );
    }

    #[test]
    fn any_entry_may_allow_it() {
        let acl = Acl::from_entries(&[ace(READ, WORLD), ace(CREATE, PAT), ace(READ, WORLD)], &[]).unwrap();
        assert_eq!(acl.entries().collect::<Vec<_>>(), [ace(READ, WORLD), ace(CREATE, PAT)]);
        assert!(
            allows(&acl, READ, &[]) && !allows(&acl, CREATE, &[HOME]) && allows(&acl, CREATE, &[HOME, PAT])
        );
        assert!(!allows(&acl, WRITE, &[PAT]) && allows(&acl, WRITE | READ, &[]));
        assert!(allows(&acl, ADMIN, &[Id { scheme: "super", id: "" }]));
        let closed = Acl::from_entries(&[ace(0, WORLD)], &[]).unwrap();
        assert_eq!(closed.check(READ, [PAT].into_iter()), Err(Code::NO_AUTH));
    }

    #[test]
    fn auth_stands_for_who_gives_the_list() {
        let auth = ace(ALL, Id { scheme: "auth", id: "whatever" });
        let acl = Acl::from_entries(&[auth, ace(READ, HOME)], &[HOME, PAT]).unwrap();
        assert_eq!(acl.entries().collect::<Vec<_>>(), [ace(ALL, PAT), ace(READ, HOME)]);
    }

    #[test]
    fn equal_lists_are_kept_once_and_for_as_long_as_a_znode_has_them() {
        let mut table = AclTable::default();
        let list = || Acl::from_entries(&[ace(READ, PAT)], &[]).unwrap();
        let (one, two) = (table.intern(list()), table.intern(list()));
        assert!(Arc::ptr_eq(&one.0, &two.0) && table.weight() > 0);
        table.release(&one);
        assert!(Arc::ptr_eq(&table.intern(list()).0, &one.0));
        table.release(&one);
        table.release(&two);
        assert_eq!((table.uses.len(), table.weight()), (0, 0));
        table.intern(Acl::open());
        table.release(&Acl::open());
        assert_eq!(table.uses.len(), 0);
    }

    #[test]
    fn lists_come_back_from_their_bytes() {
        for acl in
            [Acl::open(), Acl::read_only(), Acl::from_entries(&[ace(3, PAT), ace(-1, HOME)], &[]).unwrap()]
        {
            let mut out = Writer::new();
            acl.write(&mut out);
            let bytes = out.into_vec();
            assert_eq!(Acl::read(&mut Reader::new(&bytes)), Ok(acl));
        }
        let mut many = vec![65];
        many.resize(1000, 0);
        assert!(Acl::read(&mut Reader::new(&many)).is_err());
    }
}
