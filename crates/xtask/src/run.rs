//! Child processes: started, their lines seen as they come, never left running past a deadline.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    if crate::in_ci() {
        // A fresh clone never builds a second time: what incremental compilation writes is waste.
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// Runs `command` to its end and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("xtask: {:?} does not start: {error}", command.get_program());
            false
        }
    }
}

/// Runs `command`, hands every line of its standard output to `line`, and says whether it
/// succeeded within `limit`; past it, the process is killed.
pub(crate) fn lines(command: &mut Command, limit: Duration, mut line: impl FnMut(&str)) -> bool {
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("xtask: {:?} does not start: {error}", command.get_program());
            return false;
        }
    };
    let Some(stdout) = child.stdout.take() else { return false };
    let (sender, receiver) = mpsc::channel();
    // The reader ends with the pipe. It is not joined: a grandchild that outlives a killed child
    // could hold the pipe open for ever.
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).split(b'\n') {
            let Ok(text) = text else { return };
            if sender.send(String::from_utf8_lossy(&text).into_owned()).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + limit;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => line(&text),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                eprintln!("xtask: {:?} took longer than {limit:?} and is killed", command.get_program());
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
    child.wait().is_ok_and(|status| status.success())
}
