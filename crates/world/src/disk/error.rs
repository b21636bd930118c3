//! [`DiskError`]: what a disk refuses, in the words callers act on.

use std::{fmt, io};

use base::{Cause, Class};

/// Why a disk did not do as asked. Every variant names the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskError {
    /// There is no such file.
    NotFound {
        /// The file.
        path: String,
    },
    /// There is such a file already.
    Exists {
        /// The file.
        path: String,
    },
    /// No room is left on the device (or in the quota).
    Full {
        /// The file that did not fit.
        path: String,
    },
    /// Another process uses the directory.
    Locked {
        /// The lock file.
        path: String,
        /// What the lock file says about who holds it: a process id, if it could be read.
        holder: Option<u32>,
    },
    /// Anything else, above all the device failing.
    Failed {
        /// What was tried: `read`, `sync`, ...
        op: &'static str,
        /// The file.
        path: String,
        /// The operating system's words.
        why: String,
    },
}

impl DiskError {
    pub(crate) fn failed(op: &'static str, path: &str, why: impl Into<String>) -> DiskError {
        DiskError::Failed { op, path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn from_io(op: &'static str, path: &str, error: &io::Error) -> DiskError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => DiskError::NotFound { path },
            io::ErrorKind::AlreadyExists => DiskError::Exists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full { path },
            _ => DiskError::Failed { op, path, why: error.to_string() },
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::NotFound { path } => write!(f, "{path} does not exist"),
            DiskError::Exists { path } => write!(f, "{path} exists already"),
            DiskError::Full { path } => write!(f, "no room on the disk for {path}"),
            DiskError::Locked { path, holder: Some(pid) } => {
                write!(f, "{path} is locked: process {pid} uses this directory")
            }
            DiskError::Locked { path, holder: None } => {
                write!(f, "{path} is locked: another process uses this directory")
            }
            DiskError::Failed { op, path, why } => write!(f, "{op} {path}: {why}"),
        }
    }
}

impl std::error::Error for DiskError {}

impl From<DiskError> for Cause {
    fn from(error: DiskError) -> Cause {
        let class = match error {
            DiskError::NotFound { .. } => Class::Absent,
            DiskError::Exists { .. } => Class::Exists,
            DiskError::Full { .. } => Class::Busy,
            DiskError::Locked { .. } => Class::Conflict,
            // Some of it may have reached the device.
            DiskError::Failed { .. } => Class::Uncertain { received: 0, required: 1 },
        };
        Cause::new(class, error.to_string())
    }
}
