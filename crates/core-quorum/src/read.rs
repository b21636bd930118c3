//! A read answered by as many replicas as its consistency asks for.
//!
//! Exactly as many as needed are asked, nearest first; another only when one of them fails. The
//! answers are merged (the newest version of every cell), and replicas whose answer lacked
//! something are told what: *read repair*. A read does not wait for it.
//!
//! With one replica an answer is handed through as it came.
//!
//! Left out: digests instead of full answers from all but one replica, speculative retries before
//! a failure is known (the driver may call [`ReadRound::failed`] on suspicion: a late answer still
//! counts), and going on where one replica's page ended before another's.

use base::NodeId;

use crate::replicas::{Mask, Replicas, Unavailable};

/// Answers that can be merged.
pub trait Merge: Sized {
    /// What a stale replica must be sent.
    type Repair;

    /// Merges the answers of two or more replicas. Tells what each lacks; replicas that lack
    /// nothing are left out.
    fn merge(answers: Vec<(NodeId, Self)>) -> (Self, Vec<(NodeId, Self::Repair)>);
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadStep<A, P> {
    /// Nothing.
    Wait,
    /// Ask one more replica.
    Ask(NodeId),
    /// Answer, and send the repairs.
    Done {
        /// The merged answer.
        answer: A,
        /// What stale replicas lack.
        repairs: Vec<(NodeId, P)>,
    },
    /// Too few answered. A read changes nothing, so it may be tried again.
    Failed {
        /// Replicas that answered.
        received: u32,
        /// Replicas that had to.
        required: u32,
    },
}

/// A read under way. `Done` and `Failed` come once, and after them only `Wait`.
#[derive(Debug)]
pub struct ReadRound<A> {
    replicas: Replicas,
    required: u8,
    asked: Mask,
    answered: Mask,
    failed: Mask,
    settled: bool,
    answers: Vec<(NodeId, A)>,
}

impl<A: Merge> ReadRound<A> {
    /// Begins a read that `required` replicas must answer; ask [`Self::targets`].
    pub fn begin(replicas: Replicas, required: u32) -> Result<ReadRound<A>, Unavailable> {
        replicas.require(required as usize)?;
        let required = required.max(1) as u8;
        let mut asked = Mask::default();
        let alive = (0..replicas.len()).filter(|number| replicas.alive().contains(*number));
        for number in alive.take(usize::from(required)) {
            asked.insert(number);
        }
        let (answered, failed) = (Mask::default(), Mask::default());
        Ok(ReadRound { replicas, required, asked, answered, failed, settled: false, answers: Vec::new() })
    }

    /// The replicas to ask first.
    pub fn targets(&self) -> impl Iterator<Item = NodeId> + use<'_, A> {
        self.replicas.members(self.asked)
    }

    /// A replica answered.
    pub fn answered(&mut self, by: NodeId, answer: A) -> ReadStep<A, A::Repair> {
        let Some(number) = self.replicas.number(by) else { return ReadStep::Wait };
        if self.settled || !self.answered.insert(number) {
            return ReadStep::Wait;
        }
        if self.answered.count() < usize::from(self.required) {
            self.answers.push((by, answer));
            return ReadStep::Wait;
        }
        self.settled = true;
        if self.answers.is_empty() {
            return ReadStep::Done { answer, repairs: Vec::new() };
        }
        let mut answers = std::mem::take(&mut self.answers);
        answers.push((by, answer));
        let (answer, repairs) = A::merge(answers);
        ReadStep::Done { answer, repairs }
    }

    /// A replica will not answer, or not soon.
    pub fn failed(&mut self, at: NodeId) -> ReadStep<A, A::Repair> {
        let Some(number) = self.replicas.number(at) else { return ReadStep::Wait };
        if self.settled || self.answered.contains(number) || !self.failed.insert(number) {
            return ReadStep::Wait;
        }
        let unasked = self.replicas.alive().without(self.asked);
        if let Some(next) = self.replicas.members(unasked).next() {
            self.asked.insert(self.replicas.number(next).expect("a member has a number"));
            return ReadStep::Ask(next);
        }
        let possible = self.asked.without(self.failed.without(self.answered)).count();
        if possible < usize::from(self.required) { self.fail() } else { ReadStep::Wait }
    }

    /// Time is up.
    pub fn timeout(&mut self) -> ReadStep<A, A::Repair> {
        if self.settled { ReadStep::Wait } else { self.fail() }
    }

    fn fail(&mut self) -> ReadStep<A, A::Repair> {
        self.settled = true;
        ReadStep::Failed { received: self.answered.count() as u32, required: u32::from(self.required) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A replica's answer: versions of keys. The merge keeps the highest, a repair is the pairs
    /// that were missing.
    type Versions = Vec<(u8, u32)>;

    impl Merge for Versions {
        type Repair = Versions;

        fn merge(answers: Vec<(NodeId, Versions)>) -> (Versions, Vec<(NodeId, Versions)>) {
            let mut merged = std::collections::BTreeMap::new();
            for (key, version) in answers.iter().flat_map(|(_, answer)| answer) {
                let newest = merged.entry(*key).or_insert(*version);
                *newest = (*newest).max(*version);
            }
            let merged: Versions = merged.into_iter().collect();
            let lacks = |answer: &Versions| -> Versions {
                merged.iter().filter(|pair| !answer.contains(pair)).copied().collect()
            };
            let repairs = answers.iter().map(|(node, answer)| (*node, lacks(answer)));
            let repairs = repairs.filter(|(_, lacks)| !lacks.is_empty()).collect();
            (merged, repairs)
        }
    }

    fn round(nodes: u64, required: u32) -> ReadRound<Versions> {
        ReadRound::begin(Replicas::new((1..=nodes).map(|node| (NodeId(node), true))).unwrap(), required)
            .unwrap()
    }

    #[test]
    fn the_newest_of_a_quorum_is_answered_and_the_stale_one_repaired() {
        let mut read = round(3, 2);
        assert_eq!(read.targets().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
        assert_eq!(read.answered(NodeId(2), vec![(1, 7), (2, 1)]), ReadStep::Wait);
        assert_eq!(read.answered(NodeId(2), vec![]), ReadStep::Wait, "a duplicate is no second answer");
        let done = read.answered(NodeId(1), vec![(1, 5), (2, 1)]);
        let repairs = vec![(NodeId(1), vec![(1, 7)])];
        assert_eq!(done, ReadStep::Done { answer: vec![(1, 7), (2, 1)], repairs });
        assert_eq!(read.timeout(), ReadStep::Wait);
    }

    #[test]
    fn another_replica_is_asked_when_one_fails() {
        let mut read = round(3, 2);
        assert_eq!(read.failed(NodeId(1)), ReadStep::Ask(NodeId(3)));
        assert_eq!(read.failed(NodeId(1)), ReadStep::Wait);
        assert_eq!(read.answered(NodeId(3), vec![]), ReadStep::Wait);
        assert_eq!(read.failed(NodeId(2)), ReadStep::Failed { received: 1, required: 2 });
        assert_eq!(read.answered(NodeId(2), vec![]), ReadStep::Wait);
    }

    #[test]
    fn one_replica_is_handed_through() {
        let mut read = round(1, 1);
        let done = ReadStep::Done { answer: vec![(1, 1)], repairs: vec![] };
        assert_eq!(read.answered(NodeId(1), vec![(1, 1)]), done);
        let nobody = Replicas::new([(NodeId(1), false)]).unwrap();
        let refused = ReadRound::<Versions>::begin(nobody, 1).unwrap_err();
        assert_eq!(refused, Unavailable { required: 1, alive: 0 });
    }
}
