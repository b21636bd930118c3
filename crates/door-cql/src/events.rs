//! Telling clients of schema changes: who wants to hear, and the task that tells them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use door::{Outbox, Shutdown};
use store::SchemaEvent;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    exec::SchemaChanged,
    statements::Statements,
    wire::{Version, response},
};

/// Connections that registered for schema changes.
#[derive(Default)]
pub(crate) struct Listeners {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    by_number: BTreeMap<u64, (Version, Arc<Outbox>)>,
}

/// A connection's place among the listeners, given up when dropped.
pub(crate) struct Listening {
    listeners: Arc<Listeners>,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.lock().by_number.remove(&self.number);
    }
}

impl Listeners {
    /// Tells `outbox` of changes from now on, until the result is dropped.
    pub(crate) fn add(self: &Arc<Listeners>, version: Version, outbox: Arc<Outbox>) -> Listening {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.by_number.insert(number, (version, outbox));
        Listening { listeners: self.clone(), number }
    }

    fn tell(&self, changed: &SchemaChanged) {
        for (version, outbox) in self.lock().by_number.values() {
            outbox.write(|out| response::schema_event(out, *version, changed));
        }
    }

    fn close_all(&self) {
        for (_, outbox) in self.lock().by_number.values() {
            outbox.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells listeners of `events` until `shutdown`, and forgets statements of what was changed.
pub(crate) async fn tell(
    listeners: Arc<Listeners>,
    statements: Arc<Statements>,
    mut events: Receiver<SchemaEvent>,
    mut shutdown: Shutdown,
) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = shutdown.wait() => return,
        };
        match event {
            Ok(event) => {
                let Some(changed) = SchemaChanged::of(&event.change) else { continue };
                statements.forget(&changed);
                listeners.tell(&changed);
            }
            // Clients that missed a change would go on with a wrong idea of the schema. Without
            // their connection they come back and read all of it.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "schema events came too fast, listeners are disconnected");
                listeners.close_all();
            }
            Err(RecvError::Closed) => return,
        }
    }
}
