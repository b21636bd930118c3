//! [`Manifest`]: which files a forest is made of, and up to which position each tree is in them.
//!
//! It is one small file, replaced whole at each change. (The usual list of edits costs less for
//! each, but a bit that flips in its last edit looks like an edit that a power cut tore, and a flush
//! after which the log was cut would be forgotten without a word. One file with one checksum is
//! either right or damaged. At 100 bytes a file it costs 150 KB a change for 100 GB of data.)
//!
//! ```text
//!      0   8  magic "HOLDMANI"
//!      8   4  version u32, 2
//!     12   4  lower half of the checksum of bytes 0..12; 0..16 mean the same in every version
//!     16   8  id of the next file u64
//!     24   8  highest sequence of a batch in files u64
//!          n  number of dropped trees varint | (tree u64)...
//!          n  number of trees varint | tree...
//!   last   8  checksum of all before
//!
//! tree = tree u64 | flushed position varint | number of runs varint | run...       newest first
//! run  = level u8 | number of files varint | file...                               ascending
//! file = id varint | bytes varint | entries varint | lowest timestamp i64 | highest timestamp i64
//!      | tombstones varint | second from which all is dead u32
//!      | flags u8 (1 has range deletions, 2 `to` is there) | from | to if there     length varint, bytes
//! ```

use std::collections::{BTreeMap, BTreeSet};

use base::{Malformed, Reader, Writer};
use bytes::Bytes;
use world::{Disk, DiskError};

use super::{
    Damage, TreeError, TreeId,
    file::{FileMeta, Spent},
    format::{FOLDER, VERSION, checksum},
};

/// Its name, with its folder.
pub(crate) const NAME: &str = "tree/MANIFEST";
/// The longest that is read: room for ten million files.
const MAX_BYTES: u64 = 1 << 30;
const MAGIC: [u8; 8] = *b"HOLDMANI";

/// What a forest is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    pub(crate) next_file: u64,
    /// No batch in files has a higher sequence.
    pub(crate) sequence: u64,
    pub(crate) dropped: BTreeSet<TreeId>,
    pub(crate) trees: BTreeMap<TreeId, TreeRecord>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TreeRecord {
    /// What the tree was given up to this position is in its files.
    pub(crate) flushed: u64,
    /// Newest first.
    pub(crate) runs: Vec<RunRecord>,
}

/// Files that do not overlap, ascending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RunRecord {
    pub(crate) level: u8,
    pub(crate) files: Vec<FileMeta>,
}

impl Manifest {
    /// Of a forest without trees.
    pub(crate) fn new() -> Manifest {
        Manifest { next_file: 1, sequence: 0, dropped: BTreeSet::new(), trees: BTreeMap::new() }
    }

