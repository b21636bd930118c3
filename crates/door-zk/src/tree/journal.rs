//! Undoing: what a failed multi needs, since it must leave nothing behind.
//!
//! Every step records what it replaced; undoing walks back. The slab's free places form a stack,
//! so walking back gives every node the place it had.

use super::{Node, Tree, last_name};

/// What was done since the beginning of a multi.
#[derive(Debug)]
pub(super) struct Journal {
    steps: Vec<Undo>,
    /// How many znodes had been touched before.
    touched: usize,
}

/// The way back over one step.
#[derive(Debug)]
pub(super) enum Undo {
    /// A node was made.
    Create {
        /// Under this one.
        parent: u32,
        /// Its path.
        path: Box<str>,
        /// The parent's counter before.
        creations: i32,
        /// The parent's `pzxid` before.
        pzxid: i64,
    },
    /// A node was removed.
    Delete {
        /// It stood here.
        id: u32,
        /// Under this one.
        parent: u32,
        /// Its path.
        path: Box<str>,
        /// Itself.
        node: Box<Node>,
        /// The parent's `pzxid` before.
        pzxid: i64,
    },
    /// A node's data was set.
    SetData {
        /// Of this one.
        id: u32,
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
        self.journal = Some(Journal { steps: Vec::new(), touched: self.touched.len() });
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
        // One that was touched before stands further up as well, and is touched again for nothing.
        for path in self.touched.split_off(journal.touched) {
            if let Some(id) = self.find(&path) {
                self.node_mut(id).is_touched = false;
            }
        }
    }

    /// Notes a step at `path`, if anyone may want to undo it.
    pub(super) fn record(&mut self, mut step: Undo, at: &str) {
        if let Some(journal) = &mut self.journal {
            if let Undo::Create { path, .. } | Undo::Delete { path, .. } = &mut step {
                *path = at.into();
            }
            journal.steps.push(step);
        }
    }

    fn undo(&mut self, step: Undo) {
        match step {
            Undo::Create { parent, path, creations, pzxid } => {
                let (_, node) = self.detach(parent, last_name(&path));
                self.forget(node.lifetime(), &path);
                let above = self.node_mut(parent);
                (above.creations, above.pzxid) = (creations, pzxid);
            }
            Undo::Delete { id, parent, path, node, pzxid } => {
                self.remember(node.lifetime(), &path);
                let back = self.attach(parent, last_name(&path), *node);
                debug_assert_eq!(back, id, "free places are a stack");
                self.node_mut(parent).pzxid = pzxid;
            }
            Undo::SetData { id, data, mzxid, mtime, version } => {
                let node = self.node_mut(id);
                let now_bytes = node.data_len();
                node.data = data;
                (node.mzxid, node.mtime, node.version) = (mzxid, mtime, version);
                let was_bytes = node.data_len();
                self.weight = self.weight - now_bytes + was_bytes;
            }
        }
    }
}
