//! A Machine's durable state: a tree of its own in the engine.
//!
//! ```text
//! 0x00              the index of the last entry applied, u64
//! 0x00 | ...        what else the group has to know of the state (see [`crate::group`])
//! 0x01 | key        what the Machine has put under that key
//! ```
//! State and index are one batch, at the position in the log from which on it is needed. What is in files
//! when a node dies is therefore the state after some entry, and says after which: the entries
//! behind it are applied again. (An index that lags behind the state lets entries be applied twice;
//! that is how etcd 3.5.0 to 3.5.2 lost data.)

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base::{Cause, GroupId, Position, Reader};
use bytes::Bytes;
use disk_engine::{
    Engine,
    tree::{self, Batch, Forest, Stage, TreeError, TreeId, decode_latest, encode_latest},
};
use store::{Changes, Job, MachineState, Patience, Records, Unread};

use crate::{readers::Readers, settings::Sabotage, snapshot::CutTree};

const APPLIED: &[u8] = &[0];
/// The first byte of the keys under which the group keeps things, which are longer.
pub(crate) const GROUPS: u8 = 0;
const BEHIND_STATE: &[u8] = &[2];

/// The tree of one Machine. Clones are the same tree.
#[derive(Clone)]
pub(crate) struct StateTree {
    forest: Forest,
    tree: TreeId,
    generation: u64,
    group: GroupId,
    readers: Arc<Readers>,
    /// Another tree has taken its place.
    retired: Arc<AtomicBool>,
    index_lags: bool,
}

impl StateTree {
    pub(crate) fn new(forest: Forest, group: GroupId, generation: u64, readers: Arc<Readers>) -> StateTree {
        let tree = Engine::machine_tree(group, generation);
        let retired = Arc::default();
        StateTree { forest, tree, generation, group, readers, retired, index_lags: false }
    }

    /// The state of the same Machine in another tree.
    pub(crate) fn of_generation(&self, generation: u64) -> StateTree {
        let (forest, readers) = (self.forest.clone(), self.readers.clone());
        let state = StateTree::new(forest, self.group, generation, readers);
        StateTree { index_lags: self.index_lags, ..state }
    }

