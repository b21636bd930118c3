//! [`LogWriter`]: the log's front for many callers.
//!
//! Callers put records into a queue that is bounded in bytes; one owner of the [`Log`] takes all
//! that is waiting, writes it once, syncs once, and answers everyone in the order of their calls.
//! The owner is a thread ([`LogWriter::start`]) or, under simulation, whoever calls
//! [`Stepper::step`]: the code between is the same.
//!
//! **An accepted record has its place on the disk.** The queue takes no more than the active
//! segment and the reserve have room for, so a full disk shows as a refusal at the door, before
//! anything happened, and not as a hole in the middle of a stream that was accepted. Positions are
//! given at acceptance for the same reason.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base::{Cause, Position, StreamId};
use world::Clock;

use crate::{
    Log, LogError, LogStats, Stepper, format,
    queue::{Append, Queue, Shared, lock},
    thread::Thread,
};

/// Told, once, when a record is durable or can never be known to be. Called on the log's thread,
/// in the order in which records were appended: it must be quick and must not block.
pub trait Durable: Send {
    /// `outcome` is the position of the (first) record. An error says that the log is at its end:
    /// [`base::Class::Uncertain`] if the record may be on the disk, [`base::Class::Busy`] if it is not.
    fn durable(self: Box<Self>, outcome: Result<Position, Cause>);
}

impl<F: FnOnce(Result<Position, Cause>) + Send> Durable for F {
    fn durable(self: Box<Self>, outcome: Result<Position, Cause>) {
        self(outcome);
    }
}

/// An append that was not accepted: nothing was done and nothing will be.
pub struct Refused {
    /// Why: [`base::Class::Busy`] if it may be accepted later, [`base::Class::Invalid`] if never.
    pub cause: Cause,
    /// What would have been told.
    pub done: Box<dyn Durable>,
}

impl From<Refused> for Cause {
    fn from(refused: Refused) -> Cause {
        refused.cause
    }
}

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Refused").field(&self.cause).finish()
    }
}

/// Appends to a log that another thread owns. Clones append to the same log. When the last is
/// gone the log is sealed, as by [`LogWriter::stop`] but without waiting for it.
#[derive(Clone)]
pub struct LogWriter(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    max_record_bytes: u64,
    max_batch_bytes: u64,
    queue_bytes: u64,
    thread: Mutex<Option<JoinHandle<Result<(), LogError>>>>,
}

