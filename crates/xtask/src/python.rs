//! The Python environment of the tests: `target/python`, made from pinned, hashed requirements.
//!
//! It is made anew when the requirements or the interpreter changed, told by a stamp that holds
//! both. pip is used as it is configured on the machine: no index is named here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Interpreters to try, the machine's own choice first. 3.10 is the oldest that is supported, 3.13
/// the newest for which the drivers publish wheels.
const INTERPRETERS: [&str; 5] = ["python3", "python3.13", "python3.12", "python3.11", "python3.10"];
const VERSIONS: [&str; 4] = ["3.10", "3.11", "3.12", "3.13"];

/// The interpreter of the environment, which is made if need be. The error says what is missing.
pub(crate) fn environment(root: &Path) -> Result<PathBuf, String> {
    let requirements = root.join("crates/it/python/requirements.txt");
    let wanted =
        fs::read_to_string(&requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    let (base, version) = interpreter()?;
    let home = crate::target(root).join("python");
    let python = home.join("bin/python");
    let stamp = home.join("stamp");
    let mark = format!("{base} {version}\n{wanted}");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|was| was == mark) {
        return Ok(python);
    }
    eprintln!("xtask: making {} with {base} ({version})", home.display());
    must(Command::new(base).args(["-m", "venv", "--clear"]).arg(&home))?;
    must(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--require-hashes",
                "--no-deps",
                "-r",
            ])
            .arg(&requirements),
    )?;
    fs::write(&stamp, mark).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}

/// The first interpreter that is there, new enough, and can make an environment with pip.
fn interpreter() -> Result<(&'static str, String), String> {
    const PROBE: &str = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])";
    for name in INTERPRETERS {
        let Ok(output) = Command::new(name).args(["-c", PROBE]).output() else { continue };
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() && VERSIONS.contains(&version.as_str()) {
            return Ok((name, version));
        }
    }
    Err(format!(
        "no Python {} with venv and pip; on Debian: apt-get install python3-venv",
        VERSIONS.join(" or ")
    ))
}

fn must(command: &mut Command) -> Result<(), String> {
    if crate::run::succeeds(command) { Ok(()) } else { Err(format!("{command:?} failed")) }
}
