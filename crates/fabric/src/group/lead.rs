//! What is asked of whoever leads, and of time: changes of members, transfers of the lead, ticks, sleep.
//!
//! A tick is 50 ms. A follower that hears nothing from a leader for 10 to 20 of them, drawn anew each
//! time so that votes do not split for ever, asks for votes. The core draws from the thread's own
//! randomness, which no seed knows: each of its draws is replaced by one of ours.
//!
//! **Sleep.** Most groups have nothing to do most of the time, and a thousand of them that send
//! heartbeats cost more than those that work. A leader whose followers have everything, and that was
//! asked nothing for a second, says so and stops counting; its followers stop as well. That a node dies is
//! noticed once for all groups, between nodes ([`crate::peers`]); then the groups that it led wake.

use base::{Cause, NodeId};
use raft::{StateRole, eraftpb::ConfChangeV2};
use store::Done;

use super::{
    Group,
    members::{self, Members},
    message::GroupMessage,
    requests::PATIENCE_TICKS,
};
use crate::settings::Sabotage;

/// The range in which election timeouts are drawn, in ticks.
pub(super) const ELECTION_TICKS: std::ops::Range<usize> = 10..20;
/// Ticks in which nothing happens, before a group sleeps.
const SLEEP_AFTER_TICKS: u32 = 20;
/// Ticks in which a lead passes on, or does not.
const TRANSFER_TICKS: u32 = 40;

/// Ticks after which a change of members is asked for again.
const REPEAT_TICKS: u32 = 20;

/// What somebody waits for until the group is so.
pub(super) struct Wish {
    pub(super) wanted: Wanted,
    pub(super) done: Done<()>,
    pub(super) age_ticks: u32,
}

pub(super) enum Wanted {
    Members(Members),
    Leader(NodeId),
}

/// What is remembered of time.
#[derive(Default)]
pub(super) struct Time {
    /// State of the generator of election timeouts.
    seed: u64,
    /// The last timeout drawn, and the term, role and leader it was drawn for.
    timeout: usize,
    drawn_for: Option<(u64, StateRole, u64)>,
    idle_ticks: u32,
    pub(super) asleep: bool,
}

impl Time {
    pub(super) fn new(seed: u64) -> Time {
        Time { seed, ..Time::default() }
    }

    /// Another timeout (splitmix64).
    fn draw(&mut self) {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let width = ELECTION_TICKS.len() as u64;
        self.timeout = ELECTION_TICKS.start + ((z ^ (z >> 31)) % width) as usize;
    }
}

impl Group {
    /// 50 ms have passed; says whether that matters.
    pub(crate) fn tick(&mut self) -> bool {
        let asked = !self.requests.is_empty() || !self.reads.is_empty() || !self.wishes.is_empty();
        // A lone voter that does not lead yet had changes of members to apply first.
        let content = self.core.raft.state == StateRole::Leader && !asked;
        if self.time.asleep || (self.is_single() && content) {
            return false;
        }
        self.tick_catch_up();
        self.requests.tick();
        self.reads.tick();
        self.age_wishes();
        // A lone voter would lead at once, for which its entries must be durable; it leads soon.
        let leads_too_early = self.is_sole_voter() && self.persisting > 0;
        if !leads_too_early && !self.is_installing() {
            self.core.tick();
        }
        self.set_timeout();
        self.leave_when_known();
        self.send_requests();
        self.ask_reads();
        self.maybe_sleep();
        true
    }

    /// Replaces a timeout that the core has drawn.
    pub(super) fn set_timeout(&mut self) {
        let raft = &mut self.core.raft;
        let now = (raft.term, raft.state, raft.leader_id);
        if self.time.drawn_for != Some(now) {
            self.time.drawn_for = Some(now);
            self.time.draw();
        }
        if raft.randomized_election_timeout() != self.time.timeout {
            raft.set_randomized_election_timeout(self.time.timeout);
        }
    }

    /// Something is to be done: time counts again.
    pub(crate) fn wake(&mut self) {
        if std::mem::take(&mut self.time.asleep) {
            self.time.idle_ticks = 0;
        }
    }

