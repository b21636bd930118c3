//! The process itself: what it may hold, signals, and its end.

use std::io;

/// SIGINT and SIGTERM, which do not end the process any more once this was made.
pub struct StopSignals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    /// Takes the two signals over. Within an async runtime.
    pub fn watch() -> io::Result<StopSignals> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(StopSignals { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one and says which.
    pub async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// How many descriptors the process has open, and how many it may have; `None` where the system
/// does not tell.
pub fn descriptors() -> Option<(u64, u64)> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // The one that reads the directory is among them.
    Some((open.saturating_sub(1), descriptor_limit().ok()?.rlim_cur))
}

#[allow(unsafe_code, reason = "std has no getrlimit")]
fn descriptor_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a whole `rlimit`, and is written to during the call only.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        Ok(limit)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets the process hold as many descriptors as it is allowed to, and says how many that is. A shell
/// gives 1,024 and allows hundreds of thousands, because programs that use `select` break beyond;
/// this one does not, and every client takes one.
#[allow(unsafe_code, reason = "std has no setrlimit")]
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = descriptor_limit()?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a whole `rlimit`, and is read during the call only.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// The exit code of a node that lost its disk: see [`die`].
pub const EXIT_DISK_FAILED: i32 = 74;

/// Ends the process at once, without draining, because going on could lie: after a failed fsync
/// the page cache no longer says what is on disk, so nothing may be acknowledged any more
/// (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
pub fn die(why: &str) -> ! {
    tracing::error!("{why}");
    eprintln!("holdfast: {why}");
    std::process::exit(EXIT_DISK_FAILED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_limit_of_descriptors_is_the_one_that_is_allowed() {
        let limit = raise_descriptor_limit().unwrap();
        assert_eq!(raise_descriptor_limit().unwrap(), limit);
        let (open, most) = descriptors().unwrap();
        assert!(most == limit && (3..=limit).contains(&open), "{open} of {limit}");
    }
}
