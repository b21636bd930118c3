//! Statements carried out: stories with their outcomes (`stories/*.txt`), told over the model and
//! over the real spine, and what no story tells.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "golden files are written by hand")]

mod bounds;
mod filters;
mod meddler;
mod model;
mod story;

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use world::{Clock, Disk, Entropy, World};

use self::{
    model::Model,
    story::{Teller, row_texts},
};
use super::{Answer, BoundValue, BoundValues, ColumnSpec, Request};
use crate::{
    bind::CqlError,
    texts::Texts,
    types::{CqlType, Native, compare},
};

/// 2024-01-01, in microseconds.
const NOW_MICROS: u64 = 1_704_067_200_000_000;

const STORIES: [(&str, &str); 7] = [
    ("define", include_str!("stories/define.txt")),
    ("write", include_str!("stories/write.txt")),
    ("select", include_str!("stories/select.txt")),
    ("filter", include_str!("stories/filter.txt")),
    ("condition", include_str!("stories/condition.txt")),
    ("types", include_str!("stories/types.txt")),
    ("truncate", include_str!("stories/truncate.txt")),
];

fn teller(step_rows: usize) -> Teller {
    Teller::new(Model::store(step_rows), Clock::simulated(NOW_MICROS))
}

fn check(name: &str, story: &str, told: &str) {
    for (line, (expected, found)) in story.lines().zip(told.lines()).enumerate() {
        assert_eq!(found, expected, "{name}.txt line {}", line + 1);
    }
    assert_eq!(told, story, "{name}.txt");
}

/// Set `GOLDEN=write` to write the stories anew, and read the difference.
#[test]
fn stories_over_the_model() {
    for (name, story) in STORIES {
        let told = teller(usize::MAX).play(story);
        if std::env::var("GOLDEN").is_ok_and(|mode| mode == "write") {
            let path = format!("{}/src/exec/stories/{name}.txt", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, told).unwrap();
        } else {
            check(name, story, &told);
        }
    }
}

#[test]
fn stories_do_not_change_when_the_store_answers_in_small_steps() {
    for step_rows in 1..4 {
        for (name, story) in STORIES {
            check(name, story, &teller(step_rows).play(story));
        }
    }
}

#[test]
fn stories_over_the_spine() {
    for (name, story) in STORIES {
        let clock = Clock::simulated(NOW_MICROS);
        let world = World { clock: clock.clone(), entropy: Entropy::seeded(7), disk: Disk::in_memory() };
        let fabric =
            fabric::Fabric::start(&world, fabric::Settings::default(), Vec::new(), Default::default());
        let fabric = fabric.unwrap();
        check(name, story, &Teller::new(fabric.store().clone(), clock).play(story));
        fabric.stop().unwrap();
    }
}

const SETUP: &str =
    "CREATE KEYSPACE test WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}
