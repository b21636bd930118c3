//! Linearizable reads: rounds of the read-index protocol (Raft thesis, 6.4), many reads to a round.
//!
//! A read asks the leader for its commit index, which the leader tells once a majority has confirmed
//! that it still leads; when the local state has applied so much, the read may look at it. Reads that
//! come while a round is under way wait for the next one: that one begins after they came, so what it
//! says is true for them too. A round that gets no answer, because a message or the leader is lost, is
//! asked again under its number.

use base::Cause;
use store::Done;

use crate::group::requests::PATIENCE_TICKS;

/// Ticks after which a round is asked again.
const REPEAT_AFTER_TICKS: u32 = 4;

/// The reads of a replica that cannot be answered yet.
#[derive(Default)]
pub(crate) struct Reads {
    /// Those that the next round is for.
    waiting: Vec<Done<()>>,
    round: Option<Round>,
    rounds: u64,
    /// Those that are answered once the index is applied.
    confirmed: Vec<(u64, Vec<Done<()>>)>,
    /// A round is to be asked, for the first time or again.
    to_ask: bool,
}

struct Round {
    number: u64,
    dones: Vec<Done<()>>,
    age_ticks: u32,
}

impl Reads {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.round.is_none() && self.confirmed.is_empty()
    }

    pub(crate) fn push(&mut self, done: Done<()>) {
        self.waiting.push(done);
        self.begin();
    }

    fn begin(&mut self) {
        if self.round.is_none() && !self.waiting.is_empty() {
            self.rounds += 1;
            self.round =
                Some(Round { number: self.rounds, dones: std::mem::take(&mut self.waiting), age_ticks: 0 });
            self.to_ask = true;
        }
    }

    /// The number of the round that should be asked now.
    pub(crate) fn to_ask(&self) -> Option<u64> {
        self.round.as_ref().filter(|_| self.to_ask).map(|round| round.number)
    }

    /// It was asked.
    pub(crate) fn asked(&mut self) {
        self.to_ask = false;
    }

    /// What was asked may be lost.
    pub(crate) fn ask_again(&mut self) {
        self.to_ask = self.round.is_some();
    }

    /// Round `number` was answered.
    pub(crate) fn answered(&mut self, number: u64, index: u64) {
        if let Some(round) = self.round.take_if(|round| round.number == number) {
            self.confirmed.push((index, round.dones));
            self.begin();
        }
    }

    /// Entries up to `index` are applied.
    pub(crate) fn applied(&mut self, index: u64) {
        for (_, dones) in self.confirmed.extract_if(.., |(at, _)| *at <= index) {
            dones.into_iter().for_each(|done| done.complete(Ok(())));
        }
    }

    /// Answers all with `cause`.
    pub(crate) fn fail(&mut self, cause: &Cause) {
        let Reads { waiting, round, confirmed, .. } = self;
        let asked = round.take().into_iter().flat_map(|round| round.dones);
        let confirmed = confirmed.drain(..).flat_map(|(_, dones)| dones);
        let all: Vec<_> = waiting.drain(..).chain(asked).chain(confirmed).collect();
        all.into_iter().for_each(|done| done.complete(Err(cause.clone())));
    }

    /// A tick has passed.
    pub(crate) fn tick(&mut self) {
        let Some(round) = &mut self.round else { return };
        round.age_ticks += 1;
        if round.age_ticks >= PATIENCE_TICKS {
            let dones = self.round.take().map(|round| round.dones).unwrap_or_default();
            let cause = Cause::busy("no leader of the group has answered");
            dones.into_iter().for_each(|done| done.complete(Err(cause.clone())));
            self.begin();
        } else if round.age_ticks.is_multiple_of(REPEAT_AFTER_TICKS) {
            self.to_ask = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_came_during_a_round_waits_for_the_next() {
        let mut reads = Reads::default();
        let (first, first_answer) = store::waiter();
        let (second, second_answer) = store::waiter();
        reads.push(first);
        assert_eq!(reads.to_ask(), Some(1));
        reads.asked();
        reads.push(second);
        assert_eq!(reads.to_ask(), None);
        reads.answered(1, 5);
        assert_eq!(reads.to_ask(), Some(2));
        reads.asked();
        reads.answered(1, 7);
        reads.applied(9);
        assert_eq!(first_answer.wait(), Ok(()));
        reads.fail(&Cause::busy("over"));
        assert_eq!(second_answer.wait(), Err(Cause::busy("over")));
        assert!(reads.is_empty());
    }
}
