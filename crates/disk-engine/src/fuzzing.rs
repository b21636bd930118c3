//! Everything here that reads bytes of files, for tests and fuzzers.

pub use crate::{rows::fuzzing::TARGETS as ROWS, tree::fuzzing::TARGETS as TREE};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reader_of_files_panics_whatever_the_bytes() {
        for target in TREE.iter().chain(&ROWS) {
            target.attack(5, 5000);
        }
    }
}
