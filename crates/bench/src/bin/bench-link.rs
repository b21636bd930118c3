//! The cost of messages between two nodes: see `bench::link`.

use bench::{Outcome, link, report};

fn main() -> Outcome<()> {
    print!("{}", report::link_table(&link::run()?));
    Ok(())
}
