//! SELECT.
//!
//! A read of one row is one request to the store, answered on the thread that has it
//! ([`point`]). Everything else is a task that walks its *units* (the partitions of an IN, or a
//! stretch of the ring) page by page and hands each page to [`Output`], which filters, counts,
//! limits and encodes.
//!
//! A SELECT that filters without leave is refused, answered within a budget or answered with a
//! warning, as [`Filtering`] says. Under `Bounded` the whole answer is made before any of it is
//! sent, whatever the page size: a page that was sent cannot be taken back when the budget ends.

use std::{sync::Arc, time::Duration};

use base::{Cause, Class, MAX_TOKEN, MIN_TOKEN, Token};
use bytes::Bytes;
use metrics::counter;
use store::{Action, Consistency, Done, Page, Place, Read, Selection, Target, waiter};

use super::{
    Again, Answer, Answered, BoundValue, Engine, Filtering, Outcome, failed, keys,
    output::{Flow, Output},
    paging::Position,
    rows::{self, Test},
    system::SystemRows,
    then::then,
};
use crate::bind::{
    Choice, CqlError, Doing, Environment, Evaluated, KeyPlan, NEEDS_ALLOW_FILTERING, SelectPlan, TokenPlan,
    Value, evaluate,
};

/// Rows asked of the store at once where rows are filtered or counted.
const STEP_ROWS: usize = 1000;
/// The most rows asked of the store at once.
const MAX_STEP_ROWS: usize = 5000;
/// Bytes asked of the store at once.
const STEP_BYTES: usize = 1 << 20;

/// One execution of a SELECT.
pub(super) struct Reading {
    pub(super) engine: Arc<Engine>,
    pub(super) plan: Arc<SelectPlan>,
    pub(super) tests: Vec<Test>,
    pub(super) now_seconds: u32,
    /// At most this many rows a page; `None` is all at once.
    pub(super) page_size: Option<u64>,
    /// LIMIT, less what pages before this one returned.
    pub(super) limit: Option<u64>,
    pub(super) per_partition: Option<u64>,
    pub(super) resume: Option<Position>,
    /// Whether rows of several partitions come in the order of their clustering keys.
    pub(super) merged: bool,
    pub(super) consistency: Consistency,
    units: Vec<Selection>,
    /// What filters without leave.
    unasked: Option<Filtering>,
    again: Again,
}

/// What a bounded read has used.
#[derive(Default)]
struct Spent {
    rows: u64,
    bytes: u64,
}

/// Carries out a SELECT.
pub(super) fn start(engine: &Arc<Engine>, plan: &Arc<SelectPlan>, again: Again, done: Done<Outcome>) {
    let reading = match Reading::new(engine, plan, again) {
        Ok(reading) => reading,
        Err(error) => return done.complete(Ok(Err(error))),
    };
    let is_point = plan.is_point() && plan.view.id.is_some() && plan.predicates.is_empty() && !plan.aggregate;
    if is_point && reading.resume.is_none() && reading.units.len() == 1 {
        return point(Arc::new(reading), None, done);
    }
    world::task::spawn(async move {
        match reading.run(&done).await {
            Err(CqlError::Store { cause, .. }) if reading.has_moved(&cause) => reading.start_again(done),
            outcome => done.complete(Ok(outcome)),
        }
    });
}

/// Reads one row.
fn point(reading: Arc<Reading>, after: Option<Place>, done: Done<Outcome>) {
    let read = reading.read(&reading.units[0], after, 1);
    let engine = reading.engine.clone();
    let permit = match reading.permit() {
        Ok(permit) => permit,
        Err(error) => return done.complete(Ok(Err(error))),
    };
    let answer = then(move |result: Result<Page, Cause>| match result {
        // It looked at as much as it may at once, and found nothing yet.
        Ok(page) if page.partitions.is_empty() && page.more.is_some() => point(reading, page.more, done),
        Ok(page) => {
            let mut output = Output::new(&reading);
            let outcome = output.take(&page, true).and_then(|_| output.finish(None));
            done.complete(Ok(outcome.map(|rows| Answer::Rows(rows).into())));
        }
        Err(cause) if reading.has_moved(&cause) => reading.start_again(done),
        Err(cause) => done.complete(Ok(Err(failed(cause, Doing::Read, reading.consistency)))),
    });
    engine.store.tables.read(permit, read, answer);
}

