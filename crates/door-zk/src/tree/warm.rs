//! Bringing what is on the disk into the memory of the store, where it is found without waiting.

use std::sync::Arc;

use base::Cause;
use store::{MachineState, Patience};

use super::{
    Stop, Tree,
    record::{children_keys, node_key},
};
use crate::{
    entry::What,
    path,
    wire::request::{Change, is_sequential},
};

/// What somebody needs of the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// The znode at this path.
    Znode(Box<str>),
    /// The names of its children.
    Names(Box<str>),
}

/// What is wanted and not in memory, and where it is.
pub(crate) struct Missing {
    pub(crate) store: Arc<dyn MachineState>,
    pub(crate) wants: Vec<Want>,
}

impl Missing {
    /// Goes on when it was read, or could not be.
    pub(crate) fn then(self, go_on: impl FnOnce(Result<(), Cause>) + Send + 'static) {
        let Missing { store, wants } = self;
        away(&store, move |store| go_on(store.and_then(|store| warm(store, &wants))));
    }
}

/// Has a job done by a thread that may wait for the disk. It gets what to read from, or why it cannot.
pub(crate) fn away(
    store: &Arc<dyn MachineState>,
    job: impl FnOnce(Result<&dyn MachineState, Cause>) + Send + 'static,
) {
    let own = store.clone();
    store.defer(Box::new(move |turn| job(turn.map(|()| &*own))));
}

/// Reads what is wanted; waits for the disk.
pub(crate) fn warm(store: &dyn MachineState, wants: &[Want]) -> Result<(), Cause> {
    for want in wants {
        match want {
            Want::Znode(path) => {
                let mut key = Vec::new();
                node_key(path, &mut key);
                store.get(&key, Patience::Wait)?;
            }
            Want::Names(path) => {
                let (from, to) = children_keys(if &**path == "/" { "" } else { path });
                for record in store.scan(&from, Some(&to), Patience::Wait)? {
                    record?;
                }
            }
        }
    }
    Ok(())
}

impl Tree {
    /// What an entry of this session needs and would have to wait for, if there is something.
    pub(crate) fn missing(&mut self, what: &What<'_>, session: i64) -> Option<Missing> {
        // Before, so that what is found now is there when the entry is applied; and here too, because
        // entries may be refused, again and again, before they are.
        self.cache.trim(&mut self.acls);
        let mut wants = Vec::new();
        match what {
            What::Open { .. } | What::Return | What::Refuse(_) => {}
            What::Close => {
                let paths: Vec<String> = self.ephemerals(session).map(str::to_owned).collect();
                paths.iter().for_each(|path| self.want_both(path, &mut wants));
            }
            What::Reap(path) => self.want_both(path, &mut wants),
            What::One(change) => self.want_for(change, &mut wants),
            What::Multi(changes) => changes.iter().for_each(|change| self.want_for(change, &mut wants)),
        }
        (!wants.is_empty()).then(|| Missing { store: self.store.clone(), wants })
    }

    fn want_for(&mut self, change: &Change<'_>, wants: &mut Vec<Want>) {
        match change {
            // Its name is known when it is applied. That it is not there yet the store says at once,
            // but for the few names of which its filters cannot tell.
            Change::Create { path, mode, .. } if is_sequential(*mode) => {
                let above = path::above(path);
                self.want(above, wants);
                self.want_quota_of(above, wants);
            }
            Change::Create { path, .. } | Change::Delete { path, .. } => self.want_both(path, wants),
            Change::SetData { path, .. } => {
                self.want(path, wants);
                self.want_quota_of(path, wants);
            }
            Change::SetAcl { path, .. } | Change::Check { path, .. } => self.want(path, wants),
        }
    }

    /// A znode that comes or goes, which changes its parent.
    fn want_both(&mut self, path: &str, wants: &mut Vec<Want>) {
        self.want(path::above(path), wants);
        self.want(path, wants);
        self.want_quota_of(path, wants);
    }

    fn want_quota_of(&mut self, path: &str, wants: &mut Vec<Want>) {
        for path in self.quotas.znodes_of(path).into_iter().flatten() {
            self.want(&path, wants);
        }
    }

    fn want(&mut self, path: &str, wants: &mut Vec<Want>) {
        if self.find(path) == Err(Stop::Cold) {
            wants.push(Want::Znode(path.into()));
        }
    }
}
