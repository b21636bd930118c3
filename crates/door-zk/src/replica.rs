//! The replicated state: the tree, the sessions, and the zxid that counts transactions.
//!
//! A pure function of the entries. An entry's result is a reply without its length and xid
//! (zxid, error, record), so that answering a client is a copy; its effects, which each node
//! carries out for its own clients, are handed out beside it.
//!
//! Every transaction takes one zxid, also one that fails, as ZooKeeper counts. A closed session
//! takes one for all its ephemeral znodes.

mod durable;

use std::{collections::BTreeMap, sync::Arc};

use base::Cause;
use store::{MachineState, Patience};

use crate::{
    entry::{Entry, What},
    faults::Code,
    tree::{Draft, Stamp, Stop, Trace, Tree},
    wire::{
        jute::put_str,
        reply,
        request::{Change, Form, opcode},
    },
};

/// What a session takes in memory, roughly, here and in the door.
const SESSION_BYTES: usize = 512;

/// A session, as all nodes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// How long it lives without a sign of life.
    pub(crate) timeout_ms: u32,
    /// What its owner must know to come back.
    pub(crate) password: [u8; 16],
}

/// What an entry does beside changing the state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects<'a> {
    /// What happened to the tree.
    pub(crate) trace: Trace<'a>,
    /// The session that was opened.
    pub(crate) opened: Option<i64>,
    /// The session that was closed.
    pub(crate) closed: Option<i64>,
}

/// The state.
pub(crate) struct Replica {
    pub(crate) zxid: i64,
    pub(crate) tree: Tree,
    pub(crate) sessions: BTreeMap<i64, Session>,
    /// The highest session id given.
    last_session: i64,
    /// The last transaction that the durable state has.
    saved_zxid: i64,
    /// Sessions that were opened or closed since.
    touched_sessions: Vec<i64>,
}

impl Replica {
    /// The state before the first entry; `store` has nothing of it yet, and about `cache_bytes` of its
    /// znodes are kept in memory.
    pub(crate) fn new(store: Arc<dyn MachineState>, cache_bytes: usize) -> Replica {
        Replica {
            zxid: 0,
            tree: Tree::new(store, cache_bytes),
            sessions: BTreeMap::new(),
            last_session: 0,
            saved_zxid: 0,
            touched_sessions: Vec::new(),
        }
    }

