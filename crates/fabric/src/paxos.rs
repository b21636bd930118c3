//! Conditional writes and serial reads: the driver of [`core_quorum::paxos`].
//!
//! A round is a proposer (a value) and what it is for. This node is an acceptor of every partition;
//! its acceptors' states are rows of a companion table in the same engine, written through the
//! same log, so a promise, an acceptance and a commit are each durable before the proposer hears
//! of them, and a commit and its mutation are one record.
//!
//! Rounds of one partition that begin on this node take turns instead of outbidding each other:
//! ballots settle races between nodes, a queue settles those within one.
//!
//! A round that dies with the process after its acceptance is durable is found by the next proposer
//! of the partition, which finishes it first.

mod ballots;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::{Cause, Cell, Change, Class, ColumnId, Hlc, Mutation, NodeId, Position, Reader, TableId, Writer};
use bytes::Bytes;
use core_quorum::{
    Replicas,
    paxos::{Acceptor, Answer, Ballot, Effect, Held, Input, Kind, Outcome, Plan, Proposer, Request},
};
use disk_engine::{
    ReadSpec,
    tree::{Patience, TreeError},
};
use disk_log::{Durable, LogWriter};
use store::{Cas, CasOutcome, Done, Page, Read, Selection};
use world::{Clock, Entropy, World};

use crate::{
    consistency::required,
    records,
    shared::{Admitted, Shared},
    spine::Event,
    tables::{ROUND_ROWS_MAX, spec_of, spec_of_cas},
};
use ballots::Ballots;

/// Tables with acceptors' states have the id of their table with this bit set; the catalog counts
/// up from 1 and never gets there.
const COMPANION: u64 = 1 << 63;
/// The column of an acceptor's state.
const STATE: ColumnId = ColumnId(1);
/// Numbers the set of replicas; it has never changed.
const EPOCH: u64 = 1;
/// Ballots a round tries. Within one node rounds take turns, so more than one is needed only to
/// finish what a crash left; between nodes each loses to somebody who got on.
const ATTEMPTS: u32 = 16;
/// Bytes that a state adds around a value.
const STATE_OVERHEAD_BYTES: usize = 1024;

/// The table that holds acceptors' states for `table`.
pub(crate) fn companion(table: TableId) -> TableId {
    TableId(table.0 | COMPANION)
}

/// The table that `table` belongs to: itself, or the one it is the companion of.
pub(crate) fn owner(table: TableId) -> TableId {
    TableId(table.0 & !COMPANION)
}

/// A partition of a table.
pub(crate) type Key = (TableId, Bytes);

/// What a round is for, and who waits for it.
enum Task {
    Write { cas: Cas, done: Done<CasOutcome> },
    Read { read: Read, done: Done<Page> },
}

/// A round that has not begun.
struct Waiting {
    task: Task,
    room: Admitted,
}

/// A round under way.
struct Round {
    proposer: Proposer<Page>,
    task: Task,
    /// The read it waits for.
    reading: Option<u64>,
    _room: Admitted,
}

/// One partition's acceptor and rounds, while there are any.
struct Partition {
    /// `None` while it is read from the engine.
    acceptor: Option<Acceptor>,
    active: Option<Round>,
    waiting: VecDeque<Waiting>,
    /// Replies that wait for the log.
    held: usize,
}

/// The driver.
pub(crate) struct Paxos {
    local: NodeId,
    clock: Clock,
    entropy: Entropy,
    ballots: Ballots,
    bound_under_way: bool,
    /// Where the record of the bound stands in the log.
    bound_at: Position,
    partitions: BTreeMap<Key, Partition>,
    /// Partitions whose next round waits for the clock's bound, or may begin.
    startable: VecDeque<Key>,
    /// What is to be handed to the active round of a partition.
    inputs: VecDeque<(Key, Input<Page>)>,
    /// Replies that wait for the log, by the token of their record.
    held: BTreeMap<u64, (Key, Held)>,
    next_token: u64,
    timers: Vec<(Duration, Key, Ballot)>,
}

