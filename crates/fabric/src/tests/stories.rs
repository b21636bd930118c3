//! Single cases worth telling.

use base::Class;
use bytes::Bytes;
use store::{Action, Principal, Target, conformance::TALLY_GROUP, waiter};
use world::Disk;

use super::{moving_world, power_cut, tally, tiny, world};
use crate::{Addresses, Fabric, Settings, Stepped};

pub(super) fn propose(node: &mut Stepped, number: u64) -> Result<Vec<u64>, base::Cause> {
    let permit =
        node.store().gate.permit(&Principal::Node, Action::Write, Target::Machine(TALLY_GROUP)).unwrap();
    let (done, answer) = waiter();
    node.store().machines.propose(
        permit,
        TALLY_GROUP,
        Bytes::copy_from_slice(&number.to_le_bytes()).into(),
        done,
    );
    node.settle()?;
    store::conformance::decode_tally(&answer.wait()?)
}

/// A Machine's log does not grow for ever: snapshots let it go.
#[test]
fn snapshots_keep_a_machines_log_short() {
    let disk = Disk::in_memory();
    let mut settings = tiny();
    settings.snapshot_after_bytes = 1_000;
    let world = world(disk, 1);
    let mut node = Stepped::start(&world, settings.clone(), tally(), Addresses::new()).unwrap();
    // The state of a Tally grows with each entry, so a short one is fed for long.
    for number in 0..1_500 {
        assert_eq!(propose(&mut node, number).unwrap().len() as u64, number + 1);
    }
    let segments = node.parts.log.stats().segments;
    let written = node.parts.log.stats().bytes;
    // What must stay: the last snapshot (12 KB by now), as much log since, the next snapshot being
    // written, the segment in use.
    assert!(segments * 2 < written / (8 << 10), "{segments} segments are left of {written} bytes");
    node.stop().unwrap();

    let mut node = Stepped::start(&world, settings, tally(), Addresses::new()).unwrap();
    assert_eq!(propose(&mut node, 1_500).unwrap().len(), 1_501);
}

/// What one life of a node leaves in the log counts in the next: a node that is started often takes
/// its snapshots all the same.
#[test]
fn restarts_do_not_put_snapshots_off() {
    let mut settings = tiny();
    settings.snapshot_after_bytes = 1_000;
    let world = world(Disk::in_memory(), 1);
    let mut segments = 0;
    for life in 0..300 {
        let mut node = Stepped::start(&world, settings.clone(), tally(), Addresses::new()).unwrap();
        // A term is voted in once, whatever snapshots let go of: each life begins the next.
        assert_eq!(node.spine.group(TALLY_GROUP).promised(), (life + 1, 1));
        for number in 0..10 {
            propose(&mut node, life * 10 + number).unwrap();
        }
        segments = node.parts.log.stats().segments;
        node.stop().unwrap();
    }
    // The last snapshot takes three segments of 8 KB, and so may the next and each span of entries.
    assert!(segments < 24, "{segments} segments are left");
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
    let mut taken = Vec::new();
    sim.set_capacity(30 << 10);
    let refused = (0..10_000).find(|number| match propose(&mut node, *number) {
        Ok(had) => {
            taken = had;
            false
        }
        Err(cause) => {
            assert_eq!(cause.class, Class::Busy, "{cause}");
            true
        }
    });
    // The answer of the entry on which the disk ran full comes when there is room; here the node
    // is too small to get that far, or the refusal came first.
    if let Some(refused) = refused {
        assert_eq!(taken.len() as u64, refused);
        sim.set_capacity(u64::MAX);
        // The log finds the room, then the group offers its record again.
        node.settle().unwrap();
        while node.spine.needs_own_thread() {
            node.spine.retry();
            node.settle().unwrap();
        }
        let had = propose(&mut node, 77).unwrap();
        assert!(had.starts_with(&taken));
        assert_eq!(had.last(), Some(&77));
    }
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
