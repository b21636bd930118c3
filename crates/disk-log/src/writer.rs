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
//!
//! **Gathering.** Clients that wait for their answers come back all at once, a moment after a
//! batch is done. Writing as soon as the first is back would leave the others to the next sync:
//! half the throughput. So after a batch of `n`, while `m` more were already waiting, the thread
//! waits for `n + m`, but never longer than a quarter of what a sync takes.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base::{Cause, Position, StreamId};
use world::Clock;

use crate::{Log, LogError, LogStats, format};

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

/// What callers and the owner of the log share.
struct Shared {
    queue: Mutex<Queue>,
    /// Rung when the thread sleeps and there is something to do.
    bell: Condvar,
    /// Appends waiting: what the thread can look at without the lock.
    waiting: AtomicUsize,
}

struct Queue {
    /// Records, as they will stand in the log.
    body: Vec<u8>,
    appends: Vec<Append>,
    trims: BTreeMap<StreamId, Position>,
    /// The position of the next record accepted.
    next: Position,
    /// Bytes accepted and not yet written, including the batch in the writer's hands.
    unwritten: u64,
    /// Bytes the log has room for, as of its last batch.
    room: u64,
    stats: LogStats,
    asleep: bool,
    closing: bool,
    /// Why nothing is accepted any more.
    ended: Option<Cause>,
}

/// The records of one call: they stay in one batch.
struct Append {
    bytes: usize,
    records: u32,
    done: Box<dyn Durable>,
}

impl LogWriter {
    /// Hands `log` to a thread of its own. `clock` bounds the gathering.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(log: Log, clock: Clock) -> Result<LogWriter, Cause> {
        let gather = Duration::from_micros(log.settings.gather_us);
        let (writer, stepper) = LogWriter::stepped(log);
        let thread = Thread { stepper, clock, gather, sync: Duration::ZERO };
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
            asleep: false,
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
        let stepper = Stepper { log, shared, body: Vec::new(), appends: Vec::new() };
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
        let limit = handle.max_batch_bytes.min(handle.queue_bytes - Log::BATCH_OVERHEAD);
        if bytes as u64 > limit {
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Wakes the thread if it sleeps.
    fn ring(&self, mut queue: MutexGuard<'_, Queue>) {
        if mem::replace(&mut queue.asleep, false) {
            drop(queue);
            self.bell.notify_one();
        }
    }

    fn close(&self) {
        let mut queue = self.lock();
        queue.closing = true;
        self.ring(queue);
    }
}

/// Plain values are behind these locks, whole between any two statements that could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The owner of the log, for whoever wants to be its thread.
pub struct Stepper {
    log: Log,
    shared: Arc<Shared>,
    /// What was taken from the queue and is not durable yet.
    body: Vec<u8>,
    appends: Vec<Append>,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Appends that became durable; 0 if there were none.
    Done(usize),
    /// Appends wait because the disk is full.
    Stuck,
}

impl Stepper {
    /// Takes everything that is waiting, makes it durable and answers, then trims. Returns how
    /// many appends were answered.
    ///
    /// # Errors
    /// [`LogError::Fatal`], after everyone was told; [`LogError::Full`] while accepted records
    /// find no room, which should not be: they stay and the next step tries again.
    pub fn step(&mut self) -> Result<usize, LogError> {
        match self.advance()? {
            Step::Done(count) => Ok(count),
            Step::Stuck => Err(LogError::Full),
        }
    }

    /// The position of the first record that is not durable yet.
    pub fn next_position(&self) -> Position {
        self.log.next_position()
    }

    /// Steps, and seals the log.
    ///
    /// # Errors
    /// As [`Stepper::step`] and [`Log::seal`].
    pub fn seal(mut self) -> Result<(), LogError> {
        self.shared.lock().closing = true;
        let stepped = self.step();
        self.end(Cause::busy("the log is stopped"));
        match stepped {
            Ok(_) | Err(LogError::Full) => self.log.seal(),
            Err(error) => Err(error),
        }
    }

    fn advance(&mut self) -> Result<Step, LogError> {
        let trims = self.take();
        let advanced = self.write_all().and_then(|step| {
            for (stream, up_to) in trims {
                self.log.trim(stream, up_to)?;
            }
            Ok(step)
        });
        if let Err(error) = &advanced {
            self.end(Cause::from(error.clone()));
        }
        self.publish(0);
        advanced
    }

    /// Moves the queue into our hands, behind what is there already.
    fn take(&mut self) -> BTreeMap<StreamId, Position> {
        let mut queue = self.shared.lock();
        if self.appends.is_empty() {
            self.body.clear();
            self.body.shrink_to(4 << 20);
            mem::swap(&mut self.body, &mut queue.body);
            mem::swap(&mut self.appends, &mut queue.appends);
        } else {
            self.body.append(&mut queue.body);
            self.appends.append(&mut queue.appends);
        }
        self.shared.waiting.store(0, Ordering::Relaxed);
        mem::take(&mut queue.trims)
    }

    /// Writes all appends in our hands, in as few batches as segments allow.
    fn write_all(&mut self) -> Result<Step, LogError> {
        let mut done = 0;
        while !self.appends.is_empty() {
            let (count, bytes, records) = self.next_batch();
            match self.log.write(&self.body[..bytes], records) {
                Ok(first) => self.finish(count, bytes, first)?,
                Err(LogError::Full) => return Ok(Step::Stuck),
                Err(error) => return Err(error),
            }
            done += count;
        }
        Ok(Step::Done(done))
    }

