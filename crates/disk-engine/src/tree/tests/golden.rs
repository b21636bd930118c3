//! The format, pinned: forests of version 3 as they stand in the repository.

use base::{Cell, Position};
use bytes::Bytes;
use world::Disk;

use super::{model::rules, program::finish_work};
use crate::tree::{Batch, Compression, Forest, TreeId, TreeSettings, encode_cell};

const TREE: TreeId = TreeId(1);

/// A data file and the manifest that names it.
struct Fixture {
    compression: Compression,
    block_bytes: usize,
    file: &'static [u8],
    manifest: &'static [u8],
}

const PLAIN: Fixture = Fixture {
    compression: Compression::None,
    // Four blocks from the root to a leaf.
    block_bytes: 64,
    file: include_bytes!("../../../fixtures/version-3-plain.tree"),
    manifest: include_bytes!("../../../fixtures/version-3-plain.manifest"),
};
const LZ4: Fixture = Fixture {
    compression: Compression::Lz4,
    block_bytes: 256,
    file: include_bytes!("../../../fixtures/version-3-lz4.tree"),
    manifest: include_bytes!("../../../fixtures/version-3-lz4.manifest"),
};
const ZSTD: Fixture = Fixture {
    compression: Compression::Zstd { level: 3 },
    block_bytes: 256,
    file: include_bytes!("../../../fixtures/version-3-zstd.tree"),
    manifest: include_bytes!("../../../fixtures/version-3-zstd.manifest"),
};

/// What is in them, once the deletion of `key 05..key 10` at 50 is counted in.
fn expected() -> Vec<(Bytes, Bytes)> {
    let row = |n: i64| (Bytes::from(format!("key {n:02}")), encode_cell(&cell(n)));
    (0..40).filter(|n| !(5..10).contains(n)).map(row).collect()
}

fn cell(n: i64) -> Cell {
    let mut cell = Cell::live(n, Bytes::from(format!("value {n}")));
    match n % 10 {
        1 => cell = Cell::tombstone(n),
        2 => (cell.ttl_seconds, cell.expires_at_seconds) = (60, 1000),
        _ => {}
    }
    cell
}

fn write(compression: Compression, block_bytes: usize) -> Disk {
    let disk = Disk::in_memory();
    let settings = TreeSettings { block_bytes, compression, ..TreeSettings::default() };
    let forest = Forest::open(disk.clone(), settings, rules()).unwrap();
    for n in 0..40 {
        let mut batch = Batch::new();
        batch.put(TREE, format!("key {n:02}"), encode_cell(&cell(n)));
        forest.apply(Position(1 + n as u64), batch).unwrap();
    }
    let mut batch = Batch::new();
    batch.delete_range(TREE, "key 05", Some("key 10".into()), 50);
    batch.delete_range(TREE, "z", None, -7);
    forest.apply(Position(300), batch).unwrap();
    forest.freeze(Position(300));
    finish_work(&forest, None).unwrap();
    disk
}

/// Writes the fixtures of a version that is new; not for one that was released.
#[test]
#[ignore = "it replaces the fixtures"]
fn record() {
    for (name, fixture) in [("plain", PLAIN), ("lz4", LZ4), ("zstd", ZSTD)] {
        let disk = write(fixture.compression, fixture.block_bytes);
        for (from, to) in [("tree/00000001.tree", "tree"), ("tree/MANIFEST", "manifest")] {
            let path = format!("{}/fixtures/version-3-{name}.{to}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, bytes_of(&disk, from)).unwrap();
        }
    }
}

fn bytes_of(disk: &Disk, name: &str) -> Vec<u8> {
    disk.read(name, 1 << 20).unwrap()
}

#[test]
fn a_forest_of_version_3_is_read() {
    for fixture in [PLAIN, LZ4, ZSTD] {
        let disk = Disk::in_memory();
        disk.make_folder("tree").unwrap();
        disk.replace("tree/00000001.tree", fixture.file).unwrap();
        disk.replace("tree/MANIFEST", fixture.manifest).unwrap();
        let forest = Forest::open(disk, TreeSettings::default(), rules()).unwrap();
        assert_eq!(forest.verify(), []);
        assert_eq!(forest.flushed_position(), Position(300));
        let rows: Vec<_> = forest.scan(TREE, "", None, false).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows, expected());
        for (key, value) in expected() {
            assert_eq!(forest.get(TREE, &key).unwrap(), Some(value));
        }
    }
}

#[test]
fn a_forest_of_version_3_is_written() {
    const CHANGED: &str = "the format changed: give it a new version and a fixture of its own";
    let disk = write(PLAIN.compression, PLAIN.block_bytes);
    assert_eq!(disk.list("tree").unwrap(), ["00000001.tree", "MANIFEST"]);
    assert_eq!(bytes_of(&disk, "tree/00000001.tree"), PLAIN.file, "{CHANGED}");
    assert_eq!(bytes_of(&disk, "tree/MANIFEST"), PLAIN.manifest, "{CHANGED}");
    // What a compressor makes of a block may change with its version, what it is made back into may not.
    let plain = bytes_of(&write(Compression::None, 256), "tree/00000001.tree");
    for fixture in [LZ4, ZSTD] {
        let disk = write(fixture.compression, fixture.block_bytes);
        assert!(bytes_of(&disk, "tree/00000001.tree").len() < plain.len());
    }
}
