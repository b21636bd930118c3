//! [`Tls`]: whether and how a door speaks TLS, on the same port as in clear.
//!
//! The first byte of a connection decides. A TLS handshake begins with a record of type 22 (0x16),
//! which no protocol of the house can begin with: as the first byte of a ZooKeeper length it would
//! mean 352 MiB, far over what `jute.maxbuffer` may be set to; four-letter words and HTTP begin with
//! letters; the Cassandra protocol with its version, 22 of which there will not be soon. So a client
//! in clear pays one comparison, once. TLS itself is the crate `tls`.

use std::sync::Arc;

use tls::Certificates;

/// The type of the record that a TLS connection begins with.
pub(crate) const HANDSHAKE_RECORD: u8 = 0x16;

/// Whether a door speaks TLS.
#[derive(Clone, Debug, Default)]
pub enum Tls {
    /// In clear only.
    #[default]
    Off,
    /// As the client likes.
    Optional(Arc<Certificates>),
    /// TLS only; who speaks in clear is cut off at the first byte.
    Required(Arc<Certificates>),
}
