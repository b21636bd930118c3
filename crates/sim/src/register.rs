//! The Machine under test: a few registers, each with every version it ever had.
//!
//! ```text
//! entry    operation u64 | kind u8 | register u8 | expected version u64     value written = operation
//! answer   index u64 | wrote u8 | version u64 | value u64                  as [`Told`]
//! state    0x00                            -> last index u64 | digest u64
//!          0x01 | register u8 | version u64 BE -> index u64 | value u64
//! ```
//! The digest runs over every version in the order of the log. Replicas that have applied the same
//! entries have the same digest, so one number tells whether two ever differed, and a state that is
//! read back from files is checked against its own.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{Cause, Malformed, Reader, Writer};
use bytes::Bytes;
use store::{Changes, Machine, MachineState, Patience};

use crate::{
    history::{Ask, Op, Told},
    ledger::Ledger,
    witness::{Chains, Version},
};

const LAST: u8 = 0;
const VERSION: u8 = 1;

/// What a replica holds, for whoever reads it after a barrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The last entry applied.
    pub(crate) index: u64,
    /// Of all versions, in the order of the log.
    pub(crate) digest: u64,
    pub(crate) chains: Chains,
}

impl State {
    /// What a read of `key` finds.
    pub(crate) fn read(&self, key: u8) -> Told {
        let chain = self.chains.get(&key).map_or(&[][..], Vec::as_slice);
        let value = chain.last().map_or(0, |version| version.value);
        Told { index: self.index, wrote: false, version: chain.len() as u64, value }
    }

    /// Does what an entry asks for, at `index`.
    fn apply(&mut self, index: u64, request: Request) -> Told {
        self.index = index;
        let version = self.read(request.key).version;
        let writes = request.expected.is_none_or(|expected| expected == version);
        if writes {
            let fresh = Version { index, value: request.op };
            self.chains.entry(request.key).or_default().push(fresh);
            self.digest = digest(self.digest, request.key, fresh);
        }
        Told { wrote: writes, ..self.read(request.key) }
    }

    /// The digest of its versions, worked out from scratch.
    fn digest_of_chains(&self) -> u64 {
        let mut order: BTreeMap<u64, (u8, Version)> = BTreeMap::new();
        for (key, chain) in &self.chains {
            order.extend(chain.iter().map(|version| (version.index, (*key, *version))));
        }
        order.values().fold(0, |so_far, (key, version)| digest(so_far, *key, *version))
    }
}

fn digest(so_far: u64, key: u8, version: Version) -> u64 {
    let mut hasher = DefaultHasher::new();
    for number in [so_far, key.into(), version.index, version.value] {
        hasher.write_u64(number);
    }
    hasher.finish()
}

/// A replica's state, shared by its Machine and those who read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Arc<Mutex<State>>);

