//! The operations: one row an opcode, one file an operation.
//!
//! A *read* is answered from the state of this node, once the store says that it includes
//! everything acknowledged before. A *write* becomes an entry of the log. What has no row is
//! refused ([`crate::session`]).

mod close_session;
mod create;
mod delete;
mod exists;
mod get_children;
mod get_data;
mod multi;
mod reconfig;
mod set_data;
mod sync;

use std::sync::Arc;

use door::Outbox;

use crate::{
    entry::What,
    faults::Code,
    hub::State,
    watches::{Kind, LinkId},
    wire::{
        jute::{Input, Malformed},
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
/// failed is thrown away.
pub(crate) type ReadFn = fn(&mut Reading<'_>, Input<'_>, &mut Vec<u8>) -> Result<(), Code>;

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
    /// Where its watch events go.
    pub(crate) outbox: &'a Arc<Outbox>,
}

impl Reading<'_> {
    /// Sets a watch for whoever reads.
    fn watch(&mut self, kind: Kind, path: &str) {
        self.state.watches.add(kind, path, self.link, self.outbox);
    }
}

impl From<Malformed> for Code {
    fn from(_: Malformed) -> Code {
        Code::MARSHALLING_ERROR
    }
}

/// The table, by opcode.
pub(crate) static OPERATIONS: [Operation; 12] = [
    Operation { code: opcode::CLOSE_SESSION, name: "closeSession", run: Run::Write(close_session::decode) },
    Operation { code: opcode::CREATE, name: "create", run: Run::Write(create::decode) },
    Operation { code: opcode::DELETE, name: "delete", run: Run::Write(delete::decode) },
    Operation { code: opcode::EXISTS, name: "exists", run: Run::Read(exists::read) },
    Operation { code: opcode::GET_DATA, name: "getData", run: Run::Read(get_data::read) },
    Operation { code: opcode::SET_DATA, name: "setData", run: Run::Write(set_data::decode) },
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
