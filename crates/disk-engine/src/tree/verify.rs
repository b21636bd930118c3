//! [`verify`]: reads all trees of a disk that nobody uses, changes nothing, and names every fault.
//!
//! Opening a forest removes what no manifest names and refuses a damaged manifest; this looks at
//! the files as they lie there. Without a manifest it goes by what each file says about itself.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use world::{Disk, DiskError};

use super::{
    Damage, TreeError, TreeId,
    file::{FileHandle, FileMeta, Spent},
    files::Files,
    format::{FOLDER, FOOTER, Footer, NoFooter, file_name},
    manifest::{self, Manifest},
};

/// What [`verify`] has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Bytes that were once durable are gone or changed, or cannot be read.
    Fault(TreeError),
    /// A file that no manifest names, as a job leaves that did not end: the next start removes it.
    Leftover {
        /// The file, relative to the disk's directory.
        file: String,
    },
    /// What could not be judged, and why.
    Unchecked(String),
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Files: data files that count, and the manifest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The trees that have files.
    pub trees: BTreeSet<TreeId>,
    /// Faults found.
    pub faults: u64,
}

/// Reads the trees of `disk`, telling `tell` what it finds as it is found. A disk without trees has
/// nothing to find fault with.
///
/// # Errors
/// [`TreeError::Disk`] if the folder cannot be listed.
pub fn verify(disk: &Disk, tell: &mut dyn FnMut(Finding)) -> Result<Verified, TreeError> {
    let names: BTreeSet<String> = match disk.list(FOLDER) {
        Err(DiskError::NotFound { .. }) => return Ok(Verified::default()),
        names => names?.into_iter().map(|name| format!("{FOLDER}/{name}")).collect(),
    };
    let mut walk = Walk { disk, tell, verified: Verified::default() };
    if names.contains(manifest::NAME) {
        walk.count(manifest::NAME);
    }
    let files = match Manifest::load(disk) {
        Ok(manifest) => walk.named(manifest, &names),
        Err(error) => {
            walk.fault(error);
            walk.unnamed(&names)
        }
    };
    let at_hand = Arc::new(Files::new(disk.clone(), 0, 1));
    for meta in files {
        walk.count(&file_name(meta.id));
        walk.verified.trees.insert(meta.tree);
        for error in FileHandle::new(meta, &at_hand).verify() {
            walk.fault(error);
        }
    }
    Ok(walk.verified)
}

struct Walk<'a> {
    disk: &'a Disk,
    tell: &'a mut dyn FnMut(Finding),
    verified: Verified,
}

impl Walk<'_> {
    fn fault(&mut self, error: TreeError) {
        self.verified.faults += 1;
        (self.tell)(Finding::Fault(error));
    }

    fn count(&mut self, file: &str) {
        self.verified.files += 1;
        self.verified.bytes += self.disk.open(file).and_then(|file| file.len()).unwrap_or(0);
    }

    /// The files that the manifest names; tells of those it does not.
    fn named(&mut self, manifest: Option<Manifest>, names: &BTreeSet<String>) -> Vec<FileMeta> {
        let trees = manifest.into_iter().flat_map(|manifest| manifest.trees.into_values());
        let files: Vec<FileMeta> = trees.flat_map(|tree| tree.runs).flat_map(|run| run.files).collect();
        let known: BTreeSet<String> = files.iter().map(|meta| file_name(meta.id)).collect();
        for file in names.iter().filter(|name| *name != manifest::NAME && !known.contains(*name)) {
            (self.tell)(Finding::Leftover { file: file.clone() });
        }
        files
    }

    /// The files there are, as they describe themselves.
    fn unnamed(&mut self, names: &BTreeSet<String>) -> Vec<FileMeta> {
        let why = "which files of the trees count, and whether any is missing: only the manifest knows";
        (self.tell)(Finding::Unchecked(why.to_owned()));
        let mut files = Vec::new();
        for id in names.iter().filter_map(|name| id_of(name)) {
            match describe(self.disk, id) {
                Ok(meta) => files.push(meta),
                Err(error) => {
                    self.count(&file_name(id));
                    self.fault(error);
                }
            }
        }
        files
    }
}

/// The id of the data file of this name.
fn id_of(name: &str) -> Option<u64> {
    let id = name.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".tree")?.parse().ok()?;
    (file_name(id) == name).then_some(id)
}

/// What a file's footer says about it.
fn describe(disk: &Disk, id: u64) -> Result<FileMeta, TreeError> {
    let name = file_name(id);
    let damaged = |offset: u64, why: &str| {
        TreeError::Damaged(Damage { file: name.clone(), offset, tree: None, why: why.to_owned() })
    };
    let file = disk.open(&name)?;
    let bytes = file.len()?;
    let Some(at) = bytes.checked_sub(FOOTER as u64) else {
        return Err(damaged(bytes, "it is too short to be a data file"));
    };
    let mut footer = [0; FOOTER];
    file.read_at(&mut footer, at)?;
    let footer = Footer::decode(&footer).map_err(|error| match error {
        NoFooter::Version(version) => TreeError::Version { file: name.clone(), version },
        NoFooter::Damaged => damaged(at, "the footer fails its checksum"),
    })?;
    Ok(FileMeta {
        id,
        tree: footer.tree,
        bytes,
        entries: footer.entries,
        oldest: footer.oldest,
        from: Bytes::new(),
        to: None,
        has_ranges: footer.ranges.height > 0,
        spent: Spent::NONE,
    })
}
