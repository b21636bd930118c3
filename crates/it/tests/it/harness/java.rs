//! Java programs: clients that nobody would write again in another language.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::root;

/// The folder of the jars, or `None`, told to whoever counts the tests. Not having Java is no fault, in
/// CI neither: nothing that is built or run here needs it.
pub(crate) fn jars() -> Option<PathBuf> {
    let named = std::env::var_os("HOLDFAST_JAVA").map(PathBuf::from);
    let jars = named.unwrap_or_else(|| root().join("target/java/lib"));
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if jars.exists() && java.is_ok_and(|status| status.success()) {
        return Some(jars);
    }
    // Past libtest's capture, so that `xtask` can count it.
    let why = "no Java with the clients; `cargo xtask java` fetches them";
    let _ = writeln!(std::io::stdout(), "holdfast-test-skipped: {why}");
    None
}

/// `java`, with every jar on its class path.
pub(crate) fn java(jars: &std::path::Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp"]);
    command.arg(jars.join("*"));
    command
}
