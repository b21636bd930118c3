//! Entries of the replicated log: transactions as a door proposes them, in the house's bytes.
//!
//! Layout, version 3: the version, time (i64, milliseconds since 1970), session (i64), cxid (u32,
//! the client's number of the request, for whoever reads a log), the ids of who asks (a count, each
//! a scheme and an id), flags (u8; 1: hard limits of quotas are enforced), then a kind and its fields.
//! Version 2 had no flags, version 1 no ids either.
//! Kinds: 1 a session opens (timeout u32, 16 bytes password), 2 it closes, 3 one change, 4 a multi
//! (a count and that many changes), 5 a request that was refused already and only takes its zxid
//! (code), 6 the removal of a znode that has outlived itself (path), 7 a session comes back (nothing).
//! Changes: 1 create, 2 create2, 8
//! createContainer (path, data, ACL, mode), 9 createTTL (the same and the time to live, i64 in ms), 3
//! delete, 4 setData, 5 check, 7 setACL. Data is 0 for null, or 1 and bytes.

use base::{Malformed, Reader, Writer};

use crate::{
    auth::Id,
    faults::Code,
    wire::request::{Ace, Change, Form},
};

const VERSION: u8 = 3;

/// The version without flags.
const VERSION_WITHOUT_FLAGS: u8 = 2;

/// The flag of [`Entry::enforces_quotas`].
const ENFORCES_QUOTAS: u8 = 1;

/// The version without ids.
const VERSION_WITHOUT_IDS: u8 = 1;

/// A transaction to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Milliseconds since 1970, by the proposer's clock.
    pub(crate) time_ms: i64,
    /// The session that asks; 0 when it is being opened.
    pub(crate) session: i64,
    /// The client's number of the request.
    pub(crate) cxid: i32,
    /// Who asks, as the connection was known when it asked.
    pub(crate) ids: Vec<Id<'a>>,
    /// Whether hard limits of quotas are enforced, by the settings of the proposer.
    pub(crate) enforces_quotas: bool,
    /// What is asked.
    pub(crate) what: What<'a>,
}

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What<'a> {
    /// Opens a session.
    Open {
        /// How long it lives without a sign of life.
        timeout_ms: u32,
        /// What its owner must know to come back.
        password: [u8; 16],
    },
    /// Closes the session, and deletes its ephemeral znodes.
    Close,
    /// Changes a znode.
    One(Change<'a>),
    /// Changes several, all or none.
    Multi(Vec<Change<'a>>),
    /// Removes a container or a znode with a time to live, if it is still due.
    Reap(&'a str),
    /// Changes nothing, and is no transaction: its place is behind all that the session has asked for
    /// before it comes back on another connection.
    Return,
    /// Changes nothing: the request is refused with this code. ZooKeeper counts a transaction for
    /// some of these.
    Refuse(Code),
}

impl What<'_> {
    /// Whether it leaves the tree no larger than it is: it goes on when memory is used up.
    pub(crate) fn frees(&self) -> bool {
        let frees = |change: &Change<'_>| matches!(change, Change::Delete { .. } | Change::Check { .. });
        match self {
            What::Open { .. } => false,
            What::Close | What::Reap(_) | What::Return | What::Refuse(_) => true,
            What::One(change) => frees(change),
            What::Multi(changes) => changes.iter().all(frees),
        }
    }
}

impl Entry<'_> {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.size_hint());
        out.u8(VERSION);
        out.i64(self.time_ms);
        out.i64(self.session);
        out.u32(self.cxid as u32);
        out.varint(self.ids.len() as u64);
        for id in &self.ids {
            out.str(id.scheme);
            out.str(id.id);
        }
        out.u8(if self.enforces_quotas { ENFORCES_QUOTAS } else { 0 });
        match &self.what {
            What::Open { timeout_ms, password } => {
                out.u8(1);
                out.u32(*timeout_ms);
                out.raw(password);
            }
            What::Close => out.u8(2),
            What::One(change) => {
                out.u8(3);
                write_change(&mut out, change);
            }
            What::Multi(changes) => {
                out.u8(4);
                out.varint(changes.len() as u64);
                for change in changes {
                    write_change(&mut out, change);
                }
            }
            What::Reap(path) => {
                out.u8(6);
                out.str(path);
            }
            What::Return => out.u8(7),
            What::Refuse(code) => {
                out.u8(5);
                out.u32(code.number() as u32);
            }
        }
        out.into_vec()
    }

    fn size_hint(&self) -> usize {
        const FIXED: usize = 64;
        match &self.what {
            What::One(Change::Create { path, data, acl, .. }) => {
                FIXED + path.len() + data.map_or(0, <[u8]>::len) + acl.len() * 32
            }
            What::One(Change::SetData { path, data, .. }) => FIXED + path.len() + data.map_or(0, <[u8]>::len),
            What::One(Change::Delete { path, .. }) => FIXED + path.len(),
            What::Multi(changes) => FIXED * (1 + changes.len()),
            _ => FIXED,
        }
    }
}