    /// Reads it; `None` if this disk never had a forest.
    pub(crate) fn load(disk: &Disk) -> Result<Option<Manifest>, TreeError> {
        let bytes = match disk.read(NAME, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(DiskError::NotFound { .. }) => {
                let files = disk.list(FOLDER)?;
                if files.iter().any(|name| name.ends_with(".tree")) {
                    return Err(damaged("it is missing, but there are data files"));
                }
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        Manifest::decode(&bytes).map(Some)
    }

    /// Reads it, or makes the first one, and sees to it that a power cut leaves it so: a process that
    /// died while it replaced the manifest, or after a sync that failed, has left something to be
    /// seen of which nobody knows whether it would stay.
    pub(crate) fn load_durably(disk: &Disk) -> Result<Manifest, TreeError> {
        let found = Manifest::load(disk)?;
        let manifest = found.clone().unwrap_or_else(Manifest::new);
        match manifest.store(disk) {
            // A full disk must not keep a node from starting. That the folder can be synced has to do.
            Err(DiskError::Full { .. }) if found.is_some() => disk.sync_folder(FOLDER)?,
            stored => stored?,
        }
        Ok(manifest)
    }

    /// Makes it durable: after a power cut it is what it was before, or this.
    pub(crate) fn store(&self, disk: &Disk) -> Result<(), DiskError> {
        disk.replace(NAME, &self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&MAGIC);
        out.u32(VERSION);
        out.u32(checksum(&[&MAGIC, &VERSION.to_le_bytes()]) as u32);
        out.u64(self.next_file);
        out.u64(self.sequence);
        out.varint(self.dropped.len() as u64);
        for tree in &self.dropped {
            out.u64(tree.0);
        }
        out.varint(self.trees.len() as u64);
        for (tree, record) in &self.trees {
            out.u64(tree.0);
            out.varint(record.flushed);
            out.varint(record.runs.len() as u64);
            for run in &record.runs {
                out.u8(run.level);
                out.varint(run.files.len() as u64);
                for file in &run.files {
                    put_file(&mut out, file);
                }
            }
        }
        let mut bytes = out.into_vec();
        let check = checksum(&[&bytes]);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, TreeError> {
        const HEAD: usize = 16;
        if bytes.len() < HEAD + 8 || bytes[..8] != MAGIC {
            return Err(damaged("it is no manifest"));
        }
        let mut head = Reader::new(&bytes[8..HEAD]);
        let (version, check) = match (head.u32("version"), head.u32("version")) {
            (Ok(version), Ok(check)) => (version, check),
            _ => return Err(damaged("it is no manifest")),
        };
        if check != checksum(&[&bytes[..12]]) as u32 {
            return Err(damaged("its head fails its checksum"));
        }
        if version != VERSION {
            return Err(TreeError::Version { file: NAME.to_owned(), version });
        }
        let (body, check) = bytes.split_at(bytes.len() - 8);
        if check != checksum(&[body]).to_le_bytes() {
            return Err(damaged("it fails its checksum"));
        }
        parse(&body[HEAD..]).map_err(|error| damaged(&error.to_string()))
    }
}

fn damaged(why: &str) -> TreeError {
    TreeError::Damaged(Damage { file: NAME.to_owned(), offset: 0, tree: None, why: why.to_owned() })
}

const HAS_RANGES: u8 = 1;
const HAS_TO: u8 = 2;

fn put_file(out: &mut Writer, file: &FileMeta) {
    out.varint(file.id);
    out.varint(file.bytes);
    out.varint(file.entries);
    out.raw(&file.oldest.to_le_bytes());
    out.raw(&file.spent.newest.to_le_bytes());
    out.varint(file.spent.dead);
    out.u32(file.spent.dies_at);
    out.u8(if file.has_ranges { HAS_RANGES } else { 0 } | if file.to.is_some() { HAS_TO } else { 0 });
    out.bytes(&file.from);
    if let Some(to) = &file.to {
        out.bytes(to);
    }
}

fn take_file(reader: &mut Reader<'_>, tree: TreeId) -> Result<FileMeta, Malformed> {
    const FILE: &str = "file of a manifest";
    let (id, bytes, entries) = (reader.varint(FILE)?, reader.varint(FILE)?, reader.varint(FILE)?);
    let (oldest, newest) = (reader.i64(FILE)?, reader.i64(FILE)?);
    let spent = Spent { newest, dead: reader.varint(FILE)?, dies_at: reader.u32(FILE)? };
    let flags = reader.u8(FILE)?;
    let from = Bytes::copy_from_slice(reader.bytes(FILE)?);
    let to = if flags & HAS_TO != 0 { Some(Bytes::copy_from_slice(reader.bytes(FILE)?)) } else { None };
    Ok(FileMeta { id, tree, bytes, entries, oldest, from, to, has_ranges: flags & HAS_RANGES != 0, spent })
}

fn parse(body: &[u8]) -> Result<Manifest, Malformed> {
    const WHAT: &str = "manifest";
    let mut reader = Reader::new(body);
    let mut manifest =
        Manifest { next_file: reader.u64(WHAT)?, sequence: reader.u64(WHAT)?, ..Manifest::new() };
    for _ in 0..reader.count(WHAT)? {
        manifest.dropped.insert(TreeId(reader.u64(WHAT)?));
    }
    for _ in 0..reader.count(WHAT)? {
        let tree = TreeId(reader.u64(WHAT)?);
        let mut record = TreeRecord { flushed: reader.varint(WHAT)?, runs: Vec::new() };
        for _ in 0..reader.count(WHAT)? {
            let mut run = RunRecord { level: reader.u8(WHAT)?, files: Vec::new() };
            for _ in 0..reader.count(WHAT)? {
                run.files.push(take_file(&mut reader, tree)?);
            }
            record.runs.push(run);
        }
        manifest.trees.insert(tree, record);
    }
    reader.end(WHAT)?;
    Ok(manifest)
}

#[cfg(any(test, feature = "fuzzing"))]
impl Manifest {
    /// One with all that a manifest can have, for tests and fuzzers.
    pub(crate) fn example() -> Manifest {
        let file = |id, to: Option<&'static [u8]>| FileMeta {
            id,
            tree: TreeId(7),
            bytes: 1000 + id,
            entries: 3,
            oldest: -5,
            from: Bytes::from_static(b"a"),
            to: to.map(Bytes::from_static),
            has_ranges: to.is_none(),
            spent: Spent { newest: 70, dead: 2, dies_at: 90 },
        };
        let run = |level, files| RunRecord { level, files };
        let runs = vec![run(0, vec![file(3, None)]), run(1, vec![file(1, Some(b"c")), file(2, Some(b"z"))])];
        let mut manifest = Manifest { next_file: 9, sequence: 400, ..Manifest::new() };
        manifest.dropped.insert(TreeId(2));
        manifest.trees.insert(TreeId(7), TreeRecord { flushed: 300, runs });
        manifest.trees.insert(TreeId(8), TreeRecord::default());
        manifest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_comes_back_or_is_refused() {
        let bytes = Manifest::example().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), Manifest::example());
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Manifest::decode(&bytes), Err(TreeError::Damaged(_))));
        }
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
