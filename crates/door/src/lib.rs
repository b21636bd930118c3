//! The kit of every door: what a TCP protocol needs before its first byte has a meaning.
//!
//! A door hands [`serve`] a listener and a way to make a [`Session`]. The kit accepts, counts and
//! drives connections, one task each; the session is fed bytes and never touches a socket; answers
//! go to the connection's [`Outbox`], from any thread, and many of them leave in one write.
//!
//! What the kit keeps in bounds, so that no client can hurt the others: connections
//! ([`Limits::connections`]), unsent bytes of a client that does not read
//! ([`Limits::unsent_bytes`]), bytes of unfinished messages and of requests in flight
//! ([`Budget`]), time to say something valid ([`Limits::handshake_ms`]), time for a stalled write
//! ([`Limits::stall_ms`]) and for ending in peace ([`Limits::drain_ms`]). An idle connection holds
//! no buffers.
//!
//! TLS is the kit's affair alone ([`Tls`]): a session sees what was in the records, and the client's
//! certificate if it showed one.

mod budget;
mod drive;
mod greet;
mod limits;
mod meters;
mod outbox;
mod serve;
mod session;
mod shutdown;
mod tls;

pub use crate::tls::Tls;
pub use budget::Budget;
pub use limits::Limits;
pub use meters::request_counter;
pub use outbox::Outbox;
pub use serve::serve;
pub use session::{Close, Guest, Session};
pub use shutdown::{Shutdown, ShutdownTrigger, shutdown};
