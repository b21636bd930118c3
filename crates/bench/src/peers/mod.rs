//! The peers: fetched from Maven Central by the ordinary client into `target/peers/`, started as
//! their makers ship them, never committed.

pub mod cassandra;
pub mod zookeeper;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, place, process};

/// A library in Maven Central: group, artifact, version.
type Artifact = (&'static str, &'static str, &'static str);

/// Compiler threads that stay, so that their time can be told from the server's own.
const STEADY_COMPILERS: &str = "-XX:-UseDynamicNumberOfCompilerThreads";

/// The folder `lib` of `peer`, with its jars and everything they need; fetched if it isn't there.
fn jars(peer: &str, artifacts: &[Artifact]) -> Outcome<PathBuf> {
    let folder = place::peer(peer);
    let (lib, stamp) = (folder.join("lib"), folder.join("complete"));
    if stamp.exists() {
        return Ok(lib);
    }
    place::emptied(&folder)?;
    fs::write(folder.join("pom.xml"), pom(peer, artifacts))?;
    let status = Command::new("mvn")
        .current_dir(&folder)
        .args(["-q", "-B", "-Dstyle.color=never", "dependency:copy-dependencies", "-DoutputDirectory=lib"])
        .status()
        .map_err(|error| format!("peers are fetched with Maven, and mvn can't be run: {error}"))?;
    if !status.success() {
        return Err(format!("mvn could not fetch {peer}").into());
    }
    fs::write(stamp, "")?;
    Ok(lib)
}

fn pom(name: &str, artifacts: &[Artifact]) -> String {
    let dependencies: String = artifacts
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>bench</groupId>\n  <artifactId>{name}</artifactId>\n  <version>1</version>\n  \
         <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )
}

/// The `java` of a JDK 17, which is the newest that Cassandra 5.0 supports; both peers run on the
/// same one.
fn java() -> Outcome<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let java = home.unwrap_or_else(|| "java".into());
    let version = java_version(&java);
    if version.contains("\"17") {
        return Ok(java);
    }
    Err(format!("the peers need JDK 17, and {} says {version:?}; set JAVA_HOME", java.display()).into())
}

fn java_version(java: &Path) -> String {
    process::first_line(&java.to_string_lossy(), &["-version"])
}

/// A class path of every jar in `lib`, after `before`.
fn class_path(before: Option<&Path>, lib: &Path) -> std::ffi::OsString {
    let mut path = std::ffi::OsString::new();
    if let Some(before) = before {
        path.push(before);
        path.push(":");
    }
    path.push(lib.join("*"));
    path
}

/// What the peers run on, for the record.
pub fn runtime() -> String {
    java().map(|java| java_version(&java)).unwrap_or_default()
}
