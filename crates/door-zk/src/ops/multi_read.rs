//! multiRead (22): getData and getChildren, several in one request and of one state. Each has its own
//! answer or error. No watches are set, whatever the records say.
//!
//! A short request could ask for the same large znode ten thousand times, so an answer is bounded:
//! what does not fit any more is refused as throttled.

use super::{Reading, Stop};
use crate::{
    faults::Code,
    wire::{
        jute::{Input, put_buffer},
        reply,
        request::{self, Look, opcode},
    },
};

/// Bytes of an answer beyond which no more is added. The longest answer is one znode longer.
const ENOUGH_BYTES: usize = 8 << 20;

pub(super) fn read(reading: &mut Reading<'_>, mut record: Input<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let start = out.len();
    while let Some(code) = request::multi_header(&mut record)? {
        if !matches!(code, opcode::GET_DATA | opcode::GET_CHILDREN) {
            return Err(Code::MARSHALLING_ERROR.into());
        }
        let look = request::look(&mut record)?;
        let mark = out.len();
        reply::multi_header(out, code, Code::OK);
        let enough = ENOUGH_BYTES.min(reading.answer_bytes);
        let answer =
            if mark - start > enough { Err(Code::THROTTLED.into()) } else { one(reading, code, look, out) };
        match answer {
            // What else is not there is asked for together.
            Ok(()) | Err(Stop::Cold) => {}
            Err(Stop::Refused(error)) => {
                out.truncate(mark);
                reply::multi_error(out, error);
            }
            Err(stop @ Stop::Failed(_)) => return Err(stop),
        }
    }
    if !reading.wants.is_empty() {
        return Err(Stop::Cold);
    }
    reply::multi_end(out);
    Ok(reading.check_answer(out.len() - start)?)
}

fn one(reading: &mut Reading<'_>, code: i32, look: Look<'_>, out: &mut Vec<u8>) -> Result<(), Stop> {
    let place = reading.readable(look.path)?;
    if code == opcode::GET_CHILDREN {
        reading.list(look.path, place, out)?;
    } else {
        let node = reading.node(place);
        put_buffer(out, node.data.as_deref());
        reply::stat(out, &node.stat());
    }
    Ok(())
}
