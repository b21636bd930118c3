//! The Cassandra door: CQL over its native protocol v4.
//!
//! Bytes become messages in [`wire`]; a [`session`] takes them to an operation ([`ops`]);
//! statements are read by [`lang`], planned on the schema by [`bind`] with the types of [`types`],
//! and carried out over the store by [`exec`]. What drivers ask before they work is answered from
//! [`catalog`]. `README.md` says which clients, versions and statements are proven, and what is
//! missing.

mod bind;
mod catalog;
mod connection;
mod events;
mod exec;
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod lang;
mod limits;
mod ops;
mod session;
mod settings;
mod statements;
mod texts;
mod types;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use door::{Session, Shutdown, request_counter};
use metrics::Counter;
use store::Store;
use world::{Clock, Entropy};

pub use settings::{Filtering, Settings};

use crate::{
    catalog::SystemTables, events::Listeners, exec::Engine, ops::OPERATIONS, session::CqlSession,
    statements::Statements, texts::Texts,
};

/// The door's name in settings, addresses, metrics and log lines.
pub const NAME: &str = "cql";

/// Serves `listener` until `shutdown`, and returns when every connection has ended.
pub async fn serve(
    listener: world::net::Listener,
    store: Store,
    clock: Clock,
    entropy: Entropy,
    settings: Settings,
    shutdown: Shutdown,
) {
    let (limits, tls) = (settings.limits.clone(), settings.tls.clone());
    let events = store.catalog.events();
    let door = Arc::new(Door::new(store, clock, entropy, &settings));
    let tell = events::tell(door.listeners.clone(), door.statements.clone(), events, shutdown.clone());
    world::task::spawn(tell);
    let make = move |guest| Box::new(CqlSession::new(door.clone(), guest)) as Box<dyn Session>;
    door::serve(NAME, listener, limits, tls, shutdown, make).await;
}

/// What all connections share.
pub(crate) struct Door {
    engine: Arc<Engine>,
    statements: Arc<Statements>,
    texts: Texts,
    listeners: Arc<Listeners>,
    /// Requests by operation, in the order of [`OPERATIONS`].
    counters: [Counter; OPERATIONS.len()],
    max_frame_bytes: usize,
}

impl Door {
    fn new(store: Store, clock: Clock, entropy: Entropy, settings: &Settings) -> Door {
        let statements = Arc::new(Statements::default());
        let system = Arc::new(SystemTables::new(store.catalog.clone(), statements.clone()));
        Door {
            engine: Arc::new(Engine::new(store, clock, entropy, settings.engine(), system)),
            statements,
            texts: Texts::default(),
            listeners: Arc::default(),
            counters: OPERATIONS.map(|operation| request_counter(NAME, operation.name)),
            max_frame_bytes: settings.frame_bytes(),
        }
    }
}
