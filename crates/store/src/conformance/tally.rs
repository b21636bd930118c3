//! The simplest Machine that tells on whoever drives it wrong: it keeps every entry it was given.

use std::sync::Arc;

use base::{Cause, Reader, Writer};
use bytes::Bytes;

use crate::{Changes, Machine, MachineState, Patience};

/// First bytes of keys: the last index, and the numbers by the order in which they came.
const LAST_INDEX: u8 = 0;
const NUMBER: u8 = 1;

/// Keeps numbers in the order they came; answers each with all so far. Panics if an index comes
/// twice or out of order, which no driver may do.
#[derive(Debug, Default)]
pub struct Tally {
    numbers: Vec<u64>,
    last_index: u64,
}

impl Machine for Tally {
    fn apply(&mut self, index: u64, entry: &[u8], changes: &mut Changes) -> Result<Bytes, Cause> {
        assert!(index > self.last_index, "entry {index} after entry {}", self.last_index);
        self.last_index = index;
        let mut reader = Reader::new(entry);
        changes.put(&[LAST_INDEX][..], index.to_le_bytes());
        if let Ok(number) = reader.u64("number") {
            let nth = self.numbers.len() as u64;
            changes.put([&[NUMBER][..], &nth.to_be_bytes()].concat(), number.to_le_bytes());
            self.numbers.push(number);
        }
        Ok(encode(&self.numbers))
    }

    fn restore(&mut self, state: Arc<dyn MachineState>) -> Result<(), Cause> {
        *self = Tally::default();
        for entry in state.scan(&[], None, Patience::Wait)? {
            let (key, value) = entry?;
            match key.first() {
                Some(&LAST_INDEX) => self.last_index = Reader::new(&value).u64("last index")?,
                _ => self.numbers.push(Reader::new(&value).u64("number")?),
            }
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.numbers.len() * 8
    }
}

/// Numbers as bytes.
pub(super) fn encode(numbers: &[u64]) -> Bytes {
    let mut out = Writer::with_capacity(numbers.len() * 8);
    numbers.iter().for_each(|number| out.u64(*number));
    out.into_vec().into()
}

/// The inverse: an answer of a [`Tally`].
pub fn decode(bytes: &[u8]) -> Result<Vec<u64>, Cause> {
    let mut reader = Reader::new(bytes);
    let mut numbers = Vec::new();
    while !reader.is_empty() {
        numbers.push(reader.u64("number")?);
    }
    Ok(numbers)
}
