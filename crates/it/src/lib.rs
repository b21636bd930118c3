//! The one integration-test crate: real clients against real servers.
