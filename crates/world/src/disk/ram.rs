//! Files in memory. Without a [`Journal`] this is the RAM disk of `--in-memory`; with one it also
//! remembers what a power cut may take back, and is the simulated disk of the tests.
//!
//! Every file is two contents: `now`, which reads see, and `durable` with the list of `pending`
//! changes since the last sync. Every folder is likewise the names that are, the names that are
//! durable, and the changes between. A power cut (see [`super::sim`]) builds what comes up again
//! from the durable part and any subset of the pending one.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    DiskError, Fault, Occurrence, Operation, Outcome,
    fault::Operation::{Create, Link, List, MakeFolder, Open, Read, Remove, Rename, Sync, SyncFolder, Write},
    folder_of,
    pages::Pages,
};
use crate::Entropy;

/// One disk, shared by its handles.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Ram>>);

#[derive(Debug)]
pub(super) struct RamFile {
    shared: Shared,
    inode: u64,
    boot: u64,
}

#[derive(Debug)]
pub(super) struct RamLock {
    shared: Shared,
    boot: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Ram {
    pub(super) names: BTreeMap<String, u64>,
    folders: BTreeSet<String>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) capacity_bytes: u64,
    locked: bool,
    /// Counts power cuts: handles and locks from before one are dead.
    boot: u64,
    pub(super) journal: Option<Box<Journal>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) now: Pages,
    pub(super) durable: Pages,
    pub(super) pending: Vec<Pending>,
    /// Open handles, which keep a removed file.
    pub(super) handles: u64,
}

/// A change to a file's bytes that was not synced.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Len(u64),
    Write { offset: u64, bytes: Arc<[u8]> },
}

/// A change to the names of a folder that was not synced.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Remove { name: String, inode: u64 },
}

/// What only a disk that can suffer needs.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) durable_names: BTreeMap<String, u64>,
    pub(super) name_changes: Vec<NameChange>,
    pub(super) random: Entropy,
    pub(super) ops: u64,
    pub(super) powered: bool,
    /// Faults to come, each with how many operations have matched it.
    pub(super) faults: Vec<(Fault, u64)>,
    /// How often one of them happened.
    pub(super) injected: u64,
    /// The operations there were, when asked for.
    pub(super) trace: Option<Vec<(Operation, String)>>,
    /// Of a hundred reads that must not wait, how many would have to.
    pub(super) waits_percent: u64,
    /// The disk as it was before each operation, when asked for.
    pub(super) boundaries: Option<Vec<Ram>>,
}

impl Shared {
    pub(super) fn new(seed: Option<u64>) -> Shared {
        Shared::of(Ram {
            names: BTreeMap::new(),
            folders: BTreeSet::from([String::new()]),
            inodes: BTreeMap::new(),
            next_inode: 0,
            capacity_bytes: u64::MAX,
            locked: false,
            boot: 0,
            journal: seed.map(|seed| Box::new(Journal::new(seed))),
        })
    }

