//! Statements carried out: stories with their outcomes (`stories/*.txt`), told over the model and
//! over the real spine, and what no story tells.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "golden files are written by hand")]

mod filters;
mod model;
mod story;

use bytes::Bytes;
use proptest::prelude::*;
use world::{Clock, Disk, Entropy, World};

use self::{
    model::Model,
    story::{Teller, row_texts},
};
use super::{Answer, Request};
use crate::bind::CqlError;

/// 2024-01-01, in microseconds.
const NOW_MICROS: u64 = 1_704_067_200_000_000;

const STORIES: [(&str, &str); 6] = [
    ("define", include_str!("stories/define.txt")),
    ("write", include_str!("stories/write.txt")),
    ("select", include_str!("stories/select.txt")),
    ("filter", include_str!("stories/filter.txt")),
    ("condition", include_str!("stories/condition.txt")),
    ("types", include_str!("stories/types.txt")),
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
