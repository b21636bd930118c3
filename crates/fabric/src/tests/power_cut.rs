//! The power is cut at every write and sync of random programs that write tables, run conditional
//! writes and feed a Machine, all in flight together, while their memtables of a few hundred bytes
//! are flushed and compacted and the log forgets what is in files. After each cut the node starts
//! again from what a real disk might have kept, and then
//!
//! - the rows are a prefix of those that were written, with every acknowledged one in it;
//! - the Machine holds a prefix of what was proposed, each once, with every acknowledged entry in
//!   it: its state and the index it was applied to never come apart;
//! - the conditional counter is at least where it was acknowledged, no further than it was asked
//!   to go, and goes on from there: a round that was cut after its acceptance is finished first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base::{Cause, Cell, Change, Class, ColumnId, Mutation, TableId};
use bytes::Bytes;
use store::{
    Action, Cas, CasOutcome, Column, ColumnKind, Consistency, Done, Inbox, Page, Permit, Principal, Read,
    SchemaChange, Selection, Slice, Store, TableDraft, Target, Write,
    conformance::{Dice, TALLY_GROUP, decode_tally},
    waiter,
};
use world::{
    Boundary, Disk, Operation, SimDisk,
    task::{cores, spawn_thread},
};

use super::{tally, tiny, world};
use crate::{Addresses, Settings, Stepped, settings::Sabotage, verify};

pub(super) const COUNTER: &[u8] = b"counter";
pub(super) const NOW_SECONDS: u32 = 1_000;

/// What was acknowledged, with the number of disk operations done by then.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) writes: Vec<(u64, u64)>,
    pub(super) entries: Vec<(u64, u64)>,
    pub(super) counts: Vec<(u64, u64)>,
    /// Rows and entries for which there was no room: nothing was done.
    refused: Vec<u64>,
}

/// What a program has done.
#[derive(Default)]
pub(super) struct History {
    pub(super) acknowledged: Acknowledged,
    /// Rows, in the order they went into the log.
    pub(super) written: Vec<u64>,
    /// Entries, likewise.
    pub(super) proposed: Vec<u64>,
    /// How often it counted.
    pub(super) counts: u64,
}

impl History {
    /// How many rows and entries were refused, for want of room.
    pub(super) fn refused(&self) -> usize {
        self.acknowledged.refused.len()
    }

    /// How far the counter is, if everything was acknowledged.
    pub(super) fn counted(&self) -> u64 {
        self.acknowledged.counts.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// What was done after it.
    pub(super) fn add(&mut self, later: History) {
        self.acknowledged.writes.extend(later.acknowledged.writes);
        self.acknowledged.entries.extend(later.acknowledged.entries);
        self.acknowledged.counts.extend(later.acknowledged.counts);
        self.written.extend(later.written);
        self.proposed.extend(later.proposed);
        self.counts += later.counts;
    }
}

/// Notes answers as they come.
struct Notes {
    sim: SimDisk,
    /// Whether the disk may fail, and outcomes be unknown.
    fails: bool,
    acknowledged: Mutex<Acknowledged>,
}

impl Notes {
    fn note(&self, to: fn(&mut Acknowledged) -> &mut Vec<(u64, u64)>, what: u64) {
        to(&mut self.acknowledged.lock().unwrap()).push((self.sim.ops(), what));
    }
}

impl Notes {
    /// What was answered, but for refusals, and outcomes that are unknown for a reason.
    fn answered<T>(&self, answer: Result<T, Cause>) -> Option<T> {
        answer
            .inspect_err(|cause| {
                let uncertain = matches!(cause.class, Class::Uncertain { .. });
                // A node that goes down with a failed test answers too.
                let expected = self.fails && uncertain || std::thread::panicking();
                assert!(expected || cause.class == Class::Busy, "{cause}");
            })
            .ok()
    }
}

impl Inbox<()> for Notes {
    fn deliver(&self, tag: u64, answer: Result<(), Cause>) {
        let refused = answer.as_ref().is_err_and(|cause| cause.class == Class::Busy);
        if self.answered(answer).is_some() {
            self.note(|acknowledged| &mut acknowledged.writes, tag);
        } else if refused {
            self.acknowledged.lock().unwrap().refused.push(tag);
        }
    }
}

impl Inbox<Bytes> for Notes {
    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        let refused = answer.as_ref().is_err_and(|cause| cause.class == Class::Busy);
        if let Some(had) = self.answered(answer) {
            assert!(decode_tally(&had).unwrap().contains(&tag));
            self.note(|acknowledged| &mut acknowledged.entries, tag);
        } else if refused {
            self.acknowledged.lock().unwrap().refused.push(tag);
        }
    }
}

