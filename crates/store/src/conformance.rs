//! The suite that every implementation of the waist passes.
//!
//! Whoever implements [`crate::Store`] runs [`run`] with many seeds. Each seed is a random program
//! of definitions, writes, deletes, paged reads, conditional writes, proposals and restarts; after
//! each operation the answer is compared with a plain model ([`model`]) that keeps every mutation
//! ever acknowledged and works out each answer from scratch.
//!
//! Keys, columns and timestamps are few, so that programs collide with themselves.

mod model;
mod tally;

use std::collections::BTreeMap;

use base::{Cell, Change, ColumnId, GroupId, Mutation, TableId, Token, token_of};
use bytes::Bytes;

pub use tally::{Tally, decode as decode_tally};

use crate::{
    Action, Cas, CasOutcome, Column, ColumnKind, Consistency, Done, Page, PartitionRows, Permit, Principal,
    Read, SchemaChange, Selection, Slice, Store, Table, TableDraft, Target, Write, waiter,
};

use model::Model;

/// An implementation under test.
pub trait Subject {
    /// The store.
    fn store(&self) -> &Store;
    /// Lets what is under way come to its end. Does nothing where threads do the work.
    fn settle(&mut self);
    /// Stops and starts again on the same disk, if there is one.
    fn restart(&mut self);
}

/// The Raft group under which the subject drives a [`Tally`].
pub const TALLY_GROUP: GroupId = GroupId(7);

/// SplitMix64: a program is its seed.
#[derive(Clone, Debug)]
pub struct Dice(
    /// The seed, and then the state.
    pub u64,
);

impl Dice {
    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Runs the program of `seed`, of `steps` operations.
///
/// # Panics
/// When an answer is not the model's.
pub fn run(subject: &mut dyn Subject, seed: u64, steps: usize) {
    let mut program =
        Program { dice: Dice(seed), model: Model::default(), table: None, proposed: Vec::new(), seed };
    program.define(subject);
    for _ in 0..steps {
        match program.dice.below(20) {
            0..7 => program.write(subject),
            7..14 => program.read(subject),
            14..16 => program.compare_and_set(subject),
            16..18 => program.propose(subject),
            18 => program.redefine(subject),
            _ => subject.restart(),
        }
    }
}

struct Program {
    dice: Dice,
    model: Model,
    table: Option<TableId>,
    proposed: Vec<u64>,
    seed: u64,
}

const NOW_SECONDS: u32 = 1_000;

impl Program {
    fn define(&mut self, subject: &mut dyn Subject) {
        let space = SchemaChange::CreateSpace {
            name: "s".into(),
            replication: [
                ("class".into(), "SimpleStrategy".into()),
                ("replication_factor".into(), "1".into()),
            ]
            .into(),
            durable_writes: true,
        };
        self.change(subject, space).expect("a new space");
        self.create_table(subject);
    }

    fn create_table(&mut self, subject: &mut dyn Subject) {
        let column =
            |name: &str, kind| Column { id: ColumnId(0), name: name.into(), kind, type_name: "blob".into() };
        let draft = TableDraft {
            space: "s".into(),
            name: "t".into(),
            columns: vec![
                column("k", ColumnKind::PartitionKey),
                column("c", ColumnKind::Clustering { descending: false }),
                column("a", ColumnKind::Regular),
                column("b", ColumnKind::Regular),
            ],
            // Timestamps here are of 1970: deletions are to be kept that long.
            options: [("gc_grace_seconds".into(), "2000000000".into())].into(),
            uuid: 1,
        };
        self.change(subject, SchemaChange::CreateTable(draft.clone())).expect("a new table");
        let again = self.change(subject, SchemaChange::CreateTable(draft)).expect_err("it exists");
        assert_eq!(again.class, base::Class::Exists);
        let schema = subject.store().catalog.schema();
        let table = schema.table("s", "t").expect("it was made");
        assert!(table.columns.iter().map(|column| column.id.0).eq(1..=4), "ids are given in order, from 1");
        assert_ne!(Some(table.id), self.table, "ids are never given twice");
        self.table = Some(table.id);
        self.model = Model::default();
    }