impl Paxos {
    pub(crate) fn new(local: NodeId, world: &World, bound: Hlc, bound_at: Position) -> Paxos {
        Paxos {
            local,
            clock: world.clock.clone(),
            entropy: world.entropy.clone(),
            ballots: Ballots::new(local, world.clock.clone(), bound),
            bound_under_way: false,
            bound_at,
            partitions: BTreeMap::new(),
            startable: VecDeque::new(),
            inputs: VecDeque::new(),
            held: BTreeMap::new(),
            next_token: 0,
            timers: Vec::new(),
        }
    }

    /// Whether a round waits for time to pass.
    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    /// Queues a conditional write.
    pub(crate) fn begin_cas(
        &mut self,
        shared: &Arc<Shared>,
        cas: Cas,
        done: Done<CasOutcome>,
        room: Admitted,
    ) {
        let key = (cas.table, cas.key.clone());
        self.enqueue(shared, key, Waiting { task: Task::Write { cas, done }, room });
    }

    /// Queues a serial read.
    pub(crate) fn begin_read(&mut self, shared: &Arc<Shared>, read: Read, done: Done<Page>, room: Admitted) {
        let Selection::Partition { key, .. } = &read.selection else {
            let cause = "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time";
            return done.complete(Err(Cause::invalid(cause)));
        };
        let key = (read.table, key.clone());
        self.enqueue(shared, key, Waiting { task: Task::Read { read, done }, room });
    }

    fn enqueue(&mut self, shared: &Arc<Shared>, key: Key, waiting: Waiting) {
        if let Some(partition) = self.partitions.get_mut(&key) {
            partition.waiting.push_back(waiting);
            if partition.is_free() && partition.waiting.len() == 1 {
                self.startable.push_back(key);
            }
            return;
        }
        if let Err(cause) = shared.factor(key.0) {
            return waiting.task.fail(cause);
        }
        let waiting = VecDeque::from([waiting]);
        self.partitions.insert(key.clone(), Partition { acceptor: None, active: None, waiting, held: 0 });
        let state = ReadSpec::partition(companion(key.0), key.1.clone(), 0);
        let loaded = key.clone();
        let now = read_rows(shared, state, move |shared, page| {
            shared.post(Event::PaxosLoaded { key: loaded, acceptor: page.and_then(|page| decode(&page)) });
        });
        if let Some(page) = now {
            self.loaded(key, page.and_then(|page| decode(&page)));
        }
    }

    /// The acceptor of a partition was read.
    pub(crate) fn loaded(&mut self, key: Key, acceptor: Result<Acceptor, Cause>) {
        let partition = self.partitions.get_mut(&key).expect("a partition stays while its acceptor is read");
        match acceptor {
            Ok(acceptor) => {
                partition.acceptor = Some(acceptor);
                self.next_round(&key);
            }
            Err(cause) => {
                let waiting = std::mem::take(&mut partition.waiting);
                self.partitions.remove(&key);
                waiting.into_iter().for_each(|waiting| waiting.task.fail(cause.clone()));
            }
        }
    }

    /// The rows were read that the round of a partition asked for as its read `number`.
    pub(crate) fn rows_read(&mut self, shared: &Shared, key: Key, number: u64, page: Result<Page, Cause>) {
        let partition = self.partitions.get_mut(&key);
        let Some(round) = partition.and_then(|partition| partition.active.as_mut()) else { return };
        if round.reading.take_if(|reading| *reading == number).is_some() {
            let input = page.and_then(|page| round.task.check(shared, page));
            self.inputs.push_back((key, input.map_or_else(Input::ReadFailed, Input::Rows)));
        }
    }

    /// The record of a reply is durable: the reply may go to its proposer.
    pub(crate) fn durable(&mut self, token: u64) {
        let Some((key, held)) = self.held.remove(&token) else { return };
        let partition = self.partitions.get_mut(&key).expect("a partition stays while replies are held");
        partition.held -= 1;
        let acceptor = partition.acceptor.as_mut().expect("an acceptor that wrote a record is there");
        let proof = acceptor.synced(held.version());
        let reply = held.release(proof);
        self.inputs.push_back((key, Input::Reply { from: self.local, reply }));
    }