impl Inbox<CasOutcome> for Notes {
    fn deliver(&self, _tag: u64, answer: Result<CasOutcome, Cause>) {
        // The log may have refused a commit; then it is for the next round to find.
        let answer = answer.map_err(|cause| match cause.class {
            Class::Uncertain { .. } => Cause::busy(cause.message),
            _ => cause,
        });
        if let Some(outcome) = self.answered(answer) {
            assert!(outcome.applied);
            self.note(|acknowledged| &mut acknowledged.counts, count_of(&outcome.page) + 1);
        }
    }
}

pub(super) fn define(node: &mut Stepped) -> TableId {
    let store = node.store().clone();
    define_by(&store, &mut || node.settle().unwrap())
}

/// Makes the table, calling `settle` to have it done.
pub(super) fn define_by(store: &Store, settle: &mut dyn FnMut()) -> TableId {
    let replication = BTreeMap::from([("replication_factor".to_owned(), "1".to_owned())]);
    let space = SchemaChange::CreateSpace { name: "s".into(), replication, durable_writes: true };
    let column =
        |name: &str, kind| Column { id: ColumnId(0), name: name.into(), kind, type_name: "blob".into() };
    let draft = TableDraft {
        space: "s".into(),
        name: "t".into(),
        columns: vec![column("k", ColumnKind::PartitionKey), column("a", ColumnKind::Regular)],
        options: BTreeMap::new(),
        uuid: 1,
    };
    for change in [space, SchemaChange::CreateTable(draft)] {
        let (done, answer) = waiter();
        store.catalog.change(permit(store, Action::Define, Target::Cluster), change, done);
        settle();
        answer.wait().unwrap();
    }
    table(store).unwrap()
}

/// The table, if there is one.
pub(super) fn table(store: &Store) -> Option<TableId> {
    store.catalog.schema().table("s", "t").map(|table| table.id)
}

pub(super) fn permit(store: &Store, action: Action, target: Target) -> Permit {
    store.gate.permit(&Principal::Node, action, target).unwrap()
}

pub(super) fn write(store: &Store, table: TableId, number: u64, done: Done<()>) {
    write_with(store, table, number, 8, done);
}

/// Writes a row, and so many bytes in its second cell. Two cells, to see that a write is whole or
/// not there.
fn write_with(store: &Store, table: TableId, number: u64, bytes: usize, done: Done<()>) {
    let value = Bytes::copy_from_slice(&number.to_le_bytes());
    let second = Bytes::from(vec![number as u8; bytes]);
    let cells = vec![(ColumnId(2), Cell::live(1, value.clone())), (ColumnId(3), Cell::live(1, second))];
    let mutation =
        Mutation { table, key: value, changes: vec![Change::Row { clustering: Bytes::new(), cells }] };
    let permit = permit(store, Action::Write, Target::Table(table));
    store.tables.write(permit, Write { mutation, consistency: Consistency::One }, done);
}

pub(super) fn count(store: &Store, table: TableId, done: Done<CasOutcome>) {
    count_with(store, table, 0, done);
}

/// Counts one up, and writes so many bytes beside.
pub(super) fn count_with(store: &Store, table: TableId, ballast_bytes: usize, done: Done<CasOutcome>) {
    let decide = move |timestamp: i64, page: &Page| {
        let value = Bytes::copy_from_slice(&(count_of(page) + 1).to_le_bytes());
        let mut cells = vec![(ColumnId(2), Cell::live(timestamp, value))];
        if ballast_bytes > 0 {
            cells.push((ColumnId(3), Cell::live(timestamp, Bytes::from(vec![0; ballast_bytes]))));
        }
        let changes = vec![Change::Row { clustering: Bytes::new(), cells }];
        Ok(Some(Mutation { table, key: Bytes::from_static(COUNTER), changes }))
    };
    let cas = Cas {
        table,
        key: Bytes::from_static(COUNTER),
        slices: vec![Slice::all()],
        now_seconds: NOW_SECONDS,
        decide: Box::new(decide),
        serial: Consistency::Serial,
        commit: Consistency::One,
    };
    store.tables.compare_and_set(permit(store, Action::Write, Target::Table(table)), cas, done);
}

