//! ZooKeeper's own shell, driven as a script: what it prints against this server is what it printed
//! against ZooKeeper 3.9.5.
//!
//! `zkcli.peer` holds the commands (`> `), what each printed, and at the end the events that watches
//! told, in their order; the shell prints those from another thread. To have it told again by a ZooKeeper
//! on an empty folder, with `zookeeper.extendedTypesEnabled`:
//!
//! ```text
//! HOLDFAST_ZKCLI_TOLD_BY=127.0.0.1:2181 cargo xtask test it zkcli
//! ```

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use crate::harness::{Process, Scratch, Server, java};

const TOLD: &str = include_str!("zkcli.peer");

/// The shell has a second of work.
const LIMIT: Duration = Duration::from_secs(120);

/// After each command the shell is asked for a znode that nobody makes, and says so in this line.
const MARK: &str = "Node does not exist: /end-of-";

#[test]
fn zookeepers_shell_prints_what_it_prints_against_zookeeper() {
    let Some(jars) = java::jars() else { return };
    if let Some(peer) = std::env::var_os("HOLDFAST_ZKCLI_TOLD_BY") {
        let told = transcript(&jars, peer.to_str().unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/zkcli.peer");
        fs::write(path, told).unwrap();
        return;
    }
    let server = Server::start("zkcli");
    let said = transcript(&jars, &server.zookeeper().to_string());
    for (number, (said, told)) in said.lines().zip(TOLD.lines()).enumerate() {
        assert_eq!(said, told, "line {}; left this server, right ZooKeeper", number + 1);
    }
    assert_eq!(said.lines().count(), TOLD.lines().count());
}

/// Runs the commands against `server`, and puts what the shell says behind each of them.
fn transcript(jars: &Path, server: &str) -> String {
    let commands: Vec<&str> = TOLD.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let said = run(jars, server, &commands);
    let (mut out, mut events) = (String::new(), String::from("events\n"));
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    let mut rest = commands.iter().enumerate();
    let mut next = |line: &mut dyn FnMut(&str)| {
        if let Some((_, command)) = rest.next() {
            line(&format!("> {command}"));
        }
    };
    next(&mut line);
    for text in said.lines().filter(|line| !is_chatter(line)) {
        if text.starts_with(MARK) {
            next(&mut line);
        } else if text.starts_with("WatchedEvent") {
            events.push_str(text);
            events.push('\n');
        } else {
            line(&alike(text, server));
        }
    }
    assert!(rest.next().is_none(), "the shell ended before its script:\n{out}");
    out + &events
}

/// The shell's output and errors, as they came.
fn run(jars: &Path, server: &str, commands: &[&str]) -> String {
    let scratch = Scratch::new("zkcli");
    let (input, output) = (scratch.path().join("input"), scratch.path().join("output"));
    let script = commands.iter().enumerate().map(|(n, command)| format!("{command}\nls /end-of-{n}\n"));
    fs::write(&input, script.collect::<String>().replace("ADDRESS", server)).unwrap();
    let file = File::create(&output).unwrap();
    let mut command = java::java(jars);
    command.args(["org.apache.zookeeper.ZooKeeperMain", "-server", server]).current_dir(scratch.path());
    command.stdin(Stdio::from(File::open(&input).unwrap()));
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let ended = Process::start(command).ends_within(LIMIT);
    let said = fs::read_to_string(&output).unwrap();
    assert!(ended.is_some(), "the shell is not done with its script within {LIMIT:?}: {said}");
    said
}

/// What the shell says of itself, and the two lines above each event.
fn is_chatter(line: &str) -> bool {
    const CHATTER: [&str; 5] = ["SLF4J", "Connecting to", "Welcome to", "JLine", "WATCHER::"];
    line.is_empty() || CHATTER.iter().any(|start| line.starts_with(start))
}

/// The line without what is another in every run.
fn alike(line: &str, server: &str) -> String {
    for field in ["ctime = ", "mtime = "] {
        if line.starts_with(field) {
            return format!("{field}TIME");
        }
    }
    if line.starts_with("ephemeralOwner = 0x") && line != "ephemeralOwner = 0x0" {
        return "ephemeralOwner = SESSION".to_owned();
    }
    line.replace(server, "ADDRESS")
}
