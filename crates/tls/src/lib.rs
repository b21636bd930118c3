//! TLS for doors and between nodes: [`Certificates`] from files, which renew themselves, and
//! [`Channel`]s, which are fed bytes and give bytes (ADR 6).
//!
//! There is no socket inside. What drives a connection knows when it can be read and written, and holds no
//! buffer while it is idle; a wrapped socket would hide the one and keep the other.
//!
//! Certificates are judged by `world`'s clock. Keys are drawn from the provider's own entropy, which
//! escapes the simulator; the simulator works above TLS.

mod certificates;
mod channel;

pub use certificates::{CertificateFault, CertificateFiles, Certificates, ClientAuth};
pub use channel::{Broken, Channel, ClientChannel, ServerChannel, Side};

#[cfg(any(test, feature = "forge"))]
#[path = "tests/forge.rs"]
pub mod forge;

#[cfg(test)]
mod tests;
