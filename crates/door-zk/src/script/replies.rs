//! Replies to lines of text. What differs between two runs of one script (zxids of concurrent
//! writes, times, session ids) is told by the name that [`Names`] gives it.

use std::fmt::Write;

use crate::wire::{
    jute::{Input, Malformed},
    request::opcode,
};

/// How numbers that differ from run to run are told.
pub trait Names {
    /// A zxid's name.
    fn zxid(&self, zxid: i64) -> i64;
    /// What is told of `time_ms`, at which a Stat says that `zxid` was.
    fn time(&mut self, zxid: i64, time_ms: i64) -> i64;
    /// What is told of an ephemeralOwner.
    fn owner(&self, owner: i64) -> String;
    /// Whether names of children, and users of a list that `auth` stands for, are told in order
    /// instead of as they came: a server may keep them in a hash table.
    fn sorts(&self) -> bool;
}

/// Numbers as they are; times since the start of the simulated clock of this crate's tests.
pub struct Plain;

const SIMULATED_START_MS: i64 = 1_700_000_000_000;

impl Names for Plain {
    fn zxid(&self, zxid: i64) -> i64 {
        zxid
    }

    fn time(&mut self, _zxid: i64, time_ms: i64) -> i64 {
        if time_ms == 0 { 0 } else { time_ms - SIMULATED_START_MS }
    }

    fn owner(&self, owner: i64) -> String {
        (owner != 0).to_string()
    }

    fn sorts(&self) -> bool {
        false
    }
}

/// Appends the record of a reply to a request of opcode `code`.
///
/// # Errors
/// When the bytes are not that record.
pub(crate) fn record(
    input: &mut Input<'_>,
    code: i32,
    names: &mut dyn Names,
    line: &mut String,
) -> Result<(), Malformed> {
    match code {
        opcode::CREATE | opcode::SYNC => line.push_str(input.text()?),
        opcode::CREATE2 | opcode::CREATE_CONTAINER | opcode::CREATE_TTL => {
            line.push_str(input.text()?);
            stat(input, names, line)?;
        }
        opcode::EXISTS | opcode::SET_DATA | opcode::SET_ACL => stat(input, names, line)?,
        opcode::GET_ACL => {
            acl(input, names, line)?;
            stat(input, names, line)?;
        }
        opcode::WHO_AM_I => {
            let count = input.count(8)?;
            let mut ids = Vec::with_capacity(count);
            for _ in 0..count {
                ids.push(format!("{}/{}", input.text()?, input.text()?));
            }
            ids.sort();
            line.push_str(&ids.join(","));
        }
        opcode::GET_DATA => {
            match input.buffer()? {
                None => line.push_str("null"),
                Some(data) => tell(line, format_args!("{:?}", String::from_utf8_lossy(data))),
            }
            stat(input, names, line)?;
        }
        opcode::GET_CHILDREN | opcode::GET_CHILDREN2 | opcode::GET_EPHEMERALS => {
            let count = input.count(4)?;
            let mut children = Vec::with_capacity(count);
            for _ in 0..count {
                children.push(input.text()?);
            }
            if names.sorts() {
                children.sort_unstable();
            }
            tell(line, format_args!("[{}]", children.join(" ")));
            if code == opcode::GET_CHILDREN2 {
                stat(input, names, line)?;
            }
        }
        opcode::SASL => match input.buffer()? {
            None => line.push_str("null"),
            Some(token) => tell(line, format_args!("token {token:?}")),
        },
        opcode::ADD_WATCH => tell(line, format_args!("code {}", input.i32()?)),
        opcode::MULTI | opcode::MULTI_READ => multi(input, names, line)?,
        opcode::GET_ALL_CHILDREN_NUMBER => tell(line, format_args!("{}", input.i32()?)),
        _ => line.push_str("ok"),
    }
    Ok(())
}

fn tell(line: &mut String, what: std::fmt::Arguments<'_>) {
    line.write_fmt(what).expect("a String takes everything");
}

fn acl(input: &mut Input<'_>, names: &dyn Names, line: &mut String) -> Result<(), Malformed> {
    let count = input.count(12)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push((input.i32()?, input.text()?, input.text()?));
    }
    if names.sorts() {
        // Only users side by side with the same permissions: what `auth` may have stood for.
        for run in entries.chunk_by_mut(|a, b| (a.0, a.1) == (b.0, b.1) && a.1 == "digest") {
            run.sort_unstable();
        }
    }
    let entries: Vec<_> =
        entries.iter().map(|(perms, scheme, id)| format!("{perms}/{scheme}/{id}")).collect();
    line.push_str(&entries.join(","));
    Ok(())
}

fn multi(input: &mut Input<'_>, names: &mut dyn Names, line: &mut String) -> Result<(), Malformed> {
    loop {
        let (code, done, error) = (input.i32()?, input.bool()?, input.i32()?);
        if done {
            return if (code, error) == (-1, -1) { Ok(()) } else { Err(Malformed) };
        }
        if code == opcode::ERROR {
            if input.i32()? != error {
                return Err(Malformed);
            }
            tell(line, format_args!("[error {error}]"));
            continue;
        }
        if error != 0 {
            return Err(Malformed);
        }
        line.push('[');
        record(input, code, names, line)?;
        line.push(']');
    }
}

fn stat(input: &mut Input<'_>, names: &mut dyn Names, line: &mut String) -> Result<(), Malformed> {
    let (czxid, mzxid, ctime, mtime) = (input.i64()?, input.i64()?, input.i64()?, input.i64()?);
    let (version, cversion, aversion) = (input.i32()?, input.i32()?, input.i32()?);
    let owner = input.i64()?;
    let (length, children) = (input.i32()?, input.i32()?);
    let pzxid = input.i64()?;
    tell(
        line,
        format_args!(
            " (c{} m{} p{} ctime={} mtime={} version={version} cversion={cversion} \
             aversion={aversion} ephemeral={} length={length} children={children})",
            names.zxid(czxid),
            names.zxid(mzxid),
            names.zxid(pzxid),
            names.time(czxid, ctime),
            names.time(mzxid, mtime),
            names.owner(owner),
        ),
    );
    Ok(())
}
