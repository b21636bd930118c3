//! The replicas of a partition, in fixed room: a round copies them and allocates nothing.

use std::fmt;

use base::{Cause, Class, NodeId};

/// Most replicas a partition may have: five datacenters of three.
pub const MAX_REPLICAS: usize = 16;

/// The smallest number of `replicas` of which any two sets share a member.
pub fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// More than [`MAX_REPLICAS`], or one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyReplicas;

impl fmt::Display for TooManyReplicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a partition has at most {MAX_REPLICAS} replicas, each once")
    }
}

impl std::error::Error for TooManyReplicas {}

/// Too few replicas are alive to begin; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Replicas the round needs.
    pub required: u32,
    /// Replicas known to be alive.
    pub alive: u32,
}

impl From<Unavailable> for Cause {
    fn from(Unavailable { required, alive }: Unavailable) -> Cause {
        let message = format!("{required} replicas are required but {alive} are alive");
        Cause::new(Class::Unavailable { required, alive }, message)
    }
}

/// A set of replicas, by their number in [`Replicas`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(u16);

impl Mask {
    /// Adds a replica; tells whether it is new.
    pub fn insert(&mut self, number: usize) -> bool {
        let before = self.0;
        self.0 |= 1 << number;
        self.0 != before
    }

    /// Whether the replica is in.
    pub fn contains(self, number: usize) -> bool {
        self.0 & (1 << number) != 0
    }

    /// How many replicas are in.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Those in `self` and not in `other`.
    #[must_use]
    pub fn without(self, other: Mask) -> Mask {
        Mask(self.0 & !other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn and(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }
}

/// The replicas of a partition, nearest first, and which of them are known to be alive.
#[derive(Clone, Copy, Debug)]
pub struct Replicas {
    nodes: [NodeId; MAX_REPLICAS],
    len: u8,
    alive: Mask,
}

impl Replicas {
    /// One replica, alive.
    pub fn one(node: NodeId) -> Replicas {
        let mut nodes = [NodeId(0); MAX_REPLICAS];
        nodes[0] = node;
        Replicas { nodes, len: 1, alive: Mask(1) }
    }

    /// These replicas, each with whether it is known to be alive.
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, bool)>) -> Result<Replicas, TooManyReplicas> {
        let mut replicas = Replicas { nodes: [NodeId(0); MAX_REPLICAS], len: 0, alive: Mask(0) };
        for (node, alive) in nodes {
            let number = replicas.len();
            if number == MAX_REPLICAS || replicas.number(node).is_some() {
                return Err(TooManyReplicas);
            }
            replicas.nodes[number] = node;
            replicas.len += 1;
            if alive {
                replicas.alive.insert(number);
            }
        }
        Ok(replicas)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Those that are alive.
    pub fn alive(&self) -> Mask {
        self.alive
    }

    /// The number of a replica.
    pub fn number(&self, node: NodeId) -> Option<usize> {
        self.nodes[..self.len()].iter().position(|replica| *replica == node)
    }

    /// The members of a set, in order.
    pub fn members(&self, mask: Mask) -> impl Iterator<Item = NodeId> + use<'_> {
        let numbered = self.nodes[..self.len()].iter().enumerate();
        numbered.filter(move |(number, _)| mask.contains(*number)).map(|(_, node)| *node)
    }

    /// All of them.
    pub fn all(&self) -> Mask {
        Mask(((1u32 << self.len) - 1) as u16)
    }

    /// Fails if fewer than `required` are alive.
    pub(crate) fn require(&self, required: usize) -> Result<(), Unavailable> {
        let alive = self.alive.count();
        if alive < required {
            return Err(Unavailable { required: required as u32, alive: alive as u32 });
        }
        Ok(())
    }
}