    /// An upper bound of the clock is durable, as the record at `position`.
    pub(crate) fn clock_bound_durable(&mut self, log: &LogWriter, bound: Hlc, position: Position) {
        self.bound_under_way = false;
        self.ballots.set_bound(bound);
        self.bound_at = position;
        log.trim(records::NODE, Position(position.0 - 1));
    }

    /// The log wants to forget what stands before `floor`: the bound is written once more.
    pub(crate) fn raise_floor(&mut self, shared: &Arc<Shared>, log: &LogWriter, floor: Position) {
        if self.bound_at > Position(0) && self.bound_at < floor && !self.bound_under_way {
            let bound = self.ballots.bound();
            // Refused, it is tried again when the log has grown by as much as it keeps.
            self.write_bound(shared, log, bound).unwrap_or_else(|cause| tracing::warn!("{cause}"));
        }
    }

    /// Works until everything waits for the log or for time.
    pub(crate) fn turn(&mut self, shared: &Arc<Shared>, log: &LogWriter) {
        self.fire_timers();
        loop {
            if let Some((key, input)) = self.inputs.pop_front() {
                self.step(shared, log, &key, input);
            } else if self.startable.is_empty() || !self.has_bound(shared, log) {
                break;
            } else if let Some(key) = self.startable.pop_front() {
                self.start(shared, log, &key);
            }
        }
    }

    /// Whether ballots may be issued; if not, what is needed for it has been asked for.
    fn has_bound(&mut self, shared: &Arc<Shared>, log: &LogWriter) -> bool {
        let Some(bound) = self.ballots.wanted_bound() else { return true };
        if self.bound_under_way {
            return false;
        }
        if let Err(cause) = self.write_bound(shared, log, bound) {
            self.refuse_all(&cause);
        }
        false
    }

    fn write_bound(&mut self, shared: &Arc<Shared>, log: &LogWriter, bound: Hlc) -> Result<(), Cause> {
        let events = shared.clone();
        let done = move |outcome: Result<Position, Cause>| {
            if let Ok(position) = outcome {
                events.post(Event::ClockBoundDurable { bound, position });
            }
        };
        log.append(records::NODE, &records::encode_clock_bound(bound), Box::new(done))?;
        self.bound_under_way = true;
        Ok(())
    }

    /// The log takes nothing: rounds that have not begun are refused.
    fn refuse_all(&mut self, cause: &Cause) {
        for key in std::mem::take(&mut self.startable) {
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            for waiting in std::mem::take(&mut partition.waiting) {
                waiting.task.fail(cause.clone());
            }
            self.tidy(&key);
        }
    }

    fn fire_timers(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = self.clock.boot();
        let (due, later) = std::mem::take(&mut self.timers).into_iter().partition(|(at, ..)| *at <= now);
        self.timers = later;
        for (_, key, above) in due {
            let ballot = self.ballots.above(above);
            self.inputs.push_back((key, Input::Wake(ballot)));
        }
    }

    /// Begins the next round of a partition.
    fn start(&mut self, shared: &Arc<Shared>, log: &LogWriter, key: &Key) {
        let Some(partition) = self.partitions.get_mut(key).filter(|partition| partition.is_free()) else {
            return;
        };
        let Some(Waiting { task, room }) = partition.waiting.pop_front() else { return self.tidy(key) };
        let begun = task.plan(shared, self.local, self.entropy.u64()).and_then(|plan| {
            let ballot = self.ballots.above(Ballot::ZERO);
            Proposer::begin(plan, ballot).map_err(Cause::from)
        });
        match begun {
            Ok((proposer, effects)) => {
                partition.active = Some(Round { proposer, task, reading: None, _room: room });
                self.act(shared, log, key, effects);
            }
            Err(cause) => {
                task.fail(cause);
                self.next_round(key);
            }
        }
    }

