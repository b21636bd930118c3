//! One run: the scheduler, and the three parts of a run.
//!
//! Everything that happens is an event in a queue ordered by simulated time. Handling one may put
//! others into the queue, with delays drawn from the seed; nothing else decides what happens next.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use fabric::Stepped;
use world::Entropy;

use crate::{
    bugs::Bug,
    clients::{Answers, Client},
    history::{Op, OpId, Outcome},
    hosts::Host,
    ledger::Ledger,
    nemesis::Ending,
    network::{Packet, Weather, Wires},
    node::Node,
    plan::Plan,
    probes::{Probe, Probes},
    second_judge,
    trace::Trace,
    witness::{self, Chains},
};

/// Simulated time within which a healed quorum must serve again, and later all nodes be equal. An
/// election takes a second or two, a bad one several; a restart reads its log.
const BOUND_US: u64 = 30_000_000;
/// How often the scheduler looks whether a part of the run is over.
const LOOK_US: u64 = 100_000;

/// What a run may be asked besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep the story in words.
    pub explain: bool,
    /// Have nodes make this mistake.
    pub bug: Option<Bug>,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the seed decided.
    pub plan: Plan,
    /// What must not be and was.
    pub violation: Option<String>,
    /// The hash of all that happened.
    pub hash: u64,
    /// How much happened.
    pub steps: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// Operations that clients asked for.
    pub operations: usize,
    /// Where the run came.
    pub probes: Probes,
    /// What happened, in words, if that was wanted.
    pub story: Vec<String>,
}

/// Something to come.
pub(crate) enum Event {
    /// A host boots.
    Start {
        host: usize,
        life: u64,
    },
    /// A host's spine, log or upkeep takes a step, or its timer fires.
    Turn {
        host: usize,
        life: u64,
    },
    Log {
        host: usize,
        life: u64,
    },
    Upkeep {
        host: usize,
        life: u64,
    },
    Tick {
        host: usize,
        life: u64,
    },
    /// A message arrives.
    Deliver(Packet),
    /// A host looks after its connection to another; and does so again and again.
    Dial {
        from: usize,
        to: usize,
        again: bool,
    },
    /// A client asks the next thing.
    Ask {
        client: usize,
    },
    /// A request arrives at a host.
    Request {
        host: usize,
        op: OpId,
    },
    /// An answer arrives at its client.
    Answer {
        op: OpId,
        outcome: Outcome,
    },
    /// A client waits no longer.
    GiveUp {
        op: OpId,
    },
    /// The next fault is due.
    Fault,
    /// A fault ends.
    End(Ending),
    /// Time to see whether a part of the run is over.
    Look,
}

/// The part of the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Faults.
    Storm,
    /// A quorum is healed, since that time, and operations from that number on count.
    Quorum { since_us: u64, first_op: OpId },
    /// All are healed, nobody asks.
    All { since_us: u64 },
    /// Nothing more to see.
    Over,
}

/// A run under way.
pub(crate) struct Run<N> {
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) entropy: Entropy,
    pub(crate) now_us: u64,
    /// Counts events: see [`crate::history`].
    pub(crate) moment: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) part: Part,
    pub(crate) hosts: Vec<Host<N>>,
    pub(crate) wires: Wires,
    pub(crate) weather: Weather,
    pub(crate) next_partition: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) history: Vec<Op>,
    /// By operation, the host that was asked.
    pub(crate) asked_of: Vec<usize>,
    pub(crate) answers: Answers,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) probes: Probes,
    pub(crate) violation: Option<String>,
}

/// Runs a seed. A panic in a node is a violation like others.
pub fn run(plan: &Plan, options: Options) -> Report {
    run_with::<Stepped>(plan, options)
}

pub(crate) fn run_with<N: Node>(plan: &Plan, options: Options) -> Report {
    let mut run = Run::<N>::new(plan.clone(), options);
    let ended = catch_unwind(AssertUnwindSafe(|| run.go()));
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        run.violated(format!("a panic: {text}"));
    }
    run.into_report()
}