impl LogWriter {
    /// Hands `log` to a thread of its own. `clock` bounds the gathering.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(log: Log, clock: Clock) -> Result<LogWriter, Cause> {
        let gather = Duration::from_micros(log.settings.gather_us);
        let (writer, stepper) = LogWriter::stepped(log);
        let thread = Thread::new(stepper, clock, gather);
        let joined = world::task::spawn_thread("holdfast-log", move || thread.run())
            .map_err(|error| Cause::busy(format!("no thread for the log: {error}")))?;
        *lock(&writer.0.thread) = Some(joined);
        Ok(writer)
    }

    /// The same without a thread: nothing is written but by [`Stepper::step`].
    pub fn stepped(mut log: Log) -> (LogWriter, Stepper) {
        let queue = Queue {
            body: Vec::new(),
            appends: Vec::new(),
            trims: BTreeMap::new(),
            next: log.next_position(),
            unwritten: 0,
            room: log.room(),
            stats: log.stats(),
            asleep: None,
            closing: false,
            ended: None,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), bell: Condvar::new(), waiting: AtomicUsize::new(0) });
        let handle = Handle {
            shared: shared.clone(),
            max_record_bytes: log.settings.max_record_bytes,
            max_batch_bytes: log.limits.batch_bytes,
            queue_bytes: log.settings.queue_bytes,
            thread: Mutex::new(None),
        };
        let stepper = Stepper::new(log, shared);
        (LogWriter(Arc::new(handle)), stepper)
    }

    /// Appends one record; `done` is told when it is durable. Records are in the log in the order
    /// of the calls. Returns the record's position, which holds once `done` says so.
    pub fn append(
        &self,
        stream: StreamId,
        payload: &[u8],
        done: Box<dyn Durable>,
    ) -> Result<Position, Refused> {
        self.append_many(&[(stream, payload)], done)
    }

    /// Appends records that are in the log together or not at all, after a power cut too. Returns
    /// the position of the first; the others follow it.
    pub fn append_many(
        &self,
        records: &[(StreamId, &[u8])],
        done: Box<dyn Durable>,
    ) -> Result<Position, Refused> {
        let bytes = records.iter().map(|(stream, payload)| format::record_len(*stream, payload.len())).sum();
        if let Err(cause) = self.check(records, bytes) {
            return Err(Refused { cause, done });
        }
        let shared = &self.0.shared;
        let mut queue = shared.lock();
        let cost = bytes as u64 + Log::BATCH_OVERHEAD;
        if let Some(cause) = self.refusal(&queue, cost) {
            drop(queue);
            return Err(Refused { cause, done });
        }
        let position = queue.next;
        for (stream, payload) in records {
            format::put_record(&mut queue.body, *stream, payload);
        }
        queue.next = Position(position.0 + records.len() as u64);
        queue.unwritten += cost;
        queue.appends.push(Append { bytes, records: records.len() as u32, done });
        shared.waiting.store(queue.appends.len(), Ordering::Relaxed);
        shared.ring(queue);
        Ok(position)
    }

    /// Bytes of records, each with its length and the number of its stream, that one append may have.
    pub fn longest_append(&self) -> usize {
        self.0.max_batch_bytes.min(self.0.queue_bytes - Log::BATCH_OVERHEAD) as usize
    }

    /// See [`Log::trim`]; done some time later.
    pub fn trim(&self, stream: StreamId, up_to: Position) {
        let mut queue = self.0.shared.lock();
        let point = queue.trims.entry(stream).or_insert(up_to);
        *point = up_to.max(*point);
        self.0.shared.ring(queue);
    }

    /// Numbers about the log, as of its last batch.
    pub fn stats(&self) -> LogStats {
        self.0.shared.lock().stats
    }

    /// Bytes of records that are accepted and not yet durable.
    pub fn queued_bytes(&self) -> u64 {
        self.0.shared.lock().unwritten
    }

    /// Writes what was accepted, seals the log and ends its thread. Later appends are refused.
    ///
    /// # Errors
    /// When the log could not be sealed. What was told durable is durable all the same.
    pub fn stop(&self) -> Result<(), Cause> {
        self.0.shared.close();
        match lock(&self.0.thread).take().map(JoinHandle::join) {
            Some(Ok(sealed)) => Ok(sealed?),
            Some(Err(_)) => Err(Cause::bug("the log's thread panicked")),
            None => Ok(()),
        }
    }

    /// What is wrong with the call whatever the state of the log.
    fn check(&self, records: &[(StreamId, &[u8])], bytes: usize) -> Result<(), Cause> {
        let handle = &self.0;
        if records.is_empty() {
            return Err(Cause::invalid("an append to the log without records"));
        }
        let longest = records.iter().map(|(_, payload)| payload.len()).max().unwrap_or(0) as u64;
        if longest > handle.max_record_bytes {
            let limit = handle.max_record_bytes;
            return Err(Cause::invalid(format!("a record of {longest} bytes for the log, {limit} at most")));
        }
        let limit = self.longest_append();
        if bytes > limit {
            return Err(Cause::invalid(format!("{bytes} bytes for the log at once, {limit} at most")));
        }
        Ok(())
    }

    /// Why an append of `cost` bytes cannot be accepted now.
    fn refusal(&self, queue: &Queue, cost: u64) -> Option<Cause> {
        let wanted = queue.unwritten + cost;
        if let Some(cause) = &queue.ended {
            Some(cause.clone())
        } else if queue.closing {
            Some(Cause::busy("the log is being stopped"))
        } else if wanted > self.0.queue_bytes {
            Some(Cause::busy("too many bytes wait for the log"))
        } else if wanted > queue.room {
            let cause =
                if queue.stats.has_reserve { "too many bytes wait for the log" } else { "the disk is full" };
            Some(Cause::busy(cause))
        } else {
            None
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}
