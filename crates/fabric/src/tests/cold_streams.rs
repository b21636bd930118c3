//! Much is written beside a Machine that nobody talks to, on real files: the log stays short, the
//! Machine is not forgotten, and what was written is free at once when its table is dropped.

#![allow(clippy::disallowed_methods, reason = "tests may touch the world")]

use std::{sync::Arc, time::Duration};

use base::{Cell, Change, ColumnId, Mutation};
use bytes::Bytes;
use disk_engine::tree::TreeSettings;
use store::{
    Action, Consistency, SchemaChange, Target, Write,
    conformance::{TALLY_GROUP, decode_tally},
    waiter,
};
use world::{Clock, Disk, Entropy, World, task::spawn_thread};

use super::{Scratch, power_cut, tally};
use crate::{Addresses, Fabric, Settings};

const VALUE_BYTES: usize = 10_000;
/// Rows that are written over and over.
const ROWS: u64 = 500;
const WRITERS: u64 = 4;

fn bytes_in(disk: &Disk, folder: &str) -> u64 {
    let len = |name: &String| disk.open(&format!("{folder}/{name}")).and_then(|file| file.len()).ok();
    disk.list(folder).unwrap().iter().filter_map(len).sum()
}

fn propose(node: &Fabric, number: u64) -> Vec<u64> {
    let permit = power_cut::permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
    let (done, answer) = waiter();
    let entry = Bytes::copy_from_slice(&number.to_le_bytes());
    node.store().machines.propose(permit, TALLY_GROUP, entry.into(), done);
    decode_tally(&answer.wait().unwrap()).unwrap()
}

fn write(node: &Fabric, table: base::TableId, row: u64, value: Bytes) {
    let cells = vec![(ColumnId(2), Cell::live(1, value))];
    let changes = vec![Change::Row { clustering: Bytes::new(), cells }];
    let mutation = Mutation { table, key: Bytes::copy_from_slice(&row.to_le_bytes()), changes };
    let permit = power_cut::permit(node.store(), Action::Write, Target::Table(table));
    let (done, answer) = waiter();
    node.store().tables.write(permit, Write { mutation, consistency: Consistency::One }, done);
    answer.wait().unwrap();
}

/// Writes so many bytes, watching the log's files.
fn beside_an_idle_machine(settings: Settings, total_bytes: u64) {
    let scratch = Scratch::new("cold");
    let disk = Disk::real(&scratch.0).unwrap();
    let world = World { clock: Clock::real(), entropy: Entropy::real(), disk: disk.clone() };
    let start = || Arc::new(Fabric::start(&world, settings.clone(), tally(), Addresses::new()).unwrap());
    let node = start();
    let table = power_cut::define_by(node.store(), &mut || ());
    assert_eq!(propose(&node, 1), [1]);
    // What it may keep, twice, for what is on its way into files; the segment being filled, the one
    // in reserve, and one at each end that is not all dead.
    let most = 2 * settings.log_keep_bytes + 4 * settings.log.segment_bytes;
    let writes = total_bytes / VALUE_BYTES as u64 / WRITERS;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (node, disk) = (node.clone(), disk.clone());
            let run = move || {
                let mut longest = 0;
                for nth in 0..writes {
                    let row = (nth * WRITERS + writer) % ROWS;
                    write(&node, table, row, Bytes::from(vec![nth as u8; VALUE_BYTES]));
                    if nth % 64 == 0 {
                        longest = bytes_in(&disk, "log").max(longest);
                    }
                }
                longest
            };
            spawn_thread("writer", run).unwrap()
        })
        .collect();
    let longest = writers.into_iter().map(|writer| writer.join().unwrap()).max().unwrap();
    println!("{total_bytes} bytes were written; the log had {longest} at most, of {most}");
    assert!(longest <= most, "the log had {longest} bytes, {most} at most");
    assert!(total_bytes > 2 * most, "more was written than the log may hold");
    node.stop().unwrap();
    drop(node);

    let node = start();
    assert_eq!(propose(&node, 2), [1, 2], "the Machine is as it was");
    assert!(bytes_in(&disk, "tree") > ROWS * 100);
    let (done, dropped) = waiter();
    let permit = power_cut::permit(node.store(), Action::Define, Target::Cluster);
    node.store().catalog.change(
        permit,
        SchemaChange::DropTable { space: "s".into(), name: "t".into() },
        done,
    );
    dropped.wait().unwrap();
    // Upkeep's thread does it at once, which is soon.
    let left = (0..1_000).map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        bytes_in(&disk, "tree")
    });
    let left: Vec<u64> = left.take_while(|bytes| *bytes > 64 << 10).collect();
    assert!(left.len() < 1_000, "{left:?} bytes are left of a dropped table");
    node.stop().unwrap();
}

#[test]
fn an_idle_machine_pins_no_log_on_real_files() {
    let tree = TreeSettings {
        memtable_bytes: 512 << 10,
        memtables_bytes: 1 << 20,
        file_bytes: 512 << 10,
        level_bytes: 2 << 20,
        ..TreeSettings::default()
    };
    let mut settings = Settings { log_keep_bytes: 4 << 20, tree, ..Settings::default() };
    settings.log.segment_bytes = 1 << 20;
    settings.log.max_record_bytes = 128 << 10;
    settings.log.queue_bytes = 512 << 10;
    beside_an_idle_machine(settings, 48 << 20);
}

#[test]
#[ignore = "writes 10 GB"]
fn ten_gigabytes_beside_an_idle_machine() {
    beside_an_idle_machine(Settings::default(), 10 << 30);
}
