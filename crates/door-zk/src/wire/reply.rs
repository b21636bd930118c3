//! Replies as clients expect them: the connect response, the header (xid, zxid, error) of every
//! reply, Stat, watch events, and the results of a multi.

use super::{
    LENGTH_BYTES,
    jute::{put_bool, put_buffer, put_i32, put_i64, put_len, put_str},
    request::{Ace, opcode},
};
use crate::faults::Code;

/// The xid of a watch event.
pub(crate) const EVENT_XID: i32 = -1;

/// Appends a frame whose content is what `encode` appends.
pub(crate) fn frame(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    encode(out);
    let length = u32::try_from(out.len() - at - LENGTH_BYTES).expect("replies stay below 2 GiB");
    out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a reply's header.
pub(crate) fn header(out: &mut Vec<u8>, xid: i32, zxid: i64, code: Code) {
    put_i32(out, xid);
    tail(out, zxid, code);
}

/// Appends what follows the xid in a header. A result of the state machine begins with it, so that
/// a reply is a length, an xid and the result.
pub(crate) fn tail(out: &mut Vec<u8>, zxid: i64, code: Code) {
    put_i64(out, zxid);
    put_i32(out, code.number());
}

/// Appends the connect response of a live session; [`no_session`] is the other one.
pub(crate) fn connected(
    out: &mut Vec<u8>,
    timeout_ms: u32,
    session: i64,
    password: &[u8; 16],
    knows_read_only: bool,
) {
    put_i32(out, 0);
    put_i32(out, i32::try_from(timeout_ms).unwrap_or(i32::MAX));
    put_i64(out, session);
    put_buffer(out, Some(password));
    if knows_read_only {
        put_bool(out, false);
    }
}

/// Appends the connect response that says the session is gone: no timeout, no id.
pub(crate) fn no_session(out: &mut Vec<u8>, knows_read_only: bool) {
    connected(out, 0, 0, &[0; 16], knows_read_only);
}

/// What clients are told about a znode beside its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The zxid that created it.
    pub(crate) czxid: i64,
    /// The zxid that last set its data.
    pub(crate) mzxid: i64,
    /// When it was created, milliseconds since 1970.
    pub(crate) ctime: i64,
    /// When its data was last set.
    pub(crate) mtime: i64,
    /// Times its data was set.
    pub(crate) version: i32,
    /// Changes of its children.
    pub(crate) cversion: i32,
    /// Times its ACL was set.
    pub(crate) aversion: i32,
    /// The session it lives with; 0 when it is not ephemeral.
    pub(crate) ephemeral_owner: i64,
    /// Bytes of its data.
    pub(crate) data_length: i32,
    /// Its children.
    pub(crate) num_children: i32,
    /// The zxid that last created or deleted a child.
    pub(crate) pzxid: i64,
}

/// Appends a Stat.
pub(crate) fn stat(out: &mut Vec<u8>, stat: &Stat) {
    put_i64(out, stat.czxid);
    put_i64(out, stat.mzxid);
    put_i64(out, stat.ctime);
    put_i64(out, stat.mtime);
    put_i32(out, stat.version);
    put_i32(out, stat.cversion);
    put_i32(out, stat.aversion);
    put_i64(out, stat.ephemeral_owner);
    put_i32(out, stat.data_length);
    put_i32(out, stat.num_children);
    put_i64(out, stat.pzxid);
}

/// Appends a vector of strings.
pub(crate) fn strings<'a>(out: &mut Vec<u8>, strings: impl ExactSizeIterator<Item = &'a str>) {
    put_len(out, strings.len());
    for string in strings {
        put_str(out, string);
    }
}

/// Appends an access control list.
pub(crate) fn acl<'a>(out: &mut Vec<u8>, entries: impl ExactSizeIterator<Item = Ace<'a>>) {
    put_len(out, entries.len());
    for entry in entries {
        put_i32(out, entry.perms);
        put_str(out, entry.scheme);
        put_str(out, entry.id);
    }
}

/// What happened to a watched znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// It was created.
    Created = 1,
    /// It was deleted.
    Deleted = 2,
    /// Its data was set.
    DataChanged = 3,
    /// A child was created or deleted.
    ChildrenChanged = 4,
}

/// The state in every watch event: connected.
const SYNC_CONNECTED: i32 = 3;

/// Appends the whole frame of a watch event. Since 3.9 its header carries the zxid of the change.
pub(crate) fn event(out: &mut Vec<u8>, kind: EventKind, path: &str, zxid: i64) {
    frame(out, |out| {
        header(out, EVENT_XID, zxid, Code::OK);
        put_i32(out, kind as i32);
        put_i32(out, SYNC_CONNECTED);
        put_str(out, path);
    });
}

/// Appends the header of one result of a multi.
pub(crate) fn multi_header(out: &mut Vec<u8>, code: i32, error: Code) {
    put_i32(out, code);
    put_bool(out, false);
    put_i32(out, error.number());
}

/// Appends the result of an operation in a failed multi.
pub(crate) fn multi_error(out: &mut Vec<u8>, error: Code) {
    multi_header(out, opcode::ERROR, error);
    put_i32(out, error.number());
}

/// Appends the end of a multi's results.
pub(crate) fn multi_end(out: &mut Vec<u8>) {
    put_i32(out, -1);
    put_bool(out, true);
    put_i32(out, -1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_response_has_the_length_the_client_expects() {
        for (knows_read_only, length) in [(false, 36), (true, 37)] {
            let mut out = Vec::new();
            connected(&mut out, 10_000, 7, &[1; 16], knows_read_only);
            assert_eq!(out.len(), length);
        }
    }

    #[test]
    fn a_stat_is_68_bytes() {
        let mut out = Vec::new();
        stat(&mut out, &Stat::default());
        assert_eq!(out.len(), 68);
    }

    #[test]
    fn an_event_is_a_frame_of_its_own() {
        let mut out = Vec::new();
        event(&mut out, EventKind::Deleted, "/a", 0x102);
        let expected = [
            0, 0, 0, 30, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3,
            0, 0, 0, 2, b'/', b'a',
        ];
        assert_eq!(out, expected);
    }
}
