//! The network between nodes: what is sent waits here until the scheduler says when it arrives, if
//! it does.
//!
//! In fair weather it is what `node-link` promises: per pair and class in order, each once, with
//! small delays. Foul weather loses, doubles and reorders more than a connection of TCP can, because
//! what is above must bear it at every reconnect anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::NodeId;
use bytes::Bytes;
use node_link::{Class, Link, NotSent};
use world::Entropy;

use crate::plan::{FaultKind, Plan};

/// Bytes of the longest message, as a real link has a bound.
const MESSAGE_MAX: usize = 8 << 20;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) class: Class,
    pub(crate) bytes: Bytes,
}

/// What nodes see of the network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wires(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Connections that stand, in both directions of their name.
    up: BTreeSet<(u64, u64)>,
    outbox: Vec<Packet>,
}

impl Wires {
    /// The link of `node`.
    pub(crate) fn link(&self, node: u64) -> Arc<dyn Link> {
        Arc::new(Wire { node, wires: self.clone() })
    }

    /// Takes what was sent since the last call.
    pub(crate) fn take(&self) -> Vec<Packet> {
        std::mem::take(&mut self.lock().outbox)
    }

    /// Whether `from` may send to `to`; says whether that is news.
    pub(crate) fn set_up(&self, from: u64, to: u64, up: bool) -> bool {
        let mut state = self.lock();
        if up { state.up.insert((from, to)) } else { state.up.remove(&(from, to)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Wire {
    node: u64,
    wires: Wires,
}

impl Link for Wire {
    fn send(&self, to: NodeId, class: Class, message: Bytes) -> Result<(), NotSent> {
        let mut state = self.wires.lock();
        if message.len() > MESSAGE_MAX {
            return Err(NotSent::TooLong);
        }
        if !state.up.contains(&(self.node, to.0)) {
            return Err(NotSent::Down);
        }
        state.outbox.push(Packet { from: self.node, to: to.0, class, bytes: message });
        Ok(())
    }
}

/// What becomes of messages.
pub(crate) struct Weather {
    delay_us: u64,
    loss: u64,
    duplicate: u64,
    reorder: u64,
    /// Directions in which nothing passes, by the number of the partition.
    cuts: BTreeMap<u64, BTreeSet<(u64, u64)>>,
    /// When the last message of a pair and class arrives.
    last: BTreeMap<(u64, u64, Class), u64>,
}

impl Weather {
    /// The weather that the seed has chosen.
    pub(crate) fn new(plan: &Plan) -> Weather {
        let percent = |fault, percent| if plan.has(fault) { percent } else { 0 };
        Weather {
            delay_us: if plan.has(FaultKind::Slow) { 100_000 } else { plan.delay_us },
            loss: percent(FaultKind::Loss, 10),
            duplicate: percent(FaultKind::Duplicate, 10),
            reorder: percent(FaultKind::Reorder, 20),
            cuts: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    /// Fair weather from now on.
    pub(crate) fn clear(&mut self) {
        *self = Weather {
            delay_us: 1_000,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            cuts: BTreeMap::new(),
            last: std::mem::take(&mut self.last),
        };
    }

    /// Lets nothing pass in these directions until [`Weather::heal`].
    pub(crate) fn cut(&mut self, partition: u64, directions: BTreeSet<(u64, u64)>) {
        self.cuts.insert(partition, directions);
    }

    pub(crate) fn heal(&mut self, partition: u64) {
        self.cuts.remove(&partition);
    }

    /// Whether messages pass.
    pub(crate) fn passes(&self, from: u64, to: u64) -> bool {
        !self.cuts.values().any(|cut| cut.contains(&(from, to)))
    }

    /// When a message sent now arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, packet: &Packet, now_us: u64, entropy: &Entropy) -> Vec<u64> {
        if !self.passes(packet.from, packet.to) || entropy.below(100) < self.loss {
            return Vec::new();
        }
        let mut at = now_us + 50 + entropy.below(self.delay_us);
        let last = self.last.entry((packet.from, packet.to, packet.class)).or_default();
        if entropy.below(100) >= self.reorder {
            at = at.max(*last + 1);
            *last = at;
        }
        let mut arrivals = vec![at];
        if entropy.below(100) < self.duplicate {
            arrivals.push(at + entropy.below(20 * self.delay_us));
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet { from: 1, to: 2, class: Class::Log, bytes: Bytes::new() }
    }

    #[test]
    fn fair_weather_keeps_order_and_a_cut_lets_nothing_through() {
        let mut plan = Plan::of(1, 3);
        plan.faults.clear();
        let mut weather = Weather::new(&plan);
        let entropy = Entropy::seeded(1);
        let mut last = 0;
        for now in 0..200 {
            let arrivals = weather.arrivals(&packet(), now, &entropy);
            assert!(arrivals.len() == 1 && arrivals[0] > last);
            last = arrivals[0];
        }
        weather.cut(1, BTreeSet::from([(1, 2)]));
        assert!(weather.arrivals(&packet(), 0, &entropy).is_empty() && weather.passes(2, 1));
        weather.heal(1);
        assert!(weather.passes(1, 2));
    }

    #[test]
    fn what_is_sent_without_a_connection_is_refused() {
        let wires = Wires::default();
        let link = wires.link(1);
        assert_eq!(link.send(NodeId(2), Class::Log, Bytes::new()), Err(NotSent::Down));
        assert!(wires.set_up(1, 2, true) && !wires.set_up(1, 2, true));
        assert_eq!(link.send(NodeId(2), Class::Log, Bytes::from_static(b"x")), Ok(()));
        let sent = wires.take();
        assert_eq!((sent.len(), sent[0].to, wires.take().len()), (1, 2, 0));
    }
}
