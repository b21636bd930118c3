//! Requests as clients send them: the connect request, and after it a header (xid, opcode) and
//! the opcode's record. Trailing bytes are ignored, as ZooKeeper does: newer clients append fields.

use super::{
    LENGTH_BYTES,
    jute::{Input, Malformed},
};

/// Opcodes, by ZooKeeper's names.
pub(crate) mod opcode {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_ACL: i32 = 6;
    pub(crate) const SET_ACL: i32 = 7;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const GET_CHILDREN2: i32 = 12;
    pub(crate) const CHECK: i32 = 13;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const RECONFIG: i32 = 16;
    pub(crate) const CHECK_WATCHES: i32 = 17;
    pub(crate) const REMOVE_WATCHES: i32 = 18;
    pub(crate) const CREATE_CONTAINER: i32 = 19;
    pub(crate) const CREATE_TTL: i32 = 21;
    pub(crate) const MULTI_READ: i32 = 22;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const SASL: i32 = 102;
    pub(crate) const SET_WATCHES: i32 = 101;
    pub(crate) const GET_EPHEMERALS: i32 = 103;
    pub(crate) const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub(crate) const SET_WATCHES2: i32 = 105;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const WHO_AM_I: i32 = 107;
    /// Never on the wire: a connect request has no opcode.
    pub(crate) const CREATE_SESSION: i32 = -10;
    pub(crate) const CLOSE_SESSION: i32 = -11;
    /// The type of an error in a multi's results.
    pub(crate) const ERROR: i32 = -1;
}

/// The first frame of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    /// The highest zxid the client has seen anywhere; a server behind it must not serve it.
    pub(crate) last_zxid: i64,
    /// The session timeout the client asks for.
    pub(crate) timeout_ms: i32,
    /// The session to go on with; 0 asks for a new one.
    pub(crate) session: i64,
    /// The password of that session.
    pub(crate) password: &'a [u8],
    /// Whether the client sent the `readOnly` byte (since 3.4), and then expects one back.
    pub(crate) knows_read_only: bool,
}

/// Decodes a connect request.
pub(crate) fn connect(frame: &[u8]) -> Result<Connect<'_>, Malformed> {
    let mut input = Input::new(frame);
    let _protocol_version = input.i32()?;
    Ok(Connect {
        last_zxid: input.i64()?,
        timeout_ms: input.i32()?,
        session: input.i64()?,
        password: input.buffer()?.unwrap_or_default(),
        knows_read_only: input.bool().is_ok(),
    })
}

/// What is in front of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client's number for the request, given back in the reply.
    pub(crate) xid: i32,
    /// What is asked.
    pub(crate) opcode: i32,
}

/// Decodes a header and leaves `input` at the record.
pub(crate) fn header(input: &mut Input<'_>) -> Result<Header, Malformed> {
    Ok(Header { xid: input.i32()?, opcode: input.i32()? })
}

/// A request to read one znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look<'a> {
    /// The znode.
    pub(crate) path: &'a str,
    /// Whether to tell the client of the next change.
    pub(crate) watch: bool,
}

/// Decodes the record of exists, getData, getChildren and getChildren2.
pub(crate) fn look<'a>(input: &mut Input<'a>) -> Result<Look<'a>, Malformed> {
    Ok(Look { path: input.text()?, watch: input.bool()? })
}

/// An entry of an access control list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ace<'a> {
    /// What is allowed; see [`crate::acl`].
    pub(crate) perms: i32,
    /// How the id is to be understood.
    pub(crate) scheme: &'a str,
    /// Who is allowed.
    pub(crate) id: &'a str,
}

/// The least an [`Ace`] takes: perms and two lengths.
const ACE_BYTES: usize = 12;

/// Whether the name of a znode that is made with this mode gets a number.
pub(crate) fn is_sequential(mode: i32) -> bool {
    matches!(mode, 2 | 3 | 6)
}

