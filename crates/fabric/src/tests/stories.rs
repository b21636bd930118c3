//! Single cases worth telling.

use base::Class;
use bytes::Bytes;
use store::{Action, Principal, Target, Waiter, conformance::TALLY_GROUP, waiter};
use world::Disk;

use super::{moving_world, power_cut, tally, tiny, world};
use crate::{Addresses, Fabric, Settings, Stepped};

pub(super) fn offer(node: &Stepped, number: u64) -> Waiter<Bytes> {
    let permit =
        node.store().gate.permit(&Principal::Node, Action::Write, Target::Machine(TALLY_GROUP)).unwrap();
    let (done, answer) = waiter();
    let entry = Bytes::copy_from_slice(&number.to_le_bytes());
    node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
    answer
}

pub(super) fn propose(node: &mut Stepped, number: u64) -> Result<Vec<u64>, base::Cause> {
    let answer = offer(node, number);
    node.settle()?;
    store::conformance::decode_tally(&answer.wait()?)
}

/// The answer, if there is one by now.
pub(super) fn answered<T: Send + 'static>(answer: &mut Waiter<T>) -> Option<Result<T, base::Cause>> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match Future::poll(std::pin::Pin::new(answer), &mut context) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

/// A Machine's log does not grow for ever: files of its state let it go.
#[test]
fn files_keep_a_machines_log_short() {
    let world = world(Disk::in_memory(), 1);
    let mut node = Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    for number in 0..1_500 {
        assert_eq!(propose(&mut node, number).unwrap().len() as u64, number + 1);
    }
    let stats = node.parts.log.stats();
    // What it keeps and the segment in use, and as much again that was asked to go.
    assert!(stats.bytes > 60 << 10 && stats.segments <= 6, "{stats:?}");
    node.stop().unwrap();

    let mut node = Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    assert_eq!(propose(&mut node, 1_500).unwrap().len(), 1_501);
}

/// What one life of a node leaves in the log counts in the next: the log of a node that is started
/// often stays short all the same.
#[test]
fn restarts_do_not_make_the_log_grow() {
    let mut settings = tiny();
    settings.tree.memtable_bytes = 1 << 20;
    let world = world(Disk::in_memory(), 1);
    for life in 0..300 {
        let mut node = Stepped::start(&world, settings.clone(), tally(), Addresses::new()).unwrap();
        // A term is voted in once, whatever is let go of: each life begins the next. A group is born in the first.
        assert_eq!(node.spine.group(TALLY_GROUP).promised(), (life + 2, 1));
        for number in 0..10 {
            propose(&mut node, life * 10 + number).unwrap();
        }
        let segments = node.parts.log.stats().segments;
        assert!(segments <= 8, "{segments} segments are left in life {life}");
        node.stop().unwrap();
    }
}

