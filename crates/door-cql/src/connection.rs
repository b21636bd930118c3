//! [`Connection`]: the half of a connection that answers reach, from any thread.
//!
//! A request in flight is a number: its [`Ticket`] fits the tag that the engine carries, so a
//! connection keeps no table of what it waits for. Answers are encoded straight into the outbox by
//! the thread that has them.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use base::Cause;
use door::{Budget, Guest, Outbox};
use store::{Consistency, Inbox};

use crate::{
    bind::{CqlError, Doing},
    exec::{Answer, Outcome},
    faults,
    limits::REQUEST_OVERHEAD_BYTES,
    statements::Statements,
    wire::{
        Version,
        response::{self, Failure, Fault, Head},
    },
};

/// What has to be known of a request when its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) head: Head,
    /// Bytes it took from the budget.
    pub(crate) bytes: u32,
    /// Whether the client knows the columns of the result.
    pub(crate) skip_metadata: bool,
}

impl Ticket {
    const SKIP: u64 = 1 << 48;
    const V4: u64 = 1 << 49;

    /// The ticket as a number: stream, bytes, bits.
    pub(crate) fn tag(self) -> u64 {
        u64::from(self.head.stream as u16)
            | u64::from(self.bytes) << 16
            | if self.skip_metadata { Ticket::SKIP } else { 0 }
            | if self.head.version == Version::V4 { Ticket::V4 } else { 0 }
    }

    fn of_tag(tag: u64) -> Ticket {
        let version = if tag & Ticket::V4 != 0 { Version::V4 } else { Version::V3 };
        Ticket {
            head: Head { version, stream: tag as u16 as i16 },
            bytes: (tag >> 16) as u32,
            skip_metadata: tag & Ticket::SKIP != 0,
        }
    }
}

/// What answers need of a connection.
pub(crate) struct Connection {
    outbox: Arc<Outbox>,
    budget: Arc<Budget>,
    statements: Arc<Statements>,
    in_flight: AtomicUsize,
    /// What `USE` has chosen.
    keyspace: Mutex<Option<Arc<str>>>,
}

impl Connection {
    pub(crate) fn new(guest: Guest, statements: Arc<Statements>) -> Connection {
        let Guest { outbox, budget, .. } = guest;
        Connection { outbox, budget, statements, in_flight: AtomicUsize::new(0), keyspace: Mutex::new(None) }
    }

    /// Lets a request of `frame_bytes` in, whose ticket then comes back to [`Connection::answer`].
    ///
    /// # Errors
    /// Overloaded: nothing of it was done.
    pub(crate) fn admit(
        &self,
        head: Head,
        frame_bytes: usize,
        skip_metadata: bool,
    ) -> Result<Ticket, Failure> {
        let bytes =
            u32::try_from(frame_bytes + REQUEST_OVERHEAD_BYTES).expect("frames are bounded below 4 GiB");
        if !self.budget.try_take(bytes as usize) {
            return Err(Failure::new(
                Fault::Overloaded,
                "Requests in flight use up the memory they may take",
            ));
        }
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket { head, bytes, skip_metadata })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn keyspace(&self) -> Option<Arc<str>> {
        self.keyspace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Sends what `encode` appends.
    pub(crate) fn say(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.write(encode);
    }

    /// Answers the request whose ticket had this tag.
    fn answer(&self, tag: u64, outcome: Outcome) {
        let ticket = Ticket::of_tag(tag);
        match outcome.as_ref().map(|answered| &answered.answer) {
            Ok(Answer::SetKeyspace(name)) => {
                *self.keyspace.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.as_str().into());
            }
            // Before the client hears of it: it may execute such a statement at once.
            Ok(Answer::SchemaChange(changed)) => self.statements.forget(changed),
            Ok(Answer::Void | Answer::Rows(_)) | Err(_) => {}
        }
        self.budget.give_back(ticket.bytes as usize);
        self.say(|out| {
            match outcome {
                Ok(answered) => encode(out, ticket, &answered.answer, &answered.warnings),
                Err(error) => response::error(out, ticket.head, &faults::failure(error)),
            }
            self.in_flight.fetch_sub(1, Ordering::Release);
        });
    }
}

impl Inbox<Outcome> for Connection {
    fn deliver(&self, tag: u64, answer: Result<Outcome, Cause>) {
        self.answer(tag, answer.unwrap_or_else(|cause| Err(lost(cause))));
    }

    fn is_open(&self) -> bool {
        !self.outbox.is_closed()
    }
}

/// The engine was dropped with the request in it.
fn lost(cause: Cause) -> CqlError {
    CqlError::Store { cause, doing: Doing::Write, consistency: Consistency::One }
}

fn encode(out: &mut Vec<u8>, ticket: Ticket, answer: &Answer, warnings: &[String]) {
    let head = ticket.head;
    match answer {
        Answer::Void => response::void(out, head, warnings),
        Answer::Rows(rows) => response::rows(out, head, warnings, rows, ticket.skip_metadata),
        Answer::SetKeyspace(keyspace) => response::set_keyspace(out, head, warnings, keyspace),
        Answer::SchemaChange(changed) => response::schema_change(out, head, warnings, changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_being_a_number() {
        for stream in [0, 1, 32_767, -1] {
            for version in [Version::V3, Version::V4] {
                for skip_metadata in [false, true] {
                    let ticket =
                        Ticket { head: Head { version, stream }, bytes: u32::MAX - 7, skip_metadata };
                    assert_eq!(Ticket::of_tag(ticket.tag()), ticket);
                }
            }
        }
    }
}
