//! The simplest Machine that tells on whoever drives it wrong: it keeps every entry it was given.

use base::{Cause, Reader, Writer};
use bytes::Bytes;

use crate::Machine;

/// Keeps numbers in the order they came; answers each with all so far. Panics if an index comes
/// twice or out of order, which no driver may do.
#[derive(Debug, Default)]
pub struct Tally {
    numbers: Vec<u64>,
    last_index: u64,
}

impl Machine for Tally {
    fn apply(&mut self, index: u64, entry: &[u8]) -> Bytes {
        assert!(index > self.last_index, "entry {index} after entry {}", self.last_index);
        self.last_index = index;
        let mut reader = Reader::new(entry);
        if let Ok(number) = reader.u64("number") {
            self.numbers.push(number);
        }
        encode(&self.numbers)
    }

    fn snapshot(&self, out: &mut dyn FnMut(&[u8])) {
        // Two chunks, so that a snapshot has a middle to be interrupted in.
        out(&self.last_index.to_le_bytes());
        out(&encode(&self.numbers));
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Cause> {
        let mut reader = Reader::new(snapshot);
        self.last_index = reader.u64("last index")?;
        self.numbers = decode(reader.rest())?;
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