    fn step(&mut self, shared: &Arc<Shared>, log: &LogWriter, key: &Key, input: Input<Page>) {
        let Some(round) = self.partitions.get_mut(key).and_then(|partition| partition.active.as_mut()) else {
            return self.tidy(key);
        };
        let effects = round.proposer.step(input);
        self.act(shared, log, key, effects);
    }

    fn act(&mut self, shared: &Arc<Shared>, log: &LogWriter, key: &Key, effects: Vec<Effect<Page>>) {
        for effect in effects {
            match effect {
                Effect::Send { to, request } if to == self.local => self.ask_local(shared, log, key, request),
                Effect::Send { to, request } => {
                    // There are no other nodes; a round that names one hears that it is lost.
                    self.inputs.push_back((key.clone(), Input::Lost { from: to, ballot: request.ballot() }));
                }
                Effect::Read => self.read_rows(shared, key),
                Effect::Decide { timestamp, rows } => self.with_active(key, |round, inputs| {
                    let verdict = round.task.decide(shared, timestamp, &rows);
                    inputs.push_back((key.clone(), Input::Decided { rows, verdict }));
                }),
                Effect::WakeAt { delay_us: 0, above } => {
                    let ballot = self.ballots.above(above);
                    self.inputs.push_back((key.clone(), Input::Wake(ballot)));
                }
                Effect::WakeAt { delay_us, above } => {
                    let at = self.clock.boot() + Duration::from_micros(delay_us);
                    self.timers.push((at, key.clone(), above));
                }
                Effect::Finish(outcome) => {
                    let partition =
                        self.partitions.get_mut(key).expect("a partition stays while a round is active");
                    if let Some(round) = partition.active.take() {
                        round.task.finish(outcome);
                    }
                    self.next_round(key);
                }
            }
        }
    }

    /// Reads the rows that the active round wants, now or on a thread that may wait for the disk.
    fn read_rows(&mut self, shared: &Arc<Shared>, key: &Key) {
        let Some(round) = self.partitions.get_mut(key).and_then(|partition| partition.active.as_mut()) else {
            return;
        };
        let number = self.next_token;
        self.next_token += 1;
        round.reading = Some(number);
        let asked = key.clone();
        let now = read_rows(shared, round.task.rows(), move |shared, page| {
            shared.post(Event::PaxosRows { key: asked, number, page });
        });
        if let Some(page) = now {
            self.rows_read(shared, key.clone(), number, page);
        }
    }

    fn with_active(&mut self, key: &Key, act: impl FnOnce(&mut Round, &mut VecDeque<(Key, Input<Page>)>)) {
        if let Some(round) = self.partitions.get_mut(key).and_then(|partition| partition.active.as_mut()) {
            act(round, &mut self.inputs);
        }
    }

    /// Asks the acceptor of this node, whose reply may have to wait for the log.
    fn ask_local(&mut self, shared: &Arc<Shared>, log: &LogWriter, key: &Key, request: Request) {
        let ballot = request.ballot();
        let partition = self.partitions.get_mut(key).expect("a partition stays while a round is active");
        let acceptor = partition.acceptor.as_mut().expect("a round begins when its acceptor is there");
        let before = acceptor.clone();
        let held = match acceptor.handle(request, EPOCH) {
            Answer::Now(reply) => {
                self.inputs.push_back((key.clone(), Input::Reply { from: self.local, reply }));
                return;
            }
            Answer::Held(held) => held,
        };
        let token = self.next_token;
        self.next_token += 1;
        let written = write_record(shared, log, key, &held, self.ballots.tick(), token);
        match written {
            Ok(()) => {
                partition.held += 1;
                self.held.insert(token, (key.clone(), held));
            }
            Err(cause) => {
                // As if the request had never come. An acceptor that knew of a commit which the log
                // did not take would forget the decree, and with it a mutation that nobody applied.
                *acceptor = before;
                tracing::warn!("the log refused a record of a conditional write: {cause}");
                self.inputs.push_back((key.clone(), Input::Lost { from: self.local, ballot }));
                self.inputs.push_back((key.clone(), Input::Timeout));
            }
        }
    }

