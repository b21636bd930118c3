//! A table whose data is replaced while requests of the old data are under way.

use std::sync::atomic::{AtomicBool, Ordering};

use base::{Class, TableId};
use store::{Action, SchemaChange, Store, Target, waiter};
use world::Disk;

use super::{moving_world, power_cut, stories, tally, tiny, world};
use crate::{Addresses, Fabric, Stepped};

fn truncate(store: &Store) -> store::Waiter<std::sync::Arc<store::Schema>> {
    let (done, answer) = waiter();
    let change = SchemaChange::TruncateTable { space: "s".into(), name: "t".into() };
    store.catalog.change(power_cut::permit(store, Action::Define, Target::Cluster), change, done);
    answer
}

fn id_of(node: &Stepped) -> TableId {
    node.store().catalog.schema().table("s", "t").unwrap().id
}

fn is_empty(node: &Stepped, table: TableId, number: u64) -> bool {
    let key = bytes::Bytes::copy_from_slice(&number.to_le_bytes());
    power_cut::read(node.store(), table, key).partitions.is_empty()
}

fn start(disk: &Disk, seed: u64) -> Stepped {
    Stepped::start(&world(disk.clone(), seed), tiny(), tally(), Addresses::new()).unwrap()
}

#[test]
fn what_is_under_way_when_a_table_is_truncated_is_discarded() {
    let disk = Disk::in_memory();
    let mut node = start(&disk, 1);
    let old = power_cut::define(&mut node);
    for number in 0..20 {
        let (done, answer) = waiter();
        power_cut::write(node.store(), old, number, done);
        node.settle().unwrap();
        answer.wait().unwrap();
    }
    let (done, counted) = waiter();
    power_cut::count(node.store(), old, done);
    node.settle().unwrap();
    assert_eq!(power_cut::count_of(&counted.wait().unwrap().page), 0);

    // Accepted before, durable after.
    let truncated = truncate(node.store());
    let (done, late) = waiter();
    power_cut::write(node.store(), old, 20, done);
    node.settle().unwrap();
    truncated.wait().unwrap();
    late.wait().unwrap();
    let new = id_of(&node);
    assert!(new > old);
    assert!((0..=20).all(|number| is_empty(&node, new, number)));

    // The old data is not there to be asked for.
    let (done, refused) = waiter();
    power_cut::write(node.store(), old, 21, done);
    assert_eq!(refused.wait().unwrap_err().class, Class::Absent);
    let (done, refused) = waiter();
    power_cut::count(node.store(), old, done);
    node.settle().unwrap();
    assert_eq!(refused.wait().unwrap_err().class, Class::Absent);

    // Paxos has forgotten with it what it knew of the partition.
    let (done, counted) = waiter();
    power_cut::count(node.store(), new, done);
    let (done, written) = waiter();
    power_cut::write(node.store(), new, 30, done);
    node.settle().unwrap();
    assert_eq!(power_cut::count_of(&counted.wait().unwrap().page), 0);
    written.wait().unwrap();

    // All of it is so after a restart, which meets the late write in the log again.
    node.stop().unwrap();
    let mut node = start(&disk, 2);
    assert_eq!(id_of(&node), new);
    assert!((0..=20).all(|number| is_empty(&node, new, number)) && !is_empty(&node, new, 30));
    let (done, counted) = waiter();
    power_cut::count(node.store(), new, done);
    node.settle().unwrap();
    assert_eq!(power_cut::count_of(&counted.wait().unwrap().page), 1);
    let again = truncate(node.store());
    node.settle().unwrap();
    again.wait().unwrap();
    assert!(id_of(&node) > new && is_empty(&node, id_of(&node), 30));
}

/// Truncating is a way out of used-up memory, as dropping is.
#[test]
fn a_table_can_be_truncated_when_memory_is_used_up() {
    let settings = crate::Settings { memory_budget_bytes: 16 << 10, ..tiny() };
    let world = world(Disk::in_memory(), 1);
    let mut node = Stepped::start(&world, settings, tally(), Addresses::new()).unwrap();
    power_cut::define(&mut node);
    let refused = (0..2_000).find_map(|number| stories::propose(&mut node, number).err());
    assert_eq!(refused.unwrap().class, Class::Busy);
    let truncated = truncate(node.store());
    node.settle().unwrap();
    truncated.wait().unwrap();
}

/// Whoever is refused because the data is gone finds in the definitions what has come in its place:
/// there is no moment in which neither the old nor the new can be used.
#[test]
fn there_is_no_moment_without_a_table() {
    let world = moving_world(Disk::in_memory(), 1);
    let node = Fabric::start(&world, tiny(), tally(), Addresses::new()).unwrap();
    let store = node.store();
    power_cut::define_by(store, &mut || {});
    let id = || store.catalog.schema().table("s", "t").unwrap().id;
    let ends = AtomicBool::new(false);
    let key = bytes::Bytes::from_static(b"k");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let table = id();
                    if let Err(cause) = power_cut::try_read(store, table, key.clone()) {
                        assert_eq!(cause.class, Class::Absent, "{cause}");
                        assert_ne!(id(), table, "{cause}");
                    }
                }
            });
        }
        for _ in 0..1_000 {
            truncate(store).wait().unwrap();
        }
        ends.store(true, Ordering::Relaxed);
    });
    node.stop().unwrap();
}
