//! Exit codes, so that a script can tell failures apart. Numbers follow `sysexits.h` where it has
//! a fitting one.

use base::{Cause, Class};

/// Why the process ends without having served, or having served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 65: the data directory holds something this build does not read: another disk format,
    /// damage, a stranger's files. Of `verify`: it has found faults.
    Data,
    /// 69: a running node was asked and has not answered.
    Unanswered,
    /// 70: a broken promise of our own.
    Bug,
    /// 71: the system refused something (threads, signals, room on the disk).
    System,
    /// 73: an address cannot be listened on.
    Address,
    /// 75: another process uses the data directory.
    InUse,
    /// 77: an address other than loopback without `--insecure`.
    Insecure,
    /// 78: the settings are wrong.
    Settings,
}

impl Exit {
    /// The number given to the system. 0 is a clean stop, 2 a wrong command line, and
    /// [`world::process::EXIT_DISK_FAILED`] (74) a disk that failed while serving.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Data => 65,
            Exit::Unanswered => 69,
            Exit::Bug => 70,
            Exit::System => 71,
            Exit::Address => 73,
            Exit::InUse => 75,
            Exit::Insecure => 77,
            Exit::Settings => 78,
        }
    }
}

/// A failure to start: what the user reads, and the exit code.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Refusal {
        Refusal { exit, message: message.into() }
    }
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Refusal {
        let exit = match cause.class {
            Class::Bug => Exit::Bug,
            Class::Busy => Exit::System,
            _ => Exit::Data,
        };
        Refusal::new(exit, cause.to_string())
    }
}
