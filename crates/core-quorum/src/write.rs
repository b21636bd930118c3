//! A write to all replicas of a partition, acknowledged by as many as its consistency asks for.
//!
//! It is sent to every replica that is alive at once. A write can't be taken back, so whatever
//! else happens, an outcome never says more than is known: unless every replica that was asked is
//! known to have done nothing, a write that was not acknowledged is *uncertain*.
//!
//! Left out: hints for the replicas that were dead (the driver finds them in
//! [`WriteRound::missed`]), and a count per datacenter (`EACH_QUORUM` is one round each).

use base::NodeId;

use crate::replicas::{Mask, Replicas, Unavailable};

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Enough replicas have it.
    Done,
    /// Every replica that was asked refused, so nothing happened and nothing will.
    Refused,
    /// Some replica may have it, or get it.
    Uncertain {
        /// Replicas that confirmed.
        received: u32,
        /// Replicas that had to.
        required: u32,
    },
}

/// A write under way. Each input may settle it; the outcome is told once.
#[derive(Clone, Copy, Debug)]
pub struct WriteRound {
    replicas: Replicas,
    required: u8,
    acknowledged: Mask,
    refused: Mask,
    failed: Mask,
    settled: bool,
}

impl WriteRound {
    /// Begins a write that `required` replicas must acknowledge; send it to [`Self::targets`].
    pub fn begin(replicas: Replicas, required: u32) -> Result<WriteRound, Unavailable> {
        replicas.require(required as usize)?;
        Ok(WriteRound {
            replicas,
            required: required.max(1) as u8,
            acknowledged: Mask::default(),
            refused: Mask::default(),
            failed: Mask::default(),
            settled: false,
        })
    }

    /// The replicas to send it to: all that are alive.
    pub fn targets(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.replicas.members(self.replicas.alive())
    }

    /// The replicas that will not hear of it from this round.
    pub fn missed(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.replicas.members(self.replicas.all().without(self.replicas.alive()))
    }

    /// A replica has it on disk.
    pub fn acknowledged(&mut self, by: NodeId) -> Option<WriteOutcome> {
        self.acknowledged.insert(self.replicas.number(by)?);
        self.settle()
    }

    /// A replica did nothing and will do nothing.
    pub fn refused(&mut self, by: NodeId) -> Option<WriteOutcome> {
        self.refused.insert(self.replicas.number(by)?);
        self.settle()
    }

    /// A replica will not answer; whether it has the write is unknown.
    pub fn failed(&mut self, at: NodeId) -> Option<WriteOutcome> {
        self.failed.insert(self.replicas.number(at)?);
        self.settle()
    }

    /// Time is up.
    pub fn timeout(&mut self) -> Option<WriteOutcome> {
        let uncertain = self.uncertain();
        (!std::mem::replace(&mut self.settled, true)).then_some(uncertain)
    }

    fn uncertain(&self) -> WriteOutcome {
        WriteOutcome::Uncertain {
            received: self.acknowledged.count() as u32,
            required: u32::from(self.required),
        }
    }

    fn settle(&mut self) -> Option<WriteOutcome> {
        let required = usize::from(self.required);
        let asked = self.replicas.alive();
        // A replica whose link failed may acknowledge after all, so an acknowledgement counts most.
        let lost = self.refused.and(self.failed).without(self.acknowledged);
        let outcome = if self.acknowledged.count() >= required {
            WriteOutcome::Done
        } else if self.refused.without(self.acknowledged.and(self.failed)) == asked {
            WriteOutcome::Refused
        } else if asked.without(lost).count() < required && self.worth_no_waiting() {
            self.uncertain()
        } else {
            return None;
        };
        (!std::mem::replace(&mut self.settled, true)).then_some(outcome)
    }

    /// While all answers are refusals, the next may make certain that nothing happened.
    fn worth_no_waiting(&self) -> bool {
        self.acknowledged.and(self.failed).count() > 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn round(alive: &[bool], required: u32) -> Result<WriteRound, Unavailable> {
        let nodes = alive.iter().enumerate().map(|(number, alive)| (NodeId(number as u64 + 1), *alive));
        WriteRound::begin(Replicas::new(nodes).unwrap(), required)
    }

    #[test]
    fn a_quorum_of_acknowledgements_settles_it_once() {
        let mut write = round(&[true, true, false], 2).unwrap();
        assert_eq!(write.targets().collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
        assert_eq!(write.missed().collect::<Vec<_>>(), [NodeId(3)]);
        assert_eq!(write.acknowledged(NodeId(1)), None);
        assert_eq!(write.acknowledged(NodeId(1)), None, "the same replica twice is one replica");
        assert_eq!(write.acknowledged(NodeId(9)), None, "a stranger is no replica");
        assert_eq!(write.acknowledged(NodeId(2)), Some(WriteOutcome::Done));
        assert_eq!(write.timeout(), None);
    }

    #[test]
    fn too_few_alive_is_known_before_anything_is_sent() {
        assert_eq!(round(&[true, false, false], 2).unwrap_err(), Unavailable { required: 2, alive: 1 });
        assert!(round(&[true], 2).is_err());
    }

    #[test]
    fn only_if_all_refused_is_it_certain_that_nothing_happened() {
        let mut write = round(&[true; 3], 2).unwrap();
        assert_eq!(write.refused(NodeId(1)), None);
        assert_eq!(write.refused(NodeId(2)), None, "the third may tell");
        assert_eq!(write.refused(NodeId(3)), Some(WriteOutcome::Refused));

        let mut write = round(&[true; 3], 2).unwrap();
        assert_eq!(write.refused(NodeId(1)), None);
        assert_eq!(write.failed(NodeId(2)), Some(WriteOutcome::Uncertain { received: 0, required: 2 }));

        let mut write = round(&[true], 1).unwrap();
        assert_eq!(write.refused(NodeId(1)), Some(WriteOutcome::Refused));
    }

    #[test]
    fn a_timeout_tells_what_was_received() {
        let mut write = round(&[true; 3], 2).unwrap();
        write.acknowledged(NodeId(2));
        assert_eq!(write.timeout(), Some(WriteOutcome::Uncertain { received: 1, required: 2 }));
        assert_eq!(write.acknowledged(NodeId(1)), None, "told once");
    }
}
