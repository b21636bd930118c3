//! How a node stands among others: with what link, and who the first members of its groups are.
//!
//! A node starts from its disk and [`Among`]. On a disk where a group has not begun, the node is one of its founders,
//! if `founders` names the group's first members (every founder is told the same); otherwise its replica begins empty and
//! waits until a leader makes it a member and tells it everything. Where a group has begun, the disk alone counts.
//!
//! # Several nodes by hand
//! ```text
//! enter(&disk, Identity { node, .. })                  who the node is, once
//! let mut node = Stepped::start_among(&world, settings, machines, addresses, among)
//! node.receiver()      give it to the link that `among` of the others has: receive(from, class, message)
//! node.turn_spine()    handles what came, sends through the link          while any of the three says
//! node.step_log()      writes and syncs one batch: one "persist"          that there is more
//! node.step_upkeep()   makes files, trims the log
//! node.tick()          50 ms have passed, on this node's clock
//! node.standing()      terms, leaders, members, positions; which other nodes live
//! node.store()         propose, barrier
//! node.change(..), node.transfer(..)
//! ```
//! Nothing happens between two of these calls, and no two runs with the same calls and seeds differ. A crash is dropping
//! the node and starting another on what the disk kept. `Settings::groups` has the bounds to make tiny,
//! `Settings::sabotage` (feature `sabotage`) the bugs to plant.

use std::{collections::BTreeMap, sync::Arc};

use base::GroupId;
use node_link::{Link, Receive};
use store::Waiter;

use crate::{Fabric, Stepped, group::members::Members, neighbours::Receiver, shared::Shared, spine::Event};

pub use crate::spine::Standing;

/// How a node stands among others.
#[derive(Clone, Default)]
pub struct Among {
    /// How it sends to them. `None`: there are none, and each of its groups has it as its only founder.
    pub link: Option<Arc<dyn Link>>,
    /// Who founds a group, by its id.
    pub founders: BTreeMap<GroupId, Members>,
}

/// What a node in a cluster is asked from outside the waist.
struct Asked<'a>(&'a Arc<Shared>);

impl Asked<'_> {
    fn receiver(&self) -> Arc<dyn Receive> {
        Arc::new(Receiver { shared: self.0.clone() })
    }

    fn change(&self, group: GroupId, members: Members) -> Waiter<()> {
        let (done, answer) = store::waiter();
        self.0.post(Event::Change { group, members, done });
        answer
    }

    fn transfer(&self, group: GroupId, to: base::NodeId) -> Waiter<()> {
        let (done, answer) = store::waiter();
        self.0.post(Event::Transfer { group, to, done });
        answer
    }
}

impl Fabric {
    /// Takes what comes from other nodes.
    pub fn receiver(&self) -> Arc<dyn Receive> {
        Asked(self.shared()).receiver()
    }

    /// How the groups are, and the other nodes.
    pub fn standing(&self) -> Waiter<Standing> {
        let (done, answer) = store::waiter();
        self.shared().post(Event::Inspect { done });
        answer
    }

    /// Makes `members` the members of a group: at the leader, or by way of it. Answered when this replica has applied
    /// that they are; busy while another change is under way, or nobody leads.
    pub fn change(&self, group: GroupId, members: Members) -> Waiter<()> {
        Asked(self.shared()).change(group, members)
    }

    /// Hands the lead of a group to a voter. Asked at the leader; a follower can only ask for itself. Answered when it
    /// leads.
    pub fn transfer(&self, group: GroupId, to: base::NodeId) -> Waiter<()> {
        Asked(self.shared()).transfer(group, to)
    }
}

impl Stepped {
    /// Takes what comes from other nodes; [`Stepped::turn_spine`] handles it.
    pub fn receiver(&self) -> Arc<dyn Receive> {
        Asked(self.shared()).receiver()
    }

    /// Lets 50 ms pass.
    pub fn tick(&mut self) {
        self.spine().tick();
    }

    /// How the groups are, and the other nodes.
    pub fn standing(&mut self) -> Standing {
        self.spine().standing()
    }

    /// As [`Fabric::change`].
    pub fn change(&self, group: GroupId, members: Members) -> Waiter<()> {
        Asked(self.shared()).change(group, members)
    }

    /// As [`Fabric::transfer`].
    pub fn transfer(&self, group: GroupId, to: base::NodeId) -> Waiter<()> {
        Asked(self.shared()).transfer(group, to)
    }
}
