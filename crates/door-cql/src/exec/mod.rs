//! Plans carried out over the store.
//!
//! A write and a read of one row hand the store one request whose answer goes through
//! [`then::then`] straight to the connection: no task, no wait. Everything that takes several steps
//! (scans, several partitions) is a task that asks the store step by step.

mod api;
mod cas;
mod define;
mod keys;
mod output;
mod paging;
mod read;
mod rows;
mod system;
#[cfg(test)]
mod tests;
mod then;
mod write;

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicI64, Ordering},
};

use base::{Cause, Class};
use store::{Action, Consistency, Done, Permit, Principal, Schema, Store, Target};
use world::{Clock, Entropy};

pub(crate) use self::{
    api::{
        Answer, Answered, BoundValue, BoundValues, Budget, ColumnSpec, EngineSettings, Filtering,
        MarkerMetadata, Outcome, Request, ResultMetadata, Rows, SchemaChanged, VirtualTables,
    },
    keys::{partition_key, partition_token},
};
use crate::{
    bind::{self, Bound, CqlError, Doing, Environment, Plan, Scope, TableView, Views},
    lang::{self, Parsed},
    types::{MICROS_PER_SECOND, uuid::TimeUuids},
};

/// Carries out statements.
pub(crate) struct Engine {
    store: Store,
    clock: Clock,
    entropy: Entropy,
    settings: EngineSettings,
    virtual_tables: Arc<dyn VirtualTables>,
    views: Views,
    time_uuids: TimeUuids,
    /// The last timestamp given to a write that came without one.
    last_timestamp: AtomicI64,
}

/// A statement, parsed and bound.
pub(crate) struct Prepared {
    keyspace: Option<String>,
    parsed: Parsed,
    /// What clients were told when it was prepared.
    told: Arc<Bound>,
    /// The epoch of the definitions then.
    told_epoch: u64,
    /// The plan, and the epoch of the definitions it was made from.
    current: RwLock<(u64, Arc<Bound>)>,
}

impl Prepared {
    /// Its markers.
    pub(crate) fn markers(&self) -> &MarkerMetadata {
        &self.told.markers
    }

    /// The columns of its result, if they are known before it is executed.
    pub(crate) fn result(&self) -> Option<&Arc<ResultMetadata>> {
        self.told.result.as_ref()
    }

    /// Whether it reads or writes rows.
    pub(crate) fn is_of_rows(&self) -> bool {
        matches!(self.told.plan, Plan::Modify(_) | Plan::Select(_))
    }

    /// Whether it reads or writes this table, or a table of this keyspace.
    pub(crate) fn is_of(&self, keyspace: &str, table: Option<&str>) -> bool {
        let (of_keyspace, of_table) = match &self.told.plan {
            Plan::Modify(modify) => (&modify.view.keyspace, &modify.view.name),
            Plan::Select(select) => (&select.view.keyspace, &select.view.name),
            Plan::Use(_) | Plan::Define(_) => return false,
        };
        **of_keyspace == *keyspace && table.is_none_or(|table| **of_table == *table)
    }
}

/// A statement under way and what it takes to begin it again.
#[derive(Clone)]
struct Again {
    prepared: Arc<Prepared>,
    /// Without its values.
    request: Request,
    values: Vec<BoundValue>,
}

impl Again {
    /// Begins again. On another thread than the door's only a statement that needs no task may:
    /// a change or a read of one row.
    fn execute(self, engine: &Arc<Engine>, done: Done<Outcome>) {
        let request = Request { values: BoundValues::Positional(self.values), ..self.request };
        engine.execute(&self.prepared, request, done);
    }
}