impl<'a> Entry<'a> {
    /// Of nobody's request: no number, nobody who asks, no quotas to enforce.
    pub(crate) fn plain(time_ms: i64, session: i64, what: What<'a>) -> Entry<'a> {
        Entry { time_ms, session, cxid: 0, ids: Vec::new(), enforces_quotas: false, what }
    }

    /// The entry of these bytes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Entry<'a>, Malformed> {
        let mut input = Reader::new(bytes);
        let version = input.u8("version")?;
        if !matches!(version, VERSION | VERSION_WITHOUT_FLAGS | VERSION_WITHOUT_IDS) {
            return Err(Malformed("entry of a newer version"));
        }
        let time_ms = input.i64("time")?;
        let session = input.i64("session")?;
        let cxid = input.u32("cxid")? as i32;
        let mut ids = Vec::new();
        if version != VERSION_WITHOUT_IDS {
            for _ in 0..input.count("ids")? {
                ids.push(Id { scheme: input.str("scheme")?, id: input.str("id")? });
            }
        }
        let flags = if version == VERSION { input.u8("flags")? } else { 0 };
        if flags & !ENFORCES_QUOTAS != 0 {
            return Err(Malformed("flags"));
        }
        let what = match input.u8("kind")? {
            1 => What::Open { timeout_ms: input.u32("timeout")?, password: password(&mut input)? },
            2 => What::Close,
            3 => What::One(read_change(&mut input)?),
            4 => {
                let count = input.count("changes")?;
                let mut changes = Vec::new();
                for _ in 0..count {
                    changes.push(read_change(&mut input)?);
                }
                What::Multi(changes)
            }
            5 => What::Refuse(Code::from_number(input.u32("code")? as i32)),
            6 => What::Reap(input.str("path")?),
            7 => What::Return,
            _ => return Err(Malformed("kind")),
        };
        input.end("entry")?;
        Ok(Entry { time_ms, session, cxid, ids, enforces_quotas: flags != 0, what })
    }
}

/// The 16 bytes of a session's password.
pub(crate) fn password(input: &mut Reader<'_>) -> Result<[u8; 16], Malformed> {
    input.take(16, "password")?.try_into().map_err(|_| Malformed("password"))
}

fn write_data(out: &mut Writer, data: Option<&[u8]>) {
    match data {
        None => out.u8(0),
        Some(data) => {
            out.u8(1);
            out.bytes(data);
        }
    }
}

fn read_data<'a>(input: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match input.u8("data")? {
        0 => Ok(None),
        1 => input.bytes("data").map(Some),
        _ => Err(Malformed("data")),
    }
}

fn write_acl(out: &mut Writer, acl: &[Ace<'_>]) {
    out.varint(acl.len() as u64);
    for entry in acl {
        out.u32(entry.perms as u32);
        out.str(entry.scheme);
        out.str(entry.id);
    }
}

fn read_acl<'a>(input: &mut Reader<'a>) -> Result<Vec<Ace<'a>>, Malformed> {
    let mut acl = Vec::new();
    for _ in 0..input.count("acl")? {
        let perms = input.u32("perms")? as i32;
        acl.push(Ace { perms, scheme: input.str("scheme")?, id: input.str("id")? });
    }
    Ok(acl)
}

fn write_change(out: &mut Writer, change: &Change<'_>) {
    match change {
        Change::Create { path, data, acl, mode, form } => {
            out.u8(match form {
                Form::Plain => 1,
                Form::WithStat => 2,
                Form::Container => 8,
                Form::Ttl(_) => 9,
            });
            out.str(path);
            write_data(out, *data);
            write_acl(out, acl);
            out.u32(*mode as u32);
            if let Form::Ttl(ms) = form {
                out.i64(*ms);
            }
        }
        Change::Delete { path, version } => {
            out.u8(3);
            out.str(path);
            out.u32(*version as u32);
        }
        Change::SetData { path, data, version } => {
            out.u8(4);
            out.str(path);
            write_data(out, *data);
            out.u32(*version as u32);
        }
        Change::Check { path, version } => {
            out.u8(5);
            out.str(path);
            out.u32(*version as u32);
        }
        Change::SetAcl { path, acl, version } => {
            out.u8(7);
            out.str(path);
            write_acl(out, acl);
            out.u32(*version as u32);
        }
    }
}

