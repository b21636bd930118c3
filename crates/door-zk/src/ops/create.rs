//! create (1) answers the path; create2 (15), createContainer (19) and createTTL (21) the path and
//! the Stat. What a mode means and which check comes first is in [`crate::tree`].

use crate::{
    entry::What,
    wire::{
        jute::{Input, Malformed},
        request::{self, Form},
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create(input, Form::Plain).map(What::One)
}

pub(super) fn decode_with_stat<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create(input, Form::WithStat).map(What::One)
}

pub(super) fn decode_container<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create(input, Form::Container).map(What::One)
}

pub(super) fn decode_ttl<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::create_ttl(input).map(What::One)
}
