//! The operations: one row an opcode, one file an operation.
//!
//! A *read* is answered from the state of this node, once the store says that it includes
//! everything acknowledged before. A *write* becomes an entry of the log. What has no row is
//! refused ([`crate::session`]).

mod add_watch;
mod close_session;
mod create;
mod delete;
mod exists;
mod get_acl;
mod get_all_children_number;
mod get_children;
mod get_data;
mod get_ephemerals;
mod multi;
mod multi_read;
mod reconfig;
mod set_acl;
mod set_data;
mod set_watches;
mod sync;
mod watches;
mod who_am_i;

use std::sync::Arc;

use door::Budget;

use crate::{
    auth::{Id, Identity},
    entry::What,
    faults::Code,
    hub::State,
    tree::{Census, Node, Place, Stop, Want},
    watches::{Kind, LinkId, Listener, Mode},
    wire::{
        jute::{Input, Malformed},
        reply,
        request::opcode,
    },
};

/// A row of the table.
pub(crate) struct Operation {
    /// Its number on the wire.
    pub(crate) code: i32,
    /// Its name in metrics and documents.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: Run,
}

/// Answers from the state: decodes the record and appends the reply's. What it appended before it
/// failed is thrown away. Before it changes anything it has found all that it needs: one that was
/// stopped for want of something is done again.
pub(crate) type ReadFn = fn(&mut Reading<'_>, Input<'_>, &mut Vec<u8>) -> Result<(), Stop>;

/// What an operation does.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Answers from the state.
    Read(ReadFn),
    /// Decodes the record into what the log will hold.
    Write(for<'a> fn(&mut Input<'a>) -> Result<What<'a>, Malformed>),
}

/// What a read works with.
pub(crate) struct Reading<'a> {
    /// The state, locked.
    pub(crate) state: &'a mut State,
    /// Who reads.
    pub(crate) link: LinkId,
    /// Its session.
    pub(crate) session: i64,
    /// Where its watch events go.
    pub(crate) listener: &'a Arc<Listener>,
    /// Who it was when it asked.
    pub(crate) identity: &'a Identity,
    /// Frames that it is to get before the answer.
    pub(crate) events: &'a mut Vec<u8>,
    /// Bytes of the longest answer.
    pub(crate) answer_bytes: usize,
    /// The door's memory.
    pub(crate) budget: &'a Budget,
    /// What it needs and would have to wait for.
    pub(crate) wants: Vec<Want>,
    /// What it has to count, which is its answer.
    pub(crate) census: Option<Census>,
    /// A znode of which it listed the children.
    pub(crate) listed: Option<Place>,
}

/// Bytes of an answer that is given even when memory is short.
const SMALL_BYTES: usize = 64 << 10;

impl Reading<'_> {
    /// The ids of whoever reads.
    fn ids(&self) -> impl Iterator<Item = Id<'_>> + Clone {
        self.identity.ids()
    }

    /// The znode at `path`, if there is one.
    fn find(&mut self, path: &str) -> Result<Option<Place>, Stop> {
        let found = self.state.replica.tree.find(path);
        if found == Err(Stop::Cold) {
            self.wants.push(Want::Znode(path.into()));
        }
        found
    }

    /// The znode at `path`, if whoever reads may read it.
    fn readable(&mut self, path: &str) -> Result<Place, Stop> {
        let place = self.find(path)?.ok_or(Code::NO_NODE)?;
        self.node(place).check_readable(self.ids())?;
        Ok(place)
    }

    /// The znode at a place that was found.
    fn node(&self, place: Place) -> &Node {
        self.state.replica.tree.node(place)
    }

    /// Writes the names of the children of the znode at `path`, whose place this is.
    fn list(&mut self, path: &str, place: Place, out: &mut Vec<u8>) -> Result<(), Stop> {
        self.listed = Some(place);
        match self.state.replica.tree.names(place) {
            Ok(names) => reply::strings(out, names.iter().map(|name| &**name)),
            Err(stop) => {
                if stop == Stop::Cold {
                    self.wants.push(Want::Names(path.into()));
                }
                return Err(stop);
            }
        }
        Ok(())
    }

    /// Fails unless an answer of this length may be given. Asked before a watch is set.
    fn check_answer(&self, bytes: usize) -> Result<(), Code> {
        if bytes > self.answer_bytes {
            return Err(Code::MARSHALLING_ERROR);
        }
        if bytes > SMALL_BYTES && !self.budget.has_room(bytes) { Err(Code::THROTTLED) } else { Ok(()) }
    }

    /// Sets a watch for whoever reads.
    fn watch(&mut self, kind: Kind, path: &str) {
        self.add_watch(kind, Mode::Standard, path);
    }

    fn add_watch(&mut self, kind: Kind, mode: Mode, path: &str) {
        self.state.watches.add(kind, mode, path, self.link, self.listener);
    }
}

