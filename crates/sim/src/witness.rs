//! The first judge: linearizability by witness.
//!
//! To find an order of operations that explains what clients saw is hard (NP-complete, Gibbons and
//! Korach 1997). To check a given one is a walk along it. The register gives the order away: each
//! answer says at which entry of the log it stands, and the state keeps every version there ever
//! was. So the judge only has to see that
//!
//! 1. the versions of a register are 1, 2, 3 ... at rising entries, each the work of one operation
//!    that somebody asked for and nobody refused, and no operation is there twice;
//! 2. every answer is what its register was at the entry it names;
//! 3. an operation asked after another was answered stands behind it, whatever their registers:
//!    strict serializability of the whole Machine, which is more than linearizability of each register.
//!
//! It is linear in the length of the history (but for sorting), so histories may be long. What it
//! trusts is the index in the answers; [`crate::second_judge`] does not.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Ask, Op, OpId, Outcome, Told};

/// One version of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// The entry of the log that made it.
    pub index: u64,
    /// What it is, and who wrote it.
    pub value: OpId,
}

/// Every version of every register, from version 1.
pub type Chains = BTreeMap<u8, Vec<Version>>;

/// Judges a history by the versions there are at its end.
///
/// # Errors
/// What cannot be, in words.
pub fn judge(history: &[Op], chains: &Chains) -> Result<(), String> {
    let ops: BTreeMap<OpId, &Op> = history.iter().map(|op| (op.id, op)).collect();
    judge_chains(&ops, chains)?;
    for op in history {
        if let Outcome::Told(told) = &op.outcome {
            judge_answer(op, told, chains.get(&op.key).map_or(&[], Vec::as_slice))?;
        }
    }
    judge_order(history, chains)
}

