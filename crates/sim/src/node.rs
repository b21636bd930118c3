//! What the simulator needs of a node: to give it events, to let it take one step, and nothing else.
//!
//! A node here is the whole of `fabric` under one Machine, without threads ([`fabric::Stepped`]):
//! spine, Raft, log, engine, recovery are the code that ships. What happens between two steps is
//! up to the scheduler.

use std::sync::Arc;

use base::{Cause, GroupId, NodeId};
use bytes::Bytes;
use fabric::{Addresses, Among, Identity, Members, Settings, Stepped, enter};
use node_link::{Link, Receive};
use store::{Action, Done, Machine, Permit, Principal, Target};
use world::World;

use crate::bugs::Bug;

/// The group whose Machine is under test.
pub(crate) const GROUP: GroupId = GroupId(7);
const CATALOG: GroupId = GroupId(0);
const CLUSTER: u128 = 0x51d;

/// What a node is born with.
pub(crate) struct Birth {
    /// Which it is, from 1.
    pub(crate) node: NodeId,
    /// All nodes of the cluster.
    pub(crate) members: Vec<NodeId>,
    pub(crate) world: World,
    pub(crate) settings: Settings,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) machine: Box<dyn Machine>,
    /// The mistake it makes.
    pub(crate) bug: Option<Bug>,
}

/// A node, stepped by hand. A step that fails ends it.
pub(crate) trait Node: Sized {
    /// Recovers what its disk holds.
    fn start(birth: Birth) -> Result<Self, Cause>;
    /// Where its link brings messages.
    fn receiver(&self) -> Option<Arc<dyn Receive>>;
    /// How often its disk has started a node.
    fn start_number(&self) -> u64;
    /// Lets the spine handle what waits.
    fn turn(&mut self) -> Result<bool, Cause>;
    /// Lets the log write and sync what waits; says whether there was anything.
    fn step_log(&mut self) -> Result<bool, Cause>;
    /// Lets upkeep do a step; says whether there may be more.
    fn step_upkeep(&mut self) -> Result<bool, Cause>;
    /// Tells it that a part of a second has passed.
    fn tick(&mut self) -> Result<(), Cause>;
    /// Proposes an entry.
    fn propose(&mut self, entry: Bytes, done: Done<Bytes>);
    /// What a message between nodes says, for people.
    fn words(message: &[u8]) -> String;
    /// Whether a message between nodes gives a vote.
    fn is_vote(message: &[u8]) -> bool;
    /// Answers when the local state is recent enough to be read.
    fn barrier(&mut self, done: Done<()>);
}

impl Node for Stepped {
    fn start(birth: Birth) -> Result<Stepped, Cause> {
        let disk = &birth.world.disk;
        // A start may have been cut before this was durable.
        if Identity::load(disk)?.is_none() {
            let host_uuid = u128::from(birth.node.0);
            enter(disk, Identity { cluster: CLUSTER, node: birth.node, host_uuid })?;
        }
        let founders = Members::of(birth.members.iter().copied());
        let among = Among {
            link: (birth.members.len() > 1).then_some(birth.link),
            founders: [CATALOG, GROUP].map(|group| (group, founders.clone())).into(),
        };
        let machines: Vec<(GroupId, Box<dyn Machine>)> = vec![(GROUP, birth.machine)];
        let settings = Settings { sabotage: birth.bug.map(Bug::sabotage), ..birth.settings };
        Stepped::start_among(&birth.world, settings, machines, Addresses::new(), among)
    }

    fn receiver(&self) -> Option<Arc<dyn Receive>> {
        Some(Stepped::receiver(self))
    }

    fn start_number(&self) -> u64 {
        Stepped::start_number(self)
    }

    fn turn(&mut self) -> Result<bool, Cause> {
        let any = self.turn_spine();
        alive(self).map(|()| any)
    }

    fn step_log(&mut self) -> Result<bool, Cause> {
        let any = Stepped::step_log(self)?;
        alive(self).map(|()| any)
    }

    fn step_upkeep(&mut self) -> Result<bool, Cause> {
        let any = Stepped::step_upkeep(self);
        alive(self).map(|()| any)
    }

    fn tick(&mut self) -> Result<(), Cause> {
        Stepped::tick(self);
        self.retry();
        alive(self)
    }

    fn propose(&mut self, entry: Bytes, done: Done<Bytes>) {
        match permit(self, Action::Write) {
            Ok(permit) => self.store().machines.propose(permit, GROUP, entry.into(), done),
            Err(cause) => done.complete(Err(cause)),
        }
    }

    fn words(message: &[u8]) -> String {
        fabric::explain(message).join("; ")
    }

    fn is_vote(message: &[u8]) -> bool {
        fabric::gives_vote(message)
    }

    fn barrier(&mut self, done: Done<()>) {
        match permit(self, Action::Read) {
            Ok(permit) => self.store().machines.barrier(permit, GROUP, done),
            Err(cause) => done.complete(Err(cause)),
        }
    }
}

fn permit(node: &Stepped, action: Action) -> Result<Permit, Cause> {
    node.store().gate.permit(&Principal::Node, action, Target::Machine(GROUP))
}

fn alive(node: &Stepped) -> Result<(), Cause> {
    node.failure().map_or(Ok(()), Err)
}
