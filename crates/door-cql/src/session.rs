//! [`CqlSession`]: one client's conversation, fed bytes.
//!
//! A client says OPTIONS and STARTUP first, in a version we speak; from then on everything else.
//! Requests are answered on the stream they came on, in any order. A body that is not what its
//! opcode says is told so and hurts nobody: frames are cut by their lengths, so the next one is
//! where it should be. Only what makes the cutting itself doubtful ends the connection.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use door::{Close, Guest, Session};
use store::Done;

use crate::{
    Door,
    connection::Connection,
    events::Listening,
    exec::{self, Prepared},
    limits::REQUESTS_PER_CONNECTION,
    ops::{self, OPERATIONS},
    wire::{
        Version,
        frame::{self, Cut, Frame},
        read::Malformed,
        response::{self, Failure, Fault, Head},
    },
};

/// Bytes of the largest frame before STARTUP: drivers send about a kilobyte of configuration, and
/// strangers shall not make us wait for more.
const GREETING_BYTES: usize = 64 << 10;

/// One client's conversation.
pub(crate) struct CqlSession {
    door: Arc<Door>,
    connection: Arc<Connection>,
    /// Whether STARTUP was answered.
    ready: bool,
    /// The version of the first frame, which all others must have.
    version: Option<Version>,
    /// Bytes of a too long frame that are still to be passed over.
    skip_bytes: usize,
    listening: Option<Listening>,
}

impl CqlSession {
    pub(crate) fn new(door: Arc<Door>, guest: Guest) -> CqlSession {
        let connection = Arc::new(Connection::new(guest, door.statements.clone()));
        CqlSession { door, connection, ready: false, version: None, skip_bytes: 0, listening: None }
    }

    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// STARTUP was answered.
    pub(crate) fn begin(&mut self) {
        self.ready = true;
    }

    /// The client wants to hear of schema changes.
    pub(crate) fn listen(&mut self, version: Version) {
        if self.listening.is_none() {
            self.listening = Some(self.door.listeners.add(version, self.connection.outbox().clone()));
        }
    }

    /// Lets a request in and hands it to the engine, whose answer goes to the connection.
    ///
    /// # Errors
    /// Overloaded: nothing of it was done.
    pub(crate) fn execute(
        &self,
        head: Head,
        frame_bytes: usize,
        prepared: &Arc<Prepared>,
        request: exec::Request,
        skip_metadata: bool,
    ) -> Result<(), Failure> {
        let ticket = self.connection.admit(head, frame_bytes, skip_metadata)?;
        let done = Done::new(self.connection.clone(), ticket.tag());
        self.door.engine.execute(prepared, request, done);
        Ok(())
    }

    fn refuse(&self, head: Head, failure: &Failure) {
        self.connection.say(|out| response::error(out, head, failure));
    }

    fn take(&mut self, frame: Frame) -> Result<(), Close> {
        let head = Head { version: frame.version, stream: frame.stream };
        if *self.version.get_or_insert(frame.version) != frame.version {
            let message = "Invalid message version, previous messages on this connection had another";
            self.refuse(head, &Failure::protocol(message));
            return Err(Close::because(message));
        }
        if let Err(failure) = self.dispatch(head, frame) {
            self.refuse(head, &failure);
        }
        Ok(())
    }

    fn dispatch(&mut self, head: Head, frame: Frame) -> Result<(), Failure> {
        if head.stream < 0 {
            return Err(Failure::protocol(format!(
                "Invalid stream {}: negative ones are the server's",
                head.stream
            )));
        }
        let Some(place) = ops::find(frame.opcode) else {
            return Err(Failure::protocol(format!("Unknown opcode {}", frame.opcode)));
        };
        let operation = &OPERATIONS[place];
        if !self.ready && !operation.greets {
            let name = operation.name;
            return Err(Failure::protocol(format!(
                "Unexpected message {name}, expecting STARTUP or OPTIONS"
            )));
        }
        self.door.counters[place].increment(1);
        (operation.handle)(self, head, frame)
    }

    fn refuse_long(&mut self, head: Head, body_bytes: usize) -> Result<(), Close> {
        let max = self.max_frame_bytes();
        let message = format!("Request is too big: length {body_bytes} exceeds maximum allowed length {max}");
        self.refuse(head, &Failure::new(Fault::Invalid, message));
        if !self.ready {
            return Err(Close::because("too long a frame before STARTUP"));
        }
        self.skip_bytes = body_bytes;
        Ok(())
    }

    fn max_frame_bytes(&self) -> usize {
        let max = self.door.max_frame_bytes;
        if self.ready { max } else { max.min(GREETING_BYTES) }
    }
}

impl Session for CqlSession {
    fn feed(&mut self, input: &mut BytesMut) -> Result<(), Close> {
        loop {
            let skipped = self.skip_bytes.min(input.len());
            input.advance(skipped);
            self.skip_bytes -= skipped;
            match frame::cut(input, self.max_frame_bytes()) {
                Cut::Unfinished => return Ok(()),
                Cut::Frame(frame) => self.take(frame)?,
                Cut::TooLong { version, stream, body_bytes } => {
                    self.refuse_long(Head { version, stream }, body_bytes)?;
                }
                Cut::Unsupported { version, stream } => {
                    self.connection.say(|out| response::unsupported_version(out, version, stream));
                    return Err(Close::because(format!("protocol version {version} is not spoken here")));
                }
                Cut::WrongDirection => {
                    let head = Head { version: Version::HIGHEST, stream: 0 };
                    self.refuse(
                        head,
                        &Failure::protocol("Wrong protocol direction: a response was sent to a server"),
                    );
                    return Err(Close::because("a response was sent to a server"));
                }
            }
        }
    }

    fn established(&self) -> bool {
        self.ready
    }

    fn in_flight(&self) -> usize {
        self.connection.in_flight()
    }

    fn is_full(&self) -> bool {
        self.connection.in_flight() >= REQUESTS_PER_CONNECTION
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Failure {
        match malformed {
            Malformed::Protocol(message) => Failure::protocol(message),
            Malformed::Invalid(message) => Failure::new(Fault::Invalid, message),
        }
    }
}
