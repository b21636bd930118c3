//! Automation: `cargo xtask test`, `tidy`, `bench`, `diff`, `sim`. What a developer and CI type is the same.

mod java;
mod python;
mod run;
mod sim;
mod test;
mod tidy;

use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: cargo xtask test [fmt|clippy|tidy|unit|sim|it [FILTER]]
       cargo xtask tidy
       cargo xtask python
       cargo xtask java
       cargo xtask bench [ARGS]
       cargo xtask diff zookeeper [--operations N] [--seed N] [--record]
       cargo xtask sim [--seeds N | --hours N | --seed N [--explain] | --table]

test    builds everything and passes every test, or those of one part; the last line counts them
tidy    the laws of the house that no compiler keeps
python  makes the Python environment of the tests and prints its interpreter
java    fetches the Java clients of the tests and prints the folder of their jars
bench   release-built load programs beside the peers; see bench/README.md
diff    random programs on the ZooKeeper door and on Apache ZooKeeper, compared; --record for the tests
sim     whole nodes under one seed with faults of every kind; --table writes the planted bugs into docs/sim.md";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["test", rest @ ..] => test::run(rest),
        ["tidy"] => {
            let tally = tidy::run(&root());
            println!("{tally}");
            tally.exit_code()
        }
        ["python"] => match python::environment(&root()) {
            Ok(interpreter) => {
                println!("{}", interpreter.display());
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("xtask: {why}");
                ExitCode::FAILURE
            }
        },
        ["java"] => match java::clients(&root()) {
            Ok(jars) => {
                println!("{}", jars.display());
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("xtask: no Java clients: {why}");
                ExitCode::FAILURE
            }
        },
        ["bench", rest @ ..] => {
            let mut cargo = run::cargo(&root());
            cargo.args(["run", "--release", "--package", "bench", "--bin", "bench-run", "--"]).args(rest);
            if run::succeeds(&mut cargo) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        ["diff", "zookeeper", rest @ ..] => {
            let mut cargo = run::cargo(&root());
            cargo.args(["run", "--quiet", "--package", "bench", "--bin", "bench-diff", "--"]).args(rest);
            if run::succeeds(&mut cargo) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        ["sim", rest @ ..] => sim::run(&root(), rest),
        _ => usage(),
    }
}

/// Says how it is called, and fails.
fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The workspace's folder: two above this crate's.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// Cargo's target folder.
fn target(root: &std::path::Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// Whether this run is CI's, where what is missing is a failure, but for Java.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
