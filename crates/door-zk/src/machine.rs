//! The state machine that the spine drives through its log: [`crate::replica`] behind the hub's
//! lock.

use std::sync::Arc;

use base::Cause;
use bytes::Bytes;

use crate::hub::Hub;

pub(crate) struct TreeMachine {
    pub(crate) hub: Arc<Hub>,
}

impl store::Machine for TreeMachine {
    fn apply(&mut self, _index: u64, entry: &[u8]) -> Bytes {
        Bytes::from(self.hub.apply(entry))
    }

    fn snapshot(&self, out: &mut dyn FnMut(&[u8])) {
        self.hub.lock().replica.snapshot(out);
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Cause> {
        self.hub.restore(snapshot)
    }

    fn weight(&self) -> usize {
        self.hub.lock().replica.weight()
    }
}
