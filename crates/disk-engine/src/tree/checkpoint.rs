//! Checkpoints: a copy of a forest that costs no bytes, because files never change and a file system
//! can give them another name.
//!
//! A checkpoint is a folder of the same disk with a manifest and a hard link to each file that it
//! names. It is whole when its manifest is there, which is written last; a folder without one is what
//! a power cut left, and the next checkpoint of that name begins anew. What is in memtables only is
//! not in it: who wants that too freezes and works first, or keeps the log from
//! [`Forest::pinned`] on. Moved to where a node expects its `tree` folder, it is a forest.

use world::{Disk, DiskError};

use super::{
    TreeError,
    file::damage,
    forest::{Forest, lock},
    format::file_name,
};

impl Forest {
    /// Makes a checkpoint of all files in the folder `checkpoint-` and `name`, which must be none yet.
    /// Durable when it returns; reads and writes go on meanwhile, [`Forest::work`] waits.
    ///
    /// # Errors
    /// [`TreeError::Disk`] with [`DiskError::Exists`] if there is such a checkpoint, or with what
    /// failed; [`TreeError::Full`]. The forest itself is as it was, and what was begun is removed
    /// by the next attempt.
    pub fn checkpoint(&self, name: &str) -> Result<(), TreeError> {
        let inner = &self.inner;
        inner.check_alive()?;
        // Held to the end, so that no file of this manifest is removed.
        let upkeep = lock(&inner.upkeep);
        let manifest = &upkeep.manifest;
        let (disk, folder) = (&inner.disk, folder_of(name));
        begin(disk, &folder)?;
        for file in manifest.trees.values().flat_map(|tree| &tree.runs).flat_map(|run| &run.files) {
            let from = file_name(file.id);
            let to = in_folder(&folder, from.rsplit('/').next().unwrap_or(&from));
            disk.link(&from, &to).map_err(|error| match error {
                DiskError::NotFound { .. } => damage(&from, 0, file.tree, "the file is missing"),
                error => error.into(),
            })?;
        }
        disk.sync_folder(&folder)?;
        Ok(disk.replace(&in_folder(&folder, MANIFEST), &manifest.encode())?)
    }

    /// Removes a checkpoint. What it shares with the forest or with other checkpoints stays.
    ///
    /// # Errors
    /// [`TreeError::Disk`]; it is no checkpoint any more then, and removing it may be tried again.
    pub fn remove_checkpoint(&self, name: &str) -> Result<(), TreeError> {
        let (disk, folder) = (&self.inner.disk, folder_of(name));
        let manifest = in_folder(&folder, MANIFEST);
        match disk.remove(&manifest) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // First and durably: a manifest without its files would be damage.
        disk.sync_folder(&folder)?;
        clear(disk, &folder)
    }
}

const MANIFEST: &str = "MANIFEST";

/// No other folder of a disk is called so: what is in it may be removed.
fn folder_of(name: &str) -> String {
    format!("checkpoint-{name}")
}

/// Makes the folder, and removes what an attempt that did not end has left.
fn begin(disk: &Disk, folder: &str) -> Result<(), TreeError> {
    disk.make_folder(folder)?;
    if disk.list(folder)?.iter().any(|file| file == MANIFEST) {
        return Err(DiskError::Exists { path: folder.to_owned() }.into());
    }
    clear(disk, folder)
}

/// Removes the files of a folder.
fn clear(disk: &Disk, folder: &str) -> Result<(), TreeError> {
    for file in disk.list(folder)? {
        disk.remove(&in_folder(folder, &file))?;
    }
    Ok(disk.sync_folder(folder)?)
}

fn in_folder(folder: &str, file: &str) -> String {
    format!("{folder}/{file}")
}