    fn next_round(&mut self, key: &Key) {
        let waiting = self.partitions.get(key).is_some_and(|partition| !partition.waiting.is_empty());
        if waiting {
            self.startable.push_back(key.clone());
        } else {
            self.tidy(key);
        }
    }

    /// Forgets a partition that nothing is going on in; its acceptor is in the engine.
    fn tidy(&mut self, key: &Key) {
        let idle = self.partitions.get(key).is_some_and(|partition| {
            partition.is_free() && partition.waiting.is_empty() && partition.held == 0
        });
        if idle {
            self.partitions.remove(key);
        }
    }
}

impl Partition {
    /// Whether a round may begin.
    fn is_free(&self) -> bool {
        self.active.is_none() && self.acceptor.is_some()
    }
}

impl Task {
    fn plan(&self, shared: &Shared, local: NodeId, seed: u64) -> Result<Plan, Cause> {
        let (table, serial, commit, kind) = match self {
            Task::Write { cas, .. } => (cas.table, cas.serial, Some(cas.commit), Kind::Write),
            Task::Read { read, .. } => (read.table, read.consistency, None, Kind::Read),
        };
        let factor = shared.factor(table)?;
        let electorate = Replicas::one(local);
        let majority = required(serial, factor);
        let commit_required = commit.map_or(0, |commit| required(commit, factor));
        let needed = majority.max(commit_required);
        // The keyspace may ask for more replicas than there are nodes; a majority is one of what
        // was asked for.
        if needed as usize > electorate.len() {
            return Err(core_quorum::Unavailable { required: needed, alive: electorate.len() as u32 }.into());
        }
        Ok(Plan { electorate, epoch: EPOCH, kind, commit_required, attempts: ATTEMPTS, seed })
    }

    /// The rows it looks at.
    fn rows(&self) -> ReadSpec {
        match self {
            Task::Write { cas, .. } => spec_of_cas(cas),
            Task::Read { read, .. } => spec_of(read.clone(), ROUND_ROWS_MAX),
        }
    }

    /// A table that was dropped since the round began is not an empty table; and a condition that
    /// looks at very many rows is refused, because other rounds wait.
    fn check(&self, shared: &Shared, page: Page) -> Result<Page, Cause> {
        let table = match self {
            Task::Write { .. } if page.more.is_some() => {
                return Err(Cause::invalid(format!("a condition looks at {ROUND_ROWS_MAX} rows at most")));
            }
            Task::Write { cas, .. } => cas.table,
            Task::Read { read, .. } => read.table,
        };
        shared.factor(table).map(|_| page)
    }

    fn decide(&mut self, shared: &Shared, timestamp: i64, rows: &Page) -> Result<Option<Bytes>, Cause> {
        let Task::Write { cas, .. } = self else { return Ok(None) };
        let Some(mutation) = (cas.decide)(timestamp, rows)? else { return Ok(None) };
        if mutation.table != cas.table || mutation.key != cas.key {
            return Err(Cause::bug("a conditional write decided on another partition than it names"));
        }
        let mut out = Writer::with_capacity(mutation.weight());
        mutation.encode(&mut out);
        let value = out.into_vec();
        // A commit's record holds the value twice: in the state and to be applied.
        let limit = (shared.settings.log.max_record_bytes as usize).saturating_sub(STATE_OVERHEAD_BYTES) / 2;
        if value.len() > limit {
            return Err(Cause::invalid(format!(
                "a conditional write of {} bytes is over the limit of {limit}",
                value.len()
            )));
        }
        Ok(Some(value.into()))
    }

    fn fail(self, cause: Cause) {
        match self {
            Task::Write { done, .. } => done.complete(Err(cause)),
            Task::Read { done, .. } => done.complete(Err(cause)),
        }
    }

