//! What the waist itself costs: a null engine behind `Arc<dyn Tables>`, asked as a door asks.
//!
//! A door makes a permit and a request for each statement, hands both over with a slot of its
//! connection's inbox, and drains the inbox when it is woken. Here the engine answers at once, so
//! all the time spent is the door's side and the waist. What the door would spend anyway, making
//! and dropping the request, is measured alone and taken off.

use std::{
    hint::black_box,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base::{Cause, Cell, Change, ColumnId, Mutation, TableId};
use bytes::Bytes;
use serde_json::{Value, json};
use store::{
    Action, Cas, CasOutcome, Consistency, Done, Gate, Inbox, Page, Permit, Principal, Read, Selection, Slice,
    Tables, Target, Write, waiter,
};
use tokio::sync::Notify;

use crate::{Outcome, figures::median};

/// Requests handed over before the inbox is drained: what a busy connection has in flight.
const BATCH: u64 = 128;
/// Repetitions; the figure is their median.
const REPEATS: usize = 9;
/// Time of each.
const REPEAT: Duration = Duration::from_millis(200);
const TABLE: TableId = TableId(1);

/// Nanoseconds an operation.
#[derive(Clone, Debug)]
pub struct Cost {
    /// What was done.
    pub what: &'static str,
    /// Nanoseconds an operation through the waist, median.
    pub through_ns: f64,
    /// Nanoseconds an operation for making and dropping the request alone, median.
    pub request_ns: f64,
}

impl Cost {
    /// What the waist adds, nanoseconds an operation.
    pub fn waist_ns(&self) -> f64 {
        self.through_ns - self.request_ns
    }

    /// Everything that was measured.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "through_ns": self.through_ns,
            "request_ns": self.request_ns,
            "waist_ns": self.waist_ns(),
        })
    }
}

/// Measures every kind of request.
pub fn run() -> Outcome<Vec<Cost>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let door = Door::new();
    Ok(vec![
        Cost {
            what: "scan, whose request allocates nothing",
            through_ns: median_ns(|| runtime.block_on(door.reads(&scan)))?,
            request_ns: median_ns(|| made_and_dropped(|_| scan(0)))?,
        },
        Cost {
            what: "read of one row",
            through_ns: median_ns(|| runtime.block_on(door.reads(&point)))?,
            request_ns: median_ns(|| made_and_dropped(point))?,
        },
        Cost {
            what: "write of 1 KB",
            through_ns: median_ns(|| runtime.block_on(door.writes()))?,
            request_ns: median_ns(|| made_and_dropped(|tag| write(tag, &door.value)))?,
        },
        Cost {
            what: "read of one row, one at a time by `waiter`",
            through_ns: median_ns(|| door.waits())?,
            request_ns: median_ns(|| made_and_dropped(point))?,
        },
    ])
}

/// An engine that does nothing but check its permits.
struct Null;

impl Tables for Null {
    fn write(&self, permit: Permit, write: Write, done: Done<()>) {
        let allowed = permit.check(Action::Write, Target::Table(write.mutation.table));
        drop(black_box(write));
        done.complete(allowed);
    }

    fn read(&self, permit: Permit, read: Read, done: Done<Page>) {
        let allowed = permit.check(Action::Read, Target::Table(read.table));
        drop(black_box(read));
        done.complete(allowed.map(|()| Page::default()));
    }

    fn compare_and_set(&self, permit: Permit, cas: Cas, done: Done<CasOutcome>) {
        let allowed = permit.check(Action::Write, Target::Table(cas.table));
        done.complete(allowed.map(|()| CasOutcome { applied: true, page: Page::default() }));
    }
}

/// A connection's inbox: the first answer after a drain wakes the connection.
struct Answers<T> {
    waiting: Mutex<Vec<(u64, Result<T, Cause>)>>,
    wake: Notify,
}

impl<T> Answers<T> {
    fn new() -> Arc<Answers<T>> {
        Arc::new(Answers { waiting: Mutex::new(Vec::new()), wake: Notify::new() })
    }

    /// Waits for answers and takes them, leaving the space of the last ones to the next.
    async fn drain(&self, taken: &mut Vec<(u64, Result<T, Cause>)>) {
        self.wake.notified().await;
        mem::swap(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner), taken);
    }
}

impl<T: Send> Inbox<T> for Answers<T> {
    fn deliver(&self, tag: u64, answer: Result<T, Cause>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let first = waiting.is_empty();
        waiting.push((tag, answer));
        drop(waiting);
        if first {
            self.wake.notify_one();
        }
    }
}

/// What a door has at hand.
struct Door {
    gate: Gate,
    tables: Arc<dyn Tables>,
    value: Bytes,
}

impl Door {
    fn new() -> Door {
        Door { gate: Gate::open(), tables: Arc::new(Null), value: Bytes::from(vec![7; 1024]) }
    }

