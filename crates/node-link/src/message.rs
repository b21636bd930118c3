//! What a link is to those who use it: [`Link`] to send, [`Receive`] to be told.

use std::{fmt, ops::Deref};

use base::NodeId;
use bytes::Bytes;

use crate::room::Place;

/// What kind of message. Messages of one class stay in order; between classes there is none. Bulk never
/// delays the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Votes, heartbeats of nodes, read indexes: small, and late ones cost an election.
    Control,
    /// Appends and their answers, forwarded proposals.
    Log,
    /// Snapshots.
    Bulk,
}

impl Class {
    /// Every class, in the order of their urgency.
    pub const ALL: [Class; 3] = [Class::Control, Class::Log, Class::Bulk];
}

/// Why a message was not sent. It is gone; whoever sent it repeats it by its own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Nobody has said where this node is.
    Unknown,
    /// There is no connection to it, for now.
    Down,
    /// What waits for it, and what it has not made room for, is as much as may be.
    Full,
    /// The message is longer than any may be.
    TooLong,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotSent::Unknown => "the node is not known",
            NotSent::Down => "there is no connection to the node",
            NotSent::Full => "too much waits for the node",
            NotSent::TooLong => "the message is too long",
        })
    }
}

impl std::error::Error for NotSent {}

/// Sends.
pub trait Link: Send + Sync {
    /// Sends `message` to `to`. Never blocks. What was taken may still be lost, and nobody is told.
    ///
    /// # Errors
    /// Why it was not taken.
    fn send(&self, to: NodeId, class: Class, message: Bytes) -> Result<(), NotSent>;
}

/// The link of a node that has no others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Link for Alone {
    fn send(&self, _to: NodeId, _class: Class, _message: Bytes) -> Result<(), NotSent> {
        Err(NotSent::Unknown)
    }
}

/// What a node does with what comes. Called by the link's tasks; must not wait.
pub trait Receive: Send + Sync {
    /// A message of `from` has come.
    fn receive(&self, from: NodeId, class: Class, message: Received);

    /// From now on messages can be sent to `node`, which has started for the `start`-th time (see
    /// [`crate::Hello`]). What was sent to it before and has not been answered may be lost.
    fn connected(&self, node: NodeId, start: u64);

    /// Messages cannot be sent to `node` until it is [`connected`](Receive::connected) again.
    fn disconnected(&self, node: NodeId);
}

/// A message that has come: its bytes. As long as it lives it takes room that its sender was promised;
/// dropping it gives the room back.
#[derive(Debug)]
pub struct Received {
    bytes: Bytes,
    _place: Option<Place>,
}

impl Received {
    /// A message that takes nobody's room, as simulators and tests make it.
    pub fn new(bytes: Bytes) -> Received {
        Received { bytes, _place: None }
    }

    /// A message and the place that it takes.
    pub(crate) fn in_place(bytes: Bytes, place: Place) -> Received {
        Received { bytes, _place: Some(place) }
    }

    /// The bytes, to share or slice; what was made of them keeps their memory, and no longer the room. Small
    /// messages that came together share theirs: to keep one of them for long, copy it.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_alone_knows_nobody() {
        assert_eq!(Alone.send(NodeId(2), Class::Control, Bytes::new()), Err(NotSent::Unknown));
    }
}
