//! Words that must not stand in the tree.
//!
//! The scan for the world's calls is a second line behind `clippy.toml`: clippy sees through names
//! but only what it compiled; this sees every file, macros and other platforms included.

use super::tree::{File, Tree};

/// What only `world` may say, in shipped code.
const WORLDLY: [&str; 29] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process::",
    "std::thread::spawn",
    "std::thread::sleep",
    "thread::spawn(",
    "thread::sleep(",
    "thread::Builder",
    "Instant::now",
    "SystemTime::now",
    "tokio::spawn",
    "tokio::task::spawn",
    "tokio::fs",
    "tokio::time::",
    "tokio::signal",
    "TcpListener::bind",
    "TcpStream::connect",
    "TcpSocket::new",
    "UdpSocket::bind",
    "File::open",
    "File::create",
    "OpenOptions::new",
    "getrandom::",
    "rand::rng()",
    "thread_rng()",
    "from_entropy(",
    "RandomState::new",
];

/// Crates outside the law, each with its reason.
const WORLDLY_CRATES: [(&str, &str); 4] = [
    ("world", "it is the one that may"),
    ("bench", "a client program that measures with the machine's clock, and starts peers"),
    ("it", "starts servers and clients, and kills them"),
    ("xtask", "automation"),
];

/// Calls that one crate may make besides, each with its reason.
const ALLOWED: [(&str, &str, &str); 4] = [
    ("server", "std::process::", "a binary ends with an exit code"),
    ("server", "std::fs", "reads the settings file and writes listen.json, before and after there is a node"),
    (
        "server",
        "OpenOptions::new",
        "makes the file of a catalog's backup, which the user names, without a node",
    ),
    ("sim", "std::process::", "a binary ends with an exit code"),
];

/// Only `world` touches the world.
pub(super) fn world(tree: &Tree) -> Vec<String> {
    let lawful = |file: &&File| WORLDLY_CRATES.iter().all(|(name, _)| file.krate() != Some(*name));
    let mut broken = Vec::new();
    for file in tree.rust().filter(lawful) {
        for (line, code) in file.shipped() {
            let allowed = |word: &str| {
                ALLOWED.iter().any(|(name, allowed, _)| file.krate() == Some(*name) && *allowed == word)
            };
            for word in WORLDLY.iter().filter(|word| code.contains(**word) && !allowed(word)) {
                broken.push(format!("{}:{line}: `{word}`: ask `world`", file.path));
            }
        }
    }
    broken
}

/// A `clippy.toml` in a crate replaces the root's, and with it the law above.
pub(super) fn clippy_files(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with("clippy.toml")) {
        let allowed = file.krate().is_none_or(|name| WORLDLY_CRATES.iter().any(|(known, _)| *known == name));
        if !allowed {
            broken.push(format!("{}: takes its crate out of the law of `world`", file.path));
        }
    }
    for (name, _) in WORLDLY_CRATES {
        if tree.file(&format!("crates/{name}/clippy.toml")).is_none() {
            broken.push(format!("crates/{name}/clippy.toml: missing"));
        }
    }
    broken
}

/// Marks of unfinished work. Put together here, so that this file does not break its own law.
pub(super) fn leftovers(tree: &Tree) -> Vec<String> {
    let marks =
        [["FIX", "ME"], ["TO", "DO:"], ["TO", "DO("], ["XX", "X:"], ["to", "do!("], ["unimple", "mented!("]]
            .map(|halves| halves.concat());
    find(tree, |file| file.is_rust() || file.path.ends_with(".md") || file.path.ends_with(".py"), &marks)
}

/// Where somebody's machine keeps things, or gets them from, is nobody else's business. Cargo's lock
/// file names its index by rule.
pub(super) fn machines(tree: &Tree) -> Vec<String> {
    let mut marks = vec![
        ["index.crates", ".io"].concat(),
        ["static.crates", ".io"].concat(),
        ["pypi", ".org"].concat(),
        ["pythonhosted", ".org"].concat(),
        ["proxy.golang", ".org"].concat(),
        ["maven", ".org/maven2"].concat(),
        ["registry.npmjs", ".org"].concat(),
        ["deb.debian", ".org"].concat(),
    ];
    marks.push(format!("{}/", tree.root.display()));
    if let Ok(home) = std::env::var("HOME") {
        marks.push(format!("{home}/."));
    }
    find(tree, |file| file.path != "Cargo.lock", &marks)
}

fn find(tree: &Tree, wanted: impl Fn(&File) -> bool, marks: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| wanted(file)) {
        for mark in marks {
            for (at, line) in file.text.lines().enumerate().filter(|(_, line)| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: `{mark}` in `{}`", file.path, at + 1, clipped(line)));
            }
        }
    }
    found
}

fn clipped(line: &str) -> String {
    line.trim().chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &str, text: &str) -> Tree {
        let file = File { path: path.into(), text: text.into(), executable: false };
        Tree { root: "/somewhere/holdfast".into(), files: vec![file] }
    }

    #[test]
    fn the_world_is_touched_in_world_and_in_tests_only() {
        let slip = "//! A file.\n\nfn now() { std::time::Instant::now(); }\n";
        assert_eq!(
            world(&tree("crates/store/src/a.rs", slip)),
            ["crates/store/src/a.rs:3: `Instant::now`: ask `world`"]
        );
        assert!(world(&tree("crates/world/src/a.rs", slip)).is_empty());
        assert!(world(&tree("crates/store/src/a.rs", "// says Instant::now\n")).is_empty());
        let in_tests = format!("#[cfg(test)]\nmod tests {{\n{slip}}}\n");
        assert!(world(&tree("crates/store/src/a.rs", &in_tests)).is_empty());
    }

    #[test]
    fn leftovers_and_machines_are_named_with_their_line() {
        let text = ["one\n// FIX", "ME later\n"].concat();
        assert_eq!(leftovers(&tree("a.rs", &text)).len(), 1);
        let found = machines(&tree("docs/a.md", "see /somewhere/holdfast/x"));
        assert!(found[0].starts_with("docs/a.md:1:"), "{found:?}");
    }
}