    /// Drops the table and makes it again, or truncates it: nothing of the old data may be seen.
    fn redefine(&mut self, subject: &mut dyn Subject) {
        let old = self.table();
        if self.dice.below(2) == 0 {
            self.truncate(subject);
            return self.refused(subject, old);
        }
        let drop = SchemaChange::DropTable { space: "s".into(), name: "t".into() };
        self.change(subject, drop.clone()).expect("it exists");
        assert_eq!(self.change(subject, drop).expect_err("it is gone").class, base::Class::Absent);
        self.refused(subject, old);
        let truncate = SchemaChange::TruncateTable { space: "s".into(), name: "t".into() };
        assert_eq!(self.change(subject, truncate).expect_err("it is gone").class, base::Class::Absent);
        self.create_table(subject);
    }

    fn truncate(&mut self, subject: &mut dyn Subject) {
        let before = subject.store().catalog.schema();
        let change = SchemaChange::TruncateTable { space: "s".into(), name: "t".into() };
        self.change(subject, change).expect("it exists");
        let after = subject.store().catalog.schema();
        assert_eq!(after.version, before.version, "clients need not read the definitions again");
        let (before, after) = (before.table("s", "t"), after.table("s", "t"));
        let (before, after) = (before.expect("it was there"), after.expect("it stays"));
        assert!(after.id > before.id, "ids are never given twice");
        assert_eq!(**before, Table { id: before.id, ..Table::clone(after) }, "nothing else changes");
        self.table = Some(after.id);
        self.model = Model::default();
    }

    /// Who names old data hears that it is gone.
    fn refused(&mut self, subject: &mut dyn Subject, old: TableId) {
        let write = Write { mutation: self.mutation(old), consistency: Consistency::One };
        let permit = permit(subject, Action::Write, old);
        let refused = ask(subject, |store, done| store.tables.write(permit, write, done));
        assert_eq!(refused.expect_err("the data is gone").class, base::Class::Absent);
    }

    fn change(&self, subject: &mut dyn Subject, change: SchemaChange) -> Result<(), base::Cause> {
        let permit = subject.store().gate.permit(&Principal::Node, Action::Define, Target::Cluster)?;
        let before = subject.store().catalog.schema().epoch;
        let schema = ask(subject, |store, done| store.catalog.change(permit, change, done))?;
        assert!(schema.epoch > before, "a change raises the epoch");
        assert_eq!(schema, subject.store().catalog.schema(), "a change is visible when it is answered");
        Ok(())
    }

    fn table(&self) -> TableId {
        self.table.expect("the program begins by defining it")
    }

    fn key(&mut self) -> Bytes {
        Bytes::copy_from_slice(&[b'k', self.dice.below(3) as u8])
    }

    fn clustering(&mut self) -> Bytes {
        let len = self.dice.below(3) as usize;
        (0..len).map(|_| 0x20 + self.dice.below(3) as u8).collect()
    }

    fn cell(&mut self) -> Cell {
        let timestamp = self.dice.below(6) as i64;
        let value = Bytes::copy_from_slice(&[self.dice.below(4) as u8]);
        match self.dice.below(6) {
            0 => Cell::tombstone(timestamp),
            1 => Cell { ttl_seconds: 10, expires_at_seconds: NOW_SECONDS, ..Cell::live(timestamp, value) },
            2 => {
                Cell { ttl_seconds: 10, expires_at_seconds: NOW_SECONDS + 1, ..Cell::live(timestamp, value) }
            }
            _ => Cell::live(timestamp, value),
        }
    }

    fn mutation(&mut self, table: TableId) -> Mutation {
        let mut changes = Vec::new();
        for _ in 0..=self.dice.below(2) {
            let timestamp = self.dice.below(6) as i64;
            changes.push(match self.dice.below(8) {
                0 => Change::DeletePartition { timestamp },
                1 => {
                    let slice = self.slice();
                    Change::DeleteRows { from: slice.from, to: slice.to, timestamp }
                }
                _ => {
                    let clustering = self.clustering();
                    let mut cells: BTreeMap<ColumnId, Cell> = BTreeMap::new();
                    for _ in 0..=self.dice.below(2) {
                        let column = [ColumnId::ROW, ColumnId(3), ColumnId(4)][self.dice.below(3) as usize];
                        cells.insert(column, self.cell());
                    }
                    Change::Row { clustering, cells: cells.into_iter().collect() }
                }
            });
        }
        Mutation { table, key: self.key(), changes }
    }

