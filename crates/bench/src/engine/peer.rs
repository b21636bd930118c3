//! [`Peer`]: what both trees can do, so that the same code measures both.

use serde_json::Value;

use crate::Outcome;

/// The trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Ours.
    Forest,
    /// fjall's.
    LsmTree,
}

impl Engine {
    /// Both, ours first.
    pub const BOTH: [Engine; 2] = [Engine::Forest, Engine::LsmTree];

    /// Its name in options and tables.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Forest => "holdfast",
            Engine::LsmTree => "lsm-tree",
        }
    }

    /// The tree of this name.
    pub fn named(name: &str) -> Option<Engine> {
        Engine::BOTH.into_iter().find(|engine| engine.name() == name)
    }
}

/// What waits for upkeep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Memory of what is in no file yet.
    pub memtable_bytes: u64,
    /// Runs of the newest level, which every read may have to look at.
    pub runs: u64,
    /// Bytes that compactions which are due will read, if the tree tells.
    pub pending_bytes: u64,
}

/// A tree under load. One thread puts, one works, any read.
pub trait Peer: Sync {
    /// Writes one value.
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()>;

    /// Whether the key has a value; shows it to `see` if so.
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome<bool>;

    /// Shows the keys with `from <= key < to` and their values, ascending, `limit` at most.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        see: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Outcome<()>;

    /// Does a piece of upkeep; false if there was nothing to do.
    fn work(&self) -> Outcome<bool>;

    /// What waits for upkeep.
    fn debt(&self) -> Debt;

    /// Has everything in memory written to files by the next calls of [`Peer::work`].
    fn freeze(&self);

    /// Memory by account and the shape of the tree, in the tree's own terms.
    fn holdings(&self) -> Value;
}
