//! What the stories share: servers, programs, raw wires, and time bounds.

pub(crate) mod certificates;
pub(crate) mod cql;
pub(crate) mod http;
pub(crate) mod java;
pub(crate) mod program;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod zookeeper;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use program::Program;
pub(crate) use scratch::Scratch;
pub(crate) use server::{Launch, Server};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// Calls `probe` until it gives a value, for at most `limit`.
///
/// # Panics
/// With `what` when the time is over.
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends `signal` (`TERM`, `KILL`, `STOP`, `CONT`, `INT`) to the process `pid`, which the caller
/// started.
pub(crate) fn signal(pid: u32, signal: &str) {
    // The shell's own `kill` is everywhere; a kill(2) of our own would need unsafe code.
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status();
    assert!(status.is_ok_and(|status| status.success()), "SIG{signal} to {pid} was not delivered");
}
