//! The simulator: whole nodes, one seed, every fault.
//!
//! ```text
//!   seed --> plan --> scheduler ----------------------------------------------+
//!                      |  events in the order of simulated time               |
//!        clients ------+------ network ------ nodes ------ disks, clocks      |  nemesis: faults
//!           |                                   |                             |
//!        history                             ledger (every entry applied)     |
//!           +---------------> judges <----------+                             |
//!                                                                     trace: hash, story
//! ```
//! A node is `fabric` without threads: the spine, Raft, log, engine and recovery that ship. The
//! scheduler has one thread and one source of entropy, so a run is a function of its seed: a seed
//! and a commit are the whole report of a bug. A run has three parts: a **storm** of faults under
//! clients; then a **quorum** of the nodes is healed, and only that, and has to serve again within
//! a bound; then everyone is healed and has to come to one state. At last two judges look at what
//! clients saw.
//!
//! `docs/sim.md` tells what is simulated, what is checked, and how long planted bugs live.

mod bugs;
mod clients;
mod history;
mod hosts;
mod ledger;
mod many;
mod named;
mod nemesis;
mod network;
mod node;
mod plan;
mod probes;
mod register;
mod run;
mod second_judge;
#[cfg(test)]
mod sketch;
#[cfg(test)]
mod tests;
mod trace;
mod witness;

pub use bugs::Bug;
pub use history::{Ask, Op, OpId, Outcome, Told};
pub use many::{Many, Totals, run_many};
pub use named::{NAMED, Named};
pub use plan::{FaultKind, Limits, Plan};
pub use probes::{Probe, Probes};
pub use run::{Options, Report, run};
pub use second_judge::judge as judge_without_witness;
pub use witness::{Chains, Version, judge as judge_by_witness};