impl<N: Node> Run<N> {
    fn new(plan: Plan, options: Options) -> Run<N> {
        let entropy = Entropy::seeded(plan.seed);
        let hosts = (1..=plan.nodes).map(|id| Host::new(id, &plan, &entropy)).collect();
        Run {
            hosts,
            weather: Weather::new(&plan),
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            plan,
            bug: options.bug,
            entropy,
            now_us: 0,
            moment: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            part: Part::Storm,
            wires: Wires::default(),
            next_partition: 0,
            history: Vec::new(),
            asked_of: Vec::new(),
            answers: Answers::default(),
            ledger: Ledger::default(),
            trace: Trace::new(options.explain),
            probes: Probes::default(),
            violation: None,
        }
    }

    fn go(&mut self) {
        for host in 0..self.hosts.len() {
            let life = self.hosts[host].life;
            self.after(0, Event::Start { host, life });
            for to in (0..self.hosts.len()).filter(|to| *to != host) {
                self.after(0, Event::Dial { from: host, to, again: true });
            }
        }
        self.kill_voters();
        for client in 0..self.clients.len() {
            self.within(self.plan.think_us, Event::Ask { client });
        }
        self.within(self.plan.calm_us, Event::Fault);
        self.after(LOOK_US, Event::Look);
        while self.violation.is_none() && self.part != Part::Over {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now_us = at;
            self.moment += 1;
            self.handle(event);
            self.take_answers();
            if let Some(told) = self.ledger.first_violation() {
                self.violated(told);
            }
        }
        if self.violation.is_none() {
            self.judge();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start { host, life } => self.start(host, life),
            Event::Turn { host, life } => self.turn(host, life),
            Event::Log { host, life } => self.step_log(host, life),
            Event::Upkeep { host, life } => self.step_upkeep(host, life),
            Event::Tick { host, life } => self.tick(host, life),
            Event::Deliver(packet) => self.deliver(packet),
            Event::Dial { from, to, again } => self.dial(from, to, again),
            Event::Ask { client } => self.ask(client),
            Event::Request { host, op } => self.request(host, op),
            Event::Answer { op, outcome } => self.answered(op, outcome),
            Event::GiveUp { op } => self.answered(op, Outcome::Unknown),
            Event::Fault => self.fault(),
            Event::End(ending) => self.end_fault(ending),
            Event::Look => self.look(),
        }
    }