/// Rule 1.
fn judge_chains(ops: &BTreeMap<OpId, &Op>, chains: &Chains) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let mut indexes = BTreeSet::new();
    for (key, chain) in chains {
        let mut last = 0;
        for (nth, version) in chain.iter().enumerate() {
            let name = format!("version {} of register {key}, value {}", nth + 1, version.value);
            if version.index <= last || !indexes.insert(version.index) {
                return Err(format!(
                    "{name}: its entry {} is not behind entry {last}, or another's",
                    version.index
                ));
            }
            last = version.index;
            if !seen.insert(version.value) {
                return Err(format!("{name}: this operation took effect twice"));
            }
            let Some(op) = ops.get(&version.value) else {
                return Err(format!("{name}: nobody wrote this"));
            };
            if op.key != *key || op.ask == Ask::Read {
                return Err(format!("{name}: that is not what was asked for by {op}"));
            }
            match op.outcome {
                Outcome::Refused => return Err(format!("{name}: took effect though refused: {op}")),
                Outcome::Told(told) if !told.wrote => {
                    return Err(format!("{name}: took effect though the client was told otherwise: {op}"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Rule 2.
fn judge_answer(op: &Op, told: &Told, chain: &[Version]) -> Result<(), String> {
    let version = chain.partition_point(|version| version.index <= told.index);
    let value = version.checked_sub(1).map_or(0, |at| chain[at].value);
    if (told.version, told.value) != (version as u64, value) {
        return Err(format!("{op}: at that entry the register has version {version}, value {value}"));
    }
    let own = version > 0 && chain[version - 1].index == told.index && value == op.id;
    if told.wrote != own {
        return Err(format!("{op}: whether it wrote that version is told wrongly"));
    }
    let should = match op.ask {
        Ask::Write => true,
        Ask::Read => false,
        // What it found: the version before its own, if it wrote.
        Ask::Swap { expected } => expected == told.version - u64::from(told.wrote),
    };
    if told.wrote != should {
        return Err(format!("{op}: it should{} have written", if should { "" } else { " not" }));
    }
    Ok(())
}

/// Rule 3. An operation that took effect without an answer stands behind what was answered before it was
/// asked, and before nothing.
fn judge_order(history: &[Op], chains: &Chains) -> Result<(), String> {
    let took_effect: BTreeMap<OpId, u64> =
        chains.values().flatten().map(|version| (version.value, version.index)).collect();
    let index_of = |op: &Op| match op.outcome {
        Outcome::Told(told) => Some(told.index),
        Outcome::Refused | Outcome::Unknown => took_effect.get(&op.id).copied(),
    };
    let placed = history.iter().filter_map(|op| index_of(op).map(|index| (index, op)));
    let mut by_asked: Vec<(u64, &Op)> = placed.collect();
    let is_told = |(_, op): &&(u64, &Op)| matches!(op.outcome, Outcome::Told(_));
    let mut by_answered: Vec<(u64, &Op)> = by_asked.iter().filter(is_told).copied().collect();
    by_asked.sort_by_key(|(_, op)| op.asked);
    by_answered.sort_by_key(|(_, op)| op.answered);
    let mut answered = by_answered.into_iter().peekable();
    // Of all that were answered by now, the one that stands furthest back.
    let mut furthest: Option<(u64, &Op)> = None;
    for (index, op) in by_asked {
        while let Some(before) = answered.next_if(|(_, before)| before.answered < op.asked) {
            if furthest.is_none_or(|(most, _)| before.0 > most) {
                furthest = Some(before);
            }
        }
        let Some((most, before)) = furthest else { continue };
        // An entry of its own stands behind what was answered before; a read may see just that.
        if index < most + u64::from(op.ask != Ask::Read) {
            return Err(format!(
                "{op}: it stands at entry {index}, before this, which was answered before it was asked: {before}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn told(index: u64, wrote: bool, version: u64, value: u64) -> Outcome {
        Outcome::Told(Told { index, wrote, version, value })
    }

    pub(crate) fn op(id: u64, ask: Ask, (asked, answered): (u64, u64), outcome: Outcome) -> Op {
        Op { id, client: id as u32, key: 1, ask, asked, answered, outcome }
    }

    /// Two writes, of which the second is not known to have happened, a read and a swap.
    pub(crate) fn sound() -> (Vec<Op>, Chains) {
        let history = vec![
            op(1, Ask::Write, (1, 4), told(5, true, 1, 1)),
            op(2, Ask::Write, (2, 9), Outcome::Unknown),
            op(3, Ask::Read, (5, 8), told(6, false, 2, 2)),
            op(4, Ask::Swap { expected: 2 }, (10, 12), told(8, true, 3, 4)),
            op(5, Ask::Swap { expected: 2 }, (11, 13), told(9, false, 3, 4)),
            op(6, Ask::Write, (11, 12), Outcome::Refused),
        ];
        let versions = [(5, 1), (6, 2), (8, 4)].map(|(index, value)| Version { index, value });
        (history, Chains::from([(1, versions.to_vec())]))
    }

    #[test]
    fn a_sound_history_passes() {
        let (history, chains) = sound();
        assert_eq!(judge(&history, &chains), Ok(()));
    }

    /// Makes the sound history wrong in one place and expects to be told so.
    fn wrong(what: &str, spoil: impl FnOnce(&mut Vec<Op>, &mut Vec<Version>)) {
        let (mut history, mut chains) = sound();
        spoil(&mut history, chains.get_mut(&1).expect("a chain"));
        let told = judge(&history, &chains).expect_err(what);
        assert!(told.contains(what), "{what}: {told}");
    }

    #[test]
    fn an_effect_nobody_was_told_of_stands_behind_what_was_answered_before() {
        wrong("which was answered before it was asked", |history, _| history[1].asked = 9);
    }

    #[test]
    fn what_cannot_be_is_found() {
        wrong("the register has version 0", |_, chain| chain.clear());
        wrong("took effect twice", |_, chain| chain.push(Version { index: 10, value: 4 }));
        wrong("nobody wrote this", |_, chain| chain.push(Version { index: 10, value: 99 }));
        wrong("took effect though refused", |_, chain| chain.push(Version { index: 10, value: 6 }));
        wrong("though the client was told otherwise", |_, chain| chain.push(Version { index: 10, value: 5 }));
        wrong("not what was asked for", |_, chain| chain.push(Version { index: 10, value: 3 }));
        wrong("is not behind", |_, chain| chain[1].index = 5);
        wrong("has version 1, value 1", |history, _| history[2].outcome = told(5, false, 2, 2));
        wrong("which was answered before it was asked", |history, _| {
            // A stale read: what it saw was true before the first write was answered.
            history[2].outcome = told(4, false, 0, 0);
        });
        wrong("which was answered before it was asked", |history, chain| {
            // A write that went before one answered earlier.
            chain[2].index = 10;
            history[3].outcome = told(10, true, 3, 4);
            history[4].outcome = told(11, false, 3, 4);
            history.push(op(7, Ask::Swap { expected: 0 }, (13, 14), told(6, false, 2, 2)));
        });
        wrong("it should have written", |history, chain| {
            chain.pop();
            history.truncate(3);
            history.push(op(4, Ask::Swap { expected: 2 }, (10, 12), told(8, false, 2, 2)));
        });
        wrong("it should not have written", |history, _| history[3].ask = Ask::Swap { expected: 1 });
        wrong("is told wrongly", |history, _| history[4].outcome = told(8, true, 3, 4));
    }
}
