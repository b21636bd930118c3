//! Linearizability of what concurrent sessions do while the server is killed (SIGKILL) and started
//! again: every answer is kept, and the order that the server gave them must explain all of them
//! (`judge.rs`).
//!
//! `HOLDFAST_WITNESS_ROUNDS` makes the run longer than CI's.

mod client;
mod history;
mod judge;
mod judge_tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{
    client::{Client, LEFT, Tree},
    history::{Answer, Asked, Op, Sight},
    judge::judge,
};
use crate::harness::Launch;

const CLIENTS: u64 = 6;
const ROUNDS: u32 = 7;
/// How long the session that is left has to live: the shortest that the server gives.
const LEFT_TIMEOUT: Duration = Duration::from_secs(4);
/// It has ended this long after the last restart, on the busiest machine.
const GONE_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_order_of_zxids_explains_all_answers_through_kills() {
    let rounds =
        std::env::var("HOLDFAST_WITNESS_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut server = Launch::new("witness").small_files().start();
    let tree = Arc::new(Tree::new(server.zookeeper(), Instant::now()));
    tree.plant();
    let mut ops = leave(&tree);

    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let (tree, stop) = (tree.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(tree, seed, Duration::from_secs(30));
                while !stop.load(Ordering::Relaxed) {
                    client.step();
                }
                client.ops
            })
        })
        .collect();
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(250 + u64::from(round * 37 % 400)));
        server.kill();
        server.restart();
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        ops.extend(worker.join().expect("a client judges nothing"));
    }
    let left = ops[0].session;
    ops.extend(wait_until_gone(&tree, left));

    let began = Instant::now();
    let summary = judge(&ops).unwrap_or_else(|why| panic!("no order explains: {why}"));
    println!("{summary:?}, judged in {:?}", began.elapsed());
    assert!(summary.acknowledged > 100 * rounds as usize, "too little load: {summary:?}");
    assert!(summary.unknown > 0, "no kill fell into a request: {summary:?}");
}

/// A session that makes ephemerals and goes away without a word.
fn leave(tree: &Arc<Tree>) -> Vec<Op> {
    let mut client = Client::new(tree.clone(), 100, LEFT_TIMEOUT);
    client.make_what_is_left();
    let mut ops = client.ops;
    let now_us = tree.now_us();
    ops.push(Op {
        session: ops[0].session,
        began_us: now_us,
        ended_us: now_us,
        asked: Asked::Abandon { timeout_us: LEFT_TIMEOUT.as_micros() as u64 },
        answer: Answer::Unknown,
    });
    ops
}

/// Looks until the session that was left is no more, then at everything once.
fn wait_until_gone(tree: &Arc<Tree>, session: i64) -> Vec<Op> {
    let mut client = Client::new(tree.clone(), 101, Duration::from_secs(30));
    let began = Instant::now();
    loop {
        client.read(LEFT);
        let Answer::Done { saw, .. } = &client.ops.last().expect("a read").answer else {
            panic!("no answer")
        };
        if saw[0].1 == Sight::Absent {
            break;
        }
        assert!(began.elapsed() < GONE_LIMIT, "an ephemeral is left behind by a session that was left");
        std::thread::sleep(Duration::from_millis(50));
    }
    let now_us = tree.now_us();
    let asked = Asked::Expired;
    client.ops.push(Op { session, began_us: now_us, ended_us: now_us, asked, answer: Answer::Unknown });
    client.look_at_everything();
    client.ops
}