/// A change of one znode, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// create, create2, createContainer and createTTL.
    Create {
        /// The path; of a sequential node, without its suffix.
        path: &'a str,
        /// The content; null is kept apart from empty.
        data: Option<&'a [u8]>,
        /// Who may do what with it.
        acl: Vec<Ace<'a>>,
        /// The create mode.
        mode: i32,
        /// Which of the four it is.
        form: Form,
    },
    /// delete.
    Delete {
        /// The znode.
        path: &'a str,
        /// The version it must have; -1 is any.
        version: i32,
    },
    /// setData.
    SetData {
        /// The znode.
        path: &'a str,
        /// The new content.
        data: Option<&'a [u8]>,
        /// The version it must have; -1 is any.
        version: i32,
    },
    /// setACL, never inside multi.
    SetAcl {
        /// The znode.
        path: &'a str,
        /// The new list.
        acl: Vec<Ace<'a>>,
        /// The version the list must have; -1 is any.
        version: i32,
    },
    /// check, only inside multi.
    Check {
        /// The znode.
        path: &'a str,
        /// The version it must have; -1 only asks whether it exists.
        version: i32,
    },
}

/// The requests that create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// create: answers the path.
    Plain,
    /// create2: answers the Stat too, as the following do.
    WithStat,
    /// createContainer.
    Container,
    /// createTTL, with the milliseconds to live.
    Ttl(i64),
}

fn acl<'a>(input: &mut Input<'a>) -> Result<Vec<Ace<'a>>, Malformed> {
    let count = input.count(ACE_BYTES)?;
    let mut acl = Vec::with_capacity(count);
    for _ in 0..count {
        let perms = input.i32()?;
        // A null scheme or id is never valid, and neither is an empty one.
        let scheme = input.string()?.unwrap_or_default();
        let id = input.string()?.unwrap_or_default();
        acl.push(Ace { perms, scheme, id });
    }
    Ok(acl)
}

/// Decodes the record of create, create2 and createContainer; [`create_ttl`] is the other one.
pub(crate) fn create<'a>(input: &mut Input<'a>, form: Form) -> Result<Change<'a>, Malformed> {
    let path = input.text()?;
    let data = input.buffer()?;
    let acl = acl(input)?;
    Ok(Change::Create { path, data, acl, mode: input.i32()?, form })
}

/// Decodes the record of createTTL.
pub(crate) fn create_ttl<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    let mut change = create(input, Form::Ttl(0))?;
    if let Change::Create { form: Form::Ttl(ms), .. } = &mut change {
        *ms = input.i64()?;
    }
    Ok(change)
}

/// Decodes a create inside a multi. There ZooKeeper lets the mode decide between the four forms,
/// and cannot read a record whose form and mode do not go together.
fn create_in_multi<'a>(input: &mut Input<'a>, code: i32) -> Result<Change<'a>, Malformed> {
    let mut change = match code {
        opcode::CREATE => create(input, Form::Plain)?,
        opcode::CREATE2 => create(input, Form::WithStat)?,
        opcode::CREATE_CONTAINER => create(input, Form::Container)?,
        _ => create_ttl(input)?,
    };
    if let Change::Create { mode, form, .. } = &mut change {
        *form = match (*mode, *form) {
            (5 | 6, Form::Ttl(ms)) => Form::Ttl(ms),
            (4, _) => Form::Container,
            (_, Form::Ttl(_)) => Form::Plain,
            (0..=3, form) => form,
            _ => return Err(Malformed),
        };
    }
    Ok(change)
}

/// Decodes the record of delete.
pub(crate) fn delete<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::Delete { path: input.text()?, version: input.i32()? })
}

/// Decodes the record of setData.
pub(crate) fn set_data<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::SetData { path: input.text()?, data: input.buffer()?, version: input.i32()? })
}

/// Decodes the record of setACL.
pub(crate) fn set_acl<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::SetAcl { path: input.text()?, acl: acl(input)?, version: input.i32()? })
}

/// Credentials that a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials<'a> {
    /// What kind of.
    pub(crate) scheme: &'a str,
    /// The credentials; an address needs none.
    pub(crate) auth: Option<&'a [u8]>,
}

/// Decodes the record of auth.
pub(crate) fn credentials<'a>(input: &mut Input<'a>) -> Result<Credentials<'a>, Malformed> {
    let _type = input.i32()?;
    // No scheme has an empty name, so null is as unknown.
    let scheme = input.string()?.unwrap_or_default();
    Ok(Credentials { scheme, auth: input.buffer()? })
}

fn check<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::Check { path: input.text()?, version: input.i32()? })
}