    fn finish(self, outcome: Outcome<Page>) {
        let cause = match (self, outcome) {
            (Task::Write { done, .. }, Outcome::Applied { rows }) => {
                return done.complete(Ok(CasOutcome { applied: true, page: rows }));
            }
            (Task::Write { done, .. }, Outcome::NotMet { rows }) => {
                return done.complete(Ok(CasOutcome { applied: false, page: rows }));
            }
            (Task::Read { done, .. }, Outcome::Read { rows }) => return done.complete(Ok(rows)),
            (task, outcome) => (task, cause_of(outcome)),
        };
        let (task, cause) = cause;
        task.fail(cause);
    }
}

fn cause_of(outcome: Outcome<Page>) -> Cause {
    match outcome {
        Outcome::Uncertain { received, required } => Cause::new(
            Class::Uncertain { received, required },
            "the outcome of the conditional write is unknown",
        ),
        Outcome::Contended => Cause::new(Class::Conflict, "other conditional writes kept coming between"),
        Outcome::Unanswered { .. } => Cause::busy("too few replicas took part; nothing was done"),
        Outcome::Moved => Cause::new(Class::Moved, "the replicas of the partition have changed"),
        Outcome::Refused(cause) => cause,
        Outcome::Applied { .. } | Outcome::NotMet { .. } | Outcome::Read { .. } => {
            Cause::bug("an outcome for another task")
        }
    }
}

/// Reads rows now, if they are in memory; if not, a thread that may wait for the disk does, and calls
/// `later`.
fn read_rows(
    shared: &Arc<Shared>,
    spec: ReadSpec,
    later: impl FnOnce(&Shared, Result<Page, Cause>) + Send + 'static,
) -> Option<Result<Page, Cause>> {
    match shared.engine.read(&spec, Patience::Now) {
        Err(TreeError::NotNow) => {
            let own = shared.clone();
            shared.readers.submit(Box::new(move |turn| {
                let page = turn.and_then(|()| Ok(own.engine.read(&spec, Patience::Wait)?));
                later(&own, page);
            }));
            None
        }
        found => Some(found.map_err(Cause::from)),
    }
}

/// The acceptor in the rows of its companion table.
fn decode(page: &Page) -> Result<Acceptor, Cause> {
    let cells = page.partitions.iter().flat_map(|partition| &partition.rows).flat_map(|row| &row.cells);
    match cells.filter_map(|(_, cell)| cell.value.as_ref()).next() {
        Some(state) => Ok(Acceptor::decode(state)?),
        None => Ok(Acceptor::new()),
    }
}

/// Appends an acceptor's state, with the mutation of a commit, as one record. When it is durable
/// both are applied, and then the spine is told.
fn write_record(
    shared: &Arc<Shared>,
    log: &LogWriter,
    (table, key): &Key,
    held: &Held,
    timestamp: Hlc,
    token: u64,
) -> Result<(), Cause> {
    let record = held.record();
    let cell = Cell::live(timestamp.0 as i64, Bytes::copy_from_slice(&record.state));
    let change = Change::Row { clustering: Bytes::new(), cells: vec![(STATE, cell)] };
    let state = Mutation { table: companion(*table), key: key.clone(), changes: vec![change] };
    let mut out = Writer::with_capacity(state.weight() + record.apply.as_ref().map_or(0, Bytes::len));
    state.encode(&mut out);
    let mut mutations = vec![state];
    if let Some(apply) = &record.apply {
        out.raw(apply);
        mutations.push(Mutation::decode(&mut Reader::new(apply))?);
    }
    let shared = shared.clone();
    let done: Box<dyn Durable> = Box::new(move |outcome: Result<Position, Cause>| {
        if outcome.and_then(|position| shared.apply(position, &mutations)).is_ok() {
            shared.post(Event::PaxosDurable { token });
        }
    });
    log.append(records::TABLES, &out.into_vec(), done)?;
    Ok(())
}
