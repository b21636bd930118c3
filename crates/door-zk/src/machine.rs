//! The state machine that the spine drives through its log: [`crate::replica`] behind the hub's
//! lock.

use std::sync::Arc;

use base::Cause;
use bytes::Bytes;
use store::{Changes, MachineState};

use crate::hub::Hub;

pub(crate) struct TreeMachine {
    pub(crate) hub: Arc<Hub>,
}

impl store::Machine for TreeMachine {
    fn apply(&mut self, _index: u64, entry: &[u8], _: &mut Changes) -> Result<Bytes, Cause> {
        Ok(self.hub.apply(entry)?.into())
    }

    fn settle(&mut self, changes: &mut Changes) {
        self.hub.settle(changes);
    }

    fn restore(&mut self, state: Arc<dyn MachineState>) -> Result<(), Cause> {
        self.hub.restore(state)
    }

    fn weight(&self) -> usize {
        self.hub.lock().replica.weight()
    }
}