impl Reading {
    fn new(engine: &Arc<Engine>, plan: &Arc<SelectPlan>, again: Again) -> Result<Reading, CqlError> {
        let request = &again.request;
        if request.consistency == Consistency::Any {
            return Err(CqlError::invalid("ANY ConsistencyLevel is only supported for writes"));
        }
        let unasked = plan.refusal.as_ref().map(|_| engine.settings.filtering);
        if let (Some(Filtering::Strict), Some(refusal)) = (unasked, &plan.refusal) {
            return Err(CqlError::Invalid(refusal.clone()));
        }
        let environment = engine.environment(&again.values);
        let units = units(plan, &environment)?;
        let merged = plan.order_width > 0 && units.len() > 1 && !plan.aggregate;
        // The answer of a bounded read is one whole; that of an aggregate is one row.
        let unpaged = plan.aggregate || unasked == Some(Filtering::Bounded);
        let page_size = request.page_size.filter(|size| *size > 0 && !unpaged).map(u64::from);
        let several = match &plan.keys {
            KeyPlan::Keys(choices) => choices.iter().any(|choice| !matches!(choice, Choice::One(_))),
            KeyPlan::Tokens(_) => false,
        };
        let paged = request.page_size.is_some_and(|size| size > 0) && unasked != Some(Filtering::Bounded);
        if plan.order_width > 0 && several && paged {
            return Err(CqlError::invalid(
                "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either \
                 remove the ORDER BY or the IN and sort client side, or disable paging for this query",
            ));
        }
        let resume = match &request.paging_state {
            Some(state) => Some(Position::decode(state, plan.view.uuid)?),
            None => None,
        };
        let limit = limit_of(plan.limit.as_ref(), "LIMIT", &environment)?;
        let per_partition = match plan.distinct {
            true => Some(1),
            false => limit_of(plan.per_partition_limit.as_ref(), "PER PARTITION LIMIT", &environment)?,
        };
        Ok(Reading {
            tests: rows::tests(plan, &environment)?,
            now_seconds: engine.now_seconds(),
            limit: match (&resume, limit) {
                (Some(position), Some(limit)) => Some(position.left.unwrap_or(limit).min(limit)),
                (_, limit) => limit,
            },
            engine: engine.clone(),
            plan: plan.clone(),
            page_size,
            per_partition,
            resume,
            merged,
            consistency: request.consistency,
            units,
            unasked,
            again,
        })
    }

    /// The values of the statement's markers.
    pub(super) fn values(&self) -> &[BoundValue] {
        &self.again.values
    }

    fn has_moved(&self, cause: &Cause) -> bool {
        self.engine.has_moved(cause, &self.plan.view)
    }

    fn start_again(&self, done: Done<Outcome>) {
        self.again.clone().execute(&self.engine, done);
    }

    fn permit(&self) -> Result<store::Permit, CqlError> {
        let id = self.plan.view.id.unwrap_or_default();
        let permit = self.engine.permit(Action::Read, Target::Table(id));
        permit.map_err(|cause| failed(cause, Doing::Read, self.consistency))
    }

    fn read(&self, selection: &Selection, after: Option<Place>, limit_rows: usize) -> Read {
        // Conditional writes have an order in each partition, none over the ring: a read over it asks
        // as many replicas, as in Cassandra.
        let consistency = match (selection, self.consistency) {
            (Selection::Tokens { .. }, Consistency::Serial) => Consistency::Quorum,
            (Selection::Tokens { .. }, Consistency::LocalSerial) => Consistency::LocalQuorum,
            (_, consistency) => consistency,
        };
        Read {
            table: self.plan.view.id.unwrap_or_default(),
            selection: selection.clone(),
            after,
            columns: self.plan.columns.clone(),
            limit_rows,
            limit_bytes: STEP_BYTES,
            now_seconds: self.now_seconds,
            consistency,
        }
    }

