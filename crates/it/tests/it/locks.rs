//! The lock: never two holders, and it passes on when its holder dies, not before.

use std::time::{Duration, Instant};

use crate::{
    harness::{Program, Server, root},
    need_python,
    programs::at_default_ports,
};

const SOON: Duration = Duration::from_secs(30);

/// Starts the third process, and gives it with the variables that make others report to it.
fn counter(server: &Server) -> (Program, String, String) {
    let socket = server.scratch().join("counter.sock").to_str().unwrap().to_owned();
    let mut counter = Program::start(server, "lock_counter.py", &[&socket]);
    counter.expect("counting", SOON);
    let python = root().join("crates/it/python");
    let path = format!("{}:{}", python.join("observed").display(), python.display());
    (counter, socket, path)
}

fn most_and_total(counter: Program) -> (u32, u32) {
    let said = counter.close_input();
    let words: Vec<&str> = said.last().unwrap().split(' ').collect();
    assert_eq!((words[0], words[2]), ("most", "of"));
    (words[1].parse().unwrap(), words[3].parse().unwrap())
}

#[test]
fn two_that_run_the_program_as_it_stands_never_hold_the_lock_together() {
    need_python!();
    const ROUNDS: u32 = 10;
    let (_turn, server) = at_default_ports("lock-fight");
    let (counter, socket, path) = counter(&server);
    let program = root().join("examples/lock.py");
    let args = [program.to_str().unwrap(), &ROUNDS.to_string()];
    let env = [("HOLDFAST_LOCK_COUNTER", socket.as_str()), ("PYTHONPATH", path.as_str())];
    let fighters = [0, 1].map(|_| Program::start_with(&server, "lock_fighter.py", &args, &env));
    for fighter in fighters {
        fighter.finish();
    }
    assert_eq!(most_and_total(counter), (1, 2 * ROUNDS));
}

#[test]
fn three_that_fight_for_the_lock_hold_it_one_at_a_time() {
    need_python!();
    const ROUNDS: u32 = 60;
    let server = Server::start("lock-rounds");
    let (counter, socket, path) = counter(&server);
    let env = [("HOLDFAST_LOCK_COUNTER", socket.as_str()), ("PYTHONPATH", path.as_str())];
    let fighters =
        [0; 3].map(|_| Program::start_with(&server, "lock_rounds.py", &[&ROUNDS.to_string()], &env));
    for fighter in fighters {
        fighter.finish();
    }
    assert_eq!(most_and_total(counter), (1, 3 * ROUNDS));
}

#[test]
fn the_lock_of_a_killed_holder_passes_on_after_its_session_and_not_before() {
    need_python!();
    const TIMEOUT: Duration = Duration::from_secs(4);
    let server = Server::start("lock-killed");
    let mut holder = Program::start(&server, "lock_holder.py", &["4", "holder"]);
    holder.expect("waiting", SOON);
    holder.expect("holding", SOON);
    let mut waiter = Program::start(&server, "lock_holder.py", &["30", "waiter"]);
    waiter.expect("waiting", SOON);

    holder.kill();
    let killed = Instant::now();
    waiter.expect("holding", SOON);
    let passed_on = killed.elapsed();
    // The holder's last sign of life is at most one ping, a third of the timeout, before its end.
    assert!(passed_on >= TIMEOUT * 2 / 3 - Duration::from_millis(200), "too early: {passed_on:?}");
    assert!(passed_on <= TIMEOUT + Duration::from_secs(10), "too late: {passed_on:?}");
}

#[test]
fn the_lock_of_a_holder_that_leaves_passes_on_at_once() {
    need_python!();
    let server = Server::start("lock-left");
    let mut holder = Program::start(&server, "lock_holder.py", &["30", "holder"]);
    holder.expect("waiting", SOON);
    holder.expect("holding", SOON);
    let mut waiter = Program::start(&server, "lock_holder.py", &["30", "waiter"]);
    waiter.expect("waiting", SOON);
    let left = Instant::now();
    holder.close_input();
    waiter.expect("holding", Duration::from_secs(15));
    assert!(left.elapsed() < Duration::from_secs(15));
}

#[test]
fn the_lock_is_still_held_after_the_server_was_killed_and_started_again() {
    need_python!();
    let mut server = Server::start("lock-restart");
    let mut holder = Program::start(&server, "lock_holder.py", &["20", "holder"]);
    holder.expect("waiting", SOON);
    holder.expect("holding", SOON);
    server.kill();
    server.restart();
    // Another asks at once, and waits, because the holder's session lives on.
    let mut waiter = Program::start(&server, "lock_holder.py", &["20", "waiter"]);
    waiter.expect("waiting", SOON);
    assert!(waiter.is_silent_for(Duration::from_secs(3)), "two hold the lock");
    holder.close_input();
    waiter.expect("holding", SOON);
}
