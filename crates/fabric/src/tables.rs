//! [`store::Tables`]: the hot path.
//!
//! A write goes from the caller's thread into the log's queue and is done on the log's thread; a
//! read is done inline if what it needs is in memory, or else by a thread that may wait for the disk
//! (see [`crate::readers`]). What must be linearizable with conditional writes goes to the spine.

use std::sync::Arc;

use base::{
    Cause, Change, Class, MAX_CLUSTERING_KEY_BYTES, MAX_PARTITION_KEY_BYTES, Mutation, NodeId, Position,
    TableId, Writer,
};
use core_quorum::{Merge, ReadRound, ReadStep, Replicas, WriteOutcome, WriteRound};
use disk_engine::{
    ReadSpec,
    tree::{Patience, TreeError},
};
use disk_log::{Durable, LogWriter};
use store::{Action, Cas, CasOutcome, Done, Page, Permit, Read, Selection, Target, Write};

use crate::{
    consistency::{is_serial, required},
    records,
    shared::{Admitted, Shared},
    spine::Event,
};

/// Rows, dead ones included, that one read looks at before its page ends. At up to 1 µs a row a
/// read holds its thread for two milliseconds.
const SCAN_ROWS_MAX: u64 = 2_000;
/// Rows that a conditional write or a serial read looks at: it has one page only.
pub(crate) const ROUND_ROWS_MAX: u64 = 10_000;

/// The waist's view of the tables.
#[derive(Clone)]
pub(crate) struct TablesHandle {
    shared: Arc<Shared>,
    log: LogWriter,
    local: NodeId,
}

impl TablesHandle {
    pub(crate) fn new(shared: Arc<Shared>, log: LogWriter, local: NodeId) -> TablesHandle {
        TablesHandle { shared, log, local }
    }

    /// Whether tables may be used. Each node has its own so far: on several, what one was told others would not know.
    fn check_alone(&self) -> Result<(), Cause> {
        if self.shared.published.has_others() {
            return Err(Cause::unsupported(
                "tables are not replicated yet, so a cluster of several nodes does not serve them",
            ));
        }
        Ok(())
    }

    fn begin_write(&self, permit: Permit, write: Write, done: Done<()>) -> Result<(), (Cause, Done<()>)> {
        let begun = self.prepare_write(permit, &write);
        let (round, room) = match begun {
            Ok(begun) => begun,
            Err(cause) => return Err((cause, done)),
        };
        let mut payload = Writer::with_capacity(write.mutation.weight());
        write.mutation.encode(&mut payload);
        let pending = PendingWrite {
            shared: self.shared.clone(),
            local: self.local,
            mutation: write.mutation,
            round,
            done,
            room,
        };
        // The one message of the round, to the one replica.
        if let Err(refused) = self.log.append(records::TABLES, &payload.into_vec(), Box::new(pending)) {
            // The pending write is what was refused: it tells the round, and the round the caller.
            refused.done.durable(Err(refused.cause));
        }
        Ok(())
    }

    fn prepare_write(&self, permit: Permit, write: &Write) -> Result<(WriteRound, Admitted), Cause> {
        permit.check(Action::Write, Target::Table(write.mutation.table))?;
        self.check_alone()?;
        check_keys(&write.mutation)?;
        if is_serial(write.consistency) {
            return Err(Cause::invalid("a write has no serial consistency"));
        }
        let factor = self.shared.factor(write.mutation.table)?;
        let round = WriteRound::begin(Replicas::one(self.local), required(write.consistency, factor))?;
        let room = self.shared.admit(write.mutation.weight())?;
        Ok((round, room))
    }

    /// Reads what is in memory here and now, what is not on a thread that may wait for the disk.
    fn begin_read(&self, read: Read, done: Done<Page>) {
        let round = match self.prepare_read(&read) {
            Ok(round) => round,
            Err(cause) => return done.complete(Err(cause)),
        };
        let spec = spec_of(read, SCAN_ROWS_MAX);
        match self.shared.engine.read(&spec, Patience::Now) {
            Err(TreeError::NotNow) => {}
            found => {
                let page = found.map_err(Cause::from).and_then(|page| self.end_read(round, spec.table, page));
                return done.complete(page);
            }
        }
        let own = self.clone();
        self.shared.readers.submit(Box::new(move |turn| {
            let found = turn.and_then(|()| Ok(own.shared.engine.read(&spec, Patience::Wait)?));
            done.complete(found.and_then(|page| own.end_read(round, spec.table, page)));
        }));
    }

    fn prepare_read(&self, read: &Read) -> Result<ReadRound<LocalAnswer>, Cause> {
        let factor = self.shared.factor(read.table)?;
        let required = required(read.consistency, factor);
        Ok(ReadRound::begin(Replicas::one(self.local), required)?)
    }

    fn end_read(&self, mut round: ReadRound<LocalAnswer>, table: TableId, page: Page) -> Result<Page, Cause> {
        match round.answered(self.local, LocalAnswer(page)) {
            // It may have been dropped meanwhile: then it is gone, and not empty.
            ReadStep::Done { answer: LocalAnswer(page), .. } if page.partitions.is_empty() => {
                self.shared.factor(table).map(|_| page)
            }
            ReadStep::Done { answer, .. } => Ok(answer.0),
            ReadStep::Wait | ReadStep::Ask(_) | ReadStep::Failed { .. } => {
                Err(Cause::bug("one answer of one replica settles a read"))
            }
        }
    }

