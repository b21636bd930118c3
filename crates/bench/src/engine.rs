//! The merge tree beside `lsm-tree`: the suite `engine`.
//!
//! Both trees run under the same client code ([`turn`]), on real files, with the same sizes of
//! memtable, file, level, block, filter and cache, one thread that writes and one that does the
//! upkeep. Neither has a log here: `lsm-tree` has none, and ours belongs to the server.
//!
//! A turn of one tree at one size of value is a process of its own (`bench-engine turn`), so that
//! its memory is its own and nothing is warm but the page cache. [`suite`] lets them take turns,
//! another one first each time, and tells medians.

pub mod data;
pub mod forest;
pub mod layout;
pub mod lsm;
pub mod measure;
pub mod peer;
pub mod pressure;
pub mod scale;
pub mod suite;
pub mod table;
pub mod turn;
