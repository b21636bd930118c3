//! [`Files`]: what a forest has at hand of its files: some of them open, some of their blocks in
//! memory.
//!
//! A forest may have more files than a process may have descriptors, so only those that were read
//! last stay open. Readers of a file that is closed under them keep it: it is closed when the last
//! of them is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use world::{Disk, File};

use super::{Patience, TreeError, cache::Cache, format::file_name, row_cache::RowCache};

#[derive(Debug)]
pub(crate) struct Files {
    disk: Disk,
    pub(crate) cache: Cache,
    pub(crate) rows: RowCache,
    most_open: usize,
    open: Mutex<Open>,
}

/// Open files by id, and by when they were asked for.
#[derive(Debug, Default)]
struct Open {
    by_id: BTreeMap<u64, (u64, Arc<File>)>,
    by_use: BTreeMap<u64, u64>,
    uses: u64,
}

impl Files {
    pub(crate) fn new(disk: Disk, cache_bytes: usize, most_open: usize) -> Files {
        Files {
            disk,
            cache: Cache::new(cache_bytes),
            rows: RowCache::new(cache_bytes),
            most_open,
            open: Mutex::default(),
        }
    }

    /// A file, open.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] if it has to be opened, which asks the device for its entry in the folder;
    /// what the disk says, otherwise.
    pub(crate) fn file(&self, id: u64, patience: Patience) -> Result<Arc<File>, TreeError> {
        if let Some(file) = self.lock().touch(id) {
            return Ok(file);
        }
        if patience == Patience::Now && self.disk.is_real() {
            return Err(TreeError::NotNow);
        }
        // Not under the lock: others go on reading meanwhile.
        let file = Arc::new(self.disk.open(&file_name(id))?);
        let mut open = self.lock();
        open.put(id, file.clone());
        while open.by_id.len() > self.most_open
            && let Some((_, oldest)) = open.by_use.pop_first()
        {
            open.by_id.remove(&oldest);
        }
        Ok(file)
    }

    /// Closes a file that is to be removed, and forgets its blocks.
    pub(crate) fn forget(&self, id: u64) {
        let mut open = self.lock();
        if let Some((used, _)) = open.by_id.remove(&id) {
            open.by_use.remove(&used);
        }
        drop(open);
        self.cache.forget_file(id);
    }

    /// How many files are open.
    #[cfg(test)]
    pub(crate) fn open_files(&self) -> usize {
        self.lock().by_id.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // What a panicked thread leaves is plain values, at worst a file open for too long.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn touch(&mut self, id: u64) -> Option<Arc<File>> {
        let (used, file) = self.by_id.get_mut(&id)?;
        self.uses += 1;
        self.by_use.remove(used);
        self.by_use.insert(self.uses, id);
        *used = self.uses;
        Some(file.clone())
    }

    fn put(&mut self, id: u64, file: Arc<File>) {
        self.uses += 1;
        if let Some((used, _)) = self.by_id.insert(id, (self.uses, file)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, id);
    }
}
