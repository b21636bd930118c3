//! The replica's durable state: keys and values of the Machine's tree, and the way back from them.
//!
//! | key | value, version 2 |
//! |---|---|
//! | `e`, session id i64 big-endian, path | nothing: the session has this ephemeral znode |
//! | `m` | version u8, zxid i64, last session id i64, number of znodes u64, bytes of paths and data u64 |
//! | `n…` | a znode; see [`crate::tree`] |
//! | `r`, path | nothing: this znode is a container or has a time to live |
//! | `s`, session id i64 big-endian | version u8, timeout u32 in ms, password 16 bytes |
//!
//! Integers in values are little-endian. What entries touched is written as it is afterwards, so
//! an entry's changes are as large as the znodes that it touched: for a create the znode and its
//! parent, for a setData the znode. Entries whose changes are written together write what several
//! of them touched once, and `m` once.
//!
//! A tree without keys is the state before the first transaction. The first transaction writes the
//! four znodes that were there before it too: from then on the keys are the whole state.
//!
//! A start reads `e`, `m`, `r`, `s` and the keys of the znodes of quotas: it takes as long as there
//! are sessions and what ends with them, however many znodes there are. (Version 1 had `m` without the
//! numbers and neither `e` nor `r`; all znodes were read.)

use std::{collections::BTreeMap, sync::Arc};

use base::{Cause, Malformed, Reader, Writer};
use store::{Changes, MachineState, Patience};

use super::{Replica, Session};
use crate::{
    entry,
    tree::{Size, Tree},
};

/// Key of the counters.
const COUNTERS: u8 = b'm';

/// First byte of a session's key.
const SESSION: u8 = b's';

/// Version of the values here.
const VERSION: u8 = 2;

impl Replica {
    /// Says what the transactions since the last call changed of the durable state. What is no
    /// transaction changes nothing.
    pub(crate) fn settle(&mut self, changes: &mut Changes) {
        if self.zxid == self.saved_zxid {
            return;
        }
        self.saved_zxid = self.zxid;
        self.save_counters(changes);
        self.tree.settle(changes);
        for id in self.touched_sessions.drain(..) {
            match self.sessions.get(&id) {
                Some(session) => changes.put(session_key(id), session.encode()),
                None => changes.delete(session_key(id)),
            }
        }
    }

    pub(super) fn save_counters(&self, changes: &mut Changes) {
        let Size { znodes, bytes } = self.tree.size();
        changes.put_with([COUNTERS], 33, |out| {
            out.u8(VERSION);
            out.i64(self.zxid);
            out.i64(self.last_session);
            out.u64(znodes);
            out.u64(bytes);
        });
    }

    /// The state that is in `store`.
    pub(crate) fn restore(store: Arc<dyn MachineState>, cache_bytes: usize) -> Result<Replica, Cause> {
        let Some(counters) = store.get(&[COUNTERS], Patience::Wait)? else {
            if store.scan(&[], None, Patience::Wait)?.next().is_some() {
                return Err(Cause::corrupt("the counters of the ZooKeeper state are missing"));
            }
            return Ok(Replica::new(store, cache_bytes));
        };
        let (zxid, last_session, size) = decode_counters(&counters)?;
        let mut sessions = BTreeMap::new();
        for record in store.scan(&[SESSION], Some(&[SESSION + 1]), Patience::Wait)? {
            let (key, value) = record?;
            let id = key[1..].try_into().map_err(|_| Malformed("key of a session"))?;
            sessions.insert(i64::from_be_bytes(id), Session::decode(&value)?);
        }
        let tree = Tree::restore(store, cache_bytes, size)?;
        if !tree.owners().all(|owner| sessions.contains_key(&owner)) {
            return Err(Cause::corrupt("an ephemeral znode has no session"));
        }
        let (saved_zxid, touched_sessions) = (zxid, Vec::new());
        Ok(Replica { zxid, tree, sessions, last_session, saved_zxid, touched_sessions })
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

fn decode_counters(value: &[u8]) -> Result<(i64, i64, Size), Malformed> {
    let mut input = Reader::new(value);
    version(&mut input)?;
    let (zxid, last_session) = (input.i64("zxid")?, input.i64("last session")?);
    let size = Size { znodes: input.u64("number of znodes")?, bytes: input.u64("bytes of znodes")? };
    input.end("counters")?;
    // Each transaction and session takes the next number. No honest state is near the last.
    let has_room = |counter| (0..i64::MAX / 2).contains(counter);
    if !(has_room(&zxid) && has_room(&last_session)) {
        return Err(Malformed("counters"));
    }
    Ok((zxid, last_session, size))
}

fn version(input: &mut Reader<'_>) -> Result<(), Malformed> {
    if input.u8("version")? == VERSION { Ok(()) } else { Err(Malformed("version")) }
}
