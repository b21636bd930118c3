//! Apache Curator, which most Java programs use instead of the bare client: its recipes between two
//! clients (`java/Recipes.java`), which need containers, times to live, protected names, transactions
//! and recursive watches that stay.

use std::{
    fs::{self, File},
    time::Duration,
};

use crate::harness::{Launch, Process, Scratch, java, root};

#[test]
fn curators_recipes_work() {
    let Some(jars) = java::jars() else { return };
    let server = Launch::new("curator").flags(&["--set", "zookeeper.reap_ms=100"]).start();
    let scratch = Scratch::new("curator-client");
    let output = scratch.path().join("output");
    let file = File::create(&output).unwrap();
    let mut command = java::java(&jars);
    command.arg(root().join("crates/it/java/Recipes.java")).arg(server.zookeeper().to_string());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let status = Process::start(command).ends_within(Duration::from_secs(180));
    let said = fs::read_to_string(&output).unwrap();
    assert!(status.is_some_and(|s| s.success()) && said.ends_with("done\n"), "{status:?}: {said}");
}
