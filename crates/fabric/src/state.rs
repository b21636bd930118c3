//! A Machine's durable state: a tree of its own in the engine.
//!
//! ```text
//! 0x00              the index of the last entry applied, u64
//! 0x01 | key        what the Machine has put under that key
//! ```
//! State and index are one batch, at the position in the log from which on it is needed. What is in files
//! when a node dies is therefore the state after some entry, and says after which: the entries
//! behind it are applied again. (An index that lags behind the state lets entries be applied twice;
//! that is how etcd 3.5.0 to 3.5.2 lost data.)

use base::{Cause, GroupId, Position, Reader};
use bytes::Bytes;
use disk_engine::{
    Engine,
    tree::{Batch, Forest, TreeId, decode_latest, encode_latest},
};
use store::{Changes, Machine};

const APPLIED: &[u8] = &[0];
/// Before the Machine's keys. Before its values stands the same byte, which is how the tree's rule
/// tells a value from a deletion ([`encode_latest`]).
const STATE: u8 = Changes::MARK;
const BEHIND_STATE: &[u8] = &[2];

/// The tree of one Machine.
pub(crate) struct StateTree {
    forest: Forest,
    tree: TreeId,
    #[cfg(test)]
    index_lags: bool,
}

impl StateTree {
    pub(crate) fn new(forest: Forest, group: GroupId) -> StateTree {
        StateTree {
            forest,
            tree: Engine::machine_tree(group),
            #[cfg(test)]
            index_lags: false,
        }
    }

    /// Plants the bug of that name.
    #[cfg(test)]
    pub(crate) fn sabotage(&mut self, sabotage: Option<crate::settings::Sabotage>) {
        self.index_lags = sabotage == Some(crate::settings::Sabotage::IndexLags);
    }

    /// The index of the last entry whose changes are in here; 0 before the first.
    pub(crate) fn applied(&self) -> Result<u64, Cause> {
        let Some(value) = self.forest.get(self.tree, APPLIED)? else { return Ok(0) };
        let Some(index) = decode_latest(&value)? else { return Ok(0) };
        Ok(Reader::new(&index).u64("applied index")?)
    }

    /// Gives the state to a fresh Machine.
    pub(crate) fn restore(&self, machine: &mut dyn Machine) -> Result<(), Cause> {
        let end = Bytes::from_static(BEHIND_STATE);
        let scan = self.forest.scan(self.tree, vec![STATE], Some(end), false)?;
        let mut state = scan.filter_map(|found| {
            let live = |(key, value): (Bytes, Bytes)| {
                Ok(decode_latest(&value)?.map(|value| (key.slice(1..), value)))
            };
            found.map_err(Cause::from).and_then(live).transpose()
        });
        machine.restore(&mut state)
    }

    /// Writes what entries have changed, of which the first stands at `position` in the log, and the
    /// last has this index.
    pub(crate) fn write(&self, position: Position, index: u64, changes: &mut Changes) -> Result<(), Cause> {
        let mut batch = Batch::new();
        for (key, value) in changes.drain_marked() {
            batch.put(self.tree, key, value.unwrap_or_else(|| encode_latest(None)));
        }
        #[cfg(test)]
        let index = index - u64::from(self.index_lags);
        batch.put(self.tree, Bytes::from_static(APPLIED), encode_latest(Some(&index.to_le_bytes())));
        Ok(self.forest.apply(position, &batch)?)
    }
}
