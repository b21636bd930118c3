//! The end of znodes that outlive themselves: containers that have become empty, and those whose
//! time to live is up.
//!
//! They are looked for now and then, a few at a time, and each is removed by an entry of the log,
//! which looks again. What is refused or too late is found the next time.

use std::{sync::Arc, time::Duration};

use store::{Principal, waiter};

use crate::{
    entry::{Entry, What},
    link::Service,
    tree::{Missing, Want},
};

/// Znodes looked at under one hold of the state's lock: a millisecond's work.
const STEP: usize = 1000;

/// Looks for them, for ever.
pub(crate) async fn reap_for_ever(service: Arc<Service>) {
    let every = Duration::from_millis(u64::from(service.hub.settings.reap_ms));
    loop {
        world::time::sleep(every).await;
        let mut after = String::new();
        while let Some(last) = reap_some(&service, &after) {
            after = last;
            // Others want the log too.
            world::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Proposes to remove those that are due among the next few behind the path `after`; gives where
/// to go on.
pub(crate) fn reap_some(service: &Arc<Service>, after: &str) -> Option<String> {
    let hub = &service.hub;
    let time_ms = hub.wall_ms();
    let (due, store) = {
        let mut state = hub.lock();
        (state.replica.tree.due(time_ms, after, STEP), state.replica.tree.store().clone())
    };
    due.paths.iter().for_each(|path| reap(service, path, time_ms));
    if !due.cold.is_empty() {
        let service = service.clone();
        let wants = due.cold.iter().map(|path| Want::Znode(path.as_str().into())).collect();
        Missing { store, wants }.then(move |found| {
            if let Err(cause) = found {
                tracing::debug!(%cause, "could not look for znodes that have outlived themselves");
                return;
            }
            for path in due.cold {
                // It looks again when it is applied.
                let is_due = service.hub.lock().replica.tree.is_due(&path, time_ms);
                if is_due {
                    reap(&service, &path, time_ms);
                }
            }
        });
    }
    due.last
}

fn reap(service: &Arc<Service>, path: &str, time_ms: i64) {
    tracing::debug!(path, "a znode has outlived itself");
    let entry = Entry::plain(time_ms, 0, What::Reap(path));
    // Whoever reads the state sees what became of it.
    let (done, _) = waiter();
    service.propose(Principal::Node, &entry, done, None);
}