/// Decodes a vector of strings, none of them null.
pub(crate) fn texts<'a>(input: &mut Input<'a>) -> Result<Vec<&'a str>, Malformed> {
    let count = input.count(LENGTH_BYTES)?;
    (0..count).map(|_| input.text()).collect()
}

/// Decodes a header of a multi: the opcode of the operation that follows, or nothing when there is
/// none any more.
pub(crate) fn multi_header(input: &mut Input<'_>) -> Result<Option<i32>, Malformed> {
    let (code, done, _error) = (input.i32()?, input.bool()?, input.i32()?);
    Ok((!done).then_some(code))
}

/// Decodes the record of multi: operations, each behind a header.
pub(crate) fn multi<'a>(input: &mut Input<'a>) -> Result<Vec<Change<'a>>, Malformed> {
    let mut changes = Vec::new();
    while let Some(code) = multi_header(input)? {
        changes.push(match code {
            opcode::CREATE | opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
                create_in_multi(input, code)?
            }
            opcode::DELETE => delete(input)?,
            opcode::SET_DATA => set_data(input)?,
            opcode::CHECK => check(input)?,
            _ => return Err(Malformed),
        });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{super::jute::*, *};

    fn connect_bytes(tail: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_i32(&mut out, 0);
        put_i64(&mut out, 77);
        put_i32(&mut out, 10_000);
        put_i64(&mut out, 5);
        put_buffer(&mut out, Some(&[9; 16]));
        out.extend_from_slice(tail);
        out
    }

    #[test]
    fn both_lengths_of_the_connect_request_are_read() {
        for (tail, knows_read_only) in [(&[][..], false), (&[0][..], true)] {
            let bytes = connect_bytes(tail);
            assert_eq!(bytes.len(), 44 + tail.len());
            let expected = Connect {
                last_zxid: 77,
                timeout_ms: 10_000,
                session: 5,
                password: &[9; 16],
                knows_read_only,
            };
            assert_eq!(connect(&bytes), Ok(expected));
            for len in 0..44 {
                assert_eq!(connect(&bytes[..len]), Err(Malformed), "{len} bytes");
            }
        }
    }

    #[test]
    fn a_multi_without_its_end_is_malformed() {
        let mut out = Vec::new();
        put_i32(&mut out, opcode::DELETE);
        put_bool(&mut out, false);
        put_i32(&mut out, -1);
        put_str(&mut out, "/a");
        put_i32(&mut out, 3);
        assert_eq!(multi(&mut Input::new(&out)), Err(Malformed));
        put_i32(&mut out, -1);
        put_bool(&mut out, true);
        put_i32(&mut out, -1);
        assert_eq!(multi(&mut Input::new(&out)), Ok(vec![Change::Delete { path: "/a", version: 3 }]));
    }

    #[test]
    fn an_absurd_number_of_acl_entries_takes_no_memory() {
        let mut out = Vec::new();
        put_str(&mut out, "/a");
        put_buffer(&mut out, None);
        put_i32(&mut out, i32::MAX);
        out.extend_from_slice(&[0; 64]);
        assert_eq!(create(&mut Input::new(&out), Form::Plain), Err(Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = connect(&bytes);
            let input = Input::new(&bytes);
            let _ = header(&mut input.clone());
            let _ = look(&mut input.clone());
            let _ = create_ttl(&mut input.clone());
            let _ = delete(&mut input.clone());
            let _ = set_data(&mut input.clone());
            let _ = set_acl(&mut input.clone());
            let _ = credentials(&mut input.clone());
            let _ = texts(&mut input.clone());
            if let Ok(changes) = multi(&mut input.clone()) {
                prop_assert!(changes.len() <= bytes.len() / 9);
            }
        }

        #[test]
        fn a_mutated_multi_never_panics(flips in prop::collection::vec((0usize..200, any::<u8>()), 1..6)) {
            let mut out = Vec::new();
            for version in 0..4 {
                put_i32(&mut out, opcode::SET_DATA);
                put_bool(&mut out, false);
                put_i32(&mut out, -1);
                put_str(&mut out, "/a/b");
                put_buffer(&mut out, Some(b"data"));
                put_i32(&mut out, version);
            }
            put_i32(&mut out, -1);
            put_bool(&mut out, true);
            put_i32(&mut out, -1);
            for (at, byte) in flips {
                let at = at % out.len();
                out[at] = byte;
            }
            let _ = multi(&mut Input::new(&out));
        }
    }
}
