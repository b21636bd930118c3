//! What clients did and what they were told: the evidence that the judges look at.
//!
//! A moment is a number that the simulator counts up with everything that happens, not a time: no
//! two things happen at one moment, so "was answered before the other was asked" has one meaning.

use std::fmt;

/// The number of an operation; also the value that it writes, so that no value is written twice.
pub type OpId = u64;

/// What a client asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Write, whatever is there.
    Write,
    /// Write if the register has this version.
    Swap {
        /// The version it must have.
        expected: u64,
    },
    /// Read, linearizably.
    Read,
}

/// What a client learned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done, or read.
    Told(Told),
    /// Nothing was done, and nothing will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// An answer: where in the order of all things the operation stands, and what it found there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// The entry of the log that the operation is, or the last one that a read saw.
    pub index: u64,
    /// Whether it wrote.
    pub wrote: bool,
    /// The version of the register after it; 0 of one that was never written.
    pub version: u64,
    /// Its value after it; 0 of one that was never written.
    pub value: OpId,
}

/// An operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Op {
    /// Its number, from 1.
    pub id: OpId,
    /// Who asked.
    pub client: u32,
    /// Of which register.
    pub key: u8,
    /// What for.
    pub ask: Ask,
    /// The moment at which it was asked.
    pub asked: u64,
    /// The moment at which the client learned the outcome, or gave up.
    pub answered: u64,
    /// What it learned.
    pub outcome: Outcome,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} (client {}, ", self.id, self.client)?;
        match self.ask {
            Ask::Write => write!(f, "write {} to register {}", self.id, self.key)?,
            Ask::Swap { expected } => {
                write!(f, "write {} to register {} if at version {expected}", self.id, self.key)?;
            }
            Ask::Read => write!(f, "read register {}", self.key)?,
        }
        write!(f, ", asked at moment {}, answered at {}: ", self.asked, self.answered)?;
        match self.outcome {
            Outcome::Told(told) => write!(
                f,
                "entry {}, {}version {}, value {})",
                told.index,
                if told.wrote { "wrote " } else { "" },
                told.version,
                told.value
            ),
            Outcome::Refused => f.write_str("refused)"),
            Outcome::Unknown => f.write_str("unknown)"),
        }
    }
}
