//! `cargo xtask test`: every test there is, in parts, counted.
//!
//! Everything is compiled once, by one `cargo build` of all targets, and the test programs are then
//! run directly. A `cargo test -p X` for each part would pick other features for shared
//! dependencies and compile them again, minutes each on two cores.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use crate::{in_ci, java, python, root, run, sim, target, tidy};

/// A test program must end within this. The longest, `it`, needs a third of it.
const PROGRAM_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Tests that run at once in `it`. More than the two cores they are made for, because many of them
/// wait for a session to expire or a server to start.
const IT_THREADS: &str = "4";

/// The fuzzers: a workspace of their own.
const FUZZ: &str = "fuzz/Cargo.toml";

/// A test that can't run here says this, and why, on standard output.
const SKIP_MARK: &str = "holdfast-test-skipped:";

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Skips told by tests of the running program, which libtest will count as passed.
    told: u64,
}

impl Tally {
    pub(crate) fn one(passed: bool) -> Tally {
        Tally { passed: passed.into(), failed: (!passed).into(), ..Tally::default() }
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Counts a line of a test program: libtest's result line, or a skip that a test told.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
            for part in counts.split("; ") {
                match part.split_once(' ').and_then(|(n, what)| Some((n.parse::<u64>().ok()?, what))) {
                    Some((n, "passed")) => self.passed += n.saturating_sub(std::mem::take(&mut self.told)),
                    Some((n, "failed")) => self.failed += n,
                    Some((n, "ignored")) => self.skipped += n,
                    _ => {}
                }
            }
        } else if line.contains(SKIP_MARK) {
            self.skipped += 1;
            self.told += 1;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs the parts that `args` names, or all.
pub(crate) fn run(args: &[&str]) -> ExitCode {
    let (part, filter) = match args {
        [] => (None, None),
        [part @ ("fmt" | "clippy" | "tidy" | "unit" | "sim" | "it")] => (Some(*part), None),
        ["it", filter] => (Some("it"), Some(*filter)),
        _ => return crate::usage(),
    };
    let root = root();
    let wants = |name: &str| part.is_none_or(|part| part == name);
    let mut all = Tally::default();
    let mut told = |name: &str, tally: Tally| {
        println!("-- {name}: {tally}");
        all.add(tally);
    };
    if wants("fmt") {
        heading("fmt");
        let mut tally = Tally::one(run::succeeds(run::cargo(&root).args(["fmt", "--all", "--check"])));
        let fuzz = ["fmt", "--manifest-path", FUZZ, "--check"];
        tally.add(Tally::one(run::succeeds(run::cargo(&root).args(fuzz))));
        told("fmt", tally);
    }
    if wants("tidy") {
        heading("tidy");
        told("tidy", tidy::run(&root));
    }
    if wants("clippy") {
        heading("clippy");
        told("clippy", clippy(&root));
    }
    if wants("sim") {
        heading("sim");
        told("sim", sim::test(&root));
    }
    if wants("unit") || wants("it") {
        heading("build");
        match build(&root) {
            None => told("build", Tally::one(false)),
            Some(programs) => {
                if wants("unit") {
                    heading("unit");
                    told("unit", unit(&root, &programs));
                }
                if wants("it") {
                    heading("it");
                    told("it", it(&root, &programs, filter));
                }
            }
        }
    }
    println!("{all}");
    all.exit_code()
}

fn heading(part: &str) {
    println!("== {part}");
}

/// clippy three times: what ships without a touch of the world outside `world` (`clippy.toml`), then the
/// tests, which may make a thread or a temporary folder of their own, and the fuzzers.
fn clippy(root: &Path) -> Tally {
    let base = ["clippy", "--quiet", "--workspace"];
    let ships = ["--lib", "--bins", "--", "-D", "warnings"];
    let tests = ["--all-targets", "--", "-D", "warnings", "-A", "clippy::disallowed_methods"];
    let mut tally = Tally::one(run::succeeds(run::cargo(root).args(base).args(ships)));
    let tests = [&tests[..], &["-A", "clippy::disallowed_types"]].concat();
    tally.add(Tally::one(run::succeeds(run::cargo(root).args(base).args(&tests))));
    tally.add(Tally::one(run::succeeds(fuzz(root, "clippy").args(tests))));
    tally
}

/// cargo in the workspace of the fuzzers, without libFuzzer: this wants neither nightly nor C++.
fn fuzz(root: &Path, command: &str) -> Command {
    let mut cargo = run::cargo(root);
    cargo.args([command, "--quiet", "--manifest-path", FUZZ, "--no-default-features", "--locked"]);
    cargo.arg("--target-dir").arg(target(root));
    cargo
}

/// A compiled test program.
struct Program {
    name: String,
    package: PathBuf,
    executable: PathBuf,
    /// `test` for an integration test, else `lib` or `bin`.
    kind: String,
}

/// Compiles everything; `None` if it does not compile.
fn build(root: &Path) -> Option<Vec<Program>> {
    let mut programs = Vec::new();
    let built = run::lines(
        run::cargo(root).args([
            "build",
            "--workspace",
            "--all-targets",
            "--message-format=json-render-diagnostics",
        ]),
        PROGRAM_LIMIT,
        |line| programs.extend(program(line)),
    );
    built.then_some(programs)
}

/// The test program that a message of cargo's tells of, if it does.
fn program(message: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let mut package = PathBuf::from(message["manifest_path"].as_str()?);
    package.pop();
    Some(Program {
        name: message["target"]["name"].as_str()?.to_owned(),
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        executable: PathBuf::from(message["executable"].as_str()?),
        package,
    })
}

/// Every test program but `it`, that of the fuzzers' list, then the documentation's examples.
fn unit(root: &Path, programs: &[Program]) -> Tally {
    let mut tally = Tally::default();
    for program in programs.iter().filter(|program| !is_it(program)) {
        println!("-- {} ({})", program.name, program.kind);
        tally.add(execute(Command::new(&program.executable).current_dir(&program.package)));
    }
    println!("-- fuzz (lib)");
    tally.add(execute(fuzz(root, "test").arg("--lib")));
    println!("-- examples in the documentation");
    tally.add(execute(run::cargo(root).args(["test", "--quiet", "--workspace", "--doc"])));
    tally
}

/// The integration tests, with what they need: the server's binary, a Python with the drivers, and the
/// Java clients if there are any.
fn it(root: &Path, programs: &[Program], filter: Option<&str>) -> Tally {
    let Some(program) = programs.iter().find(|program| is_it(program)) else {
        eprintln!("xtask: cargo built no integration tests");
        return Tally::one(false);
    };
    let mut command = Command::new(&program.executable);
    command.current_dir(&program.package).args(["--test-threads", IT_THREADS]).args(filter);
    command.env("HOLDFAST_BIN", target(root).join("debug/holdfast"));
    match python::environment(root) {
        Ok(interpreter) => {
            command.env("HOLDFAST_PYTHON", interpreter);
        }
        Err(why) => {
            eprintln!("xtask: no Python environment: {why}");
            if in_ci() {
                return Tally::one(false);
            }
        }
    }
    match java::clients(root) {
        Ok(jars) => {
            command.env("HOLDFAST_JAVA", jars);
        }
        Err(why) => eprintln!("xtask: no Java clients: {why}"),
    }
    execute(&mut command)
}

fn is_it(program: &Program) -> bool {
    program.name == "it" && program.kind == "test"
}

/// Runs a test program, shows its lines, and counts. One that fails without saying which test (it
/// was killed, or it does not start) counts as a failure.
fn execute(command: &mut Command) -> Tally {
    let mut tally = Tally::default();
    let succeeded = run::lines(command, PROGRAM_LIMIT, |line| {
        println!("{line}");
        tally.read(line);
    });
    if !succeeded && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_and_skips_are_counted() {
        let mut tally = Tally::default();
        tally.read("running 4 tests");
        tally.read("test a ... holdfast-test-skipped: no Python");
        tally.read(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.1s",
        );
        tally.read("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out");
        assert_eq!(tally, Tally { passed: 4, failed: 1, skipped: 2, told: 0 });
        assert_eq!(tally.to_string(), "4 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn only_test_programs_are_taken_from_the_build() {
        let message = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/x/crates/it/Cargo.toml","profile":{{"test":{test}}},
                    "target":{{"name":"it","kind":["test"]}},"executable":{executable}}}"#
            )
        };
        let found = program(&message(true, r#""/x/target/it""#)).expect("a test program");
        assert!(is_it(&found));
        assert_eq!(found.package, Path::new("/x/crates/it"));
        assert!(program(&message(false, r#""/x/target/it""#)).is_none());
        assert!(program(&message(true, "null")).is_none());
        assert!(program("not json").is_none());
    }
}
