//! What a read may have to wait for: the disk.

use base::Cause;
use bytes::Bytes;
use store::MachineState;

use crate::{
    faults::Code,
    tree::{Census, Want, warm},
    wire::{jute::put_i32, reply},
};

/// Why a read has no answer yet.
pub(super) enum Unanswered {
    /// It has to wait for this.
    Later(Later),
    /// The state cannot be read.
    Failed(Cause),
}

/// What a read at the front of the queue waits for: it is done elsewhere.
pub(super) struct Errand {
    pub(super) tag: u64,
    pub(super) what: Later,
}

pub(super) enum Later {
    /// Bringing this into the store's memory; then the read is tried again.
    Warm(Vec<Want>),
    /// Counting, which is the answer; it is of the state after this transaction.
    Count(Census, i64),
}

impl Later {
    /// Does it; gives what the request at the front of the queue is answered with.
    pub(super) fn run(self, store: &dyn MachineState) -> Result<Bytes, Cause> {
        match self {
            Later::Warm(wants) => warm(store, &wants).map(|()| Bytes::new()),
            Later::Count(census, zxid) => {
                let count = census.take()?.znodes;
                let mut result = Vec::new();
                reply::tail(&mut result, zxid, Code::OK);
                put_i32(&mut result, i32::try_from(count).unwrap_or(i32::MAX));
                Ok(result.into())
            }
        }
    }
}
