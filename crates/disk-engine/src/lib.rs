//! The merge tree, and tables on it.
//!
//! ```text
//! rows     tables on trees: rows become keys, reads become pages     the Engine
//! tree     sorted keys in memory and files, merged by rules          knows nothing of rows
//! memory   tables in memory: the engine's twin, for tests and for merging answers
//! read     what a read asks, and what it finds; where a page ends: page
//! ```

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod memory;
mod page;
mod read;
mod rows;
#[cfg(test)]
mod tests;
pub mod tree;

pub use memory::{Dropped, MemoryEngine, TableStats};
pub use read::{RawFound, ReadSpec};
pub use rows::{Engine, TableEstimate};
