//! What every disk must do, real, in memory and simulated alike; and what the simulated one forgets.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;
use crate::Entropy;

/// A directory of the operating system that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let name = format!("world-{}-{:x}", std::process::id(), Entropy::real().u64());
        Scratch(std::env::temp_dir().join(name))
    }

    fn disk(&self) -> Disk {
        Disk::real(self.0.join("deep/down")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both halves tell the same story.
fn on_every_half(story: impl Fn(Disk)) {
    let scratch = Scratch::new();
    story(scratch.disk());
    story(Disk::in_memory());
    story(Disk::simulated(1).0);
}

#[test]
fn a_file_is_zeros_then_what_was_written() {
    on_every_half(|disk| {
        disk.make_folder("log").unwrap();
        disk.make_folder("log").unwrap();
        let file = disk.create("log/a", 10_000).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        let mut bytes = vec![1; 10_000];
        file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
        // Across the end of a page, and beyond the end of the file.
        file.write_at(b"abc", 4095).unwrap();
        file.write_at(b"end", 9_999).unwrap();
        file.sync_data().unwrap();
        drop(file);
        let file = disk.open("log/a").unwrap();
        assert_eq!(file.len().unwrap(), 10_002);
        let mut bytes = [9; 5];
        file.read_at(&mut bytes, 4094).unwrap();
        assert_eq!(&bytes, b"\0abc\0");
        assert!(file.read_at(&mut bytes, 9_998).is_err(), "the file ends before");
        assert_eq!(disk.read("log/a", 10_002).unwrap()[9_999..], *b"end");
        assert!(disk.read("log/a", 10_001).is_err(), "longer than the caller takes");
    });
}

#[test]
fn names_come_and_go() {
    on_every_half(|disk| {
        disk.make_folder("log").unwrap();
        disk.create("log/b", 1).unwrap();
        disk.create("log/a", 1).unwrap();
        disk.create("c", 0).unwrap();
        assert!(matches!(disk.create("log/a", 1), Err(DiskError::Exists { .. })));
        assert_eq!(disk.list("log").unwrap(), ["a", "b"]);
        assert_eq!(disk.list("").unwrap(), ["c"]);
        disk.rename("log/a", "log/b").unwrap();
        disk.sync_folder("log").unwrap();
        assert_eq!(disk.list("log").unwrap(), ["b"]);
        let open = disk.open("log/b").unwrap();
        disk.remove("log/b").unwrap();
        open.write_at(b"x", 0).unwrap();
        assert!(matches!(disk.open("log/b"), Err(DiskError::NotFound { path }) if path.contains("log/b")));
        assert!(matches!(disk.remove("log/b"), Err(DiskError::NotFound { .. })));
        assert!(matches!(disk.rename("log/b", "d"), Err(DiskError::NotFound { .. })));
        assert!(matches!(disk.create("nowhere/a", 1), Err(DiskError::NotFound { .. })));
        assert!(matches!(disk.list("nowhere"), Err(DiskError::NotFound { .. })));
    });
}

#[test]
fn names_stay_inside() {
    on_every_half(|disk| {
        for name in ["", "/", "/etc/passwd", "../up", "a/../../up", "a/b/c", ".", "a/", "a\0b"] {
            assert!(disk.create(name, 0).is_err(), "{name:?}");
            assert!(disk.open(name).is_err(), "{name:?}");
        }
        assert!(disk.make_folder("a/b").is_err());
    });
}

#[test]
fn a_replaced_file_is_whole() {
    on_every_half(|disk| {
        disk.replace("state", b"first").unwrap();
        // Left behind by a stop in the middle.
        disk.create("state.new", 100).unwrap();
        disk.replace("state", b"2nd").unwrap();
        assert_eq!(disk.read("state", 10).unwrap(), b"2nd");
        assert_eq!(disk.list("").unwrap(), ["state"]);
    });
}

#[test]
fn one_process_at_a_time() {
    on_every_half(|disk| {
        let lock = disk.lock().unwrap();
        let refused = disk.lock().unwrap_err();
        assert!(matches!(refused, DiskError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
        assert!(refused.to_string().contains("LOCK"), "{refused}");
        drop(lock);
        disk.lock().unwrap();
    });
}

#[test]
fn zeros_cost_no_memory_and_removed_files_give_it_back() {
    let disk = Disk::in_memory();
    let file = disk.create("big", 1 << 40).unwrap();
    file.write_at(b"x", 1 << 39).unwrap();
    let Kind::Ram(ram) = &disk.0 else { unreachable!("it is in memory") };
    let committed = || ram.state().inodes.values().map(|inode| inode.now.committed()).sum::<usize>();
    assert_eq!(committed(), 1);
    disk.remove("big").unwrap();
    assert_eq!(committed(), 1, "open files stay");
    drop(file);
    assert!(ram.state().inodes.is_empty());
}

/// What a file and a name look like after many crashes that differ by their seeds only.
fn outcomes(prepare: impl Fn(&Disk, &SimDisk)) -> Vec<Option<Vec<u8>>> {
    (0..200)
        .map(|seed| {
            let (disk, sim) = Disk::simulated(seed);
            disk.create("file", 8).unwrap().sync_data().unwrap();
            disk.sync_folder("").unwrap();
            prepare(&disk, &sim);
            sim.crash();
            disk.read("file", 1 << 20).ok()
        })
        .collect()
}

#[test]
fn a_power_cut_takes_what_was_not_synced_in_every_way() {
    let seen = outcomes(|disk, _| {
        let file = disk.open("file").unwrap();
        file.write_at(b"abcd", 0).unwrap();
        file.write_at(b"efgh", 4).unwrap();
    });
    let count = |bytes: &[u8]| seen.iter().flatten().filter(|seen| seen[..] == *bytes).count();
    assert!(count(b"\0\0\0\0\0\0\0\0") > 0, "nothing survives");
    assert!(count(b"abcdefgh") > 0, "everything survives");
    assert!(count(b"abcd\0\0\0\0") > 0, "the first alone");
    assert!(count(b"\0\0\0\0efgh") > 0, "the second without the first");
    assert!(count(b"ab\0\0\0\0\0\0") > 0, "a torn one");
    assert!(seen.iter().all(Option::is_some), "the name was synced");
}

#[test]
fn a_power_cut_takes_no_synced_byte() {
    let seen = outcomes(|disk, _| {
        let file = disk.open("file").unwrap();
        file.write_at(b"abcdefgh", 0).unwrap();
        file.sync_data().unwrap();
    });
    assert!(seen.iter().all(|bytes| bytes.as_deref() == Some(b"abcdefgh")));
}

#[test]
fn names_survive_a_power_cut_only_when_their_folder_was_synced() {
    let survivors = |sync: bool| -> Vec<Vec<String>> {
        let survivor = |seed| {
            let (disk, sim) = Disk::simulated(seed);
            disk.create("old", 0).unwrap();
            disk.create("gone", 0).unwrap();
            disk.sync_folder("").unwrap();
            disk.rename("old", "new").unwrap();
            disk.remove("gone").unwrap();
            disk.create("made", 0).unwrap().sync_data().unwrap();
            if sync {
                disk.sync_folder("").unwrap();
            }
            sim.crash();
            disk.list("").unwrap()
        };
        let mut survivors: Vec<_> = (0..200).map(survivor).collect();
        survivors.sort();
        survivors.dedup();
        survivors
    };
    assert_eq!(survivors(true), [["made", "new"]]);
    assert_eq!(survivors(false).len(), 8, "each of three changes survives or not");
}

#[test]
fn a_killed_process_leaves_what_it_wrote_unsynced() {
    let (disk, sim) = Disk::simulated(1);
    let file = disk.create("file", 4).unwrap();
    let _lock = disk.lock().unwrap();
    file.write_at(b"abcd", 0).unwrap();
    sim.kill();
    assert!(file.write_at(b"x", 0).is_err(), "a handle of a dead process");
    disk.lock().unwrap();
    assert_eq!(disk.read("file", 4).unwrap(), b"abcd");
}

#[test]
fn the_power_goes_at_the_operation_asked_for() {
    let (disk, sim) = Disk::simulated(1);
    sim.inject(Fault::CutPower { after_ops: 2 });
    let file = disk.create("file", 4).unwrap();
    file.write_at(b"abcd", 0).unwrap();
    assert_eq!(sim.ops(), 2);
    assert!(file.sync_data().is_err());
    assert!(disk.list("").is_err() && disk.lock().is_err(), "nothing works without power");
    sim.crash();
    assert!(disk.list("").is_ok());
}

#[test]
fn a_failed_sync_loses_bytes_that_no_later_sync_brings_back() {
    let lost = outcomes(|disk, sim| {
        let file = disk.open("file").unwrap();
        file.write_at(b"abcdefgh", 0).unwrap();
        sim.inject(Fault::FailSync { nth: 1 });
        assert!(matches!(file.sync_data(), Err(DiskError::Failed { op: "sync", .. })));
        file.sync_data().unwrap();
        // It looks as if all were well.
        assert_eq!(disk.read("file", 8).unwrap(), b"abcdefgh");
    });
    assert!(lost.iter().flatten().any(|bytes| bytes[..] == [0; 8]));
}

#[test]
fn a_failed_write_leaves_a_beginning() {
    let seen = outcomes(|disk, sim| {
        let file = disk.open("file").unwrap();
        sim.inject(Fault::FailWrite { nth: 2 });
        file.write_at(b"a", 0).unwrap();
        assert!(file.write_at(b"bcdefgh", 1).is_err());
        file.sync_data().unwrap();
    });
    assert!(seen.iter().flatten().any(|bytes| bytes[..] == *b"abc\0\0\0\0\0"));
}

#[test]
fn a_full_disk_takes_nothing_until_there_is_room() {
    let (disk, sim) = Disk::simulated(1);
    sim.set_capacity(10);
    let file = disk.create("a", 8).unwrap();
    assert!(matches!(disk.create("b", 3), Err(DiskError::Full { path }) if path == "b"));
    assert_eq!(disk.list("").unwrap(), ["a"]);
    assert!(matches!(file.write_at(b"1234", 7), Err(DiskError::Full { .. })));
    file.write_at(b"123", 7).unwrap();
    sim.set_capacity(20);
    disk.create("b", 3).unwrap();
}

#[test]
fn each_boundary_is_the_disk_between_two_operations() {
    let (disk, sim) = Disk::simulated(1);
    sim.record_boundaries();
    let file = disk.create("file", 1).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_folder("").unwrap();
    let boundaries = sim.take_boundaries();
    assert_eq!(boundaries.len(), 5);
    let holds = |boundary: &Boundary| {
        (0..50).map(|seed| boundary.crash(seed).0.read("file", 1).ok()).collect::<Vec<_>>()
    };
    assert!(holds(&boundaries[0]).iter().all(Option::is_none));
    assert!(holds(&boundaries[3]).iter().any(Option::is_none), "the name is not durable yet");
    assert!(holds(&boundaries[3]).iter().flatten().all(|bytes| bytes == b"x"), "the byte is");
    assert!(holds(&boundaries[4]).iter().all(|bytes| bytes.as_deref() == Some(b"x")));
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let (disk, sim) = Disk::simulated(1);
    disk.replace("file", b"a").unwrap();
    sim.flip_bit("file", 0, 1).unwrap();
    assert_eq!(disk.read("file", 1).unwrap(), b"c");
    sim.crash();
    assert_eq!(disk.read("file", 1).unwrap(), b"c");
}