    /// Has `event` happen in so many microseconds.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.now_us + delay_us, self.next_event), event);
    }

    /// Has `event` happen at some time within so many microseconds.
    pub(crate) fn within(&mut self, limit_us: u64, event: Event) {
        let delay_us = 1 + self.entropy.below(limit_us.max(1));
        self.after(delay_us, event);
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.entropy.below(high - low + 1)
    }

    /// The first violation is the one that counts.
    pub(crate) fn violated(&mut self, told: String) {
        if self.violation.is_none() {
            self.trace.note(self.now_us, "violation", &[], || format!("VIOLATION: {told}"));
            self.violation = Some(told);
        }
    }

    // The parts of a run.

    fn look(&mut self) {
        self.after(LOOK_US, Event::Look);
        match self.part {
            Part::Storm if self.now_us >= self.plan.storm_us => self.heal_a_quorum(),
            Part::Quorum { since_us, first_op } => {
                if let Some(idle) = self.live().into_iter().find(|host| !self.serves(*host, first_op)) {
                    if self.now_us > since_us + BOUND_US {
                        let node = self.hosts[idle].id;
                        self.violated(format!(
                            "node {node} does not serve reads and writes {} s after a quorum was healed",
                            BOUND_US / 1_000_000
                        ));
                    }
                } else {
                    self.heal_all();
                }
            }
            Part::All { since_us } => {
                if self.all_equal() {
                    self.part = Part::Over;
                } else if self.now_us > since_us + BOUND_US {
                    let stands: Vec<_> =
                        self.hosts.iter().map(|host| (host.id, host.view.lock().index)).collect();
                    self.violated(format!(
                        "replicas are not equal {} s after all were healed; (node, entry): {stands:?}, of {}",
                        BOUND_US / 1_000_000,
                        self.ledger.last()
                    ));
                }
            }
            Part::Storm | Part::Over => {}
        }
    }

    /// Ends the storm: a random quorum has good disks, clocks and connections from now on; the others
    /// are gone.
    fn heal_a_quorum(&mut self) {
        let count = self.hosts.len();
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.entropy.below(last as u64 + 1) as usize);
        }
        let quorum: BTreeSet<usize> = order[..count / 2 + 1].iter().copied().collect();
        self.trace.note(self.now_us, "quorum", &[], || {
            let names: Vec<_> = quorum.iter().map(|host| (host + 1).to_string()).collect();
            format!(
                "The storm ends. From now on nodes {} are sound, and nobody else is there.",
                names.join(", ")
            )
        });
        self.weather.clear();
        for host in 0..count {
            if quorum.contains(&host) {
                self.soothe(host);
            } else {
                self.bar(host);
            }
        }
        let first_op = self.history.len() as OpId + 1;
        self.part = Part::Quorum { since_us: self.now_us, first_op };
    }

    fn heal_all(&mut self) {
        self.trace
            .note(self.now_us, "all", &[], || "Everybody comes back, and nobody asks any more.".to_owned());
        self.part = Part::All { since_us: self.now_us };
        for host in 0..self.hosts.len() {
            self.unbar(host);
        }
    }

    /// Whether a client has had a read and a write of `host` answered, of those from `first_op` on.
    fn serves(&self, host: usize, first_op: OpId) -> bool {
        let (mut read, mut wrote) = (false, false);
        for op in &self.history[first_op as usize - 1..] {
            if let Outcome::Told(told) = op.outcome
                && self.asked_of[op.id as usize - 1] == host
            {
                (read, wrote) = (read || !told.wrote, wrote || told.wrote);
            }
        }
        read && wrote
    }

    fn all_equal(&self) -> bool {
        let last = self.ledger.last();
        let digests: BTreeSet<(u64, u64)> = self
            .hosts
            .iter()
            .map(|host| {
                let state = host.view.lock();
                (state.index, state.digest)
            })
            .collect();
        digests.len() == 1 && digests.first().is_some_and(|(index, _)| *index == last)
    }

    /// Lets the judges look at the history.
    fn judge(&mut self) {
        let chains: Chains = self.hosts[0].view.lock().chains.clone();
        let first = witness::judge(&self.history, &chains);
        let second = second_judge::judge(&self.history);
        self.probes.sometimes(Probe::JudgedTwice, second.is_some());
        match (first, second) {
            (Err(told), Some(true)) => self.violated(format!(
                "{told} (though without the witness there is an order that explains what clients saw)"
            )),
            (Err(told), _) => self.violated(told),
            (Ok(()), Some(false)) => self.violated(
                "there is no order that explains what clients saw, though by the witness there is".to_owned(),
            ),
            (Ok(()), _) => {}
        }
        self.note_unknown(&chains);
        let (restored, again) = self.ledger.counts();
        self.probes.sometimes(Probe::RestoredState, restored > 0);
        self.probes.sometimes(Probe::EntriesAgain, again > 0);
    }

    fn note_unknown(&mut self, chains: &Chains) {
        let effects: BTreeSet<OpId> = chains.values().flatten().map(|version| version.value).collect();
        for op in self.history.iter().filter(|op| op.outcome == Outcome::Unknown) {
            let effect = effects.contains(&op.id);
            self.probes.sometimes(Probe::UnknownTookEffect, effect);
            self.probes.sometimes(Probe::UnknownLeftNoTrace, !effect && op.ask == crate::Ask::Write);
        }
    }

    fn into_report(self) -> Report {
        Report {
            violation: self.violation,
            hash: self.trace.hash(),
            steps: self.trace.steps(),
            simulated_us: self.now_us,
            operations: self.history.len(),
            probes: self.probes,
            story: self.trace.into_story(),
            plan: self.plan,
        }
    }
}
