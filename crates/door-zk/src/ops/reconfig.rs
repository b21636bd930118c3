//! reconfig (16): refused as a server refuses it whose operator has not switched it on.

use crate::{
    entry::What,
    faults::Code,
    wire::jute::{Input, Malformed},
};

pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    let (_joining, _leaving, _members) = (input.string()?, input.string()?, input.string()?);
    let _configuration = input.i64()?;
    Ok(What::Refuse(Code::RECONFIG_DISABLED))
}
