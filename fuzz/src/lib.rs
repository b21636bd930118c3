//! The targets of all crates, by name. What each reads and which law it keeps stands in its crate.

use std::sync::LazyLock;

use world::garbage::Target;

/// Every target there is.
pub static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let engine = disk_engine::fuzzing::TREE.into_iter().chain(disk_engine::fuzzing::ROWS);
    let doors = door_zk::fuzzing::TARGETS.into_iter().chain(door_cql::fuzzing::TARGETS);
    let spine = disk_log::fuzzing::TARGETS.into_iter().chain(fabric::fuzzing::TARGETS);
    doors.chain(engine).chain(spine).chain(node_link::fuzzing::TARGETS).collect()
});

/// Has the target of this name read bytes.
///
/// # Panics
/// When there is none, and when it finds a fault.
pub fn read(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let _ = (target.expect("a target of this name").read)(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_program() {
        let mut programs: Vec<String> =
            std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets"))
                .expect("the folder of programs")
                .map(|file| file.expect("a file").file_name().to_string_lossy().replace(".rs", ""))
                .collect();
        let mut targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        programs.sort();
        targets.sort_unstable();
        assert_eq!(programs, targets);
    }
}
