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
fn a_linked_file_has_two_names() {
    on_every_half(|disk| {
        disk.make_folder("copy").unwrap();
        let file = disk.create("file", 1).unwrap();
        disk.link("file", "copy/file").unwrap();
        file.write_at(b"x", 0).unwrap();
        assert!(matches!(disk.link("file", "copy/file"), Err(DiskError::Exists { .. })));
        assert!(matches!(disk.link("none", "copy/none"), Err(DiskError::NotFound { .. })));
        assert!(matches!(disk.link("file", "nowhere/file"), Err(DiskError::NotFound { .. })));
        disk.remove("file").unwrap();
        assert_eq!(disk.read("copy/file", 1).unwrap(), b"x");
        assert_eq!((disk.list("").unwrap(), disk.list("copy").unwrap()), (vec![], vec!["file".to_owned()]));
    });
}

#[test]
fn a_link_is_durable_when_its_folder_is() {
    let survives = |sync: bool, seed: u64| {
        let (disk, sim) = Disk::simulated(seed);
        disk.make_folder("copy").unwrap();
        let file = disk.create("file", 0).unwrap();
        file.write_at(b"bytes", 0).unwrap();
        file.sync_data().unwrap();
        disk.link("file", "copy/file").unwrap();
        if sync {
            disk.sync_folder("copy").unwrap();
        }
        sim.crash();
        disk.read("copy/file", 5).map(|bytes| assert_eq!(bytes, b"bytes")).is_ok()
    };
    assert!((0..50).all(|seed| survives(true, seed)));
    let lost = (0..50).filter(|seed| !survives(false, *seed)).count();
    assert!(lost > 0 && lost < 50);
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
    sim.inject("cut nth(3) change".parse().unwrap());
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
        sim.inject("fail sync".parse().unwrap());
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
        sim.inject("short nth(2) write".parse().unwrap());
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
fn a_read_that_must_not_wait_is_right_or_refused() {
    on_every_half(|disk| {
        let file = disk.create("file", 10_000).unwrap();
        file.write_at(b"abc", 5_000).unwrap();
        let mut bytes = [0; 3];
        // What was just written is in the page cache, where the file system can tell.
        if file.read_now(&mut bytes, 5_000).unwrap() {
            assert_eq!(&bytes, b"abc");
        }
        assert!(!file.read_now(&mut bytes, 9_998).unwrap(), "the file ends before");
        assert!(!file.read_now(&mut bytes, u64::MAX).unwrap());
    });
}

#[test]
fn a_simulated_disk_has_reads_wait_as_often_as_asked() {
    let (disk, sim) = Disk::simulated(1);
    let file = disk.create("file", 8).unwrap();
    let refused = || (0..1_000).filter(|_| !file.read_now(&mut [0; 8], 0).unwrap()).count();
    assert_eq!(refused(), 0);
    sim.set_waits(30);
    assert!((200..400).contains(&refused()));
    sim.set_waits(100);
    assert_eq!(refused(), 1_000);
    file.read_at(&mut [0; 8], 0).unwrap();
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

#[test]
fn a_fault_happens_to_what_its_line_says_and_to_nothing_else() {
    let (disk, sim) = Disk::simulated(1);
    disk.make_folder("log").unwrap();
    sim.inject(r#"fail nth(2) write on "log/*""#.parse().unwrap());
    let (file, other) = (disk.create("log/a", 4).unwrap(), disk.create("b", 4).unwrap());
    for _ in 0..3 {
        other.write_at(b"x", 0).unwrap();
    }
    file.write_at(b"abcd", 0).unwrap();
    assert_eq!(sim.injected(), 0);
    assert!(
        matches!(file.write_at(b"x", 0), Err(DiskError::Failed { op: "write", path, .. }) if path == "log/a")
    );
    assert_eq!(disk.read("log/a", 4).unwrap(), b"abcd", "it has done nothing");
    file.write_at(b"x", 0).unwrap();
    assert_eq!(sim.injected(), 1, "the n-th only");

    sim.inject("fail every read".parse().unwrap());
    for _ in 0..2 {
        assert!(matches!(file.read_at(&mut [0], 0), Err(DiskError::Failed { op: "read", .. })));
    }
    sim.relent();
    file.read_at(&mut [0], 0).unwrap();
}

#[test]
fn what_fails_short_was_done_in_part_or_is_told_as_failed_though_it_was_done() {
    let (disk, sim) = Disk::simulated(1);
    let short = |operation: &str| sim.inject(format!("short {operation}").parse().unwrap());
    short("create");
    assert!(disk.create("made", 4).is_err());
    assert_eq!(disk.list("").unwrap(), ["made"]);
    short("rename");
    assert!(disk.rename("made", "renamed").is_err());
    assert_eq!(disk.list("").unwrap(), ["renamed"]);
    short("read");
    let file = disk.open("renamed").unwrap();
    file.write_at(b"abcd", 0).unwrap();
    let mut seen = [b'-'; 4];
    assert!(file.read_at(&mut seen, 0).is_err());
    assert_eq!(&seen, b"ab--");
    short("remove");
    assert!(disk.remove("renamed").is_err());
    assert_eq!(disk.list("").unwrap(), [""; 0]);
}

#[test]
fn what_is_told_as_full_has_done_nothing_but_a_beginning_of_a_write() {
    let (disk, sim) = Disk::simulated(1);
    let file = disk.create("file", 4).unwrap();
    for operation in ["create", "write", "sync", "sync-folder", "rename"] {
        sim.inject(format!("full {operation}").parse().unwrap());
    }
    let full = |result: Result<(), DiskError>| assert!(matches!(result, Err(DiskError::Full { .. })));
    full(disk.create("other", 4).map(drop));
    full(disk.rename("file", "other"));
    full(disk.sync_folder(""));
    assert_eq!(disk.list("").unwrap(), ["file"]);
    full(file.write_at(b"abcd", 0));
    let seen = disk.read("file", 4).unwrap();
    assert!(seen.iter().zip(b"abcd").skip_while(|(seen, wrote)| seen == wrote).all(|(seen, _)| *seen == 0));
    full(file.sync_data());
    assert_eq!(sim.injected(), 5);
}

#[test]
fn a_rename_is_met_by_either_of_its_names() {
    for line in [r#"fail rename on "from""#, r#"fail rename on "to""#] {
        let (disk, sim) = Disk::simulated(1);
        disk.create("from", 0).unwrap();
        sim.inject(line.parse().unwrap());
        assert!(disk.rename("from", "to").is_err());
        disk.rename("from", "to").unwrap();
    }
}

#[test]
fn one_in_so_many_fails_now_and_then() {
    let (disk, sim) = Disk::simulated(1);
    let file = disk.create("file", 1).unwrap();
    sim.inject("fail one-in(4) read".parse().unwrap());
    let failed = (0..1000).filter(|_| file.read_at(&mut [0], 0).is_err()).count();
    assert!((150..350).contains(&failed), "{failed}");
}

#[test]
fn operations_are_remembered_when_asked_for() {
    let (disk, sim) = Disk::simulated(1);
    disk.make_folder("log").unwrap();
    sim.record_operations();
    let file = disk.create("log/a", 1).unwrap();
    file.sync_data().unwrap();
    disk.sync_folder("log").unwrap();
    assert!(disk.open("log/b").is_err());
    let seen = sim.take_operations();
    let seen: Vec<_> = seen.iter().map(|(operation, name)| (*operation, name.as_str())).collect();
    let expected = [
        (Operation::Create, "log/a"),
        (Operation::Sync, "log/a"),
        (Operation::SyncFolder, "log"),
        (Operation::Open, "log/b"),
    ];
    assert_eq!(seen, expected);
    assert!(sim.take_operations().is_empty());
}

#[test]
fn a_disk_in_memory_may_be_small() {
    let disk = Disk::in_memory_of(100);
    let _kept = disk.create("a", 80).unwrap();
    assert!(matches!(disk.create("b", 30), Err(DiskError::Full { .. })));
    disk.create("b", 20).unwrap();
}
