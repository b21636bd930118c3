//! What is refused, who hears of it, and that it is true: at the end of memory, of the disk, of the
//! log's queue, of a table, of the node.

use base::Class;
use bytes::Bytes;
use store::{
    Action, Consistency, SchemaChange, Store, TableDraft, Target, Write, conformance::TALLY_GROUP, waiter,
};
use world::Disk;

use super::{moving_world, power_cut, stories, tally, tiny, world};
use crate::{Addresses, Fabric, Settings, Stepped};

fn change(store: &Store, change: SchemaChange) -> store::Waiter<std::sync::Arc<store::Schema>> {
    let (done, answer) = waiter();
    store.catalog.change(power_cut::permit(store, Action::Define, Target::Cluster), change, done);
    answer
}

fn drop_table(store: &Store) -> store::Waiter<std::sync::Arc<store::Schema>> {
    change(store, SchemaChange::DropTable { space: "s".into(), name: "t".into() })
}

/// Puts rows into the log's queue until it has room for less than a row of 100 bytes.
fn fill_queue(store: &Store, table: base::TableId) {
    let mut key = 1_000u64;
    for bytes in [1_000, 100] {
        while !is_refused(store, table, key, bytes) {
            key += 1;
        }
    }
}

fn is_refused(store: &Store, table: base::TableId, key: u64, bytes: usize) -> bool {
    let cells = vec![(base::ColumnId(2), base::Cell::live(1, Bytes::from(vec![0; bytes])))];
    let changes = vec![base::Change::Row { clustering: Bytes::new(), cells }];
    let mutation = base::Mutation { table, key: Bytes::copy_from_slice(&key.to_le_bytes()), changes };
    let (done, mut answer) = waiter();
    let permit = power_cut::permit(store, Action::Write, Target::Table(table));
    store.tables.write(permit, Write { mutation, consistency: Consistency::One }, done);
    stories::answered(&mut answer)
        .is_some_and(|refused| refused.is_err_and(|cause| cause.class == Class::Busy))
}

/// Used-up memory is no trap: a node whose Machines hold more than they may starts, and a table can be
/// dropped.
#[test]
fn the_way_out_of_used_up_memory_is_open() {
    let disk = Disk::in_memory();
    let mut settings = Settings { memory_budget_bytes: 16 << 10, ..tiny() };
    let mut node =
        Stepped::start(&world(disk.clone(), 1), settings.clone(), tally(), Addresses::new()).unwrap();
    power_cut::define(&mut node);
    let refused = (0..2_000).find_map(|number| stories::propose(&mut node, number).err());
    assert_eq!(refused.unwrap().class, Class::Busy);
    node.stop().unwrap();

    settings.memory_budget_bytes = 8 << 10;
    let mut node = Stepped::start(&world(disk, 2), settings, tally(), Addresses::new()).unwrap();
    let more = TableDraft {
        space: "s".into(),
        name: "u".into(),
        columns: Vec::new(),
        options: Default::default(),
        uuid: 2,
    };
    let refused = change(node.store(), SchemaChange::CreateTable(more));
    assert_eq!(refused.wait().unwrap_err().class, Class::Busy);
    let dropped = drop_table(node.store());
    node.settle().unwrap();
    dropped.wait().unwrap();
}

