//! The second judge: searches for an order that explains a short history, without a hint.
//!
//! `porcupine-rs`, written by others, does the search (Wing and Gong 1993, Lowe 2017). It sees only
//! what clients saw: not the index of an entry, not the versions in the state. So it checks the
//! [`crate::witness`] as well: what one finds sound and the other does not is a bug in a judge, or a
//! witness that lies. The search can take exponential time, so it gets histories with few operations
//! whose outcome is unknown.

use std::{collections::BTreeMap, time::Duration};

use porcupine_rs::{CheckResult, Model, Operation, check_operations_timeout};

use crate::history::{Ask, Op, Outcome};

/// Operations of one register above which a history is not short.
const OPS_MAX: usize = 150;
/// Operations of one register with an unknown outcome: each may stand anywhere, or nowhere.
const UNKNOWN_MAX: usize = 8;
/// How long the search may take, far above what it does.
const LIMIT: Duration = Duration::from_secs(5);

/// Says whether there is an order; `None` if the history is too long to look for one.
pub fn judge(history: &[Op]) -> Option<bool> {
    let mut registers: BTreeMap<u8, Vec<Operation<Register>>> = BTreeMap::new();
    for op in history.iter().filter(|op| counts(op)) {
        registers.entry(op.key).or_default().push(operation(op));
    }
    let short = |ops: &Vec<Operation<Register>>| {
        let unknown = ops.iter().filter(|op| op.return_time == i64::MAX).count();
        ops.len() <= OPS_MAX && unknown <= UNKNOWN_MAX
    };
    if !registers.values().all(short) {
        return None;
    }
    let mut sound = true;
    for ops in registers.values() {
        match check_operations_timeout::<Register>(ops, LIMIT) {
            CheckResult::Ok => {}
            CheckResult::Illegal => sound = false,
            CheckResult::Unknown => return None,
        }
    }
    Some(sound)
}

/// What was refused did nothing, and a read without an answer tells nothing.
fn counts(op: &Op) -> bool {
    match op.outcome {
        Outcome::Told(_) => true,
        Outcome::Refused => false,
        Outcome::Unknown => op.ask != Ask::Read,
    }
}

fn operation(op: &Op) -> Operation<Register> {
    let moment = |moment: u64| i64::try_from(moment).unwrap_or(i64::MAX - 1);
    // Without an answer it may take effect at any later time; at the very end that hurts nobody.
    let return_time = if op.outcome == Outcome::Unknown { i64::MAX } else { moment(op.answered) };
    Operation {
        client_id: Some(op.client),
        call_time: moment(op.asked),
        return_time,
        op: *op,
        metadata: None,
    }
}

/// One register: its version and its value.
#[derive(Clone)]
struct Register;

impl Model for Register {
    type State = (u64, u64);
    type Op = Op;
    type Metadata = ();

    fn init() -> (u64, u64) {
        (0, 0)
    }

    fn step(&(version, value): &(u64, u64), op: &Op) -> (bool, (u64, u64)) {
        let writes = match op.ask {
            Ask::Write => true,
            Ask::Swap { expected } => expected == version,
            Ask::Read => false,
        };
        let after = if writes { (version + 1, op.id) } else { (version, value) };
        match op.outcome {
            Outcome::Told(told) => (told.wrote == writes && (told.version, told.value) == after, after),
            Outcome::Refused | Outcome::Unknown => (true, after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::tests::{op, sound, told};

    #[test]
    fn it_agrees_with_the_first_on_a_sound_history() {
        assert_eq!(judge(&sound().0), Some(true));
    }

    #[test]
    fn it_finds_what_cannot_be_without_the_versions() {
        let spoilt = |spoil: &dyn Fn(&mut Vec<Op>)| {
            let mut history = sound().0;
            spoil(&mut history);
            judge(&history)
        };
        // A stale read, a lost write, a swap that should have failed.
        assert_eq!(spoilt(&|history| history[2].outcome = told(4, false, 0, 0)), Some(false));
        assert_eq!(spoilt(&|history| history[4].outcome = told(9, false, 1, 1)), Some(false));
        assert_eq!(spoilt(&|history| history[3].ask = Ask::Swap { expected: 1 }), Some(false));
    }

    #[test]
    fn a_history_that_is_too_long_is_not_judged() {
        let unknown = |id| op(id, Ask::Write, (id, id + 1), Outcome::Unknown);
        assert_eq!(judge(&(1..10).map(unknown).collect::<Vec<_>>()), None);
    }
}
