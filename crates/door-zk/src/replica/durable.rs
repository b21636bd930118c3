//! The replica's durable state: keys and values of the Machine's tree, and the way back from them.
//!
//! | key | value, version 1 |
//! |---|---|
//! | `m` | version u8, zxid i64, last session id i64 |
//! | `n…` | a znode; see [`crate::tree`] |
//! | `s`, session id i64 big-endian | version u8, timeout u32 in ms, password 16 bytes |
//!
//! Integers in values are little-endian. What entries touched is written as it is afterwards, so
//! an entry's changes are as large as the znodes that it touched: for a create the znode and its
//! parent, for a setData the znode. Entries whose changes are written together write what several
//! of them touched once, and `m` once.
//!
//! A tree without keys is the state before the first transaction. The first transaction writes the
//! four znodes that were there before it too: from then on the keys are the whole state.

use base::{Cause, Malformed, Reader, Writer};
use bytes::Bytes;
use store::Changes;

use super::{Replica, Session};
use crate::{
    entry,
    tree::{self, Restoring, node_key},
};

/// Key of the counters.
const COUNTERS: u8 = b'm';

/// First byte of a session's key.
const SESSION: u8 = b's';

/// Version of the values here.
const VERSION: u8 = 1;

impl Replica {
    /// Says what the transactions since the last call changed of the durable state. What is no
    /// transaction changes nothing.
    pub(crate) fn settle(&mut self, changes: &mut Changes) {
        if self.zxid == self.saved_zxid {
            return;
        }
        self.saved_zxid = self.zxid;
        self.save_counters(changes);
        let mut key = Vec::new();
        self.tree.save(|path, node| {
            node_key(path, &mut key);
            match node {
                Some(node) => changes.put_with(&key, node.encoded_len(), |out| node.encode(out)),
                None => changes.delete(&key),
            }
        });
        for id in self.touched_sessions.drain(..) {
            match self.sessions.get(&id) {
                Some(session) => changes.put(session_key(id), session.encode()),
                None => changes.delete(session_key(id)),
            }
        }
    }

    pub(super) fn save_counters(&self, changes: &mut Changes) {
        changes.put_with([COUNTERS], 17, |out| {
            out.u8(VERSION);
            out.i64(self.zxid);
            out.i64(self.last_session);
        });
    }

    /// The state that these keys and values are, ascending by key.
    pub(crate) fn restore(
        state: &mut dyn Iterator<Item = Result<(Bytes, Bytes), Cause>>,
    ) -> Result<Replica, Cause> {
        let mut replica = Replica::new();
        let Some(first) = state.next() else { return Ok(replica) };
        let (key, value) = first?;
        if *key != [COUNTERS] {
            return Err(Cause::corrupt("the counters of the ZooKeeper state are missing"));
        }
        (replica.zxid, replica.last_session) = decode_counters(&value)?;
        replica.saved_zxid = replica.zxid;
        let mut nodes = Restoring::new();
        for record in state {
            let (key, value) = record?;
            match key.split_first() {
                Some((&tree::NODE, place)) => nodes.add(place, &value)?,
                Some((&SESSION, id)) => {
                    let id = i64::from_be_bytes(id.try_into().map_err(|_| Malformed("key of a session"))?);
                    replica.sessions.insert(id, Session::decode(&value)?);
                }
                _ => return Err(Cause::corrupt("a key of the ZooKeeper state is of an unknown kind")),
            }
        }
        replica.tree = nodes.finish()?;
        if !replica.tree.owners().all(|owner| replica.sessions.contains_key(&owner)) {
            return Err(Cause::corrupt("an ephemeral znode has no session"));
        }
        Ok(replica)
    }
}

impl Session {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(21);
        out.u8(VERSION);
        out.u32(self.timeout_ms);
        out.raw(&self.password);
        out.into_vec()
    }

    fn decode(value: &[u8]) -> Result<Session, Malformed> {
        let mut input = Reader::new(value);
        version(&mut input)?;
        let timeout_ms = input.u32("timeout")?;
        let session = Session { timeout_ms, password: entry::password(&mut input)? };
        input.end("session")?;
        Ok(session)
    }
}

pub(super) fn session_key(id: i64) -> Vec<u8> {
    [&[SESSION][..], &id.to_be_bytes()].concat()
}

fn decode_counters(value: &[u8]) -> Result<(i64, i64), Malformed> {
    let mut input = Reader::new(value);
    version(&mut input)?;
    let counters = (input.i64("zxid")?, input.i64("last session")?);
    input.end("counters")?;
    Ok(counters)
}

fn version(input: &mut Reader<'_>) -> Result<(), Malformed> {
    if input.u8("version")? == VERSION { Ok(()) } else { Err(Malformed("version")) }
}
