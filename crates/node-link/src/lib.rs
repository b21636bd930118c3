//! Messages between the nodes of a cluster.
//!
//! The core says *what* to send ([`Link`]) and is told what came ([`Receive`]); it sees neither sockets
//! nor threads, so that a simulator can put itself in their place. A link promises little: messages
//! of one [`Class`] that arrive do so in the order in which they were sent, each at most once. Any
//! may be lost, from the moment in which a connection breaks to the one in which the next stands; whoever sent them finds out by its
//! own protocol, which has to bear that anyway.

mod hello;
mod message;

pub use hello::{Hello, Judge, Refusal};
pub use message::{Alone, Class, Link, NotSent, Receive, Received};