    fn serial(
        &self,
        permit: Permit,
        action: Action,
        cas_table: base::TableId,
        bytes: usize,
    ) -> Result<Admitted, Cause> {
        permit.check(action, Target::Table(cas_table))?;
        self.check_alone()?;
        self.shared.admit(bytes)
    }
}

impl store::Tables for TablesHandle {
    fn write(&self, permit: Permit, write: Write, done: Done<()>) {
        if let Err((cause, done)) = self.begin_write(permit, write, done) {
            done.complete(Err(cause));
        }
    }

    fn read(&self, permit: Permit, read: Read, done: Done<Page>) {
        if is_serial(read.consistency) {
            match self.serial(permit, Action::Read, read.table, ROUND_BYTES) {
                Ok(room) => self.shared.post(Event::SerialRead { read, done, room }),
                Err(cause) => done.complete(Err(cause)),
            }
            return;
        }
        match permit.check(Action::Read, Target::Table(read.table)).and_then(|()| self.check_alone()) {
            Ok(()) => self.begin_read(read, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn compare_and_set(&self, permit: Permit, cas: Cas, done: Done<CasOutcome>) {
        match self.serial(permit, Action::Write, cas.table, ROUND_BYTES + cas.key.len()) {
            Ok(room) => self.shared.post(Event::Cas { cas, done, room }),
            Err(cause) => done.complete(Err(cause)),
        }
    }
}

/// What a conditional write or a serial read takes while it is under way, without its key.
const ROUND_BYTES: usize = 1024;

/// A write between its append and its answer. Lives in the log's queue.
struct PendingWrite {
    shared: Arc<Shared>,
    local: NodeId,
    mutation: Mutation,
    round: WriteRound,
    done: Done<()>,
    room: Admitted,
}

impl Durable for PendingWrite {
    fn durable(mut self: Box<Self>, outcome: Result<Position, Cause>) {
        let mutation = std::slice::from_ref(&self.mutation);
        let applied = outcome.and_then(|position| self.shared.apply(position, mutation));
        let (settled, cause) = match applied {
            Ok(()) => (self.round.acknowledged(self.local), None),
            Err(cause) if matches!(cause.class, Class::Uncertain { .. }) => {
                (self.round.failed(self.local), Some(cause))
            }
            Err(cause) => (self.round.refused(self.local), Some(cause)),
        };
        let Some(settled) = settled else { return };
        let answer = match settled {
            WriteOutcome::Done => return self.shared.answer(self.done, self.room),
            WriteOutcome::Refused => Err(cause.unwrap_or_else(|| Cause::busy("every replica refused"))),
            WriteOutcome::Uncertain { received, required } => Err(Cause::new(
                Class::Uncertain { received, required },
                cause.map_or("too few replicas confirmed in time".into(), |cause| cause.message),
            )),
        };
        self.done.complete(answer);
    }
}

/// The answer of a replica on this node.
struct LocalAnswer(Page);

impl Merge for LocalAnswer {
    type Repair = Mutation;

    /// Replicas' answers are merged through the engine's raw form, which has deletions in it; that
    /// comes with the second node. The core hands a single answer through.
    fn merge(mut answers: Vec<(NodeId, LocalAnswer)>) -> (LocalAnswer, Vec<(NodeId, Mutation)>) {
        let only = answers.pop().expect("a settled read has an answer");
        assert!(answers.is_empty(), "this node is the only replica");
        (only.1, Vec::new())
    }
}

/// A read of local rows, whatever the consistency asked for; the page ends after `scan_rows` looked
/// at.
pub(crate) fn spec_of(read: Read, scan_rows: u64) -> ReadSpec {
    ReadSpec {
        table: read.table,
        selection: read.selection,
        after: read.after,
        columns: read.columns,
        limit_rows: read.limit_rows,
        limit_bytes: read.limit_bytes,
        scan_rows,
        now_seconds: read.now_seconds,
    }
}

/// The rows a condition looks at.
pub(crate) fn spec_of_cas(cas: &Cas) -> ReadSpec {
    let selection =
        Selection::Partition { key: cas.key.clone(), slices: cas.slices.clone(), reversed: false };
    let whole = ReadSpec::partition(cas.table, cas.key.clone(), cas.now_seconds);
    ReadSpec { selection, scan_rows: ROUND_ROWS_MAX, ..whole }
}

/// Refuses keys that the engine does not take.
fn check_keys(mutation: &Mutation) -> Result<(), Cause> {
    if mutation.key.len() > MAX_PARTITION_KEY_BYTES {
        let bytes = mutation.key.len();
        return Err(Cause::invalid(format!(
            "a partition key of {bytes} bytes, {MAX_PARTITION_KEY_BYTES} at most"
        )));
    }
    let longest = mutation.changes.iter().map(|change| match change {
        Change::Row { clustering, .. } => clustering.len(),
        // Bounds of a range end with a byte more than a key has.
        Change::DeleteRows { from, to, .. } => {
            from.len().max(to.as_ref().map_or(0, bytes::Bytes::len)).saturating_sub(1)
        }
        Change::DeletePartition { .. } => 0,
    });
    match longest.max() {
        Some(bytes) if bytes > MAX_CLUSTERING_KEY_BYTES => Err(Cause::invalid(format!(
            "a clustering key of {bytes} bytes, {MAX_CLUSTERING_KEY_BYTES} at most"
        ))),
        _ => Ok(()),
    }
}
