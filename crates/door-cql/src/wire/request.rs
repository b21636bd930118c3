//! Requests: bodies to messages (section 4.1 of the protocol).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Version, flag,
    frame::Frame,
    read::{Body, Malformed, Text},
};
use crate::exec::{self, BoundValues};

/// A QUERY.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) text: Text,
    pub(crate) parameters: Parameters,
}

/// An EXECUTE.
#[derive(Clone, Debug)]
pub(crate) struct Execute {
    pub(crate) id: Bytes,
    pub(crate) parameters: Parameters,
}

/// What a QUERY or EXECUTE says beside the statement.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) request: exec::Request,
    pub(crate) skip_metadata: bool,
}

/// Bits of the flags of QUERY, EXECUTE and BATCH.
mod bit {
    pub(super) const VALUES: u8 = 0x01;
    pub(super) const SKIP_METADATA: u8 = 0x02;
    pub(super) const PAGE_SIZE: u8 = 0x04;
    pub(super) const PAGING_STATE: u8 = 0x08;
    pub(super) const SERIAL_CONSISTENCY: u8 = 0x10;
    pub(super) const TIMESTAMP: u8 = 0x20;
    pub(super) const NAMES: u8 = 0x40;
}

/// Entries of a STARTUP map, element counts of its like: more than any client sends.
const MAX_ENTRIES: usize = 1024;

/// The body of a frame, behind what stands in front of every body.
fn body(frame: Frame) -> Result<Body, Malformed> {
    if frame.flags & flag::COMPRESSED != 0 {
        return Err(Malformed::Protocol("Frame is compressed, but no compression was agreed on".to_owned()));
    }
    let mut body = Body::new(frame.body);
    if frame.flags & flag::CUSTOM_PAYLOAD != 0 && frame.version >= Version::V4 {
        skip_payload(&mut body)?;
    }
    Ok(body)
}

/// The options of a STARTUP.
pub(crate) fn startup(frame: Frame) -> Result<BTreeMap<String, String>, Malformed> {
    string_map(&mut body(frame)?)
}

/// A QUERY.
pub(crate) fn query(frame: Frame) -> Result<Query, Malformed> {
    let version = frame.version;
    let mut body = body(frame)?;
    Ok(Query { text: body.long_string()?, parameters: parameters(&mut body, version)? })
}

/// The text of a PREPARE.
pub(crate) fn prepare(frame: Frame) -> Result<Text, Malformed> {
    body(frame)?.long_string()
}

/// An EXECUTE.
pub(crate) fn execute(frame: Frame) -> Result<Execute, Malformed> {
    let version = frame.version;
    let mut body = body(frame)?;
    Ok(Execute { id: body.short_bytes()?, parameters: parameters(&mut body, version)? })
}

/// Reads a BATCH to its end and returns the number of its statements. They are not kept: nothing
/// carries them out yet.
pub(crate) fn batch(frame: Frame) -> Result<usize, Malformed> {
    let version = frame.version;
    let mut body = body(frame)?;
    let kind = body.byte()?;
    if kind > 2 {
        return Err(Malformed::Protocol(format!("Invalid batch type {kind}")));
    }
    // The smallest statement: kind, empty id, no values.
    let count = body.count(5)?;
    for _ in 0..count {
        match body.byte()? {
            0 => drop(body.long_string()?),
            1 => drop(body.short_bytes()?),
            other => {
                let must = "Invalid query kind in BATCH messages. Must be 0 or 1 but got";
                return Err(Malformed::Protocol(format!("{must} {other}")));
            }
        }
        positional(&mut body, version)?;
    }
    body.consistency()?;
    let flags = body.byte()?;
    if flags & bit::NAMES != 0 {
        // The protocol puts this flag behind the values it describes (CASSANDRA-10246).
        return Err(Malformed::Protocol("Named values are not possible in BATCH".to_owned()));
    }
    tail(&mut body, flags, &mut exec::Request::default())?;
    Ok(count)
}

/// The events of a REGISTER.
pub(crate) fn register(frame: Frame) -> Result<Vec<String>, Malformed> {
    string_list(&mut body(frame)?)
}

fn parameters(body: &mut Body, version: Version) -> Result<Parameters, Malformed> {
    let consistency = body.consistency()?;
    let flags = body.byte()?;
    let values = match flags & (bit::VALUES | bit::NAMES) {
        bit::VALUES => positional(body, version)?,
        both if both == bit::VALUES | bit::NAMES => named(body, version)?,
        _ => BoundValues::Positional(Vec::new()),
    };
    let page_size = if flags & bit::PAGE_SIZE != 0 { Some(body.int()?) } else { None };
    if page_size == Some(0) {
        return Err(Malformed::Protocol("The page size cannot be 0".to_owned()));
    }
    let paging_state = if flags & bit::PAGING_STATE != 0 { body.bytes()? } else { None };
    let mut request = exec::Request {
        values,
        consistency,
        // As in Cassandra, a page of less than no rows is a page without bound.
        page_size: page_size.and_then(|rows| u32::try_from(rows).ok()),
        paging_state,
        ..exec::Request::default()
    };
    tail(body, flags, &mut request)?;
    Ok(Parameters { request, skip_metadata: flags & bit::SKIP_METADATA != 0 })
}

/// Serial consistency and timestamp, which end the parameters of batches too.
fn tail(body: &mut Body, flags: u8, request: &mut exec::Request) -> Result<(), Malformed> {
    if flags & bit::SERIAL_CONSISTENCY != 0 {
        request.serial_consistency = Some(body.consistency()?);
    }
    if flags & bit::TIMESTAMP != 0 {
        let timestamp = body.long()?;
        if timestamp == i64::MIN {
            return Err(Malformed::Protocol(format!(
                "Out of bound timestamp, must be in [{}, {}] (got {timestamp})",
                i64::MIN + 1,
                i64::MAX
            )));
        }
        request.timestamp_micros = Some(timestamp);
    }
    Ok(())
}

fn positional(body: &mut Body, version: Version) -> Result<BoundValues, Malformed> {
    let count = body.count(4)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        values.push(body.value(version >= Version::V4)?);
    }
    Ok(BoundValues::Positional(values))
}

fn named(body: &mut Body, version: Version) -> Result<BoundValues, Malformed> {
    let mut values = BTreeMap::new();
    for _ in 0..body.count(6)? {
        let name = body.string()?;
        values.insert(name, body.value(version >= Version::V4)?);
    }
    Ok(BoundValues::Named(values))
}

fn string_map(body: &mut Body) -> Result<BTreeMap<String, String>, Malformed> {
    let count = bounded(body.count(4)?)?;
    let mut map = BTreeMap::new();
    for _ in 0..count {
        let key = body.string()?;
        map.insert(key, body.string()?);
    }
    Ok(map)
}

fn string_list(body: &mut Body) -> Result<Vec<String>, Malformed> {
    let count = bounded(body.count(2)?)?;
    (0..count).map(|_| body.string()).collect()
}

/// Passes over a custom payload: no part of this door reads one.
fn skip_payload(body: &mut Body) -> Result<(), Malformed> {
    for _ in 0..bounded(body.count(6)?)? {
        body.short_bytes()?;
        body.bytes()?;
    }
    Ok(())
}

fn bounded(count: usize) -> Result<usize, Malformed> {
    if count > MAX_ENTRIES {
        return Err(Malformed::Protocol(format!("{count} entries, at most {MAX_ENTRIES} are read")));
    }
    Ok(count)
}
