//! A child process that does not outlive whoever waits for it: a test that fails, or whose patience ends,
//! leaves nothing behind that runs.

use std::{
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use super::signal;

/// How often a process is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// See the module. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no such program.
    pub(crate) fn start(mut command: Command) -> Process {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child }
    }

    /// What it reads and writes, where that was piped.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, with: &str) {
        signal(self.pid(), with);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// How it ended; `None` if it still runs when `limit` is over.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() >= deadline {
                return ended;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Of one that has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_process_ends_with_whoever_waits_for_it() {
    let sleep = || {
        let mut command = Command::new("sleep");
        command.arg("600");
        Process::start(command)
    };
    let runs = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    let mut patient = sleep();
    let pid = patient.pid();
    assert!(patient.ends_within(Duration::from_millis(30)).is_none() && runs(pid));
    drop(patient);
    assert!(!runs(pid));
    let pid = std::thread::spawn(move || {
        let failing = sleep();
        std::panic::panic_any(failing.pid());
    });
    let pid = *pid.join().unwrap_err().downcast::<u32>().unwrap();
    assert!(!runs(pid));
    let mut killed = sleep();
    killed.signal("TERM");
    assert!(killed.ends_within(Duration::from_secs(30)).is_some_and(|status| !status.success()));
}