    /// Reads to the end, or to the end of a page; gives up when time is up or `done` is not wanted
    /// any more.
    async fn run(&self, done: &Done<Outcome>) -> Outcome {
        let system = self.plan.view.id.is_none().then(|| {
            let view = &self.plan.view;
            SystemRows::new(view, self.engine.virtual_tables.rows(view))
        });
        let began = self.engine.clock.boot();
        let mut spent = Spent::default();
        let mut output = Output::new(self);
        let mut deadline = Deadline::new(self, began);
        let (first_unit, mut after) = self.resume_at()?;
        let mut position = None;
        'units: for (i, unit) in self.units.iter().enumerate().skip(first_unit) {
            loop {
                deadline.check(self, output.counted(), done)?;
                let page = self.page(&system, unit, after.take(), output.wanted_rows()).await?;
                self.check_budget(&mut spent, &page, began)?;
                let is_last = page.more.is_none() && i + 1 == self.units.len();
                match output.take(&page, is_last)? {
                    Flow::On => {}
                    Flow::Done => break 'units,
                    Flow::PageFull(place) => {
                        position = Some(place);
                        break 'units;
                    }
                }
                match page.more {
                    None => break,
                    Some(place) => after = Some(output.skip_from(place)),
                }
                // The store may answer at once every time, and others wait for this thread.
                tokio::task::yield_now().await;
            }
        }
        let rows = output.finish(position)?;
        let warnings = self.warnings(&spent);
        Ok(Answered { answer: Answer::Rows(rows), warnings })
    }

    /// The unit to begin with, and the place in it.
    fn resume_at(&self) -> Result<(usize, Option<Place>), CqlError> {
        let Some(position) = &self.resume else {
            return Ok((0, None));
        };
        let place = position.place.clone();
        let unit = self.units.iter().position(|unit| match unit {
            Selection::Partition { key, .. } => *key == place.key,
            Selection::Tokens { .. } => true,
        });
        match unit {
            Some(unit) => Ok((unit, Some(place))),
            None => Err(CqlError::Protocol("Invalid value for the paging state".to_owned())),
        }
    }

    async fn page(
        &self,
        system: &Option<SystemRows>,
        unit: &Selection,
        after: Option<Place>,
        wanted: Option<u64>,
    ) -> Result<Page, CqlError> {
        if let Some(system) = system {
            return Ok(system.page(unit, after.as_ref()));
        }
        // Rows that pass no test are not wanted, so how many are looked at is another question.
        let wanted = wanted.filter(|_| self.tests.is_empty());
        let limit =
            wanted.map_or(STEP_ROWS, |rows| usize::try_from(rows).unwrap_or(usize::MAX).min(MAX_STEP_ROWS));
        let (done, waiter) = waiter();
        self.engine.store.tables.read(self.permit()?, self.read(unit, after, limit), done);
        waiter.await.map_err(|cause| failed(cause, Doing::Read, self.consistency))
    }

    fn check_budget(&self, spent: &mut Spent, page: &Page, began: Duration) -> Result<(), CqlError> {
        spent.rows += page.scanned_rows;
        spent.bytes += page.scanned_bytes;
        if self.unasked != Some(Filtering::Bounded) {
            return Ok(());
        }
        let budget = &self.engine.settings.budget;
        let time = self.engine.clock.boot().saturating_sub(began);
        let over = if spent.rows > budget.rows {
            format!("{} rows", budget.rows)
        } else if spent.bytes > budget.bytes {
            format!("{} bytes", budget.bytes)
        } else if time > budget.time {
            format!("{} ms", budget.time.as_millis())
        } else {
            return Ok(());
        };
        counter!("holdfast_cql_unasked_filtering_total", "outcome" => "over_budget").increment(1);
        Err(CqlError::Invalid(format!(
            "{NEEDS_ALLOW_FILTERING}. (Tried because cql.filtering is bounded; it would take more than {over}.)"
        )))
    }

    fn warnings(&self, spent: &Spent) -> Vec<String> {
        let mut warnings: Vec<String> = self.plan.warning.map(str::to_owned).into_iter().collect();
        if self.unasked.is_none() {
            return warnings;
        }
        counter!("holdfast_cql_unasked_filtering_total", "outcome" => "answered").increment(1);
        warnings.push(format!(
            "This query filters rows without an index: it read {} rows of {}. Cassandra would refuse it. Add ALLOW \
             FILTERING if that is meant, or make a table whose key is what you search for.",
            spent.rows, self.plan.view
        ));
        warnings
    }
}

/// Until when a read must have been answered. An aggregate has its time anew for each stretch of
/// rows, because that is what Cassandra makes of it: a page after the other.
struct Deadline {
    limit: Duration,
    at: Duration,
    /// Rows of a stretch, and at how many the one at hand ends.
    stretch_rows: u64,
    stretch_end: u64,
}

/// Rows that an aggregate takes for one stretch unless the client's page size says otherwise: what
/// drivers ask for by default.
const STRETCH_ROWS: u32 = 5000;

impl Deadline {
    fn new(reading: &Reading, now: Duration) -> Deadline {
        let settings = &reading.engine.settings;
        let limit = match &reading.plan.keys {
            KeyPlan::Keys(_) => settings.read_limit,
            KeyPlan::Tokens(_) => settings.range_read_limit,
        };
        let page_size = reading.again.request.page_size.filter(|size| *size > 0);
        let stretch_rows = u64::from(page_size.unwrap_or(STRETCH_ROWS));
        Deadline { limit, at: now.saturating_add(limit), stretch_rows, stretch_end: stretch_rows }
    }