pub(super) fn count_of(page: &Page) -> u64 {
    let cells = page.partitions.iter().flat_map(|partition| &partition.rows).flat_map(|row| &row.cells);
    cells
        .filter_map(|(_, cell)| cell.value.as_ref())
        .next()
        .map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

/// Runs a random program whose numbers begin at `first`.
pub(super) fn run(node: &mut Stepped, sim: &SimDisk, table: TableId, first: u64, dice: &mut Dice) -> History {
    let (history, end) = run_to_its_end(node, sim, table, first, dice, false);
    end.unwrap();
    history
}

/// Runs it until it ends, or, if the disk may fail, until the node does.
pub(super) fn run_to_its_end(
    node: &mut Stepped,
    sim: &SimDisk,
    table: TableId,
    first: u64,
    dice: &mut Dice,
    fails: bool,
) -> (History, Result<(), Cause>) {
    let notes = Arc::new(Notes { sim: sim.clone(), fails, acknowledged: Mutex::default() });
    let mut history = History::default();
    let end = steps(node, table, first, dice, &notes, &mut history);
    history.acknowledged = std::mem::take(&mut *notes.acknowledged.lock().unwrap());
    let refused = &history.acknowledged.refused;
    history.written.retain(|number| !refused.contains(number));
    history.proposed.retain(|number| !refused.contains(number));
    (history, end)
}

fn steps(
    node: &mut Stepped,
    table: TableId,
    first: u64,
    dice: &mut Dice,
    notes: &Arc<Notes>,
    history: &mut History,
) -> Result<(), Cause> {
    for number in first..first + 6 + dice.below(16) {
        match dice.below(10) {
            0..3 => {
                history.written.push(number);
                let bytes = dice.below(120) as usize;
                write_with(node.store(), table, number, bytes, Done::new(notes.clone(), number));
            }
            3..5 => {
                history.proposed.push(number);
                let entry = Bytes::copy_from_slice(&number.to_le_bytes());
                let permit = permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
                let done = Done::new(notes.clone(), number);
                node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
            }
            5 => {
                history.counts += 1;
                count(node.store(), table, Done::new(notes.clone(), 0));
            }
            6..8 => _ = node.turn_spine(),
            8 => _ = again_if_full(|| node.step_log())?,
            _ => _ = node.step_upkeep(),
        }
    }
    settle_all(node)
}

/// Settles a node whose log refuses records now and then: what it refused a group is offered again,
/// though not for ever, because the disk may be full.
pub(super) fn settle_all(node: &mut Stepped) -> Result<(), Cause> {
    again_if_full(|| node.settle())?;
    for _ in 0..100 {
        if !node.spine.needs_own_thread() {
            break;
        }
        node.spine.retry();
        again_if_full(|| node.settle())?;
    }
    Ok(())
}

/// What the log has no room for it keeps, and tries again when asked to; as its thread does.
fn again_if_full<T>(mut step: impl FnMut() -> Result<T, Cause>) -> Result<T, Cause> {
    step().or_else(|cause| if cause.class == Class::Busy { step() } else { Err(cause) })
}

pub(super) fn read(store: &Store, table: TableId, key: Bytes) -> Page {
    try_read(store, table, key).unwrap()
}

pub(super) fn try_read(store: &Store, table: TableId, key: Bytes) -> Result<Page, Cause> {
    let (done, answer) = waiter();
    let read = Read {
        table,
        selection: Selection::Partition { key, slices: vec![Slice::all()], reversed: false },
        after: None,
        columns: None,
        limit_rows: 10,
        limit_bytes: 1 << 20,
        now_seconds: NOW_SECONDS,
        consistency: Consistency::One,
    };
    store.tables.read(permit(store, Action::Read, Target::Table(table)), read, done);
    answer.wait()
}

pub(super) fn until(acknowledged: &[(u64, u64)], ops: u64) -> impl Iterator<Item = u64> {
    acknowledged.iter().filter(move |(at, _)| *at <= ops).map(|(_, what)| *what)
}

/// Checks one restart. `ops` disk operations were done before the power went.
pub(super) fn check(disk: Disk, table: TableId, ops: u64, history: &History) -> Result<(), Cause> {
    let History { acknowledged, written, proposed, counts } = history;
    // What a stop leaves is no damage.
    let mut faults = Vec::new();
    let verified = verify(&disk, &mut |finding| faults.push(finding))?;
    assert_eq!(verified.faults, 0, "{faults:?}");
    let mut node = Stepped::start(&world(disk, ops), tiniest(), tally(), Addresses::new())?;
    let cells = |number: &u64| {
        let page = read(node.store(), table, Bytes::copy_from_slice(&number.to_le_bytes()));
        page.partitions.first().map_or(0, |partition| partition.rows[0].cells.len())
    };
    let cells: Vec<usize> = written.iter().map(cells).collect();
    let there = cells.iter().take_while(|cells| **cells > 0).count();
    assert!(cells[..there].iter().all(|cells| *cells == 2), "a row is there in part: {cells:?}");
    assert!(cells[there..].iter().all(|cells| *cells == 0), "a row is lost before others: {cells:?}");
    for number in until(&acknowledged.writes, ops) {
        assert!(written[..there].contains(&number), "row {number} was acknowledged and is lost");
    }

    let (done, answer) = waiter();
    let permit = permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
    let probe = Bytes::copy_from_slice(&999u64.to_le_bytes());
    node.store().machines.propose(permit, TALLY_GROUP, probe.into(), done);
    node.settle()?;
    let mut had = decode_tally(&answer.wait()?)?;
    assert_eq!(had.pop(), Some(999));
    assert!(proposed.starts_with(&had), "the Machine had {had:?} of {proposed:?}");
    for number in until(&acknowledged.entries, ops) {
        assert!(had.contains(&number), "entry {number} was acknowledged and is lost");
    }

    let (done, answer) = waiter();
    count(node.store(), table, done);
    node.settle()?;
    let before = count_of(&answer.wait()?.page);
    let least = until(&acknowledged.counts, ops).max().unwrap_or(0);
    assert!((least..=*counts).contains(&before), "the counter is {before}, not in {least}..={counts}");
    assert_eq!(count_of(&read(node.store(), table, Bytes::from_static(COUNTER))), before + 1);
    Ok(())
}

/// Small enough that a dozen writes make files, and as many records fill segments.
pub(super) fn tiniest() -> Settings {
    let mut settings = Settings { log_keep_bytes: 2 << 10, ..tiny() };
    settings.tree.memtable_bytes = 900;
    settings.tree.file_bytes = 600;
    settings.tree.level_bytes = 1_200;
    settings.log.segment_bytes = 2 << 10;
    settings.log.max_record_bytes = 1_300;
    settings.log.queue_bytes = 3 << 10;
    settings
}

/// What programs came across.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Met {
    pub(super) cuts: u64,
    /// Data files made, and segments of the log removed, while a program ran.
    pub(super) files: u64,
    pub(super) segments: u64,
}

