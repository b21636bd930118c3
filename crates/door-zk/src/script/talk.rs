//! A client without a socket: commands to bytes, messages to lines.

use std::collections::VecDeque;

use super::replies::{Names, record};
use crate::wire::{
    jute::{Input, Malformed, put_bool, put_buffer, put_i32, put_i64},
    request::opcode,
};

/// What a client knows of its session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    /// Its id; 0 asks for a new one.
    pub session: i64,
    /// Its password.
    pub password: [u8; 16],
    /// The highest zxid that the client has seen.
    pub last_zxid: i64,
}

/// The state in every event that is not about the connection itself.
const CONNECTED: i32 = 3;

/// A client: what it knows, and what it waits for.
#[derive(Debug, Default)]
pub struct Talk {
    /// What it knows of its session.
    pub ticket: Ticket,
    xid: i32,
    /// Xid and opcode of the requests in flight.
    sent: VecDeque<(i32, i32)>,
    greeted: bool,
}

/// Why a message was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misheard(pub &'static str);

impl From<Malformed> for Misheard {
    fn from(_: Malformed) -> Misheard {
        Misheard("malformed")
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to the request for a session.
    Greeting,
    /// A watch event.
    Event,
    /// The answer to a request of this opcode.
    Reply(i32),
}

/// A message that was understood.
#[derive(Clone, Debug)]
pub struct Heard {
    /// What it is.
    pub kind: Kind,
    /// The zxid in its header; 0 in a greeting, which has none.
    pub zxid: i64,
    /// The text, without the header's zxid.
    pub text: String,
}

impl Talk {
    /// A client that goes on with a session, or with none yet.
    pub fn new(ticket: Ticket) -> Talk {
        Talk { ticket, ..Talk::default() }
    }

    /// The frame that asks for the session.
    pub fn hello(&self, timeout_ms: i32) -> Vec<u8> {
        let mut body = Vec::new();
        put_i32(&mut body, 0);
        put_i64(&mut body, self.ticket.last_zxid);
        put_i32(&mut body, timeout_ms);
        put_i64(&mut body, self.ticket.session);
        put_buffer(&mut body, Some(&self.ticket.password));
        put_bool(&mut body, false);
        framed(&body)
    }

    /// The frame of a request.
    pub fn request(&mut self, code: i32, record: &[u8]) -> Vec<u8> {
        self.xid += 1;
        let xid = match code {
            opcode::PING => -2,
            opcode::AUTH => -4,
            opcode::SET_WATCHES | opcode::SET_WATCHES2 => -8,
            _ => self.xid,
        };
        self.note(xid, code);
        let mut body = Vec::with_capacity(8 + record.len());
        put_i32(&mut body, xid);
        put_i32(&mut body, code);
        body.extend_from_slice(record);
        framed(&body)
    }

    /// Takes note of a request that was put together elsewhere.
    pub fn note(&mut self, xid: i32, code: i32) {
        self.sent.push_back((xid, code));
    }

    /// The opcodes of the requests in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = i32> {
        self.sent.iter().map(|(_, code)| *code)
    }

    /// Messages that are still to come: the greeting, or answers.
    pub fn waits_for(&self) -> usize {
        if self.greeted { self.sent.len() } else { 1 }
    }

    /// Whether the greeting has come.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// The xid and the zxid of a message behind the greeting; the xid of an event is -1.
    ///
    /// # Errors
    /// When the message has no header.
    pub fn header(body: &[u8]) -> Result<(i32, i64), Misheard> {
        let mut input = Input::new(body);
        Ok((input.i32()?, input.i64()?))
    }

    /// Takes a message in, and says what it tells.
    ///
    /// # Errors
    /// When it is not what the protocol says: bytes too few or too many, an answer out of turn, a
    /// zxid that went back.
    pub fn hear(&mut self, body: &[u8], names: &mut dyn Names) -> Result<Heard, Misheard> {
        let mut input = Input::new(body);
        if !self.greeted {
            self.greeted = true;
            let text = self.greeting(&mut input)?;
            return Ok(Heard { kind: Kind::Greeting, zxid: 0, text });
        }
        let (xid, zxid, error) = (input.i32()?, input.i64()?, input.i32()?);
        if xid == -1 {
            let kinds = ["", "created", "deleted", "changed", "children"];
            let kind = usize::try_from(input.i32()?).ok().and_then(|kind| kinds.get(kind));
            let kind = kind.ok_or(Misheard("an event of no known kind"))?;
            if input.i32()? != CONNECTED {
                return Err(Misheard("an event of another state than connected"));
            }
            let text = format!("event {kind} {}", input.text()?);
            return Ok(Heard { kind: Kind::Event, zxid, text });
        }
        let went_back = zxid > 0 && zxid < self.ticket.last_zxid;
        let (expected, code) = self.sent.pop_front().ok_or(Misheard("an answer to no request"))?;
        if xid != expected {
            return Err(Misheard("an answer out of turn"));
        }
        if went_back {
            return Err(Misheard("its zxid is behind the last one"));
        }
        self.ticket.last_zxid = self.ticket.last_zxid.max(zxid);
        let mut text = format!("{xid}: ");
        if error != 0 {
            text.push_str(&format!("error {error}"));
        } else {
            record(&mut input, code, names, &mut text)?;
        }
        // Nothing is behind the record, and an error has none.
        if !input.rest().is_empty() {
            return Err(Misheard("bytes behind the record"));
        }
        Ok(Heard { kind: Kind::Reply(code), zxid, text })
    }

    fn greeting(&mut self, input: &mut Input<'_>) -> Result<String, Misheard> {
        let version = input.i32()?;
        let timeout_ms = input.i32()?;
        let session = input.i64()?;
        let password = input
            .buffer()?
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Misheard("a greeting without a password"))?;
        let _read_only = input.bool();
        if timeout_ms == 0 {
            let is_blank = (version, session, password) == (0, 0, [0; 16]);
            return if is_blank {
                Ok("session expired".to_owned())
            } else {
                Err(Misheard("a session without time"))
            };
        }
        self.ticket.session = session;
        self.ticket.password = password;
        if version != 0 {
            return Err(Misheard("another version of the protocol"));
        }
        Ok(format!("connected timeout={timeout_ms}"))
    }
}

/// A body behind its length.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + body.len());
    put_buffer(&mut bytes, Some(body));
    bytes
}
