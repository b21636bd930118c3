//! The only crate that touches the world: clock, entropy, disk, sockets, tasks.
//!
//! Everything else is a function of what this crate hands it. Clock, entropy and disk are concrete
//! handles with a real half and a simulated half behind the same methods, so the code under
//! simulation is the code that ships. Sockets, tasks and the operator's own files have their real
//! half only, so far; they are here so that nothing else touches them.
//!
//! clippy's `disallowed-methods` (see `clippy.toml`) keeps others out.

mod clock;
mod disk;
mod entropy;
pub mod garbage;
pub mod given;
pub mod later;
pub mod net;
pub mod process;
pub mod task;
pub mod time;

pub use clock::Clock;
pub use disk::{
    Boundary, Disk, DiskError, Fault, File, LOCK_FILE, Lock, NoFault, Occurrence, Operation, Operations,
    Outcome, SimDisk,
};
pub use entropy::Entropy;

/// The handles a node is born with.
#[derive(Clone, Debug)]
pub struct World {
    /// Wall and monotonic time.
    pub clock: Clock,
    /// Random numbers.
    pub entropy: Entropy,
    /// The directory the node may write to.
    pub disk: Disk,
}
