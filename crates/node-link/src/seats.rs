//! Who sits where: of each node, one connection a lane sends at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use base::NodeId;
use tokio::sync::{MutexGuard, watch};

use crate::{frame::Lane, room::Rooms};

/// The seats of all nodes that were ever believed; as many as a cluster has had nodes.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<BTreeMap<(NodeId, Lane), Arc<Seat>>>);

/// The seat of one node on one lane.
#[derive(Debug)]
pub(crate) struct Seat {
    /// What it has sent and we have not dropped, over whichever connection.
    pub(crate) rooms: Arc<Rooms>,
    turn: tokio::sync::Mutex<()>,
    /// How many have wanted the seat.
    claims: watch::Sender<u64>,
}

/// A seat that was taken.
pub(crate) struct Taken<'a> {
    _turn: MutexGuard<'a, ()>,
    claim: u64,
    claims: watch::Receiver<u64>,
}

impl Seats {
    /// The seat of `node` on `lane`.
    pub(crate) fn of(&self, node: NodeId, lane: Lane) -> Arc<Seat> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = || Seat {
            rooms: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            claims: watch::Sender::new(0),
        };
        seats.entry((node, lane)).or_insert_with(|| Arc::new(seat())).clone()
    }

    /// Who sits for `node` has to go.
    pub(crate) fn clear(&self, node: NodeId) {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in Lane::ALL {
            if let Some(seat) = seats.get(&(node, lane)) {
                seat.claims.send_modify(|claims| *claims += 1);
            }
        }
    }
}

impl Seat {
    /// Has whoever sits here go, and sits down; `None` if somebody came later meanwhile.
    pub(crate) async fn take(&self) -> Option<Taken<'_>> {
        let mut claim = 0;
        self.claims.send_modify(|claims| {
            *claims += 1;
            claim = *claims;
        });
        let turn = self.turn.lock().await;
        let claims = self.claims.subscribe();
        let is_last = *claims.borrow() == claim;
        is_last.then_some(Taken { _turn: turn, claim, claims })
    }
}

impl Taken<'_> {
    /// Waits until somebody else wants the seat.
    pub(crate) async fn claimed(&self) {
        let mut claims = self.claims.clone();
        // The sender is in the seat, which lives as long as this.
        let _ = claims.wait_for(|claims| *claims > self.claim).await;
    }
}