impl Engine {
    /// An engine over `store`.
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        entropy: Entropy,
        settings: EngineSettings,
        virtual_tables: Arc<dyn VirtualTables>,
    ) -> Engine {
        let time_uuids = TimeUuids::new(&entropy);
        let last_timestamp = AtomicI64::new(0);
        Engine {
            store,
            clock,
            entropy,
            settings,
            virtual_tables,
            views: Views::default(),
            time_uuids,
            last_timestamp,
        }
    }

    /// Parses and binds a statement for a session that uses `keyspace`.
    ///
    /// # Errors
    /// Text that is not CQL, names that do not exist, types that do not fit.
    pub(crate) fn prepare(&self, keyspace: Option<&str>, text: &str) -> Result<Arc<Prepared>, CqlError> {
        let parsed = lang::parse(text)?;
        let schema = self.store.catalog.schema();
        let told = Arc::new(self.bind(&parsed, keyspace, &schema)?);
        let current = RwLock::new((schema.epoch, told.clone()));
        let keyspace = keyspace.map(str::to_owned);
        Ok(Arc::new(Prepared { keyspace, parsed, told, told_epoch: schema.epoch, current }))
    }

    /// Carries out a statement; its outcome goes to `done`, possibly before this returns. Must be
    /// called on the runtime of the door.
    pub(crate) fn execute(
        self: &Arc<Self>,
        prepared: &Arc<Prepared>,
        mut request: Request,
        done: Done<Outcome>,
    ) {
        let ready = self.current(prepared).and_then(|bound| {
            let values = values_of(&mut request, &bound.markers)?;
            Ok((bound, values))
        });
        let (bound, values) = match ready {
            Ok(ready) => ready,
            Err(error) => return done.complete(Ok(Err(error))),
        };
        match &bound.plan {
            Plan::Use(keyspace) => done.complete(Ok(Ok(Answer::SetKeyspace(keyspace.clone()).into()))),
            Plan::Define(define) => define::start(self, define, done),
            Plan::Modify(modify) => {
                let again = Again { prepared: prepared.clone(), request, values };
                write::start(self, modify, again, done);
            }
            Plan::Select(select) => {
                let again = Again { prepared: prepared.clone(), request, values };
                read::start(self, select, again, done);
            }
        }
    }

    /// Whether what could not be found is there under another id: the table was truncated, or made
    /// again, after the plan was made. Nothing was done then, and the statement may begin again.
    fn has_moved(&self, cause: &Cause, view: &TableView) -> bool {
        let now = || self.store.catalog.schema().table(&view.keyspace, &view.name).map(|table| table.id);
        cause.class == Class::Absent && now().is_some_and(|id| view.id != Some(id))
    }

    fn bind(&self, parsed: &Parsed, keyspace: Option<&str>, schema: &Schema) -> Result<Bound, CqlError> {
        let cluster = self.store.catalog.cluster();
        let virtual_tables = &*self.virtual_tables;
        let views = &self.views;
        bind::bind(parsed, &Scope { schema, views, cluster: &cluster, virtual_tables, keyspace })
    }

    /// Whether what clients were told of a statement was made from the definitions as they are now.
    pub(crate) fn is_current(&self, prepared: &Prepared) -> bool {
        prepared.told_epoch == self.store.catalog.schema().epoch
    }

    /// The plan for the definitions as they are now.
    fn current(&self, prepared: &Prepared) -> Result<Arc<Bound>, CqlError> {
        let schema = self.store.catalog.schema();
        {
            let current = prepared.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.0 == schema.epoch {
                return Ok(current.1.clone());
            }
        }
        let bound = Arc::new(self.bind(&prepared.parsed, prepared.keyspace.as_deref(), &schema)?);
        if bound.markers != prepared.told.markers || bound.result != prepared.told.result {
            // Values would be taken for, and rows be read as, what they are not.
            return Err(CqlError::invalid(
                "The table of this prepared statement has changed; prepare it again",
            ));
        }
        *prepared.current.write().unwrap_or_else(PoisonError::into_inner) = (schema.epoch, bound.clone());
        Ok(bound)
    }

    fn environment<'a>(&'a self, values: &'a [BoundValue]) -> Environment<'a> {
        Environment { values, clock: &self.clock, entropy: &self.entropy, time_uuids: &self.time_uuids }
    }

    fn permit(&self, action: Action, target: Target) -> Result<Permit, Cause> {
        self.store.gate.permit(&Principal::Anonymous, action, target)
    }

    fn now_seconds(&self) -> u32 {
        let seconds = self.clock.wall_micros() as i64 / MICROS_PER_SECOND;
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// A timestamp above every one this engine has given, near the clock's time: two writes of one
    /// client in one microsecond must not tie.
    fn next_timestamp(&self) -> i64 {
        let now = self.clock.wall_micros() as i64;
        let step = |last| Some(now.max(last + 1));
        let before = self.last_timestamp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        let (Ok(before) | Err(before)) = before;
        now.max(before + 1)
    }
}

/// The request's values, one for each marker.
fn values_of(request: &mut Request, markers: &MarkerMetadata) -> Result<Vec<BoundValue>, CqlError> {
    let wanted = markers.markers.len();
    match std::mem::replace(&mut request.values, BoundValues::Positional(Vec::new())) {
        BoundValues::Positional(values) if values.len() == wanted => Ok(values),
        BoundValues::Positional(_) => Err(CqlError::invalid("Invalid amount of bind variables")),
        BoundValues::Named(named) => {
            let find = |spec: &ColumnSpec| match named.get(&*spec.name) {
                Some(value) => Ok(value.clone()),
                None => Err(CqlError::invalid("Invalid amount of bind variables")),
            };
            markers.markers.iter().map(find).collect()
        }
    }
}

/// A failure of the store, as the outcome of a statement.
fn failed(cause: Cause, doing: Doing, consistency: Consistency) -> CqlError {
    CqlError::Store { cause, doing, consistency }
}