    fn maybe_sleep(&mut self) {
        let idle = self.core.raft.state == StateRole::Leader
            && self.core.raft.promotable()
            && self.pending.is_empty()
            && self.requests.is_empty()
            && self.reads.is_empty()
            && self.wishes.is_empty()
            && self.persisting == 0
            && !members::is_joint(&self.core.store().conf_state)
            && self.everybody_has(self.core.store().last());
        if !idle {
            self.time.idle_ticks = 0;
            return;
        }
        self.time.idle_ticks += 1;
        // What comes behind the word to sleep would wake them.
        if self.time.idle_ticks < SLEEP_AFTER_TICKS || !self.core.raft.msgs.is_empty() {
            return;
        }
        let (term, index) = (self.core.raft.term, self.applied);
        for other in members::others(&self.core.store().conf_state, self.node.0) {
            self.mail.push((NodeId(other), GroupMessage::Sleep { term, index }));
        }
        self.fall_asleep();
    }

    /// Whether every member has all entries up to `last`, and they are applied here.
    fn everybody_has(&self, last: u64) -> bool {
        let raft = &self.core.raft;
        self.applied == last
            && raft.raft_log.committed == last
            && raft.prs().iter().all(|(_, progress)| progress.matched == last)
    }

    /// The leader says that everybody has everything: if it is so here, time stops.
    pub(super) fn told_to_sleep(&mut self, from: NodeId, term: u64, index: u64) {
        let raft = &self.core.raft;
        let agrees = raft.term == term
            && raft.leader_id == from.0
            && raft.raft_log.last_index() == index
            && self.applied == index
            && self.persisting == 0;
        if agrees && self.requests.is_empty() && self.reads.is_empty() && self.wishes.is_empty() {
            self.fall_asleep();
        }
    }

    fn fall_asleep(&mut self) {
        self.time.asleep = true;
        self.end_catch_up();
        let applied = self.applied;
        // Nobody lacks any of it.
        self.core.mut_store().forget(applied);
    }

    /// The node `node` is gone, or is another process than it was: if it leads, it does no more.
    pub(crate) fn lost(&mut self, node: NodeId) {
        if self.core.raft.leader_id == node.0 && node != self.node {
            self.wake();
            let term = self.core.raft.term;
            // Otherwise this replica would deny others its vote for as long as the leader may still live.
            self.core.raft.become_follower(term, raft::INVALID_ID);
            self.set_timeout();
        }
    }

    /// What was sent to `node` lately may be lost.
    pub(crate) fn unreachable(&mut self, node: NodeId) {
        self.core.report_unreachable(node.0);
    }

    /// Makes `wanted` the members; answered when this replica has applied that they are.
    pub(crate) fn change(&mut self, wanted: &Members, done: Done<()>) {
        if !wanted.is_valid() {
            done.complete(Err(Cause::invalid("a group needs voters, who are not learners as well")));
            return;
        }
        self.wake();
        if let Err(cause) = self.ask_change(wanted) {
            return done.complete(Err(cause));
        }
        self.wishes.push(Wish { wanted: Wanted::Members(wanted.clone()), done, age_ticks: 0 });
        self.grant_wishes();
    }

    /// Proposes a change, here or at whoever leads.
    fn ask_change(&mut self, wanted: &Members) -> Result<(), Cause> {
        let raft = &self.core.raft;
        if raft.state == StateRole::Leader {
            return self.propose_change(wanted);
        }
        if raft.leader_id == raft::INVALID_ID {
            return Err(Cause::busy("the group has no leader"));
        }
        self.mail.push((NodeId(raft.leader_id), GroupMessage::Change { members: wanted.to_conf() }));
        Ok(())
    }

    /// As the leader: proposes what makes `wanted` the members.
    pub(super) fn propose_change(&mut self, wanted: &Members) -> Result<(), Cause> {
        let conf = &self.core.store().conf_state;
        if members::is_joint(conf) || self.core.raft.has_pending_conf() {
            return Err(Cause::busy("another change of the group's members is under way"));
        }
        let change = members::difference(conf, wanted);
        if change.changes.is_empty() {
            return Ok(());
        }
        let proposed = self.core.propose_conf_change(members::encode(&change), change);
        proposed.map_err(|error| Cause::busy(format!("the members cannot be changed now: {error}")))
    }

