//! setData (5): replaces a znode's data, if it has the version asked for; answers the Stat.

use crate::{
    entry::What,
    wire::{
        jute::{Input, Malformed},
        request,
    },
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    request::set_data(input).map(What::One)
}