    fn permit(&self, action: Action) -> Result<Permit, Cause> {
        self.gate.permit(black_box(&Principal::Anonymous), action, Target::Table(TABLE))
    }

    /// Reads through an inbox; returns the nanoseconds of one.
    async fn reads(&self, request: &dyn Fn(u64) -> Read) -> Outcome<f64> {
        let answers = Answers::new();
        let mut taken = Vec::new();
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < REPEAT {
            for tag in 0..BATCH {
                let inbox: Arc<dyn Inbox<Page>> = answers.clone();
                self.tables.read(self.permit(Action::Read)?, request(tag), Done::new(inbox, tag));
            }
            answers.drain(&mut taken).await;
            count += settle(&mut taken)?;
        }
        Ok(started.elapsed().as_nanos() as f64 / count as f64)
    }

    /// Writes through an inbox; returns the nanoseconds of one.
    async fn writes(&self) -> Outcome<f64> {
        let answers = Answers::new();
        let mut taken = Vec::new();
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < REPEAT {
            for tag in 0..BATCH {
                let inbox: Arc<dyn Inbox<()>> = answers.clone();
                self.tables.write(
                    self.permit(Action::Write)?,
                    write(tag, &self.value),
                    Done::new(inbox, tag),
                );
            }
            answers.drain(&mut taken).await;
            count += settle(&mut taken)?;
        }
        Ok(started.elapsed().as_nanos() as f64 / count as f64)
    }

    /// Reads one after another, each with a [`waiter`] of its own.
    fn waits(&self) -> Outcome<f64> {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < REPEAT {
            for tag in 0..BATCH {
                let (done, answer) = waiter();
                self.tables.read(self.permit(Action::Read)?, point(tag), done);
                black_box(answer.wait()?);
                count += 1;
            }
        }
        Ok(started.elapsed().as_nanos() as f64 / f64::from(count))
    }
}

/// Takes the answers of one batch and makes sure that each request got one.
fn settle<T>(taken: &mut Vec<(u64, Result<T, Cause>)>) -> Outcome<u64> {
    let mut tags = 0;
    let count = taken.len() as u64;
    for (tag, answer) in taken.drain(..) {
        black_box(answer?);
        tags += tag;
    }
    if (count, tags) != (BATCH, BATCH * (BATCH - 1) / 2) {
        return Err(format!("{BATCH} requests got {count} answers").into());
    }
    Ok(count)
}

/// The nanoseconds of making and dropping one request, without the waist.
fn made_and_dropped<T>(request: impl Fn(u64) -> T) -> Outcome<f64> {
    let (started, mut count) = (Instant::now(), 0);
    while started.elapsed() < REPEAT {
        for tag in 0..BATCH {
            drop(black_box(request(tag)));
            count += 1;
        }
    }
    Ok(started.elapsed().as_nanos() as f64 / f64::from(count))
}

fn median_ns(measure: impl Fn() -> Outcome<f64>) -> Outcome<f64> {
    measure()?; // The first time warms up.
    Ok(median((0..REPEATS).map(|_| measure()).collect::<Outcome<_>>()?))
}

fn key(tag: u64) -> Bytes {
    Bytes::copy_from_slice(&tag.to_be_bytes())
}

fn write(tag: u64, value: &Bytes) -> Write {
    let cells =
        vec![(ColumnId::ROW, Cell::live(1, Bytes::new())), (ColumnId(2), Cell::live(1, value.clone()))];
    let changes = vec![Change::Row { clustering: Bytes::new(), cells }];
    Write {
        mutation: Mutation { table: TABLE, key: key(tag), changes },
        consistency: Consistency::LocalQuorum,
    }
}

fn read(selection: Selection) -> Read {
    Read {
        table: TABLE,
        selection,
        after: None,
        columns: None,
        limit_rows: 1,
        limit_bytes: 1 << 20,
        now_seconds: 1,
        consistency: Consistency::LocalQuorum,
    }
}

fn point(tag: u64) -> Read {
    read(Selection::Partition { key: key(tag), slices: vec![Slice::all()], reversed: false })
}

fn scan(_tag: u64) -> Read {
    read(Selection::Tokens { first: base::MIN_TOKEN, last: base::MAX_TOKEN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_batch_must_be_answered() {
        let mut all: Vec<_> = (0..BATCH).map(|tag| (tag, Ok(()))).collect();
        assert!(matches!(settle(&mut all), Ok(BATCH)));
        let mut twice: Vec<_> = (0..BATCH).map(|_| (1, Ok(()))).collect();
        assert!(settle(&mut twice).is_err());
        let mut failed = vec![(0, Err::<(), _>(Cause::bug("no")))];
        assert!(settle(&mut failed).is_err());
    }
}