impl From<Malformed> for Code {
    fn from(_: Malformed) -> Code {
        Code::MARSHALLING_ERROR
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Stop {
        Stop::Refused(malformed.into())
    }
}

/// The table, by opcode.
pub(crate) static OPERATIONS: [Operation; 25] = [
    Operation { code: opcode::CLOSE_SESSION, name: "closeSession", run: Run::Write(close_session::decode) },
    Operation { code: opcode::CREATE, name: "create", run: Run::Write(create::decode) },
    Operation { code: opcode::DELETE, name: "delete", run: Run::Write(delete::decode) },
    Operation { code: opcode::EXISTS, name: "exists", run: Run::Read(exists::read) },
    Operation { code: opcode::GET_DATA, name: "getData", run: Run::Read(get_data::read) },
    Operation { code: opcode::SET_DATA, name: "setData", run: Run::Write(set_data::decode) },
    Operation { code: opcode::GET_ACL, name: "getACL", run: Run::Read(get_acl::read) },
    Operation { code: opcode::SET_ACL, name: "setACL", run: Run::Write(set_acl::decode) },
    Operation { code: opcode::GET_CHILDREN, name: "getChildren", run: Run::Read(get_children::read) },
    Operation { code: opcode::SYNC, name: "sync", run: Run::Read(sync::read) },
    Operation {
        code: opcode::GET_CHILDREN2,
        name: "getChildren2",
        run: Run::Read(get_children::read_with_stat),
    },
    Operation { code: opcode::MULTI, name: "multi", run: Run::Write(multi::decode) },
    Operation { code: opcode::CREATE2, name: "create2", run: Run::Write(create::decode_with_stat) },
    Operation { code: opcode::RECONFIG, name: "reconfig", run: Run::Write(reconfig::decode) },
    Operation { code: opcode::CHECK_WATCHES, name: "checkWatches", run: Run::Read(watches::check) },
    Operation { code: opcode::REMOVE_WATCHES, name: "removeWatches", run: Run::Read(watches::remove) },
    Operation {
        code: opcode::CREATE_CONTAINER,
        name: "createContainer",
        run: Run::Write(create::decode_container),
    },
    Operation { code: opcode::CREATE_TTL, name: "createTTL", run: Run::Write(create::decode_ttl) },
    Operation { code: opcode::MULTI_READ, name: "multiRead", run: Run::Read(multi_read::read) },
    Operation { code: opcode::SET_WATCHES, name: "setWatches", run: Run::Read(set_watches::read) },
    Operation { code: opcode::GET_EPHEMERALS, name: "getEphemerals", run: Run::Read(get_ephemerals::read) },
    Operation {
        code: opcode::GET_ALL_CHILDREN_NUMBER,
        name: "getAllChildrenNumber",
        run: Run::Read(get_all_children_number::read),
    },
    Operation { code: opcode::SET_WATCHES2, name: "setWatches2", run: Run::Read(set_watches::read_all) },
    Operation { code: opcode::ADD_WATCH, name: "addWatch", run: Run::Read(add_watch::read) },
    Operation { code: opcode::WHO_AM_I, name: "whoAmI", run: Run::Read(who_am_i::read) },
];

/// The row of an opcode and its number.
pub(crate) fn find(code: i32) -> Option<(usize, &'static Operation)> {
    let row = OPERATIONS.binary_search_by_key(&code, |operation| operation.code).ok()?;
    Some((row, &OPERATIONS[row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_they_are_searched_in() {
        assert!(OPERATIONS.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(find(opcode::MULTI).map(|(_, operation)| operation.name), Some("multi"));
        assert!(find(opcode::CHECK).is_none(), "check exists only inside multi");
    }
}