    /// An entry that changes members is applied.
    pub(super) fn apply_change(&mut self, context: &[u8]) -> Result<(), Cause> {
        let change = members::decode(context)?;
        let refused = |error| Cause::corrupt(format!("a change of members cannot be applied: {error}"));
        let mut conf = self.core.apply_conf_change(&change).map_err(refused)?;
        if self.sabotage == Some(Sabotage::NoJointMajority) && members::is_joint(&conf) {
            conf = self.core.apply_conf_change(&ConfChangeV2::default()).map_err(refused)?;
        }
        self.core.mut_store().conf_state = conf;
        self.keep_members();
        self.wake();
        Ok(())
    }

    /// As the leader: ends a joint configuration, or its own lead when it is no voter any more, as soon as a
    /// majority of the voters to be knows that the step before is committed.
    ///
    /// Members count from the entry that is *applied*, not from the one that is in the log as in the paper. If the
    /// old voters had already applied that they are none, and the new ones not yet that they are, then nobody
    /// could be elected, for ever. So new voters must know themselves first: in the joint configuration they
    /// can campaign, and old voters, whatever they have become, answer.
    pub(super) fn leave_when_known(&mut self) {
        let raft = &self.core.raft;
        if raft.state != StateRole::Leader || raft.has_pending_conf() {
            return;
        }
        let conf = &self.core.store().conf_state;
        let joint = members::is_joint(conf);
        if !joint && raft.promotable() {
            return;
        }
        let since = raft.pending_conf_index;
        let knows = |id: &&u64| match raft.prs().get(**id) {
            _ if **id == self.node.0 => true,
            Some(progress) => progress.committed_index >= since,
            None => false,
        };
        if conf.voters.iter().filter(knows).count() * 2 <= conf.voters.len() {
            return;
        }
        if joint {
            // Refused, it is proposed at the next tick.
            let _ = self.core.propose_conf_change(Vec::new(), ConfChangeV2::default());
        } else {
            let term = raft.term;
            self.core.raft.become_follower(term, raft::INVALID_ID);
            self.set_timeout();
        }
    }

    /// Hands the lead to `to`; answered when it leads, as far as this replica knows.
    pub(crate) fn transfer(&mut self, to: NodeId, done: Done<()>) {
        let raft = &self.core.raft;
        if !self.core.store().conf_state.voters.contains(&to.0) {
            return done.complete(Err(Cause::invalid(format!("node {to} is no voter of the group"))));
        }
        // A follower can only ask for itself.
        if raft.state != StateRole::Leader && to != self.node {
            return done.complete(Err(Cause::new(base::Class::Moved, "another node leads the group")));
        }
        self.wake();
        self.core.transfer_leader(to.0);
        self.set_timeout();
        self.wishes.push(Wish { wanted: Wanted::Leader(to), done, age_ticks: 0 });
        self.grant_wishes();
    }

    /// Answers the wishes that have come true.
    pub(super) fn grant_wishes(&mut self) {
        if self.wishes.is_empty() {
            return;
        }
        let leader = self.core.raft.leader_id;
        let conf = &self.core.store().conf_state;
        let now = Members::of_conf(conf);
        let granted = |wish: &mut Wish| match &wish.wanted {
            Wanted::Leader(node) => node.0 == leader,
            Wanted::Members(wanted) => !members::is_joint(conf) && now == *wanted,
        };
        for wish in self.wishes.extract_if(.., granted) {
            wish.done.complete(Ok(()));
        }
    }

    fn age_wishes(&mut self) {
        let repeats = |wish: &Wish| match &wish.wanted {
            Wanted::Members(wanted) if wish.age_ticks % REPEAT_TICKS == REPEAT_TICKS - 1 => {
                Some(wanted.clone())
            }
            _ => None,
        };
        let again: Vec<Members> = self.wishes.iter().filter_map(repeats).collect();
        for wanted in again {
            // Asked again until it is so, or too old.
            let _ = self.ask_change(&wanted);
        }
        let too_old = |wish: &mut Wish| {
            wish.age_ticks += 1;
            let patience =
                if matches!(wish.wanted, Wanted::Leader(_)) { TRANSFER_TICKS } else { PATIENCE_TICKS };
            wish.age_ticks >= patience
        };
        for wish in self.wishes.extract_if(.., too_old) {
            wish.done
                .complete(Err(Cause::uncertain("the group is not as it should be yet, but may become so")));
        }
    }
}
