//! multi (14): creates, deletes, sets and checks, all or none. Unlike other records, one that
//! cannot be read takes a zxid, as ZooKeeper counts.

use crate::{
    entry::What,
    faults::Code,
    wire::{
        jute::{Input, Malformed},
        request,
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    Ok(match request::multi(input) {
        Ok(changes) => What::Multi(changes),
        Err(Malformed) => What::Refuse(Code::MARSHALLING_ERROR),
    })
}
