//! A client that speaks to a session of the door without a socket.
#![allow(clippy::unwrap_used)]

pub(crate) use crate::script::{Ticket, requests::*};
use crate::{
    script::{Kind, Plain, Talk},
    testing::{House, line::Line},
    wire::{Frame, frame, jute::Input},
};

/// A connection, and the client at its end.
pub(crate) struct Client {
    pub(crate) line: Line,
    pub(crate) talk: Talk,
    closed: bool,
}

impl Client {
    /// A connection that has said nothing.
    pub(crate) fn silent(house: &House) -> Client {
        Client::of_budget(house, 1 << 30)
    }

    fn of_budget(house: &House, budget_bytes: usize) -> Client {
        let line = Line::new(house, budget_bytes);
        Client { line, talk: Talk::default(), closed: false }
    }

    /// A connection that has asked for a session (a new one if `ticket` is empty).
    pub(crate) fn connect(house: &House, timeout_ms: i32, ticket: Ticket) -> Client {
        Client::silent(house).ask_for_session(timeout_ms, ticket)
    }

    /// A connection with a new session, whose requests in flight may take this much.
    pub(crate) fn with_budget(house: &House, budget_bytes: usize) -> Client {
        Client::of_budget(house, budget_bytes).ask_for_session(10_000, Ticket::default())
    }

    fn ask_for_session(mut self, timeout_ms: i32, ticket: Ticket) -> Client {
        self.talk = Talk::new(ticket);
        let hello = self.talk.hello(timeout_ms);
        self.send(&hello);
        self
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.line.send(bytes);
    }

    /// Feeds the connection what it has not taken.
    pub(crate) fn feed(&mut self) {
        self.line.feed();
    }

    /// Whether the connection would be fed again.
    pub(crate) fn holds_back(&self) -> bool {
        self.line.holds_back()
    }

    /// Sends what a real client once sent: whole frames, the first of which asks for a session.
    pub(crate) fn send_recorded(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Frame::Whole(body) = frame(rest, usize::MAX) {
            let mut input = Input::new(body);
            // A connect request begins with protocol version 0, and no request has that xid.
            let (xid, code) = (input.i32().unwrap(), input.i32().unwrap());
            if xid != 0 {
                self.talk.note(xid, code);
            }
            rest = &rest[4 + body.len()..];
        }
        assert!(rest.is_empty(), "whole frames");
        self.send(bytes);
    }

    /// Sends a request with this record.
    pub(crate) fn request(&mut self, code: i32, record: &[u8]) {
        let bytes = self.talk.request(code, record);
        self.send(&bytes);
    }

    /// All that has arrived since, one line a message.
    pub(crate) fn receive(&mut self) -> Vec<String> {
        let bytes = self.line.receive();
        let mut rest = &bytes[..];
        let mut lines = Vec::new();
        while let Frame::Whole(body) = frame(rest, usize::MAX) {
            lines.push(self.message(body));
            rest = &rest[4 + body.len()..];
        }
        assert!(rest.is_empty() || !self.talk.is_greeted(), "bytes behind the last message: {rest:?}");
        if !rest.is_empty() {
            lines.push(format!("{:?}", String::from_utf8_lossy(rest)));
        }
        if self.line.outbox.is_closed() && !self.closed {
            self.closed = true;
            lines.push("connection closed".to_owned());
        }
        lines
    }

    fn message(&mut self, body: &[u8]) -> String {
        let heard = self.talk.hear(body, &mut Plain).unwrap();
        match heard.kind {
            Kind::Greeting => heard.text,
            _ => format!("{} zxid={}", heard.text, heard.zxid),
        }
    }
}
