//! Messages between the nodes of a cluster.
//!
//! The core says *what* to send ([`Link`]) and is told what came ([`Receive`]); it sees neither sockets
//! nor threads, so that a simulator can put itself in their place. A link promises little: messages
//! of one [`Class`] that arrive do so in the order in which they were sent, each at most once. Any
//! may be lost, from the moment in which a connection breaks to the one in which the next stands; whoever sent them finds out by its
//! own protocol, which has to bear that anyway.
//!
//! [`NodeLink`] is the link over TCP and TLS (ADR 9). Each node sends over connections that it made itself, two to each
//! other node, and receives over those that others made. A connection begins with a [`Hello`] on both
//! sides, which the owner judges ([`Judge`]).

mod ask;
mod assembly;
mod dial;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guest;
mod hello;
mod link;
mod message;
mod meters;
mod pulse;
mod queue;
mod room;
mod seats;
mod settings;
mod wire;

pub use ask::{Answer, ask};
pub use hello::{Hello, Judge, Refusal};
pub use link::NodeLink;
pub use message::{Alone, Class, Link, NotSent, Receive, Received};
pub use settings::{Room, Settings};

#[cfg(test)]
mod tests;
