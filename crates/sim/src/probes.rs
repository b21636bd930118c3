//! What some seed must reach: places in a run that are worth nothing if no run ever comes there.
//!
//! A simulator that never meets a lost vote or a torn log proves nothing about them, and nobody
//! would notice. So each such place has a name here, and whoever runs many seeds fails if one was
//! never reached (an idea of FoundationDB's `TEST` macro). An enum is the register: a name that is
//! marked somewhere is listed, or it does not compile.

use std::fmt;

macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// A place in a run.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Probe {
            $($(#[$doc])* #[doc = $text] $name,)+
        }

        impl Probe {
            /// All there are.
            pub const ALL: &[Probe] = &[$(Probe::$name,)+];

            /// What it means that a run came here.
            pub fn text(self) -> &'static str {
                match self { $(Probe::$name => $text,)+ }
            }
        }
    };
}

probes! {
    WriteAnswered = "a write was answered",
    SwapLost = "a compare-and-set met another version than it wanted",
    ReadAnswered = "a read was answered",
    OutcomeUnknown = "an operation ended without an answer",
    UnknownTookEffect = "an operation whose outcome nobody was told took effect",
    UnknownLeftNoTrace = "an operation whose outcome nobody was told left no trace",
    Refused = "an operation was refused before anything was done",
    RestoredState = "a node started from a state that was in files",
    EntriesAgain = "a node applied entries again that another life had applied",
    StartFailed = "a start was cut short by a fault",
    NodeEnded = "a node ended because its disk failed",
    KilledAfterVote = "a node was killed just after it had voted",
    AllAtOnce = "the power of every node went at once",
    DiskFull = "an operation was refused for want of room on a disk",
    FsyncStalled = "a log waited for its disk",
    Paused = "a node stood still",
    ClockJumped = "a wall clock jumped",
    JudgedTwice = "a history was short enough for the second judge",
}

/// How often each place was reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probes {
    counts: Vec<u64>,
}

impl Default for Probes {
    fn default() -> Probes {
        Probes { counts: vec![0; Probe::ALL.len()] }
    }
}

impl Probes {
    /// A run is at `probe` if `here`.
    pub fn sometimes(&mut self, probe: Probe, here: bool) {
        self.counts[probe as usize] += u64::from(here);
    }

    /// How often `probe` was reached.
    pub fn count(&self, probe: Probe) -> u64 {
        self.counts[probe as usize]
    }

    /// Counts another run's.
    pub fn add(&mut self, other: &Probes) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Those that were never reached.
    pub fn unreached(&self) -> impl Iterator<Item = Probe> {
        Probe::ALL.iter().copied().filter(|probe| self.count(*probe) == 0)
    }
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for probe in Probe::ALL {
            writeln!(f, "{:9} {}", self.count(*probe), probe.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reached_is_named() {
        let mut probes = Probes::default();
        probes.sometimes(Probe::DiskFull, false);
        probes.sometimes(Probe::Paused, true);
        let mut both = probes.clone();
        both.add(&probes);
        assert_eq!((both.count(Probe::Paused), both.count(Probe::DiskFull)), (2, 0));
        assert_eq!(both.unreached().count(), Probe::ALL.len() - 1);
        assert!(both.to_string().contains("2 a node stood still"));
    }
}
