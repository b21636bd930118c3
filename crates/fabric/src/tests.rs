//! The spine under the waist's conformance suite, on a thread and step by step, and under power
//! cuts (`power_cut`).

#![allow(clippy::unwrap_used)]

mod chaos;
mod cluster;
mod cold_streams;
mod damage;
mod faults;
mod kills;
mod lives;
mod planted_bugs;
mod power_cut;
mod refusals;
mod stories;
mod truncate;

use disk_engine::tree::TreeSettings;
use store::{
    Machine, Store,
    conformance::{self, Subject, TALLY_GROUP, Tally},
};
use world::{Clock, Disk, Entropy, World};

use crate::{Addresses, Fabric, Settings, Stepped};

fn tally() -> Vec<(base::GroupId, Box<dyn Machine>)> {
    vec![(TALLY_GROUP, Box::new(Tally::default()))]
}

fn world(disk: Disk, seed: u64) -> World {
    World { clock: Clock::simulated(1_700_000_000_000_000), entropy: Entropy::seeded(seed), disk }
}

/// Threads need a clock that moves.
fn moving_world(disk: Disk, seed: u64) -> World {
    World { clock: Clock::real(), ..world(disk, seed) }
}

/// Small enough that a short program fills segments, makes files and compacts them.
pub(crate) fn tiny() -> Settings {
    let tree = TreeSettings {
        block_bytes: 128,
        memtable_bytes: 1_000,
        memtables_bytes: 1 << 20,
        file_bytes: 1_000,
        tier_runs: 2,
        level_bytes: 4_000,
        cache_bytes: 4_000,
        ..TreeSettings::default()
    };
    let mut settings = Settings { log_keep_bytes: 16 << 10, tree, ..Settings::default() };
    settings.log.segment_bytes = 8 << 10;
    settings.log.max_record_bytes = 3 << 10;
    settings.log.queue_bytes = 7 << 10;
    settings
}

/// A directory of real files, removed when the test has passed.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let name = format!("holdfast-{name}-{}-{:x}", std::process::id(), Entropy::real().u64());
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    #[allow(clippy::disallowed_methods, reason = "tests may touch the world")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

struct ByStep {
    world: World,
    node: Option<Stepped>,
}

impl Subject for ByStep {
    fn store(&self) -> &Store {
        self.node.as_ref().unwrap().store()
    }

    fn settle(&mut self) {
        self.node.as_mut().unwrap().settle().unwrap();
    }

    fn restart(&mut self) {
        self.node.take().unwrap().stop().unwrap();
        self.node = Some(Stepped::start(&self.world, tiny(), tally(), Addresses::new()).unwrap());
    }
}

#[test]
fn step_by_step_it_is_what_the_waist_promises() {
    for seed in 0..150 {
        let world = world(Disk::in_memory(), seed);
        let node = Some(Stepped::start(&world, tiny(), tally(), Addresses::new()).unwrap());
        conformance::run(&mut ByStep { world, node }, seed, 60);
    }
}

struct OnThreads {
    world: World,
    node: Option<Fabric>,
}

impl Subject for OnThreads {
    fn store(&self) -> &Store {
        self.node.as_ref().unwrap().store()
    }

    fn settle(&mut self) {}

    fn restart(&mut self) {
        self.node.take().unwrap().stop().unwrap();
        self.node = Some(Fabric::start(&self.world, tiny(), tally(), Addresses::new()).unwrap());
    }
}

#[test]
fn on_its_threads_it_is_what_the_waist_promises() {
    for seed in 0..10 {
        let world = moving_world(Disk::in_memory(), seed);
        let node = Some(Fabric::start(&world, tiny(), tally(), Addresses::new()).unwrap());
        conformance::run(&mut OnThreads { world, node }, seed, 60);
    }
}
