//! create (1) answers the path, create2 (15) the path and the Stat. What a mode means and which
//! check comes first is in [`crate::tree`].

use crate::{
    entry::What,
    wire::{
        jute::{Input, Malformed},
        request,
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create(input, false).map(What::One)
}

pub(super) fn decode_with_stat<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create(input, true).map(What::One)
}
