//! Rounds of turns: every tree at every size of value, another tree first each time.

use std::process::Command;

use serde_json::{Value, json};

use super::{data::VALUE_BYTES, layout::Kind, peer::Engine};
use crate::{Outcome, options::Options, place};

/// The release binary that makes a turn.
pub const PROGRAM: &str = "bench-engine";

/// What all rounds gave, as the program printed it.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Turns of the trees, in the order in which they were made.
    pub turns: Vec<Value>,
    /// The layouts of rows, likewise.
    pub layouts: Vec<Value>,
}

impl Results {
    /// Everything that was measured.
    pub fn json(&self) -> Value {
        json!({ "turns": self.turns, "layouts": self.layouts })
    }
}

/// Makes all rounds. Each turn is shown as it ends.
pub fn run(options: &Options, rounds: usize) -> Outcome<Results> {
    let scale = if options.quick { "quick" } else { "full" };
    let mut results = Results::default();
    for round in 0..rounds {
        for value_bytes in VALUE_BYTES {
            let mut engines = Engine::BOTH;
            engines.rotate_left(round % Engine::BOTH.len());
            for engine in engines {
                let mut turn = program(&["turn", engine.name(), &value_bytes.to_string(), scale])?;
                turn["round"] = (round + 1).into();
                eprintln!("round {} · {value_bytes} B · {}", round + 1, engine.name());
                results.turns.push(turn);
            }
        }
        for kind in Kind::ALL {
            let mut turn = program(&["layout", kind.name(), scale])?;
            turn["round"] = (round + 1).into();
            eprintln!("round {} · layout {}", round + 1, kind.name());
            results.layouts.push(turn);
        }
    }
    Ok(results)
}

/// Runs the program in an emptied folder and takes what it prints.
fn program(arguments: &[&str]) -> Outcome<Value> {
    let folder = place::data("engine");
    place::emptied(&folder)?;
    let path = place::root().join("target/release").join(PROGRAM);
    let output = Command::new(path).args(arguments).arg(&folder).output()?;
    place::remove(&folder)?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{PROGRAM} {arguments:?} failed: {told}").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
