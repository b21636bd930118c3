//! Writes and reads together: what was acknowledged is seen wherever the sets must overlap.

#![allow(clippy::unwrap_used)]

use base::NodeId;
use proptest::prelude::*;

use crate::{Merge, ReadRound, ReadStep, Replicas, WriteOutcome, WriteRound};

/// A replica's answer: the version it holds. The repair of a stale replica is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64);

impl Merge for Version {
    type Repair = Version;

    fn merge(answers: Vec<(NodeId, Version)>) -> (Version, Vec<(NodeId, Version)>) {
        let newest = answers.iter().map(|(_, version)| *version).max().unwrap();
        let stale = answers.into_iter().filter(|(_, version)| *version < newest);
        (newest, stale.map(|(node, _)| (node, newest)).collect())
    }
}

/// One operation: whether it writes, in which order replicas are reached, and which of them are
/// alive, drop the message, or drop the answer.
#[derive(Clone, Debug)]
struct Operation {
    writes: bool,
    order: Vec<usize>,
    dead: u8,
    unheard: u8,
    unanswered: u8,
}

fn operations(replicas: usize) -> impl Strategy<Value = Vec<Operation>> {
    let masks = || prop_oneof![Just(0u8), any::<u8>()];
    let order = Just((0..replicas).collect::<Vec<_>>()).prop_shuffle();
    let operation = (any::<bool>(), order, masks(), masks(), masks()).prop_map(
        |(writes, order, dead, unheard, unanswered)| Operation { writes, order, dead, unheard, unanswered },
    );
    prop::collection::vec(operation, 1..40)
}

fn has(mask: u8, number: usize) -> bool {
    mask >> number & 1 == 1
}

/// Runs operations one after the other; checks each read against the last acknowledged write.
fn run(
    operations: &[Operation],
    replicas: usize,
    write_required: u32,
    read_required: u32,
) -> Result<(), TestCaseError> {
    let overlap = (write_required + read_required) as usize > replicas;
    let mut held = vec![Version(0); replicas];
    let mut acknowledged = Version(0);
    for (time, operation) in operations.iter().enumerate() {
        let alive = |number: usize| !has(operation.dead, number);
        let members =
            Replicas::new((0..replicas).map(|number| (NodeId(number as u64), alive(number)))).unwrap();
        if operation.writes {
            let version = Version(time as u64 + 1);
            let Ok(mut round) = WriteRound::begin(members, write_required) else { continue };
            let mut outcome = None;
            let asked: Vec<_> = round.targets().collect();
            for &number in operation.order.iter().filter(|number| asked.contains(&NodeId(**number as u64))) {
                if has(operation.unheard, number) {
                    continue;
                }
                held[number] = held[number].max(version);
                if !has(operation.unanswered, number) {
                    outcome = outcome.or(round.acknowledged(NodeId(number as u64)));
                }
            }
            match outcome.or_else(|| round.timeout()) {
                Some(WriteOutcome::Done) => {
                    let having = held.iter().filter(|held| **held >= version).count();
                    prop_assert!(having >= write_required as usize, "acknowledged, yet {having} have it");
                    acknowledged = version;
                }
                Some(WriteOutcome::Uncertain { received, required }) => prop_assert!(received < required),
                other => prop_assert!(false, "{other:?} though nobody refused"),
            }
        } else {
            let Ok(mut round) = ReadRound::<Version>::begin(members, read_required) else { continue };
            let mut asked: Vec<_> = round.targets().collect();
            prop_assert_eq!(asked.len(), read_required as usize, "no more are asked than are needed");
            let mut step = ReadStep::Wait;
            while let (ReadStep::Wait, Some(node)) = (&step, asked.pop()) {
                let number = node.0 as usize;
                step = match has(operation.unheard | operation.unanswered, number) {
                    true => round.failed(node),
                    false => round.answered(node, held[number]),
                };
                if let ReadStep::Ask(next) = step {
                    asked.push(next);
                    step = ReadStep::Wait;
                }
            }
            if let ReadStep::Done { answer, repairs } = step {
                prop_assert!(!overlap || answer >= acknowledged, "read {answer:?} after {acknowledged:?}");
                for (node, repair) in repairs {
                    prop_assert!(held[node.0 as usize] < repair);
                    held[node.0 as usize] = repair;
                }
            } else {
                let ReadStep::Failed { received, required } = step else {
                    return Err(TestCaseError::fail(format!("{step:?} when nobody is left to ask")));
                };
                prop_assert!(received < required);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn quorums_that_overlap_see_what_was_acknowledged(
        (replicas, operations) in (1usize..6).prop_flat_map(|replicas| (Just(replicas), operations(replicas))),
        write in 1u32..6,
        read in 1u32..6,
    ) {
        let replicas_u32 = replicas as u32;
        run(&operations, replicas, write.min(replicas_u32), read.min(replicas_u32))?;
    }
}
