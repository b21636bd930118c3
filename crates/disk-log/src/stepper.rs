//! [`Stepper`]: takes what is waiting, makes it durable, answers. A step at a time, so that a
//! simulation can be its thread.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, atomic::Ordering},
};

use base::{Cause, Position, StreamId};
use world::later;

use crate::{
    Log, LogError,
    queue::{Append, Shared},
};

/// The owner of the log, for whoever wants to be its thread.
pub struct Stepper {
    pub(crate) log: Log,
    pub(crate) shared: Arc<Shared>,
    /// What was taken from the queue and is not durable yet.
    body: Vec<u8>,
    pub(crate) appends: Vec<Append>,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Appends that became durable; 0 if there were none.
    Done(usize),
    /// Appends wait because the disk is full.
    Stuck,
}

impl Stepper {
    pub(crate) fn new(log: Log, shared: Arc<Shared>) -> Stepper {
        Stepper { log, shared, body: Vec::new(), appends: Vec::new() }
    }

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

    pub(crate) fn advance(&mut self) -> Result<Step, LogError> {
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
        // One step: who is called by many of them is called once.
        later::step(|| {
            for append in self.appends.drain(..count) {
                append.done.durable(Ok(position));
                position.0 += u64::from(append.records);
            }
        });
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