/// The log may refuse any record of a round. If it is the commit's, the decree is chosen and its
/// client cannot know; the next round finishes it, whether or not the node was restarted.
#[test]
fn a_commit_that_the_log_refused_is_finished_by_the_next_round() {
    let mut node = Stepped::start(&world(Disk::in_memory(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    let (done, first) = waiter();
    power_cut::count_with(node.store(), table, 600, done);
    let (done, second) = waiter();
    power_cut::count_with(node.store(), table, 600, done);
    // The clock's bound, the promise, the acceptance: each is brought and made durable.
    for _ in 0..3 {
        node.turn_spine();
        assert!(node.step_log().unwrap());
    }
    fill_queue(node.store(), table);
    node.turn_spine();
    assert!(matches!(first.wait().unwrap_err().class, Class::Uncertain { .. }));
    // There is room for the promise of a partition that nothing is going on in, but none for one that
    // tells of the decree: the second round must be refused.
    node.settle().unwrap();
    let second = second.wait();
    if let Err(cause) = &second {
        assert_eq!(cause.class, Class::Busy, "{cause}");
    }
    let (done, third) = waiter();
    power_cut::count_with(node.store(), table, 600, done);
    node.settle().unwrap();
    let rounds_before = 1 + u64::from(second.is_ok());
    assert_eq!(power_cut::count_of(&third.wait().unwrap().page), rounds_before, "the first was finished");
}

/// A table that is dropped under a round is not an empty one.
#[test]
fn a_round_that_loses_its_table_says_so() {
    let mut node = Stepped::start(&world(Disk::in_memory(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    let (done, answer) = waiter();
    power_cut::count_with(node.store(), table, 600, done);
    node.turn_spine();
    node.step_log().unwrap();
    node.turn_spine();
    let dropped = drop_table(node.store());
    node.settle().unwrap();
    dropped.wait().unwrap();
    assert_eq!(answer.wait().unwrap_err().class, Class::Absent);
}

/// A start that cannot write what it must says so, instead of waiting for ever.
#[test]
fn a_start_on_a_full_disk_is_refused() {
    let (disk, sim) = Disk::simulated(1);
    let mut node = Stepped::start(&world(disk.clone(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    sim.set_capacity(30 << 10);
    // Down to the last byte that a record could use.
    for _ in 0..1_000 {
        for number in 0..8 {
            let (done, _answer) = waiter();
            power_cut::write(node.store(), table, number, done);
            _ = stories::offer(&node, number);
            node.settle().unwrap();
        }
    }
    drop(node);
    let started = Fabric::start(&moving_world(disk, 2), tiny(), tally(), Addresses::new());
    assert_eq!(started.map(|_| ()).unwrap_err().class, Class::Busy);
}

/// Who asks when the node has stopped gets an answer, and not a promise that nothing was done.
#[test]
fn requests_after_the_stop_are_answered() {
    let node = Fabric::start(&moving_world(Disk::in_memory(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let store = node.store().clone();
    node.stop().unwrap();
    let (done, answer) = waiter();
    let permit = power_cut::permit(&store, Action::Write, Target::Machine(TALLY_GROUP));
    store.machines.propose(permit, TALLY_GROUP, Bytes::from_static(&[0; 8]).into(), done);
    assert!(matches!(answer.wait().unwrap_err().class, Class::Uncertain { .. }));
}

/// The lock of a dead session must pass on, however full the memory is.
#[test]
fn what_frees_memory_is_admitted_when_it_is_used_up() {
    let settings = Settings { memory_budget_bytes: 100, ..tiny() };
    let mut node = Stepped::start(&world(Disk::in_memory(), 1), settings, tally(), Addresses::new()).unwrap();
    let mut ask = |frees| {
        let entry = Bytes::from_static(&[1; 200]);
        let permit = node
            .store()
            .gate
            .permit(&store::Principal::Node, Action::Write, Target::Machine(TALLY_GROUP))
            .unwrap();
        let (done, answer) = waiter();
        node.store().machines.propose(permit, TALLY_GROUP, store::Proposal { entry, frees }, done);
        node.settle().unwrap();
        answer.wait()
    };
    assert_eq!(ask(false).unwrap_err().class, Class::Busy);
    assert!(ask(true).is_ok());
}

/// Proposals that come together go to the log in as few calls as it takes; those behind the last that
/// fits into its queue wait, and all are applied in their order.
#[test]
fn what_comes_together_may_be_more_than_the_log_takes_at_once() {
    let mut node = Stepped::start(&world(Disk::in_memory(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let taken = |node: &Stepped| node.parts.log.stats().batches;
    let offer = |node: &Stepped, numbers: std::ops::Range<u64>| -> Vec<_> {
        numbers.map(|number| stories::offer(node, number)).collect()
    };
    let before = taken(&node);
    let few = offer(&node, 0..20);
    node.turn_spine();
    node.step_log().unwrap();
    assert_eq!(taken(&node), before + 1);
    let many = offer(&node, 20..1_000);
    node.settle().unwrap();
    for (nth, answer) in few.into_iter().chain(many).enumerate() {
        let numbers = store::conformance::decode_tally(&answer.wait().unwrap()).unwrap();
        assert_eq!(numbers, (0..=nth as u64).collect::<Vec<_>>());
    }
}

/// Where the log has no room for all that came together, it takes one by one as long as it can.
#[test]
fn what_comes_together_is_taken_one_by_one_when_room_is_short() {
    let mut node = Stepped::start(&world(Disk::in_memory(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    fill_queue(node.store(), table);
    // Less than a row of 100 bytes, but more than a number.
    let answers: Vec<_> = (0..20).map(|number| stories::offer(&node, number)).collect();
    let queued = node.parts.log.queued_bytes();
    node.turn_spine();
    let room = node.parts.log.queued_bytes() - queued;
    assert!((1..20 * 40).contains(&room), "{room}: some, and not all");
    node.settle().unwrap();
    let last = answers.into_iter().next_back().unwrap().wait().unwrap();
    assert_eq!(store::conformance::decode_tally(&last).unwrap().len(), 20);
}
