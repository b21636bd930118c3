//! The durable state of a Machine under test, as plain as can be.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

#[cfg(test)]
use base::Cause;
use bytes::Bytes;
use store::{Changes, Job, MachineState, Patience, Records, Unread};

/// Keys and values. A clone is a copy, as it is then.
#[derive(Default)]
pub(crate) struct Durable {
    shelf: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    records: Mutex<BTreeMap<Bytes, Bytes>>,
    /// Where reads have to wait for what was not read a moment ago: what was.
    warm: Option<Mutex<BTreeSet<Bytes>>>,
    /// How often what is there was read by somebody who waits for the disk.
    waits: AtomicU64,
    /// How often a key was looked for.
    looks: AtomicU64,
    /// Work that waits until it is told to go on, if it does.
    held: Mutex<Option<VecDeque<Job>>>,
}

impl Clone for Durable {
    fn clone(&self) -> Durable {
        let copy = Durable::of(self.map());
        if self.shelf.warm.is_some() { copy.cold() } else { copy }
    }
}

impl PartialEq for Durable {
    fn eq(&self, other: &Durable) -> bool {
        self.map() == other.map()
    }
}

impl Durable {
    pub(crate) fn of(records: BTreeMap<Bytes, Bytes>) -> Durable {
        Durable { shelf: Arc::new(Shelf { records: Mutex::new(records), ..Shelf::default() }) }
    }

    /// The same on a slow disk.
    pub(crate) fn cold(&self) -> Durable {
        let (records, warm) = (Mutex::new(self.map()), Some(Mutex::default()));
        Durable { shelf: Arc::new(Shelf { records, warm, ..Shelf::default() }) }
    }

    pub(crate) fn map(&self) -> BTreeMap<Bytes, Bytes> {
        self.shelf.records.lock().unwrap().clone()
    }

    /// How often what is there was read by somebody who waits for the disk.
    pub(crate) fn waits(&self) -> u64 {
        self.shelf.waits.load(Ordering::Relaxed)
    }

    /// How often a key was looked for.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.shelf.looks.load(Ordering::Relaxed)
    }

    /// The very same.
    #[cfg(test)]
    pub(crate) fn same(&self) -> Durable {
        Durable { shelf: self.shelf.clone() }
    }

    /// From now on, work that may wait for the disk does.
    #[cfg(test)]
    pub(crate) fn hold(&self) {
        self.shelf.held.lock().unwrap().get_or_insert_default();
    }

    /// Has the oldest of it done; whether there was any.
    #[cfg(test)]
    pub(crate) fn run_one(&self) -> bool {
        let job = self.shelf.held.lock().unwrap().as_mut().and_then(VecDeque::pop_front);
        job.map(|job| job(Ok(()))).is_some()
    }

    /// What [`store::Machine::restore`] gets.
    pub(crate) fn handle(&self) -> Arc<dyn MachineState> {
        self.shelf.clone()
    }

    /// Takes in what entries changed.
    pub(crate) fn take(&mut self, changes: &mut Changes) {
        let mut records = self.shelf.records.lock().unwrap();
        for (key, value) in changes.drain() {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
    }
}

impl Shelf {
    /// Whether `key` can be read now. What waits is warm the next time, if that is soon.
    fn is_here(&self, key: &[u8], patience: Patience) -> Result<(), Unread> {
        let Some(warm) = &self.warm else { return Ok(()) };
        let mut warm = warm.lock().unwrap();
        match patience {
            Patience::Now if warm.remove(key) => Ok(()),
            Patience::Now => Err(Unread::NotNow),
            Patience::Wait => {
                self.waits
                    .fetch_add(u64::from(self.records.lock().unwrap().contains_key(key)), Ordering::Relaxed);
                warm.insert(Bytes::copy_from_slice(key));
                Ok(())
            }
        }
    }
}

impl MachineState for Shelf {
    fn get(&self, key: &[u8], patience: Patience) -> Result<Option<Bytes>, Unread> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.is_here(key, patience)?;
        Ok(self.records.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, patience: Patience) -> Result<Records, Unread> {
        self.is_here(from, patience)?;
        let records = self.records.lock().unwrap();
        let within = records.iter().filter(|(key, _)| ***key >= *from && to.is_none_or(|to| &***key < to));
        let found: Vec<_> = within.map(|(key, value)| Ok((key.clone(), value.clone()))).collect();
        Ok(Box::new(found.into_iter()))
    }

    fn defer(&self, job: Job) {
        let mut held = self.held.lock().unwrap();
        match &mut *held {
            Some(held) => held.push_back(job),
            None => {
                drop(held);
                job(Ok(()));
            }
        }
    }
}

/// A state that cannot be read.
#[cfg(test)]
pub(crate) struct Broken;

#[cfg(test)]
impl MachineState for Broken {
    fn get(&self, _: &[u8], _: Patience) -> Result<Option<Bytes>, Unread> {
        Err(Unread::Failed(Cause::corrupt("a bad block")))
    }

    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: Patience) -> Result<Records, Unread> {
        Err(Unread::Failed(Cause::corrupt("a bad block")))
    }

    fn defer(&self, job: Job) {
        job(Ok(()));
    }
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.map().fmt(f)
    }
}
