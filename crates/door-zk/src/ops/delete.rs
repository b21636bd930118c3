//! delete (2): removes a znode without children, if it has the version asked for.

use crate::{
    entry::What,
    wire::{
        jute::{Input, Malformed},
        request,
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::delete(input).map(What::One)
}
