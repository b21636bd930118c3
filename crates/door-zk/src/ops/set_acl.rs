//! setACL (7): replaces a znode's access control list, if that has the version asked for; answers
//! the Stat. No watch is told.

use crate::{
    entry::What,
    wire::{
        jute::{Input, Malformed},
        request,
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::set_acl(input).map(What::One)
}