    /// Fails when time is up, with what Cassandra says then, and when nobody waits.
    fn check(&mut self, reading: &Reading, counted: u64, done: &Done<Outcome>) -> Result<(), CqlError> {
        let over = |why: &'static str, message| {
            counter!("holdfast_cql_reads_given_up_total", "why" => why).increment(1);
            // One node has all replicas, and any level it can serve asks for one of them.
            let cause = Cause::new(Class::Uncertain { received: 0, required: 1 }, message);
            Err(failed(cause, Doing::Read, reading.consistency))
        };
        let now = reading.engine.clock.boot();
        if !done.is_wanted() {
            return over("client_gone", "the client has gone");
        }
        if now >= self.at {
            return over("time", "Operation timed out - received only 0 responses.");
        }
        if counted >= self.stretch_end {
            self.at = now.saturating_add(self.limit);
            self.stretch_end = counted + self.stretch_rows;
        }
        Ok(())
    }
}

/// A limit; `None` when there is none.
fn limit_of(
    value: Option<&Value>,
    name: &str,
    environment: &Environment<'_>,
) -> Result<Option<u64>, CqlError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let strictly = || CqlError::Invalid(format!("{name} must be strictly positive"));
    match evaluate(value, environment)? {
        Evaluated::Unset => Ok(None),
        Evaluated::Null => Err(CqlError::invalid("Invalid null value of limit")),
        Evaluated::Value(bytes) => {
            let limit = bytes.as_ref().try_into().map(i32::from_be_bytes).map_err(|_| strictly())?;
            u64::try_from(limit).ok().filter(|limit| *limit > 0).map(Some).ok_or_else(strictly)
        }
    }
}

/// What is read, one after the other.
fn units(plan: &SelectPlan, environment: &Environment<'_>) -> Result<Vec<Selection>, CqlError> {
    match &plan.keys {
        KeyPlan::Keys(choices) => {
            let mut keys = keys::unchecked_keys(&plan.view, choices, environment)?;
            if let Some(tokens) = &plan.key_tokens {
                let stretch = stretch(tokens, environment)?;
                keys.retain(|key| {
                    let token = keys::partition_token(key);
                    matches!(&stretch, Some(Selection::Tokens { first, last }) if (*first..=*last).contains(&token))
                });
            }
            let slices = keys::slices(&plan.view, &plan.clustering, environment)?;
            if slices.is_empty() {
                return Ok(Vec::new());
            }
            // Only now, as in Cassandra: keys of which nothing is read may be what they like.
            keys.iter().try_for_each(keys::check_partition_key)?;
            let unit =
                |key: Bytes| Selection::Partition { key, slices: slices.clone(), reversed: plan.reversed };
            Ok(keys.into_iter().map(unit).collect())
        }
        KeyPlan::Tokens(tokens) => Ok(stretch(tokens, environment)?.into_iter().collect()),
    }
}

/// A stretch of the ring; `None` when nothing is in it.
fn stretch(plan: &TokenPlan, environment: &Environment<'_>) -> Result<Option<Selection>, CqlError> {
    let token = |bound: &Option<(Value, bool)>| -> Result<Option<(Token, bool)>, CqlError> {
        let Some((value, inclusive)) = bound else {
            return Ok(None);
        };
        match evaluate(value, environment)? {
            Evaluated::Value(bytes) if bytes.len() == 8 => {
                let token = i64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes"));
                Ok(Some((token, *inclusive)))
            }
            Evaluated::Unset => Err(CqlError::invalid("Invalid unset value for column partition key token")),
            _ => Err(CqlError::invalid("Invalid null token value")),
        }
    };
    let (lower, upper) = (token(&plan.lower)?, token(&plan.upper)?);
    let first = match lower {
        None => Some(MIN_TOKEN),
        Some((token, true)) => Some(token),
        Some((token, false)) => token.checked_add(1),
    };
    let last = match upper {
        // The end of the ring is its beginning: drivers end their last range at the minimum.
        None | Some((MIN_TOKEN, _)) => Some(MAX_TOKEN),
        Some((token, true)) => Some(token),
        Some((token, false)) => token.checked_sub(1),
    };
    Ok(match (first, last) {
        (Some(first), Some(last)) if first <= last => Some(Selection::Tokens { first, last }),
        _ => None,
    })
}
