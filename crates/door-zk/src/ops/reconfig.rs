//! reconfig (16): refused as a server refuses it whose operator has not switched it on.

use crate::{
    entry::What,
    faults::Code,
    wire::jute::{Input, Malformed},
};

pub(super) fn decode<'a>(_: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    Ok(What::Refuse(Code::RECONFIG_DISABLED))
}