    /// The longest run of appends that fits the active segment, or the next if none does: how
    /// many, their bytes, their records.
    fn next_batch(&self) -> (usize, usize, u32) {
        let (mut count, mut bytes, mut records) = (0, 0, 0);
        let limit = self.log.limits.batch_bytes;
        let fits_active = self.log.fits(self.appends[0].bytes as u64);
        for append in &self.appends {
            let sum = (bytes + append.bytes) as u64;
            let fits = if fits_active { self.log.fits(sum) } else { sum <= limit };
            if !fits && count > 0 {
                break;
            }
            count += 1;
            bytes += append.bytes;
            records += append.records;
        }
        (count, bytes, records)
    }

    /// Syncs the batch just written, of the first `count` appends, and answers them.
    fn finish(&mut self, count: usize, bytes: usize, first: Position) -> Result<(), LogError> {
        #[cfg(test)]
        if self.log.settings.sabotage == Some(crate::settings::Sabotage::EarlyAck) {
            self.answer(count, bytes, first);
            return self.log.sync();
        }
        self.log.sync()?;
        self.answer(count, bytes, first);
        Ok(())
    }

    fn answer(&mut self, count: usize, bytes: usize, first: Position) {
        let cost = bytes as u64 + count as u64 * Log::BATCH_OVERHEAD;
        // Room first, so that whoever appends again while being told is not refused.
        self.publish(cost);
        let mut position = first;
        for append in self.appends.drain(..count) {
            append.done.durable(Ok(position));
            position.0 += u64::from(append.records);
        }
        self.body.drain(..bytes);
    }

    /// Tells callers what the log has room for now that `written` bytes of cost are done.
    fn publish(&mut self, written: u64) {
        let room = self.log.room();
        let stats = self.log.stats();
        let mut queue = self.shared.lock();
        queue.unwritten -= written;
        (queue.room, queue.stats) = (room, stats);
    }

    /// Accepts nothing any more and tells everyone who still waits why.
    fn end(&mut self, cause: Cause) {
        self.shared.lock().ended.get_or_insert(cause.clone());
        self.take();
        self.body.clear();
        for append in mem::take(&mut self.appends) {
            append.done.durable(Err(cause.clone()));
        }
    }
}

/// The thread that owns the log.
struct Thread {
    stepper: Stepper,
    clock: Clock,
    /// The longest to gather.
    gather: Duration,
    /// What a batch takes: a moving average.
    sync: Duration,
}

/// How long to wait for the only caller to come back.
const LONE_GATHER: Duration = Duration::from_micros(8);

/// How often to look whether a full disk has room again.
const FULL_DISK_POLL: Duration = Duration::from_millis(200);

impl Thread {
    fn run(mut self) -> Result<(), LogError> {
        let mut expected = 0;
        let is_real = self.stepper.log.disk.is_real();
        let ended = loop {
            self.gather(expected);
            if self.sleep() {
                break self.stepper.seal();
            }
            let begun = self.clock.boot();
            match self.stepper.advance() {
                Ok(Step::Done(done)) => {
                    let took = self.clock.boot().saturating_sub(begun);
                    self.sync = (self.sync * 7 + took) / 8;
                    expected = done + self.waiting();
                }
                Ok(Step::Stuck) => expected = 0,
                Err(error) => break Err(error),
            }
        };
        if let (true, Err(LogError::Fatal(why))) = (is_real, &ended) {
            world::process::die(&format!("the log failed: {why}"));
        }
        ended
    }

    fn waiting(&self) -> usize {
        self.stepper.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits until `expected` appends are waiting, for a while. It yields instead of sleeping: a
    /// sleep and its wake-up take as long as the whole wait should.
    ///
    /// One caller has nobody to share a sync with. It is worth waiting for only if it comes back
    /// sooner than a sleep and a wake-up take, as a task of this process may; a client behind a
    /// socket never does, and waiting for it would double what its write costs.
    fn gather(&self, expected: usize) {
        let longest = if expected > 1 { self.sync / 4 } else { LONE_GATHER };
        let limit = self.gather.min(longest);
        if self.waiting() >= expected {
            return;
        }
        let begun = self.clock.boot();
        while self.waiting() < expected && self.clock.boot().saturating_sub(begun) < limit {
            std::thread::yield_now();
        }
    }

    /// Sleeps until there is something to do. Returns whether that is to stop.
    fn sleep(&self) -> bool {
        let shared = &self.stepper.shared;
        let stuck = !self.stepper.appends.is_empty();
        let mut queue = shared.lock();
        loop {
            if !queue.closing && (!queue.appends.is_empty() && !stuck || !queue.trims.is_empty()) {
                return false;
            }
            if queue.closing {
                return true;
            }
            queue.asleep = true;
            if queue.stats.has_reserve {
                queue = shared.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = shared.bell.wait_timeout(queue, FULL_DISK_POLL);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.asleep = false;
                if timeout.timed_out() && !queue.closing {
                    return false;
                }
            }
            queue.asleep = false;
        }
    }
}
