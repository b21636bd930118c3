//! One turn of the suite `engine`:
//!
//! ```text
//! bench-engine turn holdfast|lsm-tree VALUE_BYTES full|quick DIR
//! bench-engine layout cells|fragments|hybrid full|quick DIR
//! ```
//!
//! Works in the new directory DIR/bench-engine and prints its raw figures as JSON. What is done,
//! and why each turn is a process: see `bench::engine`.

use std::path::Path;

use bench::{
    Outcome,
    engine::{data::VALUE_RANGE, layout, peer::Engine, scale::Scale, turn},
};

const USAGE: &str = "usage: bench-engine turn holdfast|lsm-tree VALUE_BYTES full|quick DIR
       bench-engine layout cells|fragments|hybrid full|quick DIR";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let figures = match arguments.as_slice() {
        ["turn", engine, value_bytes, scale, folder] => {
            let engine = Engine::named(engine).ok_or(USAGE)?;
            let scale = Scale::named(scale).ok_or(USAGE)?;
            let value_bytes = value_bytes.parse()?;
            if !VALUE_RANGE.contains(&value_bytes) {
                return Err(format!("values have {VALUE_RANGE:?} bytes").into());
            }
            turn::run(engine, scale, value_bytes, &Path::new(folder).join("bench-engine"))?
        }
        ["layout", kind, scale, folder] => {
            let kind = layout::Kind::named(kind).ok_or(USAGE)?;
            let scale = Scale::named(scale).ok_or(USAGE)?;
            layout::run(kind, scale, &Path::new(folder).join("bench-engine"))?
        }
        _ => return Err(USAGE.into()),
    };
    println!("{figures:#}");
    Ok(())
}