fn read_change<'a>(input: &mut Reader<'a>) -> Result<Change<'a>, Malformed> {
    let kind = input.u8("change")?;
    Ok(match kind {
        1 | 2 | 8 | 9 => {
            let path = input.str("path")?;
            let data = read_data(input)?;
            let acl = read_acl(input)?;
            let mode = input.u32("mode")? as i32;
            let form = match kind {
                1 => Form::Plain,
                2 => Form::WithStat,
                8 => Form::Container,
                _ => Form::Ttl(input.i64("time to live")?),
            };
            Change::Create { path, data, acl, mode, form }
        }
        3 => Change::Delete { path: input.str("path")?, version: input.u32("version")? as i32 },
        4 => {
            let (path, data) = (input.str("path")?, read_data(input)?);
            Change::SetData { path, data, version: input.u32("version")? as i32 }
        }
        5 => Change::Check { path: input.str("path")?, version: input.u32("version")? as i32 },
        7 => {
            let (path, acl) = (input.str("path")?, read_acl(input)?);
            Change::SetAcl { path, acl, version: input.u32("version")? as i32 }
        }
        _ => return Err(Malformed("change")),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    pub(crate) const OPEN_ACL: Ace<'static> = Ace { perms: 31, scheme: "world", id: "anyone" };

    fn samples() -> Vec<What<'static>> {
        let make = |form| {
            let (data, acl) = (Some(&b"x"[..]), vec![OPEN_ACL]);
            Change::Create { path: "/a/b", data, acl, mode: -3, form }
        };
        let create = make(Form::WithStat);
        let set = Change::SetData { path: "/ä", data: None, version: -1 };
        let delete = Change::Delete { path: "/", version: i32::MIN };
        let check = Change::Check { path: "", version: 3 };
        vec![
            What::Open { timeout_ms: 4000, password: [7; 16] },
            What::Close,
            What::One(create.clone()),
            What::One(set.clone()),
            What::Multi(vec![]),
            What::Multi(vec![create, set, delete, check]),
            What::Multi(vec![make(Form::Plain), make(Form::Container), make(Form::Ttl(-9))]),
            What::Reap("/ü"),
            What::Refuse(Code::MARSHALLING_ERROR),
            What::Return,
            What::One(Change::SetAcl { path: "/a", acl: vec![OPEN_ACL], version: 7 }),
        ]
    }

    #[test]
    fn entries_come_back() {
        for what in samples() {
            let ids = vec![Id { scheme: "ip", id: "127.0.0.1" }, Id { scheme: "digest", id: "u:h" }];
            let entry = Entry { time_ms: -5, session: i64::MIN, cxid: -1, ids, enforces_quotas: true, what };
            let bytes = entry.encode();
            assert_eq!(Entry::decode(&bytes), Ok(entry));
            for len in 0..bytes.len() {
                assert!(Entry::decode(&bytes[..len]).is_err());
            }
        }
    }

    /// The bytes of all versions, which a log on disk may hold.
    #[test]
    fn the_bytes_of_versions_stay() {
        let what = What::One(Change::SetData { path: "/a", data: Some(b"v"), version: 2 });
        let ids = vec![Id { scheme: "ip", id: "::1" }];
        let mut entry = Entry { time_ms: 1, session: 2, cxid: 3, ids, enforces_quotas: false, what };
        let head = [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0];
        let ids = [1, 2, b'i', b'p', 3, b':', b':', b'1'];
        let tail = [3, 4, 2, b'/', b'a', 1, 1, b'v', 2, 0, 0, 0];
        assert_eq!(entry.encode(), [&[3][..], &head, &ids, &[0], &tail].concat());
        assert_eq!(Entry::decode(&[&[2][..], &head, &ids, &tail].concat()), Ok(entry.clone()));
        entry.enforces_quotas = true;
        assert_eq!(entry.encode(), [&[3][..], &head, &ids, &[1], &tail].concat());
        entry.enforces_quotas = false;
        entry.ids.clear();
        assert_eq!(Entry::decode(&[&[1][..], &head, &tail].concat()), Ok(entry));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
                let _ = Entry::decode(&bytes);
            }
        }
    }
}
