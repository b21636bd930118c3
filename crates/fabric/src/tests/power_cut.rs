//! The power is cut at every write and sync of random programs that write tables, run conditional
//! writes, feed a Machine and take its snapshots, all in flight together. After each cut the node
//! starts again from what a real disk might have kept, and then
//!
//! - every acknowledged write is there, and every write is there whole or not at all;
//! - the Machine holds a prefix of what was proposed, with every acknowledged entry in it;
//! - the conditional counter is at least where it was acknowledged, no further than it was asked
//!   to go, and goes on from there: a round that was cut after its acceptance is finished first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base::{Cause, Cell, Change, ColumnId, Mutation, TableId};
use bytes::Bytes;
use store::{
    Action, Cas, CasOutcome, Column, ColumnKind, Consistency, Done, Inbox, Page, Permit, Principal, Read,
    SchemaChange, Selection, Slice, Store, TableDraft, Target, Write,
    conformance::{Dice, TALLY_GROUP, decode_tally},
    waiter,
};
use world::{Disk, SimDisk};

use super::{tally, tiny, world};
use crate::{Addresses, Stepped};

const COUNTER: &[u8] = b"counter";
const NOW_SECONDS: u32 = 1_000;

/// What was acknowledged, with the number of disk operations done by then.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) writes: Vec<(u64, u64)>,
    pub(super) entries: Vec<(u64, u64)>,
    pub(super) counts: Vec<(u64, u64)>,
}

/// Notes answers as they come.
struct Notes {
    sim: SimDisk,
    acknowledged: Mutex<Acknowledged>,
}

impl Notes {
    fn note(&self, to: fn(&mut Acknowledged) -> &mut Vec<(u64, u64)>, what: u64) {
        to(&mut self.acknowledged.lock().unwrap()).push((self.sim.ops(), what));
    }
}

impl Inbox<()> for Notes {
    fn deliver(&self, tag: u64, answer: Result<(), Cause>) {
        answer.unwrap();
        self.note(|acknowledged| &mut acknowledged.writes, tag);
    }
}

impl Inbox<Bytes> for Notes {
    fn deliver(&self, tag: u64, answer: Result<Bytes, Cause>) {
        assert!(decode_tally(&answer.unwrap()).unwrap().contains(&tag));
        self.note(|acknowledged| &mut acknowledged.entries, tag);
    }
}

impl Inbox<CasOutcome> for Notes {
    fn deliver(&self, _tag: u64, answer: Result<CasOutcome, Cause>) {
        let outcome = answer.unwrap();
        assert!(outcome.applied);
        self.note(|acknowledged| &mut acknowledged.counts, count_of(&outcome.page) + 1);
    }
}

pub(super) fn define(node: &mut Stepped) -> TableId {
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
        let permit = node.store().gate.permit(&Principal::Node, Action::Define, Target::Cluster).unwrap();
        let (done, answer) = waiter();
        node.store().catalog.change(permit, change, done);
        node.settle().unwrap();
        answer.wait().unwrap();
    }
    node.store().catalog.schema().table("s", "t").unwrap().id
}

pub(super) fn permit(store: &Store, action: Action, target: Target) -> Permit {
    store.gate.permit(&Principal::Node, action, target).unwrap()
}

pub(super) fn write(store: &Store, table: TableId, number: u64, done: Done<()>) {
    // Two cells, to see that a write is whole or not there.
    let value = Bytes::copy_from_slice(&number.to_le_bytes());
    let cells =
        vec![(ColumnId(2), Cell::live(1, value.clone())), (ColumnId(3), Cell::live(1, value.clone()))];
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

/// Runs a random program whose numbers begin at `first`; returns what was acknowledged, what was
/// proposed, and how often it counted.
pub(super) fn run(
    node: &mut Stepped,
    sim: &SimDisk,
    table: TableId,
    first: u64,
    dice: &mut Dice,
) -> (Acknowledged, Vec<u64>, u64) {
    let notes = Arc::new(Notes { sim: sim.clone(), acknowledged: Mutex::default() });
    let (mut proposed, mut counts) = (Vec::new(), 0);
    for number in first..first + 10 + dice.below(25) {
        match dice.below(8) {
            0..2 => write(node.store(), table, number, Done::new(notes.clone(), number)),
            2..4 => {
                proposed.push(number);
                let entry = Bytes::copy_from_slice(&number.to_le_bytes());
                let permit = permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
                let done = Done::new(notes.clone(), number);
                node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
            }
            4 => {
                counts += 1;
                count(node.store(), table, Done::new(notes.clone(), 0));
            }
            5..7 => _ = node.turn_spine(),
            _ => _ = node.step_log().unwrap(),
        }
    }
    node.settle().unwrap();
    let acknowledged = std::mem::take(&mut *notes.acknowledged.lock().unwrap());
    (acknowledged, proposed, counts)
}

pub(super) fn read(store: &Store, table: TableId, key: Bytes) -> Page {
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
    answer.wait().unwrap()
}

pub(super) fn until(acknowledged: &[(u64, u64)], ops: u64) -> impl Iterator<Item = u64> {
    acknowledged.iter().filter(move |(at, _)| *at <= ops).map(|(_, what)| *what)
}

/// Checks one restart. `ops` disk operations were done before the power went.
fn check(
    disk: Disk,
    table: TableId,
    ops: u64,
    (acknowledged, proposed, counts): &(Acknowledged, Vec<u64>, u64),
) -> Result<(), Cause> {
    let mut node = Stepped::start(&world(disk, ops), tiny(), tally(), Addresses::new())?;
    for number in until(&acknowledged.writes, ops) {
        let page = read(node.store(), table, Bytes::copy_from_slice(&number.to_le_bytes()));
        assert_eq!(page.partitions.len(), 1, "write {number} was acknowledged and is lost");
    }
    for number in 0..40u64 {
        let page = read(node.store(), table, Bytes::copy_from_slice(&number.to_le_bytes()));
        let cells = page.partitions.first().map_or(0, |partition| partition.rows[0].cells.len());
        assert!(cells == 0 || cells == 2, "write {number} is there in part");
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

#[test]
fn acknowledged_work_survives_a_power_cut_at_every_disk_operation() {
    let mut cuts = 0;
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let (disk, sim) = Disk::simulated(seed);
        let mut node = Stepped::start(&world(disk, seed), tiny(), tally(), Addresses::new()).unwrap();
        let table = define(&mut node);
        let before = sim.ops();
        sim.record_boundaries();
        let history = run(&mut node, &sim, table, 0, &mut dice);
        for (ops, boundary) in (before..).zip(sim.take_boundaries()) {
            let (disk, _) = boundary.crash(seed ^ ops);
            if let Err(cause) = check(disk, table, ops, &history) {
                panic!("seed {seed}, power cut after {ops} operations: {cause}");
            }
            cuts += 1;
        }
    }
    println!("{cuts} power cuts");
    assert!(cuts > 2_000, "programs reach the disk");
}
