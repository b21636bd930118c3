//! What the stories share: servers, programs, raw wires, and time bounds.

pub(crate) mod certificates;
pub(crate) mod cql;
pub(crate) mod http;
pub(crate) mod java;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod zookeeper;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

pub(crate) use process::Process;
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

/// A stream of numbers that is the same in every run (SplitMix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
