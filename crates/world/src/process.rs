//! The process itself: signals, and the end of it.

use std::io;

/// Waits for SIGINT or SIGTERM and says which.
pub async fn stop_signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
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
