//! [`LogError`]: what only a log's owner can mend.

use std::fmt;

use base::{Cause, Class};
use world::DiskError;

/// Why the log did not do as asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogError {
    /// Bytes that were once durable are gone or changed. Nothing was skipped and nothing changed.
    Damaged {
        /// The file, relative to the disk's directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log was written by another version of this program.
    Version {
        /// The file that says so.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The settings contradict themselves.
    Settings(String),
    /// A batch larger than the log takes. Nothing was done.
    TooLarge {
        /// Its bytes.
        bytes: u64,
        /// The most there may be.
        limit: u64,
    },
    /// No room is left on the disk. Nothing was done; works again when there is room.
    Full,
    /// A write or a sync failed, now or earlier, so nobody knows what is on the disk. Only
    /// opening the log again can tell.
    Fatal(String),
    /// The disk failed while the log was being opened.
    Disk(DiskError),
    /// Whoever was shown a record refused it.
    Visitor(Cause),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Damaged { file, offset, why } => write!(f, "{file} is damaged at byte {offset}: {why}"),
            LogError::Version { file, version } => write!(
                f,
                "{file} is a log of format version {version}, and this program reads version {} only",
                crate::format::VERSION
            ),
            LogError::Settings(why) => write!(f, "log settings: {why}"),
            LogError::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes for the log at once, {limit} at most")
            }
            LogError::Full => f.write_str("no room on the disk for the log"),
            LogError::Fatal(why) => write!(f, "the log failed: {why}"),
            LogError::Disk(error) => error.fmt(f),
            LogError::Visitor(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for LogError {}

impl From<DiskError> for LogError {
    fn from(error: DiskError) -> LogError {
        match error {
            DiskError::Full { .. } => LogError::Full,
            error => LogError::Disk(error),
        }
    }
}

impl From<LogError> for Cause {
    fn from(error: LogError) -> Cause {
        let class = match &error {
            LogError::Damaged { .. } => Class::Corrupt,
            LogError::Version { .. } => Class::Unsupported,
            LogError::Settings(_) | LogError::TooLarge { .. } => Class::Invalid,
            LogError::Full => Class::Busy,
            LogError::Fatal(_) => Class::Uncertain { received: 0, required: 1 },
            LogError::Disk(error) => return error.clone().into(),
            LogError::Visitor(cause) => return cause.clone(),
        };
        Cause::new(class, error.to_string())
    }
}
