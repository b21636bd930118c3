//! The merge tree, and tables on it.
//!
//! ```text
//! tree     sorted keys in memory and files, merged by rules      knows nothing of rows
//! memory   tables in memory: the twin of the engine, for tests and for merging answers
//! read     what a read asks, and what it finds
//! ```

mod memory;
mod read;
#[cfg(test)]
mod tests;
pub mod tree;

pub use memory::{Dropped, MemoryEngine, TableStats};
pub use read::{RawFound, ReadSpec};
