//! The one integration-test crate: real clients against real servers.
//!
//! The tests are in `tests/it`, one binary; the Python programs that they drive are in `python`.
//! `cargo xtask test it [FILTER]` builds what they need and runs them.