/// One old record of a Machine that nobody talks to does not keep all that others have written since.
#[test]
fn an_idle_machine_pins_no_log() {
    let disk = Disk::in_memory();
    let mut node = Stepped::start(&world(disk.clone(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    propose(&mut node, 1).unwrap();
    let (done, counted) = waiter();
    // The clock's bound is such a record too.
    power_cut::count_with(node.store(), table, 0, done);
    node.settle().unwrap();
    counted.wait().unwrap();
    for number in 0..3_000 {
        let (done, answer) = waiter();
        power_cut::write(node.store(), table, number % 50, done);
        node.settle().unwrap();
        answer.wait().unwrap();
        let stats = node.parts.log.stats();
        assert!(stats.segments <= 6, "{stats:?}");
    }
    assert!(node.parts.log.stats().bytes > 10 * tiny().log_keep_bytes);
    node.stop().unwrap();
    let mut node = Stepped::start(&world(disk, 2), tiny(), tally(), Addresses::new()).unwrap();
    assert_eq!(propose(&mut node, 2).unwrap(), [1, 2]);
}

/// What a dropped table held is free at once, and does not come back.
#[test]
fn a_dropped_table_gives_its_room_back() {
    let (disk, sim) = Disk::simulated(1);
    let mut node = Stepped::start(&world(disk.clone(), 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    for number in 0..2_000 {
        let (done, answer) = waiter();
        power_cut::write(node.store(), table, number, done);
        node.settle().unwrap();
        answer.wait().unwrap();
    }
    let before = disk.list("tree").unwrap().len();
    assert!(before > 20, "{before} files");
    let (done, dropped) = waiter();
    let permit = power_cut::permit(node.store(), Action::Define, Target::Cluster);
    let change = store::SchemaChange::DropTable { space: "s".into(), name: "t".into() };
    node.store().catalog.change(permit, change, done);
    node.settle().unwrap();
    dropped.wait().unwrap();
    let left = disk.list("tree").unwrap().len();
    assert!(left < 8, "{left} files are left of {before}");
    assert!(sim.ops() > 0);
    node.stop().unwrap();
    let node = Stepped::start(&world(disk, 2), tiny(), tally(), Addresses::new()).unwrap();
    assert!(!node.parts.shared.engine.tables().contains(&table));
}

/// A laptop's disk can sleep.
#[test]
fn an_idle_node_writes_nothing() {
    let (disk, sim) = Disk::simulated(1);
    let mut node = Stepped::start(&world(disk, 1), Settings::default(), tally(), Addresses::new()).unwrap();
    let ops = sim.ops();
    for _ in 0..100 {
        node.settle().unwrap();
    }
    assert_eq!(sim.ops(), ops);
}

/// A disk without room refuses writes before anything was accepted, and goes on when there is.
#[test]
fn a_full_disk_is_busy_and_its_end_is_the_end_of_it() {
    let (disk, sim) = Disk::simulated(1);
    let mut node = Stepped::start(&world(disk, 1), tiny(), tally(), Addresses::new()).unwrap();
    sim.set_capacity(60 << 10);
    let (mut taken, mut waiting, mut refused) = (0, None, None);
    for number in 0..10_000 {
        let mut answer = offer(&node, number);
        node.settle().unwrap();
        match answered(&mut answer) {
            Some(Ok(had)) => taken = store::conformance::decode_tally(&had).unwrap().len(),
            Some(Err(cause)) => {
                refused = Some(cause);
                break;
            }
            // The entry on which the disk ran full: its answer comes when there is room.
            None => waiting = waiting.or(Some(answer)),
        }
    }
    assert_eq!(refused.expect("the disk is small").class, Class::Busy);
    sim.set_capacity(u64::MAX);
    // The log finds the room, then the group offers its record again.
    node.settle().unwrap();
    while node.spine.needs_own_thread() {
        node.spine.retry();
        node.settle().unwrap();
    }
    taken += usize::from(waiting.is_some());
    let late = waiting.map(|answer| answer.wait().unwrap());
    assert!(late.is_none_or(|had| store::conformance::decode_tally(&had).unwrap().len() == taken));
    let had = propose(&mut node, 77).unwrap();
    assert_eq!((had.len(), had.last()), (taken + 1, Some(&77)));
}

/// Memory is counted; a write over the budget is refused and the node lives.
#[test]
fn memory_over_budget_is_busy() {
    let settings = Settings { memory_budget_bytes: 1 << 20, ..Settings::default() };
    let node =
        Fabric::start(&moving_world(Disk::in_memory(), 1), settings, tally(), Addresses::new()).unwrap();
    let entry = Bytes::from(vec![0; 2 << 20]);
    let permit =
        node.store().gate.permit(&Principal::Node, Action::Write, Target::Machine(TALLY_GROUP)).unwrap();
    let (done, answer) = waiter();
    node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
    assert_eq!(answer.wait().unwrap_err().class, Class::Busy);
}

/// The node that was registered is the one that is found, with new addresses.
#[test]
fn a_node_keeps_its_identity_and_tokens() {
    let world = world(Disk::in_memory(), 1);
    let addresses = |port| Addresses::from([("cql".to_owned(), ("127.0.0.1".parse().unwrap(), port))]);
    let node = Stepped::start(&world, tiny(), tally(), addresses(1)).unwrap();
    let first = node.store().catalog.cluster();
    node.stop().unwrap();
    let node = Stepped::start(&world, tiny(), tally(), addresses(2)).unwrap();
    let second = node.store().catalog.cluster();
    assert_eq!(first.nodes[0].host_uuid, second.nodes[0].host_uuid);
    assert_eq!(first.nodes[0].tokens, second.nodes[0].tokens);
    assert_eq!(second.nodes[0].addresses["cql"].1, 2);
}

/// Conditional writes go on above all that were, though the clock was set back meanwhile.
#[test]
fn a_clock_set_back_loses_no_conditional_write() {
    let world = world(Disk::in_memory(), 1);
    let mut node = Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    for life in 0..3 {
        for step in 0..3 {
            let (done, answer) = waiter();
            power_cut::count_with(node.store(), table, 0, done);
            node.settle().unwrap();
            assert_eq!(power_cut::count_of(&answer.wait().unwrap().page), life * 3 + step);
        }
        node.stop().unwrap();
        world.clock.jump_to(1_000_000 - life);
        node = Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    }
}

/// A table has a companion once a conditional write has met it: a full disk keeps both, and when it has
/// room again, both go.
#[test]
fn all_that_was_dropped_on_a_full_disk_goes_when_there_is_room() {
    let (disk, sim) = Disk::simulated(1);
    let mut node = Stepped::start(&world(disk, 1), tiny(), tally(), Addresses::new()).unwrap();
    let table = power_cut::define(&mut node);
    let (done, counted) = waiter();
    power_cut::count_with(node.store(), table, 0, done);
    node.settle().unwrap();
    counted.wait().unwrap();
    let (done, dropped) = waiter();
    let permit = power_cut::permit(node.store(), Action::Define, Target::Cluster);
    let change = store::SchemaChange::DropTable { space: "s".into(), name: "t".into() };
    sim.set_capacity(0);
    node.store().catalog.change(permit, change, done);
    node.settle().unwrap();
    dropped.wait().unwrap();
    assert_eq!(node.parts.shared.engine.tables().len(), 2, "there is no room to say that they are gone");
    sim.set_capacity(u64::MAX);
    node.settle().unwrap();
    assert_eq!(node.parts.shared.engine.tables(), []);
}

#[test]
fn a_backup_of_the_catalog_comes_back_in_an_empty_directory() {
    let settings = || Settings { cluster_name: "first".to_owned(), ..tiny() };
    let from = Disk::in_memory();
    let mut node = Stepped::start(&world(from, 1), settings(), tally(), Addresses::new()).unwrap();
    power_cut::define(&mut node);
    let (schema, id) = (node.store().catalog.schema(), node.identity().cluster);
    let file = crate::catalog::backup(&node.parts.shared.published);
    node.stop().unwrap();

    let to = Disk::in_memory();
    let world = world(to, 2);
    crate::restore_catalog(&world, tiny(), &file).unwrap();
    let refused = crate::restore_catalog(&world, tiny(), &file).unwrap_err();
    assert_eq!(refused.class, base::Class::Exists);
    node = Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    assert_eq!(node.store().catalog.schema(), schema);
    let cluster = node.store().catalog.cluster();
    assert_eq!((cluster.name.as_str(), cluster.nodes.len()), ("first", 1));
    assert_ne!(cluster.id, id, "another cluster");
    node.stop().unwrap();
}
