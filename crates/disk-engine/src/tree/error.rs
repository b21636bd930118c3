//! [`TreeError`]: what only the owner of a forest can mend.

use std::fmt;

use base::{Cause, Class, Malformed};
use world::DiskError;

use super::TreeId;

/// Why a forest did not do as asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreeError {
    /// Bytes that were once durable are gone or changed. Only what they hold cannot be read.
    Damaged(Damage),
    /// A file was written by another version of this program.
    Version {
        /// The file that says so.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The settings are out of range.
    Settings(&'static str),
    /// A key or value is longer than a tree takes. Nothing was done.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A value is none that the tree's rule knows. Nothing was done.
    Value(Malformed),
    /// A read that must not wait ([`Patience::Now`](super::Patience)) would have to wait for the
    /// disk. Nothing is wrong: it is begun again where it may wait.
    NotNow,
    /// No room is left on the disk. What was begun is given up whole; it works again when there
    /// is room.
    Full,
    /// A write or a sync failed, now or earlier, so nobody knows what is on the disk. Reads go
    /// on; only opening the forest again can tell more.
    Fatal(String),
    /// The disk failed a read, or failed while the forest was being opened.
    Disk(DiskError),
}

/// A place that fails its check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file, relative to the disk's directory.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The tree whose data it holds; `None` if it concerns all.
    pub tree: Option<TreeId>,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}", self.file, self.offset)?;
        if let Some(tree) = self.tree {
            write!(f, " (tree {})", tree.0)?;
        }
        write!(f, ": {}", self.why)
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::Damaged(damage) => damage.fmt(f),
            TreeError::Version { file, version } => write!(
                f,
                "{file} is of format version {version}, and this program reads version {} only",
                super::format::VERSION
            ),
            TreeError::TooLarge { bytes, limit } => {
                write!(f, "{bytes} bytes for one key or value, {limit} at most")
            }
            TreeError::Settings(why) => write!(f, "tree settings: {why}"),
            TreeError::Value(error) => error.fmt(f),
            TreeError::NotNow => f.write_str("the read would wait for the disk"),
            TreeError::Full => f.write_str("no room on the disk for the tree"),
            TreeError::Fatal(why) => write!(f, "the tree failed: {why}"),
            TreeError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TreeError {}

impl From<DiskError> for TreeError {
    fn from(error: DiskError) -> TreeError {
        match error {
            DiskError::Full { .. } => TreeError::Full,
            error => TreeError::Disk(error),
        }
    }
}

impl From<TreeError> for Cause {
    fn from(error: TreeError) -> Cause {
        let class = match &error {
            TreeError::Damaged(_) => Class::Corrupt,
            TreeError::Version { .. } => Class::Unsupported,
            TreeError::Settings(_) | TreeError::TooLarge { .. } | TreeError::Value(_) => Class::Invalid,
            TreeError::Full | TreeError::NotNow => Class::Busy,
            TreeError::Fatal(_) => Class::Uncertain { received: 0, required: 1 },
            TreeError::Disk(error) => return error.clone().into(),
        };
        Cause::new(class, error.to_string())
    }
}
