//! Planted bugs: what the simulator must find.
//!
//! A checker that never fails proves nothing. So each mistake that implementations of Raft are known
//! to have made can be made on purpose, and must be found within the seeds that CI runs. A tree
//! without them must be found clean by the same seeds.

use std::fmt;

use fabric::Sabotage;

macro_rules! bugs {
    ($($name:ident = $text:literal),+ $(,)?) => {
        /// A mistake made on purpose.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Bug {
            $(#[doc = $text] $name,)+
        }

        impl Bug {
            /// All there are.
            pub const ALL: &[Bug] = &[$(Bug::$name,)+];
        }

        impl fmt::Display for Bug {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Bug::$name => $text,)+ })
            }
        }
    };
}

bugs! {
    VoteNotPersisted = "a vote is given and not written down",
    AckBeforeFsync = "entries are acknowledged before they are durable",
    LeaderCountsItselfEarly = "a leader counts itself before its own fsync",
    ReadBeforeOwnTerm = "a leader answers reads before an entry of its own term is committed",
    DuplicateApply = "a proposal that was sent twice is applied twice",
    IndexApart = "the applied index is not that of the state beside it",
    SnapshotNotAtomic = "a snapshot is read from a state that goes on meanwhile",
    StaleSnapshot = "a snapshot is installed over a newer state",
    TruncatePastFollower = "a leader forgets entries that a follower lacks, and gives it no snapshot",
}

impl Bug {
    /// How `fabric` is told to make it.
    pub(crate) fn sabotage(self) -> Sabotage {
        match self {
            Bug::VoteNotPersisted => Sabotage::VoteNotPersisted,
            Bug::AckBeforeFsync => Sabotage::AckBeforeFsync,
            Bug::LeaderCountsItselfEarly => Sabotage::LeaderCountsEarly,
            Bug::ReadBeforeOwnTerm => Sabotage::ReadBeforeOwnTerm,
            Bug::DuplicateApply => Sabotage::ApplyTwice,
            Bug::IndexApart => Sabotage::IndexLags,
            Bug::SnapshotNotAtomic => Sabotage::SnapshotNotAtomic,
            Bug::StaleSnapshot => Sabotage::StaleSnapshot,
            Bug::TruncatePastFollower => Sabotage::TruncatePastFollower,
        }
    }
}
