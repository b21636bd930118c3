//! The machines that nodes run on: a disk, a clock, a process that lives and dies.
//!
//! A process takes its steps when events say so: the spine soon after something came, the log when
//! its disk is done, upkeep when there was time. Between a write and its sync, or two turns of the
//! spine, anything else may happen, a death among it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{Cause, Class, NodeId};
use node_link::{Receive, Received};
use world::{Clock, Disk, Entropy, Fault, Occurrence, Operations, Outcome as DiskOutcome, SimDisk, World};

use crate::{
    network::Packet,
    node::{Birth, Node},
    plan::{FaultKind, Plan},
    probes::Probe,
    register::{Registers, View},
    run::{Event, Run},
};

/// 2023-11-14, when all clocks begin.
const EPOCH_US: u64 = 1_700_000_000_000_000;
/// Time between two ticks of a node, by its own clock.
const TICK_US: u64 = 50_000;
/// How often a host looks after a connection.
const DIAL_US: u64 = 200_000;
/// How long it takes until there are connections with a host that has just started, at most.
const REDIAL_US: u64 = 10_000;
/// After what time without a word a connection is given up.
const SILENCE_US: u64 = 1_500_000;

/// A machine.
pub(crate) struct Host<N> {
    pub(crate) id: u64,
    pub(crate) disk: Disk,
    pub(crate) sim: SimDisk,
    pub(crate) clock: Clock,
    /// True time when its clock was moved last.
    clock_at_us: u64,
    /// How much faster its clock is, in millionths.
    drift_ppm: i64,
    pub(crate) node: Option<N>,
    receiver: Option<Arc<dyn Receive>>,
    pub(crate) view: View,
    /// Counts deaths; events for another life are void.
    pub(crate) life: u64,
    /// The number of the start of the process that is there, or was last.
    start: u64,
    /// By peer: how often it had started when the connection to it was made.
    connections: BTreeMap<u64, u64>,
    /// By peer: since when nothing passes.
    silent_since_us: BTreeMap<u64, u64>,
    turn_due: bool,
    log_due: bool,
    upkeep_due: bool,
    pub(crate) paused_until_us: u64,
    /// Until when an fsync under way does not return.
    pub(crate) fsync_until_us: u64,
    /// Faults that its disk had injected when this life began.
    injected: u64,
    /// The power goes when the next injected fault happens.
    pub(crate) cut_armed: bool,
    /// Its disk has hardly any room.
    pub(crate) is_full: bool,
    /// The power goes during the next start.
    pub(crate) cut_next_start: bool,
    /// It is killed when it has given so many votes; 0 for never.
    pub(crate) kill_after_votes: u64,
    /// It stays away.
    barred: bool,
}

/// How a process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Death {
    /// It alone: what it has written is still in the page cache.
    Kill,
    /// With its machine: what was not synced may be lost.
    PowerCut,
}

impl<N> Host<N> {
    pub(crate) fn new(id: u64, plan: &Plan, entropy: &Entropy) -> Host<N> {
        let (disk, sim) = Disk::simulated(entropy.u64());
        let drift_ppm =
            if plan.has(FaultKind::ClockDrift) { entropy.below(200_001) as i64 - 100_000 } else { 0 };
        Host {
            id,
            disk,
            sim,
            clock: Clock::simulated(EPOCH_US),
            clock_at_us: 0,
            drift_ppm,
            node: None,
            receiver: None,
            view: View::default(),
            life: 0,
            start: 0,
            connections: BTreeMap::new(),
            silent_since_us: BTreeMap::new(),
            turn_due: false,
            log_due: false,
            upkeep_due: false,
            paused_until_us: 0,
            fsync_until_us: 0,
            injected: 0,
            cut_armed: false,
            is_full: false,
            cut_next_start: false,
            kill_after_votes: 0,
            barred: false,
        }
    }
}