USE test
CREATE TABLE t (k int, c int, v int, w text, PRIMARY KEY (k, c))
INSERT INTO t (k, c, v) VALUES (1, 1, 1)
INSERT INTO t (k, c, v) VALUES (1, 2, 2)
INSERT INTO t (k, c, v) VALUES (2, 1, 3)
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_paging_state_that_was_made_up_does_no_harm(state: Vec<u8>, from_ours: bool, at in 0usize..40, byte: u8) {
        let mut teller = teller(usize::MAX);
        teller.play(SETUP);
        let page = |state: Option<Bytes>| Request { page_size: Some(1), paging_state: state, ..Request::default() };
        for select in ["SELECT k, c FROM t", "SELECT k FROM t WHERE k IN (1, 2)", "SELECT v FROM t WHERE k = 1 AND c = 1"] {
            let mut state = state.clone();
            if from_ours {
                let first = teller.execute("SELECT k, c FROM t", page(None)).unwrap();
                let Answer::Rows(rows) = first.answer else { panic!() };
                state = rows.paging_state.unwrap().to_vec();
                if let Some(target) = state.get_mut(at) {
                    *target = byte;
                }
            }
            match teller.execute(select, page(Some(state.into()))) {
                Ok(_) | Err(CqlError::Protocol(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn arbitrary_statements_on_a_table_never_panic(text in "(SELECT|DELETE FROM|UPDATE) t (SET [kcvw] = [0-9?'a]{1,3} )?WHERE [kcvw(), =<>IN0-9?']{0,30}") {
        let mut teller = teller(usize::MAX);
        teller.play(SETUP);
        let _ = teller.execute(&text, Request::default());
    }
}

/// All rows of a paged SELECT.
fn all_pages(teller: &Teller, select: &str, page_size: u32) -> Vec<Vec<String>> {
    let mut request = Request { page_size: Some(page_size), ..Request::default() };
    let mut all = Vec::new();
    loop {
        let Answer::Rows(rows) = teller.execute(select, request.clone()).unwrap().answer else { panic!() };
        assert!(page_size == 0 || rows.count <= page_size);
        all.extend(row_texts(&rows));
        match rows.paging_state {
            Some(state) => request.paging_state = Some(state),
            None => return all,
        }
    }
}

fn names_and_types(specs: &[ColumnSpec]) -> String {
    specs.iter().map(|spec| format!("{} {}", spec.name, spec.ty)).collect::<Vec<_>>().join(", ")
}

#[test]
fn markers_are_named_typed_and_routed_as_cassandra_does() {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    teller.play("CREATE TABLE p (a int, b text, c int, v double, PRIMARY KEY ((a, b), c))\n");
    let cases: [(&str, &str, &[u16]); 13] = [
        ("INSERT INTO t (v, c, k) VALUES (?, ?, ?)", "v int, c int, k int", &[2]),
        ("INSERT INTO p (b, c, a) VALUES (?, 1, ?)", "b text, a int", &[1, 0]),
        ("INSERT INTO p (b, c, a) VALUES (?, 1, 2)", "b text", &[]),
        (
            "INSERT INTO t (k, c) VALUES (:Key, :\"C\") USING TTL ? AND TIMESTAMP ?",
            "key int, C int, [ttl] int, [timestamp] bigint",
            &[0],
        ),
        (
            "UPDATE t USING TTL ? SET v = ?, w = ? WHERE c = ? AND k = ? IF v IN ? AND w = ?",
            "[ttl] int, v int, w text, c int, k int, in(v) list<int>, w text",
            &[4],
        ),
        ("DELETE v FROM t WHERE k = ? AND c IN ?", "k int, in(c) list<int>", &[0]),
        ("DELETE FROM t USING TIMESTAMP ? WHERE k IN ?", "[timestamp] bigint, in(k) list<int>", &[]),
        ("SELECT * FROM t WHERE k = ? AND c > ? LIMIT ?", "k int, c int, [limit] int", &[0]),
        ("SELECT * FROM p WHERE b = ? AND a = ?", "b text, a int", &[1, 0]),
        ("SELECT * FROM t WHERE k IN (?)", "k int", &[0]),
        (
            "SELECT * FROM t WHERE token(k) > ? PER PARTITION LIMIT ?",
            "partition key token bigint, [per_partition_limit] int",
            &[],
        ),
        ("SELECT * FROM t WHERE v = ? AND w = ? ALLOW FILTERING", "v int, w text", &[]),
        ("SELECT * FROM t WHERE k = ? AND (c) > (?)", "k int, c int", &[0]),
    ];
    for (statement, markers, routing) in cases {
        let prepared = teller.prepare(statement).unwrap();
        assert_eq!(names_and_types(&prepared.markers().markers), markers, "{statement}");
        assert_eq!(prepared.markers().partition_key_markers, routing, "{statement}");
        assert_eq!(prepared.markers().markers.is_empty(), markers.is_empty());
    }
}

#[test]
fn a_prepared_statement_follows_its_table() {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    let insert = teller.prepare("INSERT INTO t (k, c, v) VALUES (9, 9, ?)").unwrap();
    let select = teller.prepare("SELECT * FROM t WHERE k = 9").unwrap();
    assert_eq!(names_and_types(&select.result().unwrap().columns), "k int, c int, v int, w text");
    assert!(insert.result().is_none());
    assert!(
        select.is_of("test", Some("t")) && select.is_of("test", None) && !select.is_of("test", Some("u"))
    );

    // Made again with the same columns, it is another table, and the statement goes to that one.
    teller.play("DROP TABLE t\nCREATE TABLE t (k int, c int, v int, w text, PRIMARY KEY (k, c))\n");
    let value = |bytes: &'static [u8]| Request {
        values: BoundValues::Positional(vec![BoundValue::Value(Bytes::from_static(bytes))]),
        ..Request::default()
    };
    teller.run(&insert, value(&[0, 0, 0, 5])).unwrap();
    let Answer::Rows(rows) = teller.run(&select, Request::default()).unwrap().answer else { panic!() };
    assert_eq!(row_texts(&rows), [["9", "9", "5", "null"]]);

    // With others, what the client was told is no longer true.
    teller.play("DROP TABLE t\nCREATE TABLE t (k int, c int, v text, PRIMARY KEY (k, c))\n");
    for (prepared, request) in [(&insert, value(b"text")), (&select, Request::default())] {
        let error = teller.run(prepared, request).unwrap_err();
        assert!(error.to_string().contains("prepare it again"), "{error}");
    }
    teller.play("DROP TABLE t\n");
    let error = teller.run(&select, Request::default()).unwrap_err();
    assert_eq!(error, CqlError::invalid("table t does not exist"));
}

/// A plan that is kept for its text is as old as the definitions and no older.
#[test]
fn a_text_that_is_kept_follows_its_table() {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    let texts = Texts::default();
    let keyspace = "test".into();
    let prepare = |teller: &Teller, text| texts.prepare(teller.engine(), Some(&keyspace), text);
    let select = "SELECT * FROM t";
    let [_, second, third] = [(); 3].map(|()| prepare(&teller, select).unwrap());
    assert!(Arc::ptr_eq(&second, &third));
    teller.play("DROP TABLE t\nCREATE TABLE t (k int PRIMARY KEY, other text)\n");
    let after = prepare(&teller, select).unwrap();
    assert_eq!(names_and_types(&after.result().unwrap().columns), "k int, other text");
    assert!(Arc::ptr_eq(&after, &prepare(&teller, select).unwrap()), "it takes the place of the old");
    teller.play("INSERT INTO t (k, other) VALUES (1, 'x')\nTRUNCATE t\n");
    let Answer::Rows(rows) =
        teller.run(&prepare(&teller, select).unwrap(), Request::default()).unwrap().answer
    else {
        panic!()
    };
    assert_eq!(rows.count, 0);
    teller.play("DROP TABLE t\n");
    assert!(prepare(&teller, select).is_err());
}

#[test]
fn values_may_be_given_by_name() {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    let int = |value: i32| BoundValue::Value(Bytes::copy_from_slice(&value.to_be_bytes()));
    let named = |names: &[(&str, i32)]| Request {
        values: BoundValues::Named(
            names.iter().map(|(name, value)| ((*name).to_owned(), int(*value))).collect(),
        ),
        ..Request::default()
    };
    let select = "SELECT v FROM t WHERE k = :key AND c = :row";
    let Answer::Rows(rows) = teller.execute(select, named(&[("row", 2), ("key", 1)])).unwrap().answer else {
        panic!()
    };
    assert_eq!(row_texts(&rows), [["2"]]);
    let error = teller.execute(select, named(&[("row", 2)])).unwrap_err();
    assert_eq!(error, CqlError::invalid("Invalid amount of bind variables"));
}

#[test]
fn writes_without_a_timestamp_never_tie() {
    let mut teller = teller(usize::MAX);
    teller.play(SETUP);
    // The clock stands still, yet the last write wins, even against a larger value.
    for value in [5, 9, 3] {
        teller.play(&format!("UPDATE t SET v = {value} WHERE k = 1 AND c = 1\n"));
    }
    let select = "SELECT v, writetime(v) FROM t WHERE k = 1 AND c = 1";
    let Answer::Rows(rows) = teller.execute(select, Request::default()).unwrap().answer else { panic!() };
    assert_eq!(row_texts(&rows)[0][0], "3");
    let lowest = Request { timestamp_micros: Some(i64::MIN), ..Request::default() };
    let error = teller.execute("UPDATE t SET v = 1 WHERE k = 1 AND c = 1", lowest).unwrap_err();
    assert!(matches!(error, CqlError::Protocol(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is bound is refused, or comes back as it was (in a key: equal to what it was).
    #[test]
    fn any_bytes_are_refused_or_come_back(which in 0usize..20, bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        proptest::sample::select(vec![0usize, 1, 2, 4, 8, 16]).prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len)),
    ], descending: bool) {
        let native = Native::NAMES[which].0;
        if native == Native::Counter {
            return Ok(());
        }
        let ty = CqlType::Native(native);
        let mut teller = teller(usize::MAX);
        let order = if descending { "DESC" } else { "ASC" };
        // A duration has no order, so it is no key.
        let key = if native == Native::Duration { "int".to_owned() } else { ty.to_string() };
        let told = teller.play(&format!(
            "CREATE KEYSPACE test WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}\n\
             USE test\n\
             CREATE TABLE x (p int, c {key}, v {ty}, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c {order})\n"
        ));
        prop_assert!(!told.contains("INVALID"), "{}", told);
        let value = BoundValue::Value(Bytes::from(bytes.clone()));
        let of_key = if native == Native::Duration { BoundValue::Value(Bytes::new()) } else { value.clone() };
        let values = |values: Vec<BoundValue>| Request { values: BoundValues::Positional(values), ..Request::default() };
        let insert = "INSERT INTO x (p, c, v) VALUES (1, ?, ?)";
        match teller.execute(insert, values(vec![of_key.clone(), value])) {
            Err(CqlError::Invalid(_)) => {}
            Err(other) => panic!("{other:?}"),
            Ok(_) => {
                let select = "SELECT v, c FROM x WHERE p = 1 AND c = ?";
                let answer = teller.execute(select, values(vec![of_key])).unwrap().answer;
                let Answer::Rows(rows) = answer else { panic!() };
                prop_assert_eq!(rows.count, 1);
                let (v, rest) = rows.cells[4..].split_at(bytes.len());
                prop_assert_eq!(v, bytes.as_slice());
                if native != Native::Duration {
                    prop_assert!(compare(&ty, &rest[4..], &bytes).is_eq());
                }
            }
        }
    }
}
