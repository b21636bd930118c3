//! [`Files`]: what a forest has at hand of its files: some of them open, some of their blocks in
//! memory.
//!
//! A forest may have more files than a process may have descriptors, so only those that were opened
//! last stay open. Who reads a file remembers it ([`OpenFile`]) and asks here only if it was closed meanwhile, so
//! readers of different files do not meet. (To close the one that was not read for the longest time would be better
//! for more files than may be open, but it takes one lock at every read of every file.) Readers of a file that is
//! closed under them keep it: it is closed when the last of them is done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
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

/// Open files.
#[derive(Debug, Default)]
struct Open {
    by_id: BTreeMap<u64, Arc<File>>,
    /// Their ids, the one that was opened first in front.
    order: VecDeque<u64>,
}

/// A file that is open, unless it was closed since.
#[derive(Debug, Default)]
pub(crate) struct OpenFile(Mutex<Weak<File>>);

impl OpenFile {
    fn get(&self) -> Option<Arc<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    fn set(&self, file: &Arc<File>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(file);
    }
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

    /// A file, open; `last` is where its readers remember it.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] if it has to be opened, which asks the device for its entry in the folder;
    /// what the disk says, otherwise.
    pub(crate) fn file(&self, id: u64, last: &OpenFile, patience: Patience) -> Result<Arc<File>, TreeError> {
        if let Some(file) = last.get() {
            return Ok(file);
        }
        let open = self.lock().by_id.get(&id).cloned();
        let file = match open {
            Some(file) => file,
            None if patience == Patience::Now && self.disk.is_real() => return Err(TreeError::NotNow),
            // Not under the lock: others go on reading meanwhile.
            None => {
                let file = Arc::new(self.disk.open(&file_name(id))?);
                self.lock().keep(id, file, self.most_open)
            }
        };
        last.set(&file);
        Ok(file)
    }

    /// Closes a file that is to be removed, and forgets its blocks.
    pub(crate) fn forget(&self, id: u64) {
        self.lock().forget(id);
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
    /// Keeps a file open, in the place of the one that was opened first if there are too many. If another reader was
    /// quicker, his stays.
    fn keep(&mut self, id: u64, file: Arc<File>, most: usize) -> Arc<File> {
        if let Some(file) = self.by_id.get(&id) {
            return file.clone();
        }
        while self.by_id.len() >= most
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.by_id.insert(id, file.clone());
        self.order.push_back(id);
        file
    }

    fn forget(&mut self, id: u64) {
        if self.by_id.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
        }
    }
}
