//! `cargo xtask sim`: builds the simulator with optimisation, and runs it.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use crate::{run, test::Tally};

/// Where the table of planted bugs stands, and between which lines.
const PAPER: &str = "docs/sim.md";
const BEGIN: &str = "<!-- the table of `cargo xtask sim --table` -->";
const END: &str = "<!-- end of the table -->";

/// All planted bugs must be found within this.
const TABLE_LIMIT: Duration = Duration::from_secs(15 * 60);

fn command(root: &Path) -> Command {
    let mut cargo = run::cargo(root);
    cargo.args(["run", "--quiet", "--profile", "sim", "--package", "sim", "--"]);
    cargo
}

/// Runs the simulator with these flags.
pub(crate) fn run(root: &Path, args: &[&str]) -> ExitCode {
    let sound = if args == ["--table"] { table(root) } else { run::succeeds(command(root).args(args)) };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The seeds of CI, clean and with each bug planted.
pub(crate) fn test(root: &Path) -> Tally {
    let mut tally = Tally::one(run::succeeds(&mut command(root)));
    tally.add(Tally::one(run::succeeds(command(root).arg("--bugs"))));
    tally
}

/// Measures how long planted bugs live and writes it into the paper.
fn table(root: &Path) -> bool {
    let mut lines = Vec::new();
    let sound = run::lines(command(root).arg("--bugs"), TABLE_LIMIT, |line| {
        println!("{line}");
        lines.push(line.to_owned());
    });
    let path = root.join(PAPER);
    let Ok(text) = fs::read_to_string(&path) else { return false };
    let Some((before, rest)) = text.split_once(BEGIN) else { return false };
    let Some((_, after)) = rest.split_once(END) else { return false };
    sound && fs::write(&path, format!("{before}{BEGIN}\n{}\n{END}{after}", lines.join("\n"))).is_ok()
}