    /// The keys and values that the Machine has put.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<(Bytes, Bytes)> {
        let all = self.scan(&[], None, Patience::Wait).and_then(Iterator::collect);
        all.unwrap_or_else(|unread| panic!("{unread:?}"))
    }

    /// Which of the Machine's trees it is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// One that no tree of the Machine has or had, as far as the disk knows.
    pub(crate) fn next_generation(&self) -> u64 {
        let others = others_of(&self.forest, self.group, self.generation);
        1 + others.map(|(generation, _)| generation).chain([self.generation]).max().unwrap_or(0)
    }

    /// Trees of the same Machine that hold no state that counts.
    pub(crate) fn orphans(&self) -> Vec<TreeId> {
        others_of(&self.forest, self.group, self.generation).map(|(_, tree)| tree).collect()
    }

    /// The state as it is now, for as long as it is held.
    pub(crate) fn cut(&self) -> CutTree {
        CutTree { snapshot: Arc::new(self.forest.snapshot()), tree: self.tree }
    }

    /// The beginning of a tree of another generation.
    pub(crate) fn stage(&self, generation: u64) -> Stage {
        self.forest.stage(Engine::machine_tree(self.group, generation))
    }

    /// Another tree takes its place: whoever still reads this one is told so, instead of finding nothing when
    /// it is dropped.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), Unread> {
        let busy = || Unread::Failed(Cause::busy("the state was replaced by a later one"));
        if self.retired.load(Ordering::Acquire) { Err(busy()) } else { Ok(()) }
    }

    /// Plants the bug of that name.
    pub(crate) fn sabotaged(mut self, sabotage: Option<Sabotage>) -> StateTree {
        self.index_lags = sabotage == Some(Sabotage::IndexLags);
        self
    }

    /// The index of the last entry whose changes are in here; 0 before the first.
    pub(crate) fn applied(&self) -> Result<u64, Cause> {
        let Some(value) = self.forest.get(self.tree, APPLIED)? else { return Ok(0) };
        let Some(index) = decode_latest(&value)? else { return Ok(0) };
        Ok(Reader::new(&index).u64("applied index")?)
    }

    /// What the group keeps under `key`, which begins with [`GROUPS`].
    pub(crate) fn of_group(&self, key: &[u8]) -> Result<Option<Bytes>, Cause> {
        let Some(value) = self.forest.get(self.tree, key)? else { return Ok(None) };
        Ok(decode_latest(&value)?)
    }

    /// What the group keeps under the keys that begin with `prefix`, which begins with [`GROUPS`] and does
    /// not end with 255.
    pub(crate) fn all_of_group(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Cause> {
        let mut end = prefix.to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut all = Vec::new();
        let (from, to) = (Bytes::copy_from_slice(prefix), Some(end.into()));
        for found in self.forest.scan_with(self.tree, from, to, false, tree::Patience::Wait)? {
            let (key, value) = found?;
            if let Some(value) = decode_latest(&value)? {
                all.push((key, value));
            }
        }
        Ok(all)
    }

    /// Writes what entries have changed, of which the first stands at `position` in the log, and the
    /// last has this index; and what the group keeps, under keys that begin with [`GROUPS`].
    pub(crate) fn write(
        &self,
        position: Position,
        index: u64,
        changes: &mut Changes,
        of_group: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<(), Cause> {
        let mut batch = Batch::new();
        for (key, value) in of_group.drain(..) {
            batch.put(self.tree, key, encode_latest(Some(&value)));
        }
        // Before the Machine's keys stands the mark, and before its values the same byte, which is how the
        // tree's rule tells a value from a deletion ([`encode_latest`]).
        for (key, value) in changes.drain_marked() {
            batch.put(self.tree, key, value.unwrap_or_else(|| encode_latest(None)));
        }
        let index = index - u64::from(self.index_lags);
        batch.put(self.tree, Bytes::from_static(APPLIED), encode_latest(Some(&index.to_le_bytes())));
        Ok(self.forest.apply(position, batch)?)
    }
}

/// The trees of a Machine but for one, dropped ones that are remembered included, with their generations.
fn others_of(forest: &Forest, group: GroupId, but: u64) -> impl Iterator<Item = (u64, TreeId)> {
    let all = forest.trees().into_iter().chain(forest.dropped());
    all.filter_map(move |tree| {
        let (of, generation) = Engine::machine_of(tree)?;
        (of == group && generation != but).then_some((generation, tree))
    })
}

/// What the Machine reads of it. What it has not written yet is not in here.
impl MachineState for StateTree {
    fn get(&self, key: &[u8], patience: Patience) -> Result<Option<Bytes>, Unread> {
        let value =
            self.forest.get_with(self.tree, &Changes::marked(key), patience_of(patience)).map_err(unread)?;
        // Afterwards: it may have been replaced and dropped meanwhile.
        self.check()?;
        let Some(value) = value else { return Ok(None) };
        decode_latest(&value).map_err(|malformed| Unread::Failed(malformed.into()))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, patience: Patience) -> Result<Records, Unread> {
        let to = to.map_or(Bytes::from_static(BEHIND_STATE), Changes::marked);
        let scan =
            self.forest.scan_with(self.tree, Changes::marked(from), Some(to), false, patience_of(patience));
        let scan = scan.map_err(unread)?;
        // What the scan has begun to read stays until it ends.
        self.check()?;
        Ok(Box::new(scan.filter_map(|found| {
            let live = |(key, value): (Bytes, Bytes)| {
                let value = decode_latest(&value).map_err(|malformed| Unread::Failed(malformed.into()))?;
                Ok(value.map(|value| (key.slice(1..), value)))
            };
            found.map_err(unread).and_then(live).transpose()
        })))
    }

    fn defer(&self, job: Job) {
        self.readers.submit(job);
    }
}

fn patience_of(patience: Patience) -> tree::Patience {
    match patience {
        Patience::Now => tree::Patience::Now,
        Patience::Wait => tree::Patience::Wait,
    }
}

fn unread(error: TreeError) -> Unread {
    match error {
        TreeError::NotNow => Unread::NotNow,
        error => Unread::Failed(error.into()),
    }
}
