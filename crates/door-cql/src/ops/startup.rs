//! STARTUP: the client says what it wants of the connection. Unknown options are its own business
//! (drivers tell their name, version and configuration); the language's version and a compression
//! are promises and are checked.

use std::collections::BTreeMap;

use super::Operation;
use crate::{
    session::CqlSession,
    wire::{
        frame::Frame,
        opcode, request,
        response::{self, Failure, Head},
    },
};

pub(super) const ROW: Operation =
    Operation { opcode: opcode::STARTUP, name: "STARTUP", greets: true, handle };

fn handle(session: &mut CqlSession, head: Head, frame: Frame) -> Result<(), Failure> {
    if session.is_ready() {
        return Err(Failure::protocol("Unexpected message STARTUP, the connection is already initialized"));
    }
    check(&request::startup(frame)?)?;
    session.begin();
    session.connection().say(|out| response::ready(out, head));
    Ok(())
}

fn check(options: &BTreeMap<String, String>) -> Result<(), Failure> {
    let value =
        |name: &str| options.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let Some(version) = value("CQL_VERSION") else {
        return Err(Failure::protocol("Missing value CQL_VERSION in STARTUP message"));
    };
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major| major < 3) {
        return Err(Failure::protocol(format!(
            "CQL version {version} is not supported by the binary protocol (supported version are >= 3.0.0)"
        )));
    }
    match value("COMPRESSION") {
        Some(algorithm) if !algorithm.is_empty() => {
            Err(Failure::protocol(format!("Unknown compression algorithm: {algorithm}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[(&str, &str)]) -> Result<(), Failure> {
        check(&options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn what_drivers_send_is_taken() {
        for version in ["3.0.0", "3.4.7", "3.4.5", "4.0.0"] {
            assert_eq!(with(&[("CQL_VERSION", version), ("DRIVER_CONFIG", "{}")]), Ok(()), "{version}");
        }
    }

    #[test]
    fn promises_we_cannot_keep_are_refused() {
        assert!(with(&[]).is_err());
        assert!(with(&[("CQL_VERSION", "2.0.0")]).is_err());
        assert!(with(&[("CQL_VERSION", "new")]).is_err());
        assert!(with(&[("CQL_VERSION", "3.4.7"), ("COMPRESSION", "lz4")]).is_err());
    }
}
