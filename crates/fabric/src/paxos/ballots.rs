//! Where ballots come from: a hybrid logical clock that never goes back, not even over a restart
//! with a wall clock that did.
//!
//! Nothing is issued at or above an upper bound that is durable. A start begins at the bound, for
//! everything below may have been issued. The bound is moved on in large steps and only when a
//! round begins, so an idle node writes nothing. A clock that has left the bound behind while rounds
//! are under way (a jump, a long sync) counts as standing still until the next bound is durable.

use base::{Hlc, NodeId};
use core_quorum::paxos::Ballot;
use world::Clock;

/// How far ahead of the clock the bound is set, in microseconds: a write a minute under load.
const AHEAD_US: u64 = 60_000_000;
/// Room below the bound that a round must find when it begins, in microseconds. The clock is not
/// followed into it: there is a value for each step of every round under way, a handful each.
const ROOM_US: u64 = 1_000_000;

/// Issues ballots.
#[derive(Debug)]
pub(super) struct Ballots {
    node: NodeId,
    clock: Clock,
    last: Hlc,
    bound: Hlc,
}

impl Ballots {
    /// Goes on above everything issued under `bound`.
    pub(super) fn new(node: NodeId, clock: Clock, bound: Hlc) -> Ballots {
        Ballots { node, clock, last: bound, bound }
    }

    /// The bound to make durable before a round may begin, if one must be.
    pub(super) fn wanted_bound(&self) -> Option<Hlc> {
        let next = self.last.next(self.clock.wall_micros());
        (next.0 + ROOM_US > self.bound.0).then_some(Hlc(next.0 + AHEAD_US))
    }

    /// The bound that is durable.
    pub(super) fn bound(&self) -> Hlc {
        self.bound
    }

    /// `bound` is durable.
    pub(super) fn set_bound(&mut self, bound: Hlc) {
        self.bound = self.bound.max(bound);
    }

    /// A time never issued before, below the bound.
    pub(super) fn tick(&mut self) -> Hlc {
        let latest = self.bound.0.saturating_sub(ROOM_US);
        self.last = self.last.next(self.clock.wall_micros().min(latest));
        // A start could issue it again: better none than that.
        assert!(self.last < self.bound, "rounds under way took all times below the durable bound");
        self.last
    }

    /// A ballot never used before, above `floor`.
    pub(super) fn above(&mut self, floor: Ballot) -> Ballot {
        let now = self.tick();
        let ballot = Ballot::above(floor, now, self.node);
        self.last = self.last.max(ballot.time);
        ballot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_under_an_earlier_clock_goes_on_above() {
        let clock = Clock::simulated(1_000_000_000);
        let mut ballots = Ballots::new(NodeId(1), clock.clone(), Hlc(0));
        let bound = ballots.wanted_bound().expect("nothing is durable yet");
        ballots.set_bound(bound);
        assert_eq!(ballots.wanted_bound(), None);
        let before = ballots.above(Ballot::ZERO);
        assert!(before.time < bound);

        clock.jump_to(5);
        let mut restarted = Ballots::new(NodeId(1), clock, bound);
        restarted.set_bound(restarted.wanted_bound().expect("everything below may have been issued"));
        assert!(restarted.above(Ballot::ZERO) > before);
    }

    #[test]
    fn nothing_is_issued_above_the_durable_bound_when_the_clock_jumps_ahead() {
        let clock = Clock::simulated(1_000_000_000);
        let mut ballots = Ballots::new(NodeId(1), clock.clone(), Hlc(0));
        let bound = ballots.wanted_bound().expect("nothing is durable yet");
        ballots.set_bound(bound);
        let before = ballots.above(Ballot::ZERO);
        // In the middle of a round; its next steps need ballots and timestamps all the same.
        clock.jump_to(1_000_000_000 + 100 * AHEAD_US);
        let (next, tick) = (ballots.above(before), ballots.tick());
        assert!(before < next && next.time < tick && tick < bound);
        assert!(ballots.wanted_bound().is_some(), "the next round waits");
    }
}