/// Runs the program of `seed` and cuts the power at each of its boundaries, and of some programs at
/// those of the next start too.
pub(super) fn program(seed: u64, sabotage: Option<Sabotage>) -> Met {
    let mut dice = Dice(seed);
    let (disk, sim) = Disk::simulated(seed);
    let settings = Settings { sabotage, ..tiniest() };
    let mut node = Stepped::start(&world(disk, seed), settings, tally(), Addresses::new()).unwrap();
    let table = define(&mut node);
    let before = sim.ops();
    sim.record_boundaries();
    sim.record_operations();
    let history = run(&mut node, &sim, table, 0, &mut dice);
    let mut met = Met::default();
    for (operation, name) in sim.take_operations() {
        met.files += u64::from(operation == Operation::Create && name.ends_with(".tree"));
        met.segments += u64::from(operation == Operation::Remove && name.ends_with(".seg"));
    }
    let boundaries = sim.take_boundaries();
    let mut cut_at = |boundary: &Boundary, ops: u64, nth: u64| {
        let (disk, _) = boundary.crash(seed ^ ops ^ nth << 32);
        if let Err(cause) = check(disk, table, ops, &history) {
            panic!("seed {seed}, power cut after {ops} operations and {nth} of the start: {cause}");
        }
        met.cuts += 1;
    };
    for (ops, boundary) in (before..).zip(&boundaries) {
        cut_at(boundary, ops, 0);
    }
    if seed.is_multiple_of(4) {
        // The start after one of these cuts is cut itself.
        let nth = dice.below(boundaries.len() as u64);
        let (disk, sim) = boundaries[nth as usize].crash(seed);
        sim.record_boundaries();
        Stepped::start(&world(disk, seed), tiniest(), tally(), Addresses::new()).unwrap();
        for (of_start, boundary) in (1..).zip(sim.take_boundaries()) {
            cut_at(&boundary, before + nth, of_start);
        }
    }
    met
}

const PROGRAMS: u64 = 1_000;

#[test]
fn acknowledged_work_survives_a_power_cut_at_every_disk_operation() {
    let threads = cores().min(8) as u64;
    let work = move |worker: u64| {
        let programs = (worker..PROGRAMS).step_by(threads as usize);
        programs.map(|seed| program(seed, None)).fold(Met::default(), Met::and)
    };
    let workers: Vec<_> =
        (0..threads).map(|worker| spawn_thread("programs", move || work(worker)).unwrap()).collect();
    let met = workers.into_iter().map(|worker| worker.join().unwrap()).fold(Met::default(), Met::and);
    println!("{PROGRAMS} programs: {met:?}");
    // Programs that never get anywhere prove nothing.
    assert!(met.cuts > 30 * PROGRAMS && met.files > PROGRAMS && met.segments > PROGRAMS / 100, "{met:?}");
}

impl Met {
    fn and(self, other: Met) -> Met {
        Met {
            cuts: self.cuts + other.cuts,
            files: self.files + other.files,
            segments: self.segments + other.segments,
        }
    }
}