    /// Bytes of memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.tree.weight() + self.sessions.len() * SESSION_BYTES
    }

    /// Applies an entry; gives its result and fills in its effects. Waits for the disk if it must.
    ///
    /// # Errors
    /// When the state cannot be read. What the entry has changed by then is half of it.
    pub(crate) fn apply<'a>(
        &mut self,
        entry: &'a Entry<'a>,
        effects: &mut Effects<'a>,
    ) -> Result<Vec<u8>, Cause> {
        self.tree.set_patience(Patience::Wait);
        let result = self.transact(entry, effects);
        self.tree.set_patience(Patience::Now);
        result
    }

    fn transact<'a>(&mut self, entry: &'a Entry<'a>, effects: &mut Effects<'a>) -> Result<Vec<u8>, Cause> {
        let mut out = Vec::with_capacity(96);
        match &entry.what {
            What::Open { timeout_ms, password } => {
                let session = Session { timeout_ms: *timeout_ms, password: *password };
                let id = self.open(entry.time_ms, session);
                self.touched_sessions.push(id);
                effects.opened = Some(id);
                reply::tail(&mut out, self.zxid, Code::OK);
                crate::wire::jute::put_i64(&mut out, id);
            }
            What::Reap(path) => {
                let stamp = self.stamp(entry);
                let reaped = self.tree.reap(stamp, path, &mut effects.trace);
                reply::tail(&mut out, self.zxid, refusal(reaped)?.unwrap_or(Code::OK));
            }
            // Closed already, or expired under its owner's hands: not a transaction.
            _ if !self.sessions.contains_key(&entry.session) => {
                reply::tail(&mut out, self.zxid, Code::SESSION_EXPIRED);
            }
            What::Close => {
                self.zxid += 1;
                self.sessions.remove(&entry.session);
                self.tree.remove_ephemerals(entry.session, self.zxid, &mut effects.trace)?;
                self.touched_sessions.push(entry.session);
                effects.closed = Some(entry.session);
                reply::tail(&mut out, self.zxid, Code::OK);
            }
            What::One(change) => {
                let stamp = self.stamp(entry);
                reply::tail(&mut out, self.zxid, Code::OK);
                let changed = self.change(stamp, change, effects, &mut out);
                if let Some(code) = refusal(changed)? {
                    out.clear();
                    reply::tail(&mut out, self.zxid, code);
                }
            }
            What::Multi(changes) => {
                let stamp = self.stamp(entry);
                // A failed multi is a successful reply that tells of failures.
                reply::tail(&mut out, self.zxid, Code::OK);
                self.multi(stamp, changes, effects, &mut out)?;
            }
            What::Return => reply::tail(&mut out, self.zxid, Code::OK),
            What::Refuse(code) => {
                self.zxid += 1;
                reply::tail(&mut out, self.zxid, *code);
            }
        }
        Ok(out)
    }

    fn stamp<'a>(&mut self, entry: &'a Entry<'a>) -> Stamp<'a> {
        self.zxid += 1;
        Stamp {
            zxid: self.zxid,
            time_ms: entry.time_ms,
            session: entry.session,
            ids: &entry.ids,
            enforces_quotas: entry.enforces_quotas,
        }
    }

    /// Session ids look like ZooKeeper's (server 1, time, counter) and only rise, so an id is
    /// never given twice, not even after the data was wiped.
    fn open(&mut self, time_ms: i64, session: Session) -> i64 {
        const SERVER: i64 = 1 << 56;
        let by_time = SERVER | (time_ms << 16) & (SERVER - 1);
        self.last_session = by_time.max(self.last_session + 1);
        self.zxid += 1;
        self.sessions.insert(self.last_session, session);
        self.last_session
    }

    /// Makes one change and appends its record to `out`.
    fn change<'a>(
        &mut self,
        stamp: Stamp<'a>,
        change: &'a Change<'a>,
        effects: &mut Effects<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let trace = &mut effects.trace;
        match change {
            Change::Create { path, data, acl, mode, form } => {
                let draft = Draft { path, data: *data, acl, mode: *mode, form: *form };
                let made = self.tree.create(stamp, draft, trace)?;
                put_str(out, &made);
                if *form != Form::Plain {
                    let place = self.tree.find(&made)?.expect("it was made just now");
                    let node = self.tree.node(place);
                    // As it was made: of the numbers of a quota others are there already.
                    let data_length = data.map_or(0, <[u8]>::len) as i32;
                    reply::stat(out, &reply::Stat { data_length, ..node.stat() });
                }
            }
            Change::Delete { path, version } => self.tree.delete(stamp, path, *version, trace)?,
            Change::SetData { path, data, version } => {
                let stat = self.tree.set_data(stamp, path, *data, *version, trace)?;
                reply::stat(out, &stat);
            }
            Change::SetAcl { path, acl, version } => {
                let stat = self.tree.set_acl(stamp, path, acl, *version)?;
                reply::stat(out, &stat);
            }
            Change::Check { path, version } => self.tree.check(stamp, path, *version)?,
        }
        Ok(())
    }

    fn multi<'a>(
        &mut self,
        stamp: Stamp<'a>,
        changes: &'a [Change<'a>],
        effects: &mut Effects<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Cause> {
        let start = out.len();
        self.tree.begin();
        for (index, change) in changes.iter().enumerate() {
            reply::multi_header(out, opcode_of(change), Code::OK);
            let changed = self.change(stamp, change, effects, out);
            if let Some(code) = refusal(changed)? {
                self.tree.roll_back();
                effects.trace.events.clear();
                out.truncate(start);
                for other in 0..changes.len() {
                    reply::multi_error(
                        out,
                        match other.cmp(&index) {
                            std::cmp::Ordering::Less => Code::OK,
                            std::cmp::Ordering::Equal => code,
                            std::cmp::Ordering::Greater => Code::RUNTIME_INCONSISTENCY,
                        },
                    );
                }
                break;
            }
        }
        self.tree.commit();
        reply::multi_end(out);
        Ok(())
    }
}

/// The error that is the answer, if there is one.
fn refusal(done: Result<(), Stop>) -> Result<Option<Code>, Cause> {
    match done {
        Ok(()) => Ok(None),
        Err(Stop::Refused(code)) => Ok(Some(code)),
        Err(stop) => Err(stop.into()),
    }
}

fn opcode_of(change: &Change<'_>) -> i32 {
    match change {
        Change::Create { form: Form::Plain, .. } => opcode::CREATE,
        // All that answer a Stat are told as create2.
        Change::Create { .. } => opcode::CREATE2,
        Change::Delete { .. } => opcode::DELETE,
        Change::SetData { .. } => opcode::SET_DATA,
        // Never in a multi, whose decoder does not know it.
        Change::SetAcl { .. } => opcode::SET_ACL,
        Change::Check { .. } => opcode::CHECK,
    }
}

#[cfg(test)]
mod tests;