impl<N: Node> Run<N> {
    /// Hosts that are meant to be there, whether or not they run at the moment.
    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| !self.hosts[*host].barred).collect()
    }

    pub(crate) fn is_paused(&self, host: usize) -> bool {
        self.now_us < self.hosts[host].paused_until_us
    }

    /// Brings a host's clock to the present.
    pub(crate) fn touch(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        let passed = self.now_us - host.clock_at_us;
        let own = passed as i64 + passed as i64 * host.drift_ppm / 1_000_000;
        host.clock.advance(Duration::from_micros(own as u64));
        host.clock_at_us = self.now_us;
    }

    // Birth and death.

    /// A host boots, unless something else has come between.
    pub(crate) fn start(&mut self, host: usize, life: u64) {
        if self.hosts[host].life != life || self.hosts[host].barred || self.hosts[host].node.is_some() {
            return;
        }
        self.touch(host);
        self.arm_start(host);
        let birth = self.birth(host);
        let id = self.hosts[host].id;
        let started = N::start(birth);
        let seen = &mut self.hosts[host];
        let suffered = seen.sim.injected() > seen.injected;
        match started {
            Ok(node) if !suffered => {
                let starts = node.start_number();
                seen.start = starts;
                seen.receiver = node.receiver();
                seen.node = Some(node);
                seen.sim.relent();
                self.trace.note(self.now_us, "start", &[id, starts], || {
                    format!("node {id} starts, start {starts}")
                });
                self.after(TICK_US, Event::Tick { host, life });
                self.poke(host);
                for other in (0..self.hosts.len()).filter(|other| *other != host) {
                    self.within(REDIAL_US, Event::Dial { from: host, to: other, again: false });
                    self.within(REDIAL_US, Event::Dial { from: other, to: host, again: false });
                }
            }
            Ok(_) => self.start_failed(host, "the power goes during the start"),
            Err(cause) if suffered => self.start_failed(host, &cause.message),
            Err(cause) => self.violated(format!("node {id} does not start on a sound disk: {cause}")),
        }
    }

    /// Has the start go wrong, if the seed says so.
    fn arm_start(&mut self, host: usize) {
        let seen = &mut self.hosts[host];
        seen.sim.set_capacity(u64::MAX);
        seen.is_full = false;
        seen.injected = seen.sim.injected();
        if std::mem::take(&mut seen.cut_next_start) {
            let nth = 1 + self.entropy.below(40);
            seen.sim.inject(cut_at_change(nth));
        }
    }

    fn birth(&mut self, host: usize) -> Birth {
        let entropy = Entropy::seeded(self.entropy.u64());
        let members = self.hosts.iter().map(|host| NodeId(host.id)).collect();
        let seen = &mut self.hosts[host];
        seen.clock = Clock::simulated(seen.clock.wall_micros());
        seen.view = View::default();
        Birth {
            node: NodeId(seen.id),
            members,
            world: World { clock: seen.clock.clone(), entropy, disk: seen.disk.clone() },
            settings: self.plan.settings(),
            link: self.wires.link(seen.id),
            machine: Box::new(Registers::new(seen.id, seen.view.clone(), self.ledger.clone())),
            bug: self.bug,
        }
    }

    fn start_failed(&mut self, host: usize, why: &str) {
        let id = self.hosts[host].id;
        self.trace.note(self.now_us, "no start", &[id], || format!("node {id} does not start: {why}"));
        self.probes.sometimes(Probe::StartFailed, true);
        self.die(host, Death::PowerCut);
        self.boot_within(host, 1_000_000);
    }

    /// Ends a process.
    pub(crate) fn die(&mut self, host: usize, death: Death) {
        self.touch(host);
        let seen = &mut self.hosts[host];
        seen.life += 1;
        seen.receiver = None;
        // Requests in flight are answered as it goes; then nothing holds its files.
        drop(seen.node.take());
        match death {
            Death::Kill => seen.sim.kill(),
            Death::PowerCut => seen.sim.crash(),
        }
        (seen.turn_due, seen.log_due, seen.upkeep_due) = (false, false, false);
        (seen.paused_until_us, seen.fsync_until_us) = (0, 0);
        seen.cut_armed = false;
        seen.kill_after_votes = 0;
        seen.connections.clear();
        let id = seen.id;
        for other in 1..=self.plan.nodes {
            self.wires.set_up(id, other, false);
        }
        self.trace.note(self.now_us, "death", &[id, death as u64], || match death {
            Death::Kill => format!("node {id} is killed"),
            Death::PowerCut => format!("the power of node {id} is cut: what it has not synced may be lost"),
        });
    }

    pub(crate) fn boot_within(&mut self, host: usize, limit_us: u64) {
        let life = self.hosts[host].life;
        self.within(limit_us, Event::Start { host, life });
    }

    /// Nothing is wrong with this host any more.
    pub(crate) fn soothe(&mut self, host: usize) {
        let seen = &mut self.hosts[host];
        seen.sim.relent();
        seen.sim.set_capacity(u64::MAX);
        seen.is_full = false;
        (seen.cut_armed, seen.cut_next_start, seen.kill_after_votes) = (false, false, 0);
        seen.paused_until_us = seen.paused_until_us.min(self.now_us);
        seen.fsync_until_us = seen.fsync_until_us.min(self.now_us);
        if seen.node.is_none() {
            self.boot_within(host, 1_000_000);
        }
    }

    /// Takes a host away until [`Run::unbar`].
    pub(crate) fn bar(&mut self, host: usize) {
        self.die(host, Death::PowerCut);
        self.hosts[host].barred = true;
    }

    pub(crate) fn unbar(&mut self, host: usize) {
        self.hosts[host].barred = false;
        self.soothe(host);
    }

    // Steps.

    /// Something has come for a host's spine.
    pub(crate) fn poke(&mut self, host: usize) {
        let seen = &mut self.hosts[host];
        if seen.node.is_some() && !std::mem::replace(&mut seen.turn_due, true) {
            let life = seen.life;
            self.within(100, Event::Turn { host, life });
        }
    }

    /// Whether an event is for a process that is there and runs; a paused one gets it later.
    fn may(&mut self, host: usize, life: u64, event: impl FnOnce() -> Event) -> bool {
        if self.hosts[host].life != life || self.hosts[host].node.is_none() {
            return false;
        }
        if self.is_paused(host) {
            let delay_us = self.hosts[host].paused_until_us - self.now_us;
            self.after(delay_us, event());
            return false;
        }
        self.touch(host);
        true
    }

    pub(crate) fn turn(&mut self, host: usize, life: u64) {
        if !self.may(host, life, || Event::Turn { host, life }) {
            return;
        }
        self.hosts[host].turn_due = false;
        self.step(host, "turn", N::turn);
        let seen = &mut self.hosts[host];
        if seen.life == life && !std::mem::replace(&mut seen.log_due, true) {
            self.within(self.plan.fsync_us, Event::Log { host, life });
        }
    }

    pub(crate) fn step_log(&mut self, host: usize, life: u64) {
        if !self.may(host, life, || Event::Log { host, life }) {
            return;
        }
        let until_us = self.hosts[host].fsync_until_us;
        if self.now_us < until_us {
            self.probes.sometimes(Probe::FsyncStalled, true);
            self.after(until_us - self.now_us, Event::Log { host, life });
            return;
        }
        self.hosts[host].log_due = false;
        if self.step(host, "log", N::step_log) {
            self.poke(host);
            let seen = &mut self.hosts[host];
            if !std::mem::replace(&mut seen.upkeep_due, true) {
                self.within(5_000, Event::Upkeep { host, life });
            }
        }
    }

    pub(crate) fn step_upkeep(&mut self, host: usize, life: u64) {
        if !self.may(host, life, || Event::Upkeep { host, life }) {
            return;
        }
        self.hosts[host].upkeep_due = false;
        let more = self.step(host, "upkeep", N::step_upkeep);
        self.poke(host);
        let seen = &mut self.hosts[host];
        if more && !std::mem::replace(&mut seen.upkeep_due, true) {
            self.within(5_000, Event::Upkeep { host, life });
        }
    }

    pub(crate) fn tick(&mut self, host: usize, life: u64) {
        if !self.may(host, life, || Event::Tick { host, life }) {
            return;
        }
        self.step(host, "tick", |node| node.tick().map(|()| true));
        let own = TICK_US as i64 - TICK_US as i64 * self.hosts[host].drift_ppm / 1_000_000;
        self.after(own as u64, Event::Tick { host, life });
        self.poke(host);
    }

    /// Takes one step of a process that is there, and sees what it did. False if there was nothing
    /// to do, or nobody is there any more.
    fn step(
        &mut self,
        host: usize,
        what: &'static str,
        step: impl FnOnce(&mut N) -> Result<bool, Cause>,
    ) -> bool {
        let seen = &mut self.hosts[host];
        let Some(node) = &mut seen.node else { return false };
        let stepped = step(node);
        let suffered = seen.sim.injected() > seen.injected;
        let cut = seen.cut_armed && suffered;
        let (id, ops) = (seen.id, seen.sim.ops());
        self.trace.note(self.now_us, what, &[id, ops], String::new);
        if self.send(host) {
            self.die(host, Death::Kill);
            self.boot_within(host, 10_000);
            return false;
        }
        if cut {
            self.die(host, Death::PowerCut);
            self.boot_within(host, 2_000_000);
            return false;
        }
        match stepped {
            Ok(any) => any,
            Err(cause) if cause.class == Class::Busy && what == "log" => {
                let life = self.hosts[host].life;
                self.hosts[host].log_due = true;
                self.after(TICK_US, Event::Log { host, life });
                false
            }
            Err(cause) => {
                if suffered {
                    self.trace.note(self.now_us, "end", &[id], || format!("node {id} ends itself: {cause}"));
                    self.probes.sometimes(Probe::NodeEnded, true);
                    let death = [Death::Kill, Death::PowerCut][self.entropy.below(2) as usize];
                    self.die(host, death);
                    self.boot_within(host, 2_000_000);
                } else {
                    self.violated(format!("node {id} ended, though its disk is sound: {cause}"));
                }
                false
            }
        }
    }

    // Messages.

    /// Gives what a host has sent to the network. Says whether it is to be killed after that.
    fn send(&mut self, host: usize) -> bool {
        let mut kill = false;
        for packet in self.wires.take() {
            let seen = &mut self.hosts[host];
            if seen.kill_after_votes > 0 && N::is_vote(&packet.bytes) {
                seen.kill_after_votes -= 1;
                kill |= seen.kill_after_votes == 0;
            }
            let numbers = [packet.from, packet.to, packet.class as u64];
            let arrivals = self.weather.arrivals(&packet, self.now_us, &self.entropy);
            self.trace.note(self.now_us, "send", &numbers, || {
                let lost = if arrivals.is_empty() { " (lost)" } else { "" };
                format!("node {} to node {}: {}{lost}", packet.from, packet.to, N::words(&packet.bytes))
            });
            self.trace.bytes(&packet.bytes);
            for at_us in arrivals {
                self.after(at_us - self.now_us, Event::Deliver(packet.clone()));
            }
        }
        self.probes.sometimes(Probe::KilledAfterVote, kill);
        kill
    }

    pub(crate) fn deliver(&mut self, packet: Packet) {
        let host = packet.to as usize - 1;
        if self.is_paused(host) {
            let delay_us = self.hosts[host].paused_until_us - self.now_us;
            self.after(delay_us, Event::Deliver(packet));
            return;
        }
        self.touch(host);
        let Some(receiver) = &self.hosts[host].receiver else { return };
        receiver.receive(NodeId(packet.from), packet.class, Received::new(packet.bytes.clone()));
        self.trace.note(self.now_us, "receive", &[packet.from, packet.to, packet.class as u64], String::new);
        self.poke(host);
    }

    /// A host looks after its connection to another: makes it, finds it broken, gives it up.
    pub(crate) fn dial(&mut self, from: usize, to: usize, again: bool) {
        if again {
            self.within(DIAL_US, Event::Dial { from, to, again });
        }
        let Some(receiver) = self.hosts[from].receiver.clone() else { return };
        if self.is_paused(from) || self.is_paused(to) {
            return;
        }
        let (mine, theirs) = (self.hosts[from].id, self.hosts[to].id);
        let start = self.hosts[to].node.is_some().then_some(self.hosts[to].start);
        let passes = self.weather.passes(mine, theirs) || self.weather.passes(theirs, mine);
        let known = self.hosts[from].connections.get(&theirs).copied();
        let seen = &mut self.hosts[from];
        let reachable = start.filter(|_| passes);
        if reachable.is_some() {
            seen.silent_since_us.remove(&theirs);
        }
        let silent_us = self.now_us - *seen.silent_since_us.entry(theirs).or_insert(self.now_us);
        let broken =
            known.is_some() && reachable.map_or(silent_us > SILENCE_US, |start| Some(start) != known);
        if broken {
            seen.connections.remove(&theirs);
            self.wires.set_up(mine, theirs, false);
            receiver.disconnected(NodeId(theirs));
            self.trace.note(self.now_us, "disconnect", &[mine, theirs], || {
                format!("node {mine} has lost its connection to node {theirs}")
            });
        }
        let seen = &mut self.hosts[from];
        if let Some(start) = reachable
            && !seen.connections.contains_key(&theirs)
        {
            seen.connections.insert(theirs, start);
            self.wires.set_up(mine, theirs, true);
            receiver.connected(NodeId(theirs), start);
            self.trace.note(self.now_us, "connect", &[mine, theirs, start], || {
                format!("node {mine} has a connection to node {theirs}")
            });
        }
        self.poke(from);
    }
}

/// The power goes just before the `nth` change of the disk from now on.
pub(crate) fn cut_at_change(nth: u64) -> Fault {
    Fault {
        outcome: DiskOutcome::Cut,
        occurrence: Occurrence::Nth(nth),
        operations: Operations::Change,
        pattern: "*".to_owned(),
    }
}
