//! What a seed decides before anything happens: how many nodes, which faults, how tight the limits.
//!
//! Each seed takes a random *subset* of the faults (swarm testing: Groce et al., ISSTA 2012): a run
//! with every fault at once never gets deep into any of them, and some bugs show only where another
//! fault is absent. Limits are drawn tiny for most seeds, so that segments fill, files are made and
//! the log is cut within seconds.

use std::{collections::BTreeSet, fmt};

use disk_engine::tree::TreeSettings;
use fabric::Settings;
use world::Entropy;

macro_rules! faults {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum FaultKind {
            $(#[doc = $text] $name,)+
        }

        impl FaultKind {
            /// All there are.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$name,)+];
        }

        impl fmt::Display for FaultKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(FaultKind::$name => $text,)+ })
            }
        }
    };
}

faults! {
    Kill = "kill of a process",
    PowerCut = "power cut",
    PowerCutAtChange = "power cut at some write or sync to come",
    PowerCutInStart = "power cut during a start",
    KillAfterVote = "kill of a process just after it has voted",
    AllAtOnce = "power cut of all nodes at once",
    Pause = "pause of a process",
    Suspend = "suspend of a machine",
    FsyncStall = "fsync that takes seconds",
    FsyncFail = "fsync that fails",
    DiskFull = "full disk",
    Partition = "partition",
    OneWay = "partition in one direction",
    Flapping = "partition that comes and goes",
    Bridge = "two nodes that do not hear each other, but all others",
    Isolate = "node cut off from all others",
    Slow = "slow network",
    Loss = "lost messages",
    Duplicate = "messages that come twice",
    Reorder = "messages that overtake others",
    ClockJump = "wall clock that jumps",
    ClockDrift = "clocks of different speed",
}

impl FaultKind {
    /// Whether it wants more than one node.
    fn is_between_nodes(self) -> bool {
        use FaultKind::{
            Bridge, Duplicate, Flapping, Isolate, KillAfterVote, Loss, OneWay, Partition, Reorder, Slow,
        };
        matches!(
            self,
            Bridge
                | Duplicate
                | Flapping
                | Isolate
                | KillAfterVote
                | Loss
                | OneWay
                | Partition
                | Reorder
                | Slow
        )
    }

    /// Whether it is in force all the time, not an event.
    pub fn is_weather(self) -> bool {
        use FaultKind::{ClockDrift, Duplicate, Loss, Reorder, Slow};
        matches!(self, ClockDrift | Duplicate | Loss | Reorder | Slow)
    }
}

/// How tight the limits of a node are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limits {
    /// Log segments of 4 KB, memtables and files of a few hundred bytes, a snapshot for whoever lags behind by more
    /// than ten entries.
    Tiny,
    /// Segments of 64 KB.
    Small,
}

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u64,
    /// Which faults there are.
    pub faults: BTreeSet<FaultKind>,
    /// The limits.
    pub limits: Limits,
    /// How many clients ask, each one thing at a time.
    pub clients: u32,
    /// How many registers there are.
    pub registers: u8,
    /// How long a client thinks between two questions, at most, in microseconds.
    pub think_us: u64,
    /// After what time a client gives up, in microseconds.
    pub patience_us: u64,
    /// How long faults happen, in microseconds.
    pub storm_us: u64,
    /// The mean time between two faults, in microseconds.
    pub calm_us: u64,
    /// How long a message is under way, at most, in microseconds.
    pub delay_us: u64,
    /// How long an fsync takes, at most, in microseconds.
    pub fsync_us: u64,
}

impl Plan {
    /// What `seed` decides for so many nodes; 0 lets the seed choose.
    pub fn of(seed: u64, nodes: u64) -> Plan {
        let entropy = Entropy::seeded(seed ^ 0x7069_6c6f_7431_6e67);
        let drawn = [1, 3, 3, 5][entropy.below(4) as usize];
        let nodes = if nodes == 0 { drawn } else { nodes };
        let share = 1 + entropy.below(8);
        let mut faults = BTreeSet::new();
        for fault in FaultKind::ALL.iter().copied().filter(|fault| nodes > 1 || !fault.is_between_nodes()) {
            if entropy.below(10) < share {
                faults.insert(fault);
            }
        }
        let pick = |choices: &[u64]| choices[entropy.below(choices.len() as u64) as usize];
        Plan {
            seed,
            nodes,
            faults,
            limits: match entropy.below(4) {
                0 => Limits::Small,
                _ => Limits::Tiny,
            },
            clients: pick(&[2, 4, 6, 8]) as u32,
            registers: pick(&[1, 2, 4]) as u8,
            think_us: pick(&[5_000, 50_000, 200_000]),
            patience_us: pick(&[500_000, 2_000_000]),
            storm_us: pick(&[4_000_000, 8_000_000]),
            calm_us: pick(&[300_000, 1_000_000]),
            delay_us: pick(&[1_000, 5_000, 30_000]),
            fsync_us: pick(&[200, 2_000, 20_000]),
        }
    }

    /// Whether there are faults of this kind.
    pub fn has(&self, fault: FaultKind) -> bool {
        self.faults.contains(&fault)
    }

    /// The settings of its nodes.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        if self.limits == Limits::Small {
            settings.log_keep_bytes = 256 << 10;
            settings.log.segment_bytes = 64 << 10;
            settings.log.max_record_bytes = 16 << 10;
            settings.log.queue_bytes = 64 << 10;
            settings.tree.memtable_bytes = 16 << 10;
            return settings;
        }
        settings.groups.kept_entries = 10;
        settings.groups.snapshot_chunk_bytes = 200;
        settings.groups.snapshot_tick_bytes = 2_000;
        settings.groups.lag_entries = 200;
        settings.groups.uncommitted_bytes = 4_000;
        settings.groups.message_bytes = 500;
        settings.groups.messages_in_flight = 4;
        settings.log_keep_bytes = 8 << 10;
        settings.log.segment_bytes = 4 << 10;
        settings.log.max_record_bytes = 2 << 10;
        settings.log.queue_bytes = 4 << 10;
        settings.tree = TreeSettings {
            block_bytes: 128,
            memtable_bytes: 900,
            memtables_bytes: 1 << 20,
            file_bytes: 600,
            tier_runs: 2,
            level_bytes: 1_200,
            cache_bytes: 4_000,
            ..TreeSettings::default()
        };
        settings
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} nodes, {:?} limits, {} clients on {} registers, {} s of faults:",
            self.seed,
            self.nodes,
            self.limits,
            self.clients,
            self.registers,
            self.storm_us / 1_000_000
        )?;
        self.faults
            .iter()
            .enumerate()
            .try_for_each(|(nth, fault)| write!(f, "{} {fault}", if nth == 0 { "" } else { "," }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_every_fault_and_no_two_draw_the_same() {
        let plans: Vec<Plan> = (0..200).map(|seed| Plan::of(seed, 3)).collect();
        for fault in FaultKind::ALL {
            let drawn = plans.iter().filter(|plan| plan.has(*fault)).count();
            assert!((20..180).contains(&drawn), "{fault} was drawn {drawn} times");
        }
        let subsets: BTreeSet<_> = plans.iter().map(|plan| plan.faults.clone()).collect();
        assert!(subsets.len() > 150, "{}", subsets.len());
        assert!((0..50).all(|seed| !Plan::of(seed, 1).has(FaultKind::Partition)));
    }
}
