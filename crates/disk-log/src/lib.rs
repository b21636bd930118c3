//! The one write-ahead log of a disk.
//!
//! Everything a node must not forget goes through here: Raft entries, mutations, Machine
//! snapshots, each a record of a *stream*. One log per disk, because one `fdatasync` can make the
//! work of many durable, and two logs would need two.
//!
//! - [`Log`] is the log as a plain value: open and replay, append, trim, seal.
//! - [`LogWriter`] is its front for many callers: a bounded queue that one thread empties with one
//!   write and one sync at a time, answering in order.
//! - The bytes are drawn in `format` and `control`; what survives what is told in `recover`.
//! - [`verify`] reads all of it and names every fault.
//!
//! ```
//! use base::{Position, StreamId};
//! use disk_log::{Batch, Log, LogSettings};
//! use world::{Disk, Entropy};
//!
//! let disk = Disk::in_memory();
//! let mut log = Log::open(disk.clone(), LogSettings::default(), &Entropy::real(), &mut |_, _, _| Ok(()))?;
//! log.append(&Batch::of(StreamId(1), b"never forget"))?;
//! log.seal()?;
//!
//! let mut seen = Vec::new();
//! Log::open(disk, LogSettings::default(), &Entropy::real(), &mut |position, stream, payload| {
//!     seen.push((position, stream, payload.to_vec()));
//!     Ok(())
//! })?;
//! assert_eq!(seen, [(Position(1), StreamId(1), b"never forget".to_vec())]);
//! # Ok::<(), disk_log::LogError>(())
//! ```

mod batch;
mod control;
mod error;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod queue;
mod recover;
mod settings;
mod stepper;
mod thread;
mod verify;
mod writer;

pub use batch::Batch;
pub use error::LogError;
pub use log::{FOLDER, Log, LogStats};
pub use recover::Visit;
pub use settings::LogSettings;
pub use stepper::Stepper;
pub use verify::{LogFinding, LogVerified, verify};
pub use writer::{Durable, LogWriter, Refused};

#[cfg(test)]
mod tests;
