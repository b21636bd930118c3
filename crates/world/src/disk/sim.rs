//! [`SimDisk`]: the hand that makes a simulated disk suffer.
//!
//! What a power cut does is the worst that POSIX allows and file systems were seen to do (Pillai
//! et al., "All File Systems Are Not Created Equal", OSDI 2014): of what was not synced, any
//! subset survives, in any order, and each write whole or torn at any byte; so do names.

use std::mem;

use super::{
    Disk, DiskError, Fault, Kind, Operation,
    pages::Pages,
    ram::{Journal, Pending, Ram, Shared},
};
use crate::Entropy;

/// The handle of a simulated disk, made by [`Disk::simulated`]. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Shared);

/// A disk as it was just before one operation: see [`SimDisk::record_boundaries`].
#[derive(Clone, Debug)]
pub struct Boundary(Ram);

impl SimDisk {
    pub(super) fn new(shared: Shared) -> SimDisk {
        SimDisk(shared)
    }

    /// The disk this is the hand of.
    pub fn disk(&self) -> Disk {
        Disk(Kind::Ram(self.0.clone()))
    }

    /// Has `fault` happen, beside those that are to come already, until the next start.
    pub fn inject(&self, fault: Fault) {
        self.journal(|journal| journal.faults.push((fault, 0)));
    }

    /// Has nothing more go wrong.
    pub fn relent(&self) {
        self.journal(|journal| journal.faults.clear());
    }

    /// How many operations went wrong because a fault said so.
    pub fn injected(&self) -> u64 {
        self.journal(|journal| journal.injected)
    }

    /// From now on remembers every operation, for [`SimDisk::take_operations`].
    pub fn record_operations(&self) {
        self.journal(|journal| journal.trace = Some(Vec::new()));
    }

    /// What the disk was asked for since [`SimDisk::record_operations`], in order: the operation,
    /// and the name of the file, or of the folder. Recording ends.
    pub fn take_operations(&self) -> Vec<(Operation, String)> {
        self.journal(|journal| journal.trace.take().unwrap_or_default())
    }

    /// Operations so far that changed the disk or were to make a change durable.
    pub fn ops(&self) -> u64 {
        self.journal(|journal| journal.ops)
    }

    fn journal<T>(&self, what: impl FnOnce(&mut Journal) -> T) -> T {
        let mut ram = self.0.state();
        what(ram.journal.as_mut().expect("a simulated disk has a journal"))
    }

    /// Makes the disk hold at most `bytes` (the sum of the lengths of its files).
    pub fn set_capacity(&self, bytes: u64) {
        self.0.state().capacity_bytes = bytes;
    }

    /// What counts against the capacity.
    pub fn used_bytes(&self) -> u64 {
        self.0.state().used_bytes()
    }

    /// From now on has `percent` of a hundred calls of [`super::File::read_now`] answer that they would
    /// wait, drawn from the disk's seed.
    pub fn set_waits(&self, percent: u64) {
        let mut ram = self.0.state();
        ram.journal.as_mut().expect("a simulated disk has a journal").waits_percent = percent;
    }

    /// Cuts the power (if it is not cut) and starts again: what was not synced survives or not, by
    /// the disk's seed. Files and locks from before are dead; faults that were to come are gone.
    pub fn crash(&self) {
        self.0.state().crash();
    }

    /// Ends the process, not the power: files and locks from before are dead and faults that were
    /// to come are gone, but what was written is still there, and still not synced. Once the power
    /// is cut it is too late for this: then it is a [`SimDisk::crash`].
    pub fn kill(&self) {
        let mut ram = self.0.state();
        if ram.journal.as_ref().is_some_and(|journal| !journal.powered) {
            ram.crash();
        } else {
            ram.restart();
        }
        ram.release_unreachable();
    }

    /// From now on keeps the disk as it is before each operation, for [`SimDisk::take_boundaries`].
    pub fn record_boundaries(&self) {
        self.journal(|journal| journal.boundaries = Some(Vec::new()));
    }

    /// What was recorded since [`SimDisk::record_boundaries`], and the disk as it is now. Entry `n`
    /// is the disk when `n` operations of that time were done. Recording ends.
    pub fn take_boundaries(&self) -> Vec<Boundary> {
        let mut ram = self.0.state();
        let recorded = ram.journal.as_mut().and_then(|journal| journal.boundaries.take());
        let now = ram.clone();
        recorded.into_iter().flatten().chain([now]).map(Boundary).collect()
    }

    /// Inverts bit `bit` (0 to 7) of the byte at `offset` of the file `name`, durably and without
    /// a trace, as bad media does.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> Result<(), DiskError> {
        let mut ram = self.0.state();
        let inode =
            ram.names.get(name).copied().ok_or_else(|| DiskError::NotFound { path: name.to_owned() })?;
        let inode = ram.inodes.get_mut(&inode).expect("a name leads to an inode");
        for pages in [&mut inode.now, &mut inode.durable] {
            let mut byte = [0];
            if pages.read(&mut byte, offset) {
                pages.write(&[byte[0] ^ (1 << bit)], offset);
            }
        }
        Ok(())
    }
}

impl Boundary {
    /// Cuts the power here and starts a disk of its own from what survives, drawn from `seed`.
    pub fn crash(&self, seed: u64) -> (Disk, SimDisk) {
        let mut ram = self.0.clone();
        ram.journal.as_mut().expect("a simulated disk has a journal").random = Entropy::seeded(seed);
        ram.crash();
        let sim = SimDisk(Shared::of(ram));
        (sim.disk(), sim)
    }
}

impl Ram {
    fn crash(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let random = journal.random.clone();
        for change in mem::take(&mut journal.name_changes) {
            if random.below(2) == 0 {
                change.apply(&mut journal.durable_names);
            }
        }
        self.names.clone_from(&journal.durable_names);
        for inode in self.inodes.values_mut() {
            let mut pending = mem::take(&mut inode.pending);
            shuffle(&mut pending, &random);
            for change in &pending {
                survive(change, &mut inode.durable, &random);
            }
            inode.now = inode.durable.clone();
        }
        self.restart();
        self.release_unreachable();
    }
}

/// Applies none, all or a part of one unsynced change.
fn survive(change: &Pending, durable: &mut Pages, random: &Entropy) {
    match (random.below(3), change) {
        (0, _) => {}
        (1, _) => change.apply(durable),
        (_, Pending::Len(len)) => durable.set_len(random.below(len + 1)),
        (_, Pending::Write { offset, bytes }) => tear(*offset, bytes, durable, random),
    }
}

/// Writes a subset of the pieces of one write: a beginning, or pieces here and there.
fn tear(offset: u64, bytes: &[u8], durable: &mut Pages, random: &Entropy) {
    let piece = [1, 8, 64, 512, 4096][random.below(5) as usize];
    let beginning = random.below(2) == 0;
    let end = random.below(bytes.len() as u64 + 1) as usize;
    for (index, part) in bytes.chunks(piece).enumerate() {
        let kept = if beginning { (index + 1) * piece <= end } else { random.below(2) == 0 };
        if kept {
            durable.write(part, offset + (index * piece) as u64);
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], random: &Entropy) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last as u64 + 1) as usize);
    }
}
