//! Bugs that the simulator has found, each with the seed that showed it.
//!
//! What a seed means changes when the simulator draws something new. Then the seed of an old bug is an
//! ordinary one, and the name of the bug still tells what to look for; so a bug that is worth it gets a
//! test of its own beside the code as well.

/// A seed with a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// The seed.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: u64,
    /// What was wrong.
    pub story: &'static str,
}

/// All there are, the oldest first.
pub const NAMED: &[Named] = &[
    Named {
        seed: 5,
        nodes: 5,
        story: "a forwarded proposal that was lost was not sent again while others went after it, and all of them waited for it",
    },
    Named { seed: 32, nodes: 3, story: "the same, with three nodes and lost messages" },
    Named {
        seed: 181,
        nodes: 5,
        story: "entries that came in one step with a snapshot were kept before it, though they stand behind it",
    },
    Named {
        seed: 309,
        nodes: 5,
        story: "a replica asked for votes while the snapshot it had taken was not durable, and looked for entries that were gone",
    },
];
