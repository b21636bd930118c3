//! A connection of a house without a socket: bytes go in, and what it would send comes out.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::BytesMut;
use door::{Budget, Guest, Outbox, Session};

use super::House;
use crate::session::Connection;

/// See the module.
pub(crate) struct Line {
    connection: Connection,
    pub(crate) outbox: Arc<Outbox>,
    input: BytesMut,
    /// Whether the connection was ended by what it was fed: then it is fed no more.
    is_over: bool,
}

impl Line {
    /// A connection whose requests in flight may take this much.
    pub(crate) fn new(house: &House, budget_bytes: usize) -> Line {
        let outbox = Arc::new(Outbox::detached());
        let guest = Guest {
            peer: "127.0.0.1:1".parse().unwrap(),
            certificate: None,
            outbox: outbox.clone(),
            budget: Arc::new(Budget::new(budget_bytes)),
        };
        let connection = Connection::new(guest, house.service.clone());
        Line { connection, outbox, input: BytesMut::new(), is_over: false }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.feed();
    }

    /// Feeds the connection what it has not taken.
    pub(crate) fn feed(&mut self) {
        if self.is_over || self.connection.feed(&mut self.input).is_err() {
            self.is_over = true;
            self.outbox.close();
            self.input.clear();
        }
    }

    /// Whether the connection would be fed again.
    pub(crate) fn holds_back(&self) -> bool {
        self.connection.holds_back()
    }

    /// What it would have sent since.
    pub(crate) fn receive(&self) -> Vec<u8> {
        self.outbox.drain()
    }
}