    fn slice(&mut self) -> Slice {
        let (a, b) = (self.clustering(), self.clustering());
        match self.dice.below(3) {
            0 => Slice { from: a, to: None },
            1 => Slice::row(a),
            _ if a <= b => Slice { from: a, to: Some(b) },
            _ => Slice { from: b, to: Some(a) },
        }
    }

    fn write(&mut self, subject: &mut dyn Subject) {
        let table = self.table();
        let mutation = self.mutation(table);
        let permit = permit(subject, Action::Write, table);
        let write = Write { mutation: mutation.clone(), consistency: Consistency::One };
        ask(subject, |store, done| store.tables.write(permit, write, done)).expect("a write of one replica");
        self.model.apply(mutation);
    }

    fn selection(&mut self) -> Selection {
        if self.dice.below(3) == 0 {
            let (a, b) = (self.key(), self.key());
            let (a, b) = (token_of(&a), token_of(&b));
            let all = self.dice.below(2) == 0;
            return if all {
                Selection::Tokens { first: Token::MIN, last: Token::MAX }
            } else {
                Selection::Tokens { first: a.min(b), last: a.max(b) }
            };
        }
        let mut slices = vec![self.slice()];
        let second = self.slice();
        // Ascending and apart, as the waist wants them.
        if slices[0].to.as_ref().is_some_and(|end| *end <= second.from) {
            slices.push(second);
        }
        Selection::Partition { key: self.key(), slices, reversed: self.dice.below(2) == 0 }
    }

    /// Reads a selection in pages of random size; together they are what the model has.
    fn read(&mut self, subject: &mut dyn Subject) {
        let table = self.table();
        let selection = self.selection();
        let columns = [None, Some(vec![]), Some(vec![ColumnId(3)]), Some(vec![ColumnId::ROW, ColumnId(4)])];
        let mut read = Read {
            table,
            selection,
            after: None,
            columns: columns[self.dice.below(4) as usize].clone(),
            limit_rows: 1 + self.dice.below(5) as usize,
            limit_bytes: 1 + self.dice.below(100) as usize,
            now_seconds: NOW_SECONDS,
            consistency: [Consistency::One, Consistency::Serial][usize::from(self.dice.below(8) == 0)],
        };
        if read.consistency == Consistency::Serial && matches!(read.selection, Selection::Tokens { .. }) {
            read.consistency = Consistency::One;
        }
        let mut found: Vec<PartitionRows> = Vec::new();
        loop {
            let permit = permit(subject, Action::Read, table);
            let page =
                ask(subject, |store, done| store.tables.read(permit, read.clone(), done)).expect("a read");
            let rows: usize = page.partitions.iter().map(|partition| partition.rows.len()).sum();
            assert!(rows <= read.limit_rows, "seed {}: {rows} rows of {}", self.seed, read.limit_rows);
            assert!(page.partitions.iter().all(|partition| !partition.rows.is_empty()));
            join(&mut found, page.partitions);
            match page.more {
                None => break,
                more => read.after = more,
            }
        }
        let expected = self.model.read(&read.selection, read.columns.as_deref(), NOW_SECONDS);
        assert_eq!(found, expected, "seed {}: {:?} columns {:?}", self.seed, read.selection, read.columns);
    }

