//! The ZooKeeper door: clients of Apache ZooKeeper 3.4 and later, over one replicated tree.
//!
//! Two halves meet in the hub ([`hub`]): the state machine that the spine drives through its log
//! ([`machine`], [`replica`], [`tree`]), and the connections ([`session`], [`link`]). A write goes
//! from a connection into the log as an entry ([`entry`]) and comes back as a finished reply; a
//! read is answered from the state of this node. [`watches`] and [`sessions`] are what this node
//! knows of its own clients.
//!
//! What is there and what is refused stands in the crate's README.

mod acl;
mod auth;
mod entry;
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hub;
mod lifetime;
mod limits;
mod link;
mod machine;
mod ops;
mod path;
mod quota;
mod reaper;
mod replica;
#[cfg(any(test, feature = "script"))]
pub mod script;
mod serve;
mod session;
mod sessions;
mod traffic;
mod tree;
mod watches;
mod wire;
mod words;
mod x509;

pub use limits::{Folders, Settings};
pub use serve::{Door, new};

#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the fuzzers need a part of what the tests work with"))]
mod testing;