impl View {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry, decoded.
struct Request {
    op: u64,
    key: u8,
    expected: Option<u64>,
}

/// The entry of a write or swap.
pub(crate) fn entry_of(op: &Op) -> Bytes {
    let (kind, expected) = match op.ask {
        Ask::Swap { expected } => (1, expected),
        Ask::Write | Ask::Read => (0, 0),
    };
    let mut out = Writer::with_capacity(18);
    out.u64(op.id);
    out.u8(kind);
    out.u8(op.key);
    out.u64(expected);
    out.into_vec().into()
}

fn decode_entry(bytes: &[u8]) -> Result<Request, Malformed> {
    let mut reader = Reader::new(bytes);
    let op = reader.u64("operation")?;
    let kind = reader.u8("kind")?;
    let key = reader.u8("register")?;
    let expected = reader.u64("expected version")?;
    reader.end("entry")?;
    Ok(Request { op, key, expected: (kind == 1).then_some(expected) })
}

fn encode_told(told: Told) -> Bytes {
    let mut out = Writer::with_capacity(25);
    out.u64(told.index);
    out.u8(told.wrote.into());
    out.u64(told.version);
    out.u64(told.value);
    out.into_vec().into()
}

/// Reads an answer.
pub(crate) fn decode_told(bytes: &[u8]) -> Result<Told, Malformed> {
    let mut reader = Reader::new(bytes);
    let index = reader.u64("index")?;
    let wrote = reader.u8("wrote")? == 1;
    Ok(Told { index, wrote, version: reader.u64("version")?, value: reader.u64("value")? })
}

/// The Machine. Everything is in memory; the tree is for the next life.
pub(crate) struct Registers {
    /// Whose replica it is, for reports.
    node: u64,
    view: View,
    ledger: Ledger,
}

impl Registers {
    pub(crate) fn new(node: u64, view: View, ledger: Ledger) -> Registers {
        Registers { node, view, ledger }
    }
}

impl Machine for Registers {
    fn apply(&mut self, index: u64, entry: &[u8], changes: &mut Changes) -> Result<Bytes, Cause> {
        let request = decode_entry(entry)?;
        let (op, key) = (request.op, request.key);
        let mut state = self.view.lock();
        let last = state.index;
        let told = state.apply(index, request);
        if index <= last {
            self.ledger.violated(format!("node {} applied entry {index} after entry {last}", self.node));
        }
        self.ledger.applied(self.node, index, op, state.digest);
        let mut record = Writer::with_capacity(16);
        record.u64(index);
        record.u64(state.digest);
        changes.put([LAST], record.into_vec());
        if told.wrote {
            let mut record = Writer::with_capacity(16);
            record.u64(index);
            record.u64(op);
            changes.put([&[VERSION, key][..], &told.version.to_be_bytes()].concat(), record.into_vec());
        }
        Ok(encode_told(told))
    }

    fn restore(&mut self, durable: Arc<dyn MachineState>) -> Result<(), Cause> {
        let mut state = State::default();
        for record in durable.scan(&[], None, Patience::Wait)? {
            let (key, value) = record?;
            let mut reader = Reader::new(&value);
            let (index, number) = (reader.u64("index")?, reader.u64("number")?);
            match key.first() {
                Some(&LAST) => (state.index, state.digest) = (index, number),
                _ => {
                    let register = *key.get(1).ok_or(Malformed("key"))?;
                    state.chains.entry(register).or_default().push(Version { index, value: number });
                }
            }
        }
        let digest = state.digest_of_chains();
        if digest != state.digest {
            self.ledger.violated(format!(
                "node {} restored a state whose versions are not those of entry {}",
                self.node, state.index
            ));
        }
        self.ledger.restored(self.node, state.index, state.digest);
        *self.view.lock() = state;
        Ok(())
    }

    fn weight(&self) -> usize {
        self.view.lock().chains.values().map(|chain| chain.len() * size_of::<Version>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;

    fn op(id: u64, ask: Ask) -> Op {
        Op { id, client: 0, key: 3, ask, asked: 0, answered: 0, outcome: Outcome::Unknown }
    }

    #[test]
    fn writes_chain_and_a_swap_wants_its_version() {
        let ledger = Ledger::default();
        let view = View::default();
        let mut machine = Registers::new(1, view.clone(), ledger.clone());
        let mut changes = Changes::new();
        let mut apply = |index, op: Op| {
            decode_told(&machine.apply(index, &entry_of(&op), &mut changes).expect("sound")).expect("sound")
        };
        assert_eq!(apply(4, op(1, Ask::Write)), Told { index: 4, wrote: true, version: 1, value: 1 });
        let lost = apply(5, op(2, Ask::Swap { expected: 0 }));
        assert_eq!(lost, Told { index: 5, wrote: false, version: 1, value: 1 });
        let won = apply(7, op(3, Ask::Swap { expected: 1 }));
        assert_eq!(won, Told { index: 7, wrote: true, version: 2, value: 3 });
        let state = view.lock().clone();
        assert_eq!(state.digest, state.digest_of_chains());
        assert_eq!(ledger.first_violation(), None);
        apply(7, op(3, Ask::Write));
        assert!(ledger.first_violation().is_some_and(|told| told.contains("after entry 7")));
    }
}