    /// Writes a counter if it still has the value the model knows.
    fn compare_and_set(&mut self, subject: &mut dyn Subject) {
        let table = self.table();
        let (key, clustering) = (self.key(), self.clustering());
        let wrong_guess = self.dice.below(3) == 0;
        let slices = vec![Slice::row(clustering.clone())];
        let selection = Selection::Partition { key: key.clone(), slices: slices.clone(), reversed: false };
        let expected = self.model.read(&selection, None, NOW_SECONDS);
        let (expected_rows, decided_key) = (expected.clone(), key.clone());
        let decide = move |timestamp: i64, page: &Page| {
            assert_eq!(page.partitions, expected_rows, "a condition sees the rows as they stand");
            let cells = vec![(ColumnId(3), Cell::live(timestamp, Bytes::from_static(b"cas")))];
            let changes = vec![Change::Row { clustering: clustering.clone(), cells }];
            Ok((!wrong_guess).then(|| Mutation { table, key: decided_key.clone(), changes }))
        };
        let cas = Cas {
            table,
            key: key.clone(),
            slices: slices.clone(),
            now_seconds: NOW_SECONDS,
            decide: Box::new(decide),
            serial: Consistency::Serial,
            commit: Consistency::One,
        };
        let permit = permit(subject, Action::Write, table);
        let outcome: CasOutcome = ask(subject, |store, done| store.tables.compare_and_set(permit, cas, done))
            .expect("a conditional write");
        assert_eq!(outcome.applied, !wrong_guess);
        assert_eq!(outcome.page.partitions, expected);
        if outcome.applied {
            self.adopt(subject, key, slices);
        }
    }

    /// Learns the cell that a conditional write made, whose timestamp the store chose.
    fn adopt(&mut self, subject: &mut dyn Subject, key: Bytes, slices: Vec<Slice>) {
        let table = self.table();
        let read = Read {
            table,
            selection: Selection::Partition { key: key.clone(), slices, reversed: false },
            after: None,
            columns: Some(vec![ColumnId(3)]),
            limit_rows: 10,
            limit_bytes: 1 << 20,
            now_seconds: NOW_SECONDS,
            consistency: Consistency::One,
        };
        let permit = permit(subject, Action::Read, table);
        let page = ask(subject, |store, done| store.tables.read(permit, read, done)).expect("a read");
        let rows = page.partitions.into_iter().flat_map(|partition| partition.rows);
        let row = rows.into_iter().next().expect("the write that was acknowledged is there");
        let newest = row.cells.iter().map(|(_, cell)| cell.timestamp).max();
        assert!(newest > self.model.newest_cas(&key), "timestamps of conditional writes rise");
        assert_eq!(row.cells[0].1.value.as_deref(), Some(&b"cas"[..]));
        let change = Change::Row { clustering: row.clustering, cells: row.cells };
        self.model.apply_cas(Mutation { table, key, changes: vec![change] });
    }

    /// Proposes a number; the Machine answers with all it has had.
    fn propose(&mut self, subject: &mut dyn Subject) {
        let number = self.dice.below(1000);
        let permit = permit_machine(subject, Action::Write);
        let entry = Bytes::copy_from_slice(&number.to_le_bytes());
        let answer =
            ask(subject, |store, done| store.machines.propose(permit, TALLY_GROUP, entry.into(), done));
        self.proposed.push(number);
        assert_eq!(answer.expect("an entry"), tally::encode(&self.proposed), "every entry once, in order");
        let permit = permit_machine(subject, Action::Read);
        ask(subject, |store, done| store.machines.barrier(permit, TALLY_GROUP, done)).expect("a barrier");
        let stray = permit_machine(subject, Action::Read);
        let denied =
            ask(subject, |store, done| store.machines.propose(stray, TALLY_GROUP, Bytes::new().into(), done));
        denied.expect_err("a permit to read is none to write");
    }
}

fn permit(subject: &dyn Subject, action: Action, table: TableId) -> Permit {
    subject.store().gate.permit(&Principal::Node, action, Target::Table(table)).expect("the node may")
}

fn permit_machine(subject: &dyn Subject, action: Action) -> Permit {
    subject.store().gate.permit(&Principal::Node, action, Target::Machine(TALLY_GROUP)).expect("the node may")
}

fn ask<T: Send + 'static>(
    subject: &mut dyn Subject,
    request: impl FnOnce(&Store, Done<T>),
) -> Result<T, base::Cause> {
    let (done, answer) = waiter();
    request(subject.store(), done);
    subject.settle();
    answer.wait()
}

/// Joins pages: a partition may go on in the next.
fn join(found: &mut Vec<PartitionRows>, page: Vec<PartitionRows>) {
    for partition in page {
        match found.last_mut() {
            Some(last) if last.key == partition.key => last.rows.extend(partition.rows),
            _ => found.push(partition),
        }
    }
}
