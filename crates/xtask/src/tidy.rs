//! `cargo xtask tidy`: the laws of the house that no compiler keeps.
//!
//! A law is here because a slip against it costs data or time; what is only worth a look is shown
//! at the end and never fails. Laws are functions from the tree to a list of what breaks them.

mod figures;
mod floors;
mod papers;
mod tree;
mod words;

use std::path::Path;

use crate::test::Tally;
use tree::Tree;

/// A law: its name, and what breaks it as `file:line: what`.
type Law = (&'static str, fn(&Tree) -> Vec<String>);

const LAWS: [Law; 11] = [
    ("every crate has a floor and uses only lower ones", floors::dependencies),
    ("one integration-test binary", floors::test_binaries),
    ("only `world` touches clock, entropy, files, sockets, threads", words::world),
    ("only the yard and `world` have lint settings of their own", words::clippy_files),
    ("nothing left to do, nothing left over", words::leftovers),
    ("no path of a machine, no registry's host", words::machines),
    ("a source file opens with what it is about", papers::openings),
    ("links of the papers lead somewhere", papers::links),
    ("every door has a README that names its operations", papers::doors),
    ("no C++, and C only from listed crates", floors::compilers),
    ("scripts are runnable", papers::scripts),
];

/// Keeps every law over the workspace at `root`, then shows the figures.
pub(crate) fn run(root: &Path) -> Tally {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("tidy: {error}");
            return Tally::one(false);
        }
    };
    let mut tally = Tally::default();
    for (name, law) in LAWS {
        let broken = law(&tree);
        println!("{} {name}", if broken.is_empty() { "ok    " } else { "BROKEN" });
        for slip in &broken {
            println!("         {slip}");
        }
        tally.add(Tally::one(broken.is_empty()));
    }
    figures::show(&tree);
    tally
}
