//! closeSession (-11), without a record: ends the session and its ephemeral znodes in one
//! transaction. The connection is closed after the answer.

use crate::{
    entry::What,
    wire::jute::{Input, Malformed},
};

pub(super) fn decode<'a>(_: &mut Input<'a>) -> Result<What<'a>, Malformed> {
    Ok(What::Close)
}