    pub(super) fn of(ram: Ram) -> Shared {
        Shared(Arc::new(Mutex::new(ram)))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Ram> {
        // A panic of another test thread while it held the lock leaves plain values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn make_folder(&self, name: &str) -> Result<(), DiskError> {
        let mut ram = self.state();
        ram.begin(MakeFolder, name)?;
        ram.folders.insert(name.to_owned());
        Ok(())
    }

    pub(super) fn create(&self, name: &str, len: u64) -> Result<RamFile, DiskError> {
        let mut ram = self.state();
        let failing = ram.begin(Create, name)?;
        if !ram.folders.contains(folder_of(name)) {
            return Err(DiskError::NotFound { path: name.to_owned() });
        }
        if ram.names.contains_key(name) {
            return Err(DiskError::Exists { path: name.to_owned() });
        }
        if len > ram.free_bytes() {
            return Err(DiskError::Full { path: name.to_owned() });
        }
        let inode = ram.next_inode;
        ram.next_inode += 1;
        let mut file = Inode { handles: u64::from(failing.is_none()), ..Inode::default() };
        file.now.set_len(len);
        if ram.change_names(|| NameChange::Create { name: name.to_owned(), inode }) {
            file.pending.push(Pending::Len(len));
        }
        ram.inodes.insert(inode, file);
        ram.names.insert(name.to_owned(), inode);
        told(failing)?;
        Ok(RamFile { shared: self.clone(), inode, boot: ram.boot })
    }

    pub(super) fn open(&self, name: &str) -> Result<RamFile, DiskError> {
        let mut ram = self.state();
        ram.begin(Open, name)?;
        let inode = ram.find(name)?;
        ram.inodes.get_mut(&inode).expect("a name leads to an inode").handles += 1;
        Ok(RamFile { shared: self.clone(), inode, boot: ram.boot })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut ram = self.state();
        let failing = ram.begin_between(Rename, from, to)?;
        let inode = ram.find(from)?;
        if !ram.folders.contains(folder_of(to)) {
            return Err(DiskError::NotFound { path: to.to_owned() });
        }
        ram.names.remove(from);
        let replaced = ram.names.insert(to.to_owned(), inode);
        ram.change_names(|| NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        if let Some(replaced) = replaced {
            ram.release(replaced);
        }
        told(failing)
    }

    pub(super) fn link(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut ram = self.state();
        let failing = ram.begin_between(Link, from, to)?;
        let inode = ram.find(from)?;
        if !ram.folders.contains(folder_of(to)) {
            return Err(DiskError::NotFound { path: to.to_owned() });
        }
        if ram.names.contains_key(to) {
            return Err(DiskError::Exists { path: to.to_owned() });
        }
        ram.names.insert(to.to_owned(), inode);
        ram.change_names(|| NameChange::Create { name: to.to_owned(), inode });
        told(failing)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut ram = self.state();
        let failing = ram.begin(Remove, name)?;
        let inode = ram.find(name)?;
        ram.names.remove(name);
        ram.change_names(|| NameChange::Remove { name: name.to_owned(), inode });
        ram.release(inode);
        told(failing)
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let mut ram = self.state();
        ram.begin(List, folder)?;
        if !ram.folders.contains(folder) {
            return Err(DiskError::NotFound { path: folder.to_owned() });
        }
        let inside = ram.names.keys().filter(|name| folder_of(name) == folder);
        Ok(inside.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    pub(super) fn sync_folder(&self, folder: &str) -> Result<(), DiskError> {
        let mut ram = self.state();
        let failing = ram.begin(SyncFolder, folder)?;
        let Some(journal) = &mut ram.journal else { return Ok(()) };
        for change in mem::take(&mut journal.name_changes) {
            // A file system that cannot write names stops writing them; it does not forget that
            // it owes them, as the page cache forgets bytes.
            if change.folder() != folder || failing.is_some() && journal.random.below(2) == 0 {
                journal.name_changes.push(change);
            } else {
                change.apply(&mut journal.durable_names);
            }
        }
        ram.release_unreachable();
        told(failing)
    }

    pub(super) fn lock(&self) -> Result<RamLock, DiskError> {
        let mut ram = self.state();
        ram.powered("lock", super::LOCK_FILE)?;
        if mem::replace(&mut ram.locked, true) {
            return Err(DiskError::Locked {
                path: super::LOCK_FILE.to_owned(),
                holder: Some(std::process::id()),
            });
        }
        Ok(RamLock { shared: self.clone(), boot: ram.boot })
    }
}

impl Drop for RamLock {
    fn drop(&mut self) {
        let mut ram = self.shared.state();
        if ram.boot == self.boot {
            ram.locked = false;
        }
    }
}

impl RamFile {
    pub(super) fn len(&self, name: &str) -> Result<u64, DiskError> {
        let mut ram = self.shared.state();
        told(ram.begin(Read, name)?)?;
        Ok(self.inode(&mut ram, name)?.now.len())
    }

    pub(super) fn read_at(&self, name: &str, buffer: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let mut ram = self.shared.state();
        let failing = ram.begin(Read, name)?;
        let part = if failing.is_some() { buffer.len() / 2 } else { buffer.len() };
        if self.inode(&mut ram, name)?.now.read(&mut buffer[..part], offset) {
            told(failing)
        } else {
            Err(DiskError::failed("read", name, "the file ends before"))
        }
    }

    pub(super) fn read_now(&self, name: &str, buffer: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        let mut ram = self.shared.state();
        if let Some(journal) = &ram.journal
            && journal.waits_percent > 0
            && journal.random.below(100) < journal.waits_percent
        {
            return Ok(false);
        }
        told(ram.begin(Read, name)?)?;
        Ok(self.inode(&mut ram, name)?.now.read(buffer, offset))
    }

    pub(super) fn write_at(&self, name: &str, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let mut ram = self.shared.state();
        let failing = ram.begin(Write, name)?;
        let end = offset.checked_add(bytes.len() as u64);
        let grows = end.map(|end| end.saturating_sub(self.inode(&mut ram, name).map_or(0, |i| i.now.len())));
        if grows.is_none_or(|grows| grows > ram.free_bytes()) {
            return Err(DiskError::Full { path: name.to_owned() });
        }
        // A failing device has taken some of it.
        let bytes = match (&ram.journal, &failing) {
            (Some(journal), Some(_)) => &bytes[..journal.random.below(bytes.len() as u64 + 1) as usize],
            _ => bytes,
        };
        let journaled = ram.journal.is_some();
        let inode = self.inode(&mut ram, name)?;
        inode.now.write(bytes, offset);
        if journaled {
            inode.pending.push(Pending::Write { offset, bytes: bytes.into() });
        }
        told(failing)
    }

    pub(super) fn sync_data(&self, name: &str) -> Result<(), DiskError> {
        let mut ram = self.shared.state();
        let failing = ram.begin(Sync, name)?;
        let random = ram.journal.as_ref().map(|journal| journal.random.clone());
        let inode = self.inode(&mut ram, name)?;
        for change in mem::take(&mut inode.pending) {
            // After a failed sync the page cache says "clean" of what never reached the device:
            // reads still see it, no later sync writes it.
            let lost = failing.is_some() && random.as_ref().is_some_and(|random| random.below(2) == 0);
            if !lost {
                change.apply(&mut inode.durable);
            }
        }
        told(failing)
    }

    fn inode<'a>(&self, ram: &'a mut Ram, name: &str) -> Result<&'a mut Inode, DiskError> {
        if ram.boot != self.boot {
            return Err(DiskError::failed("use", name, "the file was opened before a power cut"));
        }
        Ok(ram.inodes.get_mut(&self.inode).expect("an open file keeps its inode"))
    }
}

impl Drop for RamFile {
    fn drop(&mut self) {
        let mut ram = self.shared.state();
        if ram.boot == self.boot {
            if let Some(inode) = ram.inodes.get_mut(&self.inode) {
                inode.handles -= 1;
            }
            ram.release(self.inode);
        }
    }
}

/// The end of an operation that has done what it does, or the part of it that it could.
fn told(failing: Option<DiskError>) -> Result<(), DiskError> {
    failing.map_or(Ok(()), Err)
}

impl Ram {
    fn find(&self, name: &str) -> Result<u64, DiskError> {
        self.names.get(name).copied().ok_or_else(|| DiskError::NotFound { path: name.to_owned() })
    }

    fn free_bytes(&self) -> u64 {
        if self.capacity_bytes == u64::MAX {
            return u64::MAX;
        }
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    /// The sum of the lengths of its files. What only a power cut could bring back takes no room.
    pub(super) fn used_bytes(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        let there = self.inodes.iter().filter(|(id, inode)| inode.handles > 0 || named.contains(id));
        there.map(|(_, inode)| inode.now.len()).sum()
    }

    fn powered(&self, op: &'static str, name: &str) -> Result<(), DiskError> {
        match &self.journal {
            Some(journal) if !journal.powered => Err(DiskError::failed(op, name, "the power is cut")),
            _ => Ok(()),
        }
    }

    /// [`Ram::begin_between`] for an operation that has to do with one name.
    fn begin(&mut self, operation: Operation, name: &str) -> Result<Option<DiskError>, DiskError> {
        self.begin_between(operation, name, name)
    }

    /// One operation begins: counts it, remembers the boundary, and looks whether a fault is to
    /// happen to it. An error means that it does nothing, `Some` that it does a part (all, if it
    /// knows no parts) and then fails so.
    fn begin_between(
        &mut self,
        operation: Operation,
        name: &str,
        other: &str,
    ) -> Result<Option<DiskError>, DiskError> {
        self.powered(operation.word(), name)?;
        if operation.changes() && self.journal.as_ref().is_some_and(|journal| journal.boundaries.is_some()) {
            let boundary = self.boundary();
            if let Some(boundaries) = self.journal.as_mut().and_then(|journal| journal.boundaries.as_mut()) {
                boundaries.push(boundary);
            }
        }
        let Some(journal) = &mut self.journal else { return Ok(None) };
        if let Some(trace) = &mut journal.trace {
            trace.push((operation, name.to_owned()));
        }
        let outcome = journal.suffer(operation, name, other);
        let failed = || DiskError::failed(operation.word(), name, "the device failed (injected)");
        let full = || DiskError::Full { path: name.to_owned() };
        if outcome != Some(Outcome::Cut) {
            journal.ops += u64::from(operation.changes());
        }
        match outcome {
            None => Ok(None),
            Some(Outcome::Fail) if matches!(operation, Sync | SyncFolder) => Ok(Some(failed())),
            Some(Outcome::Fail) => Err(failed()),
            Some(Outcome::Short) => Ok(Some(failed())),
            Some(Outcome::Full) if matches!(operation, Write | Sync | SyncFolder) => Ok(Some(full())),
            Some(Outcome::Full) => Err(full()),
            Some(Outcome::Cut) => {
                journal.powered = false;
                self.powered(operation.word(), name).map(|()| None)
            }
        }
    }

    /// Begins the life of another process, with the power on and no faults to come: handles and
    /// locks from before are strangers.
    pub(super) fn restart(&mut self) {
        self.locked = false;
        self.boot += 1;
        for inode in self.inodes.values_mut() {
            inode.handles = 0;
        }
        if let Some(journal) = &mut self.journal {
            journal.powered = true;
            journal.faults.clear();
        }
    }

    /// A copy without the boundaries collected so far.
    pub(super) fn boundary(&mut self) -> Ram {
        let boundaries = self.journal.as_mut().and_then(|journal| journal.boundaries.take());
        let copy = self.clone();
        if let Some(journal) = &mut self.journal {
            journal.boundaries = boundaries;
        }
        copy
    }

    /// Journals a change of names; returns whether there is a journal.
    fn change_names(&mut self, change: impl FnOnce() -> NameChange) -> bool {
        match &mut self.journal {
            Some(journal) => {
                journal.name_changes.push(change());
                true
            }
            None => false,
        }
    }

    /// Frees an inode that no name, handle or possible future needs.
    fn release(&mut self, inode: u64) {
        let held = self.inodes.get(&inode).is_some_and(|inode| inode.handles > 0);
        let named = |names: &BTreeMap<String, u64>| names.values().any(|&named| named == inode);
        let in_future = self.journal.as_ref().is_some_and(|journal| {
            named(&journal.durable_names) || journal.name_changes.iter().any(|change| change.inode() == inode)
        });
        if !held && !in_future && !named(&self.names) {
            self.inodes.remove(&inode);
        }
    }

    /// [`Ram::release`] for every inode.
    pub(super) fn release_unreachable(&mut self) {
        for inode in self.inodes.keys().copied().collect::<Vec<_>>() {
            self.release(inode);
        }
    }
}

impl Journal {
    fn new(seed: u64) -> Journal {
        Journal {
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            random: Entropy::seeded(seed),
            ops: 0,
            powered: true,
            faults: Vec::new(),
            injected: 0,
            trace: None,
            waits_percent: 0,
            boundaries: None,
        }
    }
}

impl Journal {
    /// What is to happen to an operation, by the first fault that says so.
    fn suffer(&mut self, operation: Operation, name: &str, other: &str) -> Option<Outcome> {
        let mut outcome = None;
        for (fault, seen) in &mut self.faults {
            if !fault.matches(operation, name) && !fault.matches(operation, other) {
                continue;
            }
            *seen += 1;
            let happens = match fault.occurrence {
                Occurrence::Nth(n) => *seen == n,
                Occurrence::Every => true,
                Occurrence::OneIn(n) => self.random.below(n) == 0,
            };
            if happens {
                outcome = outcome.or(Some(fault.outcome));
            }
        }
        self.injected += u64::from(outcome.is_some());
        outcome
    }
}

impl Pending {
    pub(super) fn apply(&self, pages: &mut Pages) {
        match self {
            Pending::Len(len) => pages.set_len(*len),
            Pending::Write { offset, bytes } => pages.write(bytes, *offset),
        }
    }
}

impl NameChange {
    fn folder(&self) -> &str {
        match self {
            NameChange::Create { name, .. } | NameChange::Remove { name, .. } => folder_of(name),
            NameChange::Rename { to, .. } => folder_of(to),
        }
    }

    fn inode(&self) -> u64 {
        match self {
            NameChange::Create { inode, .. }
            | NameChange::Rename { inode, .. }
            | NameChange::Remove { inode, .. } => *inode,
        }
    }

    /// Applies it to durable names, of which changes before it may be missing.
    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name, inode } => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}
