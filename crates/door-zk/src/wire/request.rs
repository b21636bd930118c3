//! Requests as clients send them: the connect request, and after it a header (xid, opcode) and
//! the opcode's record. Trailing bytes are ignored, as ZooKeeper does: newer clients append fields.

use super::jute::{Input, Malformed};

/// Opcodes, by ZooKeeper's names.
pub(crate) mod opcode {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const GET_CHILDREN2: i32 = 12;
    pub(crate) const CHECK: i32 = 13;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const RECONFIG: i32 = 16;
    pub(crate) const CREATE_CONTAINER: i32 = 19;
    pub(crate) const CREATE_TTL: i32 = 21;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const SASL: i32 = 102;
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

/// A change of one znode, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// create and create2.
    Create {
        /// The path; of a sequential node, without its suffix.
        path: &'a str,
        /// The content; null is kept apart from empty.
        data: Option<&'a [u8]>,
        /// Who may do what with it.
        acl: Vec<Ace<'a>>,
        /// The create mode.
        mode: i32,
        /// Whether the reply has the Stat (create2).
        with_stat: bool,
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
    /// check, only inside multi.
    Check {
        /// The znode.
        path: &'a str,
        /// The version it must have; -1 only asks whether it exists.
        version: i32,
    },
    /// An operation inside multi that this door does not have.
    Unsupported,
}

/// Decodes the record of create, or of create2 when `with_stat`.
pub(crate) fn create<'a>(input: &mut Input<'a>, with_stat: bool) -> Result<Change<'a>, Malformed> {
    let path = input.text()?;
    let data = input.buffer()?;
    let count = input.count(ACE_BYTES)?;
    let mut acl = Vec::with_capacity(count);
    for _ in 0..count {
        let perms = input.i32()?;
        // A null scheme or id is never valid, and neither is an empty one.
        let scheme = input.string()?.unwrap_or_default();
        let id = input.string()?.unwrap_or_default();
        acl.push(Ace { perms, scheme, id });
    }
    Ok(Change::Create { path, data, acl, mode: input.i32()?, with_stat })
}

/// Decodes the record of delete.
pub(crate) fn delete<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::Delete { path: input.text()?, version: input.i32()? })
}

/// Decodes the record of setData.
pub(crate) fn set_data<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::SetData { path: input.text()?, data: input.buffer()?, version: input.i32()? })
}

fn check<'a>(input: &mut Input<'a>) -> Result<Change<'a>, Malformed> {
    Ok(Change::Check { path: input.text()?, version: input.i32()? })
}

/// Decodes the record of multi: operations, each behind a header (opcode, done, error), until a
/// header says done.
pub(crate) fn multi<'a>(input: &mut Input<'a>) -> Result<Vec<Change<'a>>, Malformed> {
    let mut changes = Vec::new();
    loop {
        let code = input.i32()?;
        let done = input.bool()?;
        let _error = input.i32()?;
        if done {
            return Ok(changes);
        }
        changes.push(match code {
            opcode::CREATE => create(input, false)?,
            opcode::CREATE2 => create(input, true)?,
            opcode::DELETE => delete(input)?,
            opcode::SET_DATA => set_data(input)?,
            opcode::CHECK => check(input)?,
            opcode::CREATE_CONTAINER => {
                create(input, true)?;
                Change::Unsupported
            }
            opcode::CREATE_TTL => {
                create(input, true)?;
                let _ttl_ms = input.i64()?;
                Change::Unsupported
            }
            _ => return Err(Malformed),
        });
    }
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
        assert_eq!(create(&mut Input::new(&out), false), Err(Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = connect(&bytes);
            let input = Input::new(&bytes);
            let _ = header(&mut input.clone());
            let _ = look(&mut input.clone());
            let _ = create(&mut input.clone(), true);
            let _ = delete(&mut input.clone());
            let _ = set_data(&mut input.clone());
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
