//! The process itself: signals, and the end of it.

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
