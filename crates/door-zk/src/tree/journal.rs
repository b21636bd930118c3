//! Undoing: what a failed multi needs, since it must leave nothing behind.
//!
//! Every step records what it replaced; undoing walks back. What is touched stays in memory, so
//! places are what they were.

use super::{Node, Tree, cache::Place};

/// What was done since the beginning of a multi.
#[derive(Debug)]
pub(super) struct Journal {
    steps: Vec<Undo>,
    /// How many znodes had been touched before, and how many ends changed.
    touched: usize,
    ends: usize,
}

/// The way back over one step.
#[derive(Debug)]
pub(super) enum Undo {
    /// A node was made.
    Create {
        /// Under this one.
        parent: Place,
        /// Itself.
        place: Place,
        /// The parent's counter before.
        creations: i32,
        /// The parent's `pzxid` before.
        pzxid: i64,
    },
    /// A node was removed.
    Delete {
        /// Under this one.
        parent: Place,
        /// It stood here.
        place: Place,
        /// Itself.
        node: Box<Node>,
        /// The parent's `pzxid` before.
        pzxid: i64,
    },
    /// A node's data was set.
    SetData {
        /// Of this one.
        place: Place,
        /// What it was.
        data: Option<Box<[u8]>>,
        /// When, as a zxid.
        mzxid: i64,
        /// When, as a time.
        mtime: i64,
        /// Its version then.
        version: i32,
    },
}

impl Tree {
    /// From here on, everything can be undone.
    pub(crate) fn begin(&mut self) {
        self.journal =
            Some(Journal { steps: Vec::new(), touched: self.cache.touched(), ends: self.ends.changes() });
    }

    /// Keeps what was done since [`Tree::begin`].
    pub(crate) fn commit(&mut self) {
        self.journal = None;
    }

    /// Undoes what was done since [`Tree::begin`].
    pub(crate) fn roll_back(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        for step in journal.steps.into_iter().rev() {
            self.undo(step);
        }
        self.cache.untouch(journal.touched);
        self.ends.undo(journal.ends);
    }

    /// Notes a step, if anyone may want to undo it.
    pub(super) fn record(&mut self, step: impl FnOnce() -> Undo) {
        if let Some(journal) = &mut self.journal {
            journal.steps.push(step());
        }
    }

    fn undo(&mut self, step: Undo) {
        match step {
            Undo::Create { parent, place, creations, pzxid } => {
                let node = self.detach(parent, place);
                let path = self.cache.slot(place).path.clone();
                self.forget(node.lifetime(), &path);
                let above = self.cache.node_mut(parent);
                (above.creations, above.pzxid) = (creations, pzxid);
            }
            Undo::Delete { parent, place, node, pzxid } => {
                let path = self.cache.slot(place).path.clone();
                self.remember(node.lifetime(), &path);
                let back = self.attach(parent, &path, *node);
                debug_assert_eq!(back, place, "what is touched keeps its place");
                self.cache.node_mut(parent).pzxid = pzxid;
            }
            Undo::SetData { place, data, mzxid, mtime, version } => {
                self.set_bytes(place, data);
                let node = self.cache.node_mut(place);
                (node.mzxid, node.mtime, node.version) = (mzxid, mtime, version);
            }
        }
    }
}
