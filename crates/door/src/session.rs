//! [`Session`]: what a door makes of one connection's bytes.

use std::{borrow::Cow, fmt, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{Budget, Outbox};

/// What a new connection is given.
#[derive(Clone)]
pub struct Guest {
    /// The client's address.
    pub peer: SocketAddr,
    /// The certificate with which it has proven who it is, in DER: only of a client with TLS, and
    /// only where client certificates are asked for ([`crate::CertificateFiles::clients`]).
    pub certificate: Option<Bytes>,
    /// Where its answers go.
    pub outbox: Arc<Outbox>,
    /// The door's memory: a session takes a request's bytes from it and gives them back with the
    /// answer.
    pub budget: Arc<Budget>,
}

/// Why a session wants its connection closed; told in the log. What is in the outbox is sent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close(
    /// The reason.
    pub Cow<'static, str>,
);

impl Close {
    /// Because of `reason`.
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Close {
        Close(reason.into())
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection, seen from the protocol. Called by the connection's own task only, and must not
/// block. Dropped when the connection has ended, for whatever reason.
pub trait Session: Send {
    /// Takes all whole messages from the front of `input` and leaves an unfinished one there,
    /// which comes again with more bytes behind it. A length that exceeds the protocol's bound is
    /// a reason to close *before* its bytes have arrived. A session that is full
    /// may leave whole messages too, if it says so ([`Session::holds_back`]).
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), Close>;

    /// Whether the handshake is done; until then the connection lives on borrowed time
    /// ([`crate::Limits::handshake_ms`]).
    fn established(&self) -> bool;

    /// Requests without an answer in the outbox yet. An answer must leave this count inside the
    /// closure of [`Outbox::write`] that encodes it: any earlier, and a closing connection could be
    /// found idle before its last answer is there; any later, and nobody looks again.
    fn in_flight(&self) -> usize;

    /// Whether nothing more should be read for now. Looked at again after each push.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether the last [`Session::feed`] left whole messages behind because the session was full;
    /// they are fed again when it is not.
    fn holds_back(&self) -> bool {
        false
    }
}
