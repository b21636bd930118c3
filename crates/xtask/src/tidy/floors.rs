//! Which crate may use which: the floors of the house (ARCHITECTURE.md), read from the manifests.

use super::tree::{File, Tree};

/// The floor of every crate. A new crate gets its line here, and its duty in ARCHITECTURE.md.
const FLOORS: [(&str, u8); 17] = [
    ("base", 0),
    ("world", 0),
    ("tls", 0),
    ("core-quorum", 1),
    ("disk-log", 1),
    ("disk-engine", 1),
    ("node-link", 1),
    ("store", WAIST),
    ("fabric", SPINE),
    ("door", SPINE),
    ("door-cql", DOORS),
    ("door-zk", DOORS),
    ("server", ROOF),
    ("bench", YARD),
    ("it", YARD),
    ("sim", YARD),
    ("xtask", YARD),
];

const WAIST: u8 = 2;
const SPINE: u8 = 3;
const DOORS: u8 = 4;
const ROOF: u8 = 5;
/// Nothing in the house uses the yard.
const YARD: u8 = 9;

/// Crates that may build C.
const C_ALLOWED: [(&str, &str); 5] = [
    (
        "alloca",
        "a shim of criterion's, which porcupine-rs names as a dependency and nothing here calls (sim only)",
    ),
    ("generator", "loom's coroutines, which nothing here turns on"),
    ("iana-time-zone-haiku", "compiled on Haiku only"),
    ("ring", "cryptography of TLS: assembler and C that others have looked at for years (ADR 0006)"),
    ("zstd-sys", "blocks of the merge tree; the compressors in Rust reach neither its ratio nor its speed"),
];

/// Crates that mean C++ or a build tool that a fresh machine lacks.
const FOREIGN_BUILDS: [&str; 9] = [
    "autocxx",
    "bindgen",
    "clang-sys",
    "cmake",
    "cxx",
    "cxx-build",
    "librocksdb-sys",
    "link-cplusplus",
    "prost-build",
];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Every dependency leads down.
pub(super) fn dependencies(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for name in tree.crates() {
        let path = format!("crates/{name}/Cargo.toml");
        let Some(mine) = floor(name) else {
            broken.push(format!("{path}: no floor is known for this crate; see xtask/src/tidy/floors.rs"));
            continue;
        };
        let Some(manifest) = tree.file(&path) else { continue };
        for (line, section, used) in house_dependencies(manifest) {
            let Some(theirs) = floor(used) else { continue };
            let for_tests = section == "dev-dependencies";
            if !may_use((name, mine), (used, theirs), for_tests) {
                broken.push(format!(
                    "{path}:{line}: {name} (floor {mine}) must not use {used} (floor {theirs})"
                ));
            }
        }
    }
    broken
}

fn may_use((name, mine): (&str, u8), (used, theirs): (&str, u8), for_tests: bool) -> bool {
    // The ground has an order of its own.
    if matches!((name, used), ("world", "base") | ("tls", "world")) {
        return true;
    }
    // Doors and their kit know the waist and what lies under everything, not the spine's rooms;
    // a door's own tests may stand it on a real spine.
    let is_door = name == "door" || mine == DOORS;
    let below_the_waist = theirs == 1 || used == "fabric";
    theirs < mine && (for_tests || !(is_door && below_the_waist))
}

/// (line, section, name) of every dependency on a crate that may be ours.
fn house_dependencies(manifest: &File) -> Vec<(usize, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for (at, line) in manifest.text.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") {
            let end = line.find(['.', ' ', '=']).unwrap_or(0);
            found.push((at + 1, section, &line[..end]));
        }
    }
    found.retain(|(_, _, name)| !name.is_empty());
    found
}

/// A test binary links the whole workspace again: seconds each, on two cores.
pub(super) fn test_binaries(tree: &Tree) -> Vec<String> {
    let is_binary = |file: &&File| {
        let mut parts = file.path.split('/').skip(2);
        let (tests, name, inner) = (parts.next(), parts.next(), parts.next());
        file.krate().is_some()
            && tests == Some("tests")
            && file.is_rust()
            && (inner.is_none() || inner == Some("main.rs"))
            && !(file.krate() == Some("it") && name == Some("it"))
    };
    let found = tree.files.iter().filter(is_binary);
    found
        .map(|file| format!("{}: belongs in crates/it/tests/it or beside the code it tests", file.path))
        .collect()
}

/// What the lock file drags in must build with Rust and a linker alone.
pub(super) fn compilers(tree: &Tree) -> Vec<String> {
    let Some(lock) = tree.file("Cargo.lock") else { return vec!["Cargo.lock: missing".into()] };
    let mut broken = Vec::new();
    for package in lock.text.split("[[package]]").skip(1) {
        let name = package.split('"').nth(1).unwrap_or_default();
        if FOREIGN_BUILDS.contains(&name) {
            broken.push(format!("Cargo.lock: {name} needs more than Rust and a linker"));
        }
        let builds_c = package.lines().any(|line| line.trim().trim_end_matches(',') == "\"cc\"");
        if builds_c && !C_ALLOWED.iter().any(|(allowed, _)| *allowed == name) {
            broken.push(format!("Cargo.lock: {name} compiles C; list it with its reason or do without"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_hold_and_tests_may_stand_a_door_on_the_spine() {
        let may = |name: &'static str, used: &'static str, for_tests| {
            may_use((name, floor(name).expect("known")), (used, floor(used).expect("known")), for_tests)
        };
        assert!(may("world", "base", false) && !may("base", "world", false));
        assert!(may("tls", "world", false) && !may("world", "tls", false));
        assert!(may("fabric", "disk-log", false) && !may("disk-log", "disk-engine", false));
        assert!(may("door-cql", "door", false) && !may("door-cql", "door-zk", true));
        assert!(!may("door-cql", "fabric", false) && may("door-cql", "fabric", true));
        assert!(!may("door", "disk-log", false) && !may("server", "bench", true));
    }

    #[test]
    fn dependencies_are_read_with_their_sections() {
        let text = "[package]\nname = \"x\"\n[dependencies]\nbase.workspace = true\nraft = \"1\"\n\n[dev-dependencies]\nfabric = { path = \"../fabric\" }\n";
        let manifest = File { path: "crates/x/Cargo.toml".into(), text: text.into(), executable: false };
        assert_eq!(
            house_dependencies(&manifest),
            [(4, "dependencies", "base"), (5, "dependencies", "raft"), (8, "dev-dependencies", "fabric")]
        );
    }
}
