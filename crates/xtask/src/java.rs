//! The Java clients of the tests: `target/java/lib`, fetched by Maven where there is one.
//!
//! Java is not needed to build or run anything here. Where `java` is missing, or `mvn` and the clients that it
//! would fetch, the tests that want them are skipped by name, in CI too. Maven is used as it is configured on
//! the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// ZooKeeper's own shell and what it asks its users to bring, and Apache Curator.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>it</groupId>
  <artifactId>clients</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>3.9.5</version></dependency>
    <dependency><groupId>commons-cli</groupId><artifactId>commons-cli</artifactId><version>1.5.0</version></dependency>
    <dependency><groupId>org.apache.curator</groupId><artifactId>curator-recipes</artifactId><version>5.9.0</version></dependency>
    <dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
    <dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.5</version></dependency>
  </dependencies>
</project>
"#;

/// Whether a program of Java's is there. The error says that it is not.
fn has(program: &str) -> Result<(), String> {
    let found = Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("no {program}")) }
}

/// The folder with the jars, which are fetched if need be. The error says what is missing.
pub(crate) fn clients(root: &Path) -> Result<PathBuf, String> {
    has("java")?;
    let home = crate::target(root).join("java");
    let (lib, stamp) = (home.join("lib"), home.join("stamp"));
    if fs::read_to_string(&stamp).is_ok_and(|was| was == POM) {
        return Ok(lib);
    }
    has("mvn")?;
    eprintln!("xtask: fetching the Java clients into {}", home.display());
    if home.exists() {
        fs::remove_dir_all(&home).map_err(|error| error.to_string())?;
    }
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    fs::write(home.join("pom.xml"), POM).map_err(|error| error.to_string())?;
    let mut maven = Command::new("mvn");
    maven.current_dir(&home).args(["-q", "-B", "-Dstyle.color=never"]);
    maven.args(["dependency:copy-dependencies", "-DoutputDirectory=lib"]);
    if !crate::run::succeeds(&mut maven) {
        return Err("mvn could not fetch them".to_owned());
    }
    fs::write(&stamp, POM).map_err(|error| error.to_string())?;
    Ok(lib)
}
