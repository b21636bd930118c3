//! kazoo's own tests, all of them, with Holdfast in the place of ZooKeeper.
//!
//! `python/kazoo_plugin.py` puts our server into kazoo's harness, which starts and stops it as it would
//! a Java process, and reports how each test ended. What does not pass must be what
//! `python/kazoo_not_passing.tsv` lists, with the reason: one more is a fault of ours, and one
//! fewer is a line too many.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{
    harness::{self, Process, Scratch, program, server},
    need_python,
};

/// Half of what they take is waiting; this is for a machine with much else to do.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long pytest may take to stop its server when it is interrupted.
const LAST_WORDS: Duration = Duration::from_secs(40);

/// kazoo 2.11.0 has so many; 480 pass.
const TESTS: usize = 493;

#[test]
fn kazoos_own_tests_pass_but_for_those_that_are_listed() {
    need_python!();
    let listed = outcomes(include_str!("../../python/kazoo_not_passing.tsv"));
    // Kept when this fails, with pytest's log in it.
    let scratch = Scratch::new("kazoo-own");
    let found = run(&scratch);
    let passed = found.values().filter(|outcome| *outcome == "passed").count();
    let rest: BTreeMap<String, String> = found
        .iter()
        .filter(|(_, outcome)| *outcome != "passed")
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    assert_eq!(rest, listed, "{passed} passed; left what did not, right what is listed");
    assert_eq!(found.len(), TESTS);
}

/// The outcome of each test, by name.
fn outcomes(report: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let (outcome, name) = (fields.next().unwrap(), fields.next().unwrap());
        (name.to_owned(), outcome.to_owned())
    };
    report.lines().map(line).collect()
}

/// Runs them, and gives what the plugin reports.
fn run(scratch: &Scratch) -> BTreeMap<String, String> {
    let (report, output) = (scratch.path().join("report"), scratch.path().join("pytest.log"));
    let mut command = Command::new(program::interpreter().expect("the test has asked"));
    command.args(["-m", "pytest", "-p", "kazoo_plugin", "-p", "no:cacheprovider", "-q", "-W", "ignore"]);
    command.args(["--pyargs", "kazoo.tests"]);
    command.env("HOLDFAST_BIN", server::binary()).env("HOLDFAST_KAZOO_REPORT", &report);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONPATH", harness::root().join("crates/it/python"));
    // The servers' data, and what else the tests leave.
    command.env("TMPDIR", scratch.path()).current_dir(scratch.path()).stdin(Stdio::null());
    let file = File::create(&output).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let status = ends(Process::start(command));
    // 0 is all passed, 1 some failed; everything else means that they did not run.
    let ran = status.is_some_and(|status| matches!(status.code(), Some(0 | 1)));
    assert!(ran, "{status:?}: {}", fs::read_to_string(&output).unwrap_or_default());
    outcomes(&fs::read_to_string(&report).unwrap())
}

/// Waits for pytest's end. Past the limit it is interrupted, so that it stops its server.
fn ends(mut pytest: Process) -> Option<ExitStatus> {
    let ended = pytest.ends_within(LIMIT);
    if ended.is_none() {
        pytest.signal("INT");
        pytest.ends_within(LAST_WORDS);
    }
    ended
}
