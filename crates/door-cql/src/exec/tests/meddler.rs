//! What happens to a statement between its steps: its table is truncated, the store finds damage,
//! time passes, its client leaves.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::{Cause, Class};
use store::{
    Action, Cas, CasOutcome, Done, Inbox, Page, Permit, Principal, Read, SchemaChange, Store, Tables, Target,
    Write, waiter,
};
use world::Clock;

use super::{NOW_MICROS, SETUP, all_pages, model::Model, story::Teller, story::row_texts};
use crate::{
    bind::{CqlError, Doing},
    exec::{Answer, Outcome, Request},
};

/// What is done before one request reaches the store; a cause is its answer.
type Deed = Box<dyn FnOnce(&Store) -> Result<(), Cause> + Send>;

/// A store before which something happens.
struct Meddler {
    store: Store,
    /// One for each request to come; `None` lets it pass.
    deeds: Mutex<VecDeque<Option<Deed>>>,
}

impl Meddler {
    fn meddle(&self) -> Result<(), Cause> {
        let deed = self.deeds.lock().unwrap().pop_front();
        deed.flatten().map_or(Ok(()), |deed| deed(&self.store))
    }
}

impl Tables for Meddler {
    fn write(&self, permit: Permit, write: Write, done: Done<()>) {
        match self.meddle() {
            Ok(()) => self.store.tables.write(permit, write, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn read(&self, permit: Permit, read: Read, done: Done<Page>) {
        match self.meddle() {
            Ok(()) => self.store.tables.read(permit, read, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn compare_and_set(&self, permit: Permit, cas: Cas, done: Done<CasOutcome>) {
        match self.meddle() {
            Ok(()) => self.store.tables.compare_and_set(permit, cas, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }
}

/// A teller whose store answers pages of `step_rows` rows, and what happens to its requests.
fn teller(step_rows: usize) -> (Teller, Arc<Meddler>, Clock) {
    let clock = Clock::simulated(NOW_MICROS);
    let store = Model::store(step_rows);
    let meddler = Arc::new(Meddler { store: store.clone(), deeds: Mutex::default() });
    let mut teller = Teller::new(Store { tables: meddler.clone(), ..store }, clock.clone());
    teller.play(SETUP);
    (teller, meddler, clock)
}

/// Lets so many requests pass, and does `deed` before the next.
fn after(
    meddler: &Meddler,
    requests: usize,
    deed: impl FnOnce(&Store) -> Result<(), Cause> + Send + 'static,
) {
    let mut deeds = meddler.deeds.lock().unwrap();
    deeds.extend((0..requests).map(|_| None));
    deeds.push_back(Some(Box::new(deed)));
}

fn truncate(store: &Store) -> Result<(), Cause> {
    let permit = store.gate.permit(&Principal::Node, Action::Define, Target::Cluster)?;
    let (done, _answered) = waiter();
    let change = SchemaChange::TruncateTable { space: "test".to_owned(), name: "t".to_owned() };
    store.catalog.change(permit, change, done);
    Ok(())
}

fn rows_of(outcome: Outcome) -> Vec<Vec<String>> {
    let Answer::Rows(rows) = outcome.unwrap().answer else { panic!("rows were expected") };
    row_texts(&rows)
}

/// A statement that meets a truncation is answered as if it had come after it.
#[test]
fn statements_do_not_notice_a_truncation() {
    let changes = [
        ("INSERT INTO t (k, c, v) VALUES (7, 7, 7)", 0),
        ("UPDATE t SET v = 7 WHERE k IN (7, 8, 9) AND c = 7", 0),
        ("UPDATE t SET v = 7 WHERE k IN (7, 8, 9) AND c = 7", 1),
        ("INSERT INTO t (k, c, v) VALUES (7, 7, 7) IF NOT EXISTS", 0),
    ];
    for (statement, requests) in changes {
        let (teller, meddler, _) = teller(usize::MAX);
        after(&meddler, requests, truncate);
        teller.execute(statement, Request::default()).unwrap();
        let keys = rows_of(teller.execute("SELECT k, v FROM t", Request::default()));
        let written = if statement.contains(" IN ") { 3 } else { 1 };
        assert_eq!(keys.len(), written, "{statement}");
        assert!(keys.iter().all(|row| row[1] == "7"), "{statement}");
    }
    let reads = [
        ("SELECT v FROM t WHERE k = 1 AND c = 1", 0),
        ("SELECT v FROM t WHERE k IN (1, 2)", 1),
        ("SELECT v FROM t", 0),
        ("SELECT v FROM t", 2),
    ];
    for (statement, requests) in reads {
        let (teller, meddler, _) = teller(1);
        after(&meddler, requests, truncate);
        assert_eq!(rows_of(teller.execute(statement, Request::default())), [[""; 0]; 0], "{statement}");
    }
    // Twice in a row is no reason to give up.
    let (teller, meddler, _) = teller(1);
    after(&meddler, 0, truncate);
    after(&meddler, 0, truncate);
    teller.execute("INSERT INTO t (k, c, v) VALUES (7, 7, 7)", Request::default()).unwrap();
    assert_eq!(rows_of(teller.execute("SELECT v FROM t", Request::default())), [["7"]]);
}

/// A paging state outlives the rows it was made from.
#[test]
fn a_page_after_a_truncation_goes_on_in_the_new_rows() {
    let (mut teller, meddler, _) = teller(usize::MAX);
    let page = |state| Request { page_size: Some(1), paging_state: state, ..Request::default() };
    let Answer::Rows(first) = teller.execute("SELECT k FROM t", page(None)).unwrap().answer else { panic!() };
    assert_eq!(row_texts(&first), [["1"]]);
    truncate(&meddler.store).unwrap();
    assert!(rows_of(teller.execute("SELECT k FROM t", page(first.paging_state.clone()))).is_empty());
    teller.play("INSERT INTO t (k, c, v) VALUES (1, 9, 9)\n");
    assert_eq!(rows_of(teller.execute("SELECT c FROM t", page(first.paging_state))), [["9"]]);
    assert_eq!(all_pages(&teller, "SELECT c FROM t", 1), [["9"]]);
}

/// A dropped table is no truncated one.
#[test]
fn a_table_that_is_dropped_meanwhile_is_absent() {
    let (teller, meddler, _) = teller(usize::MAX);
    after(&meddler, 0, |store| {
        let permit = store.gate.permit(&Principal::Node, Action::Define, Target::Cluster)?;
        let (done, _answered) = waiter();
        let change = SchemaChange::DropTable { space: "test".to_owned(), name: "t".to_owned() };
        store.catalog.change(permit, change, done);
        Ok(())
    });
    let error = teller.execute("SELECT * FROM t", Request::default()).unwrap_err();
    assert!(matches!(error, CqlError::Store { cause: Cause { class: Class::Absent, .. }, .. }), "{error}");
}

/// Damage fails the statement that meets it, in the store's words.
#[test]
fn damage_is_told_and_passes_by() {
    for (statement, requests) in [("SELECT v FROM t WHERE k = 1 AND c = 1", 0), ("SELECT v FROM t", 1)] {
        let (teller, meddler, _) = teller(1);
        after(&meddler, requests, |_| Err(Cause::corrupt("tree/7.tree: data block at 4096: checksum")));
        let error = teller.execute(statement, Request::default()).unwrap_err();
        let CqlError::Store { cause, doing: Doing::Read, .. } = &error else { panic!("{error:?}") };
        assert_eq!(cause.class, Class::Corrupt);
        let failure = crate::faults::failure(error);
        assert!(failure.message.contains("tree/7.tree: data block at 4096: checksum"), "{failure:?}");
        assert!(!rows_of(teller.execute(statement, Request::default())).is_empty());
    }
}

fn timed_out(outcome: Outcome) -> bool {
    match outcome {
        Err(CqlError::Store { cause, doing: Doing::Read, .. }) => {
            assert_eq!(cause.class, Class::Uncertain { received: 0, required: 1 });
            assert_eq!(cause.message, "Operation timed out - received only 0 responses.");
            true
        }
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    }
}

/// A page has its time, whatever it must look at; a count has it for each stretch of rows.
#[test]
fn a_read_that_takes_too_long_is_a_timeout() {
    let slow = |meddler: &Meddler, clock: &Clock, seconds: u64| {
        for _ in 0..4 {
            let clock = clock.clone();
            after(meddler, 0, move |_| {
                clock.advance(Duration::from_secs(seconds));
                Ok(())
            });
        }
    };
    let cases = [
        // Three steps, and the time is looked at before each.
        ("SELECT v FROM t", 4, false),
        ("SELECT v FROM t", 5, true),
        ("SELECT v FROM t WHERE v = 5 ALLOW FILTERING", 5, true),
        ("SELECT v FROM t WHERE k IN (1, 2)", 2, false),
        ("SELECT v FROM t WHERE k IN (1, 2)", 3, true),
        ("SELECT v FROM t WHERE k = 1", 4, false),
        ("SELECT v FROM t WHERE k = 1", 5, true),
        // Three rows counted in steps of one: each has its own ten seconds.
        ("SELECT count(*) FROM t", 9, false),
        ("SELECT count(*) FROM t", 10, true),
    ];
    for (statement, seconds, late) in cases {
        let (teller, meddler, clock) = teller(1);
        slow(&meddler, &clock, seconds);
        let page_size = statement.contains("count").then_some(1);
        let outcome = teller.execute(statement, Request { page_size, ..Request::default() });
        assert_eq!(timed_out(outcome), late, "{statement} {seconds}");
    }
}

/// Somebody who leaves.
#[derive(Default)]
struct Leaver {
    gone: AtomicBool,
    answer: Mutex<Option<Outcome>>,
}

impl Inbox<Outcome> for Leaver {
    fn deliver(&self, _: u64, answer: Result<Outcome, Cause>) {
        *self.answer.lock().unwrap() = Some(answer.unwrap());
    }

    fn is_open(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }
}

/// A scan ends with its client, instead of going on for nobody.
#[test]
fn a_read_ends_when_nobody_waits_for_it() {
    let (teller, meddler, _) = teller(1);
    let leaver = Arc::new(Leaver::default());
    let watched = leaver.clone();
    after(&meddler, 1, move |_| {
        watched.gone.store(true, Ordering::Relaxed);
        Ok(())
    });
    // It would meet this in its third step.
    after(&meddler, 0, |_| panic!("the read goes on"));
    let prepared = teller.prepare("SELECT count(*) FROM t").unwrap();
    teller.run_for(&prepared, Done::new(leaver.clone(), 0));
    assert!(leaver.answer.lock().unwrap().take().unwrap().is_err());
}
