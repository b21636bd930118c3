//! The replica's durable state: keys and values of the Machine's tree, and the way back from them.
//!
//! | key | value, version 1 |
//! |---|---|
//! | `m` | version u8, zxid i64, last session id i64 |
//! | `n…` | a znode; see [`crate::tree`] |
//! | `s`, session id i64 big-endian | version u8, timeout u32 in ms, password 16 bytes |
//!
//! Integers in values are little-endian. What an entry touched is written as it is afterwards, so
//! an entry's changes are as large as the znodes that it touched: for a create the znode and the
//! Stat of its parent, for a setData the znode. `m` is written with every transaction.
//!
//! A tree without keys is the state before the first transaction. The first transaction writes the
//! four znodes that were there before it too: from then on the keys are the whole state.

use base::{Cause, Malformed, Reader, Writer};
use bytes::Bytes;
use store::Changes;

use super::{Effects, Replica, Session};
use crate::{
    entry, path,
    tree::{self, Restoring, node_key},
};

/// Key of the counters.
const COUNTERS: u8 = b'm';

/// First byte of a session's key.
const SESSION: u8 = b's';

/// Version of the values here.
const VERSION: u8 = 1;

impl Replica {
    /// Says what a transaction changed of the durable state.
    pub(super) fn save(&self, effects: &Effects<'_>, changes: &mut Changes) {
        changes.put(&[COUNTERS][..], self.counters());
        if self.zxid == 1 {
            path::PERMANENT.iter().for_each(|path| self.save_node(path, changes));
        }
        for path in &effects.trace.touched {
            self.save_node(path, changes);
        }
        if let Some(id) = effects.opened
            && let Some(session) = self.sessions.get(&id)
        {
            changes.put(session_key(id), session.encode());
        }
        if let Some(id) = effects.closed {
            changes.delete(session_key(id));
        }
    }

    pub(super) fn save_node(&self, path: &str, changes: &mut Changes) {
        match self.tree.get(path) {
            Some(node) => changes.put(node_key(path), node.encode()),
            None => changes.delete(node_key(path)),
        }
    }

    pub(super) fn counters(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(17);
        out.u8(VERSION);
        out.i64(self.zxid);
        out.i64(self.last_session);
        out.into_vec()
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
    fn encode(&self) -> Vec<u8> {
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

fn session_key(id: i64) -> Vec<u8> {
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
