//! The cost of the waist against a null engine: see `bench::waist`.

use bench::{Outcome, report, waist};

fn main() -> Outcome<()> {
    print!("{}", report::waist_table(&waist::run()?));
    Ok(())
}
