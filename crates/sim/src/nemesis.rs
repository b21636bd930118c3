//! Who makes things go wrong: one fault at a time, of the kinds the seed allows, while the storm lasts.

use std::collections::BTreeSet;

use world::{Fault, Occurrence, Operation, Operations, Outcome as DiskOutcome};

use crate::{
    hosts::{Death, cut_at_change},
    node::Node,
    plan::FaultKind,
    probes::Probe,
    run::{Event, Part, Run},
};

/// The end of a fault.
pub(crate) enum Ending {
    /// Of a partition.
    Heal { partition: u64 },
    /// Of a partition that comes back some times.
    Flap { partition: u64, directions: BTreeSet<(u64, u64)>, times: u64 },
    /// Of a full disk.
    Room { host: usize },
}

impl<N: Node> Run<N> {
    /// The next fault.
    pub(crate) fn fault(&mut self) {
        if self.part != Part::Storm {
            return;
        }
        self.within(2 * self.plan.calm_us, Event::Fault);
        let kinds: Vec<FaultKind> =
            self.plan.faults.iter().copied().filter(|kind| !kind.is_weather()).collect();
        if kinds.is_empty() {
            return;
        }
        let kind = kinds[self.entropy.below(kinds.len() as u64) as usize];
        let host = self.entropy.below(self.hosts.len() as u64) as usize;
        self.trace.note(self.now_us, "fault", &[kind as u64, host as u64], String::new);
        match kind {
            FaultKind::Kill | FaultKind::PowerCut | FaultKind::PowerCutInStart => self.strike(kind, host),
            FaultKind::AllAtOnce => {
                self.probes.sometimes(Probe::AllAtOnce, true);
                let limit_us = self.absence_us(1_000_000);
                for host in 0..self.hosts.len() {
                    self.die(host, Death::PowerCut);
                    self.boot_within(host, limit_us);
                }
                self.kill_voters();
            }
            FaultKind::KillAfterVote => self.hosts[host].kill_after_votes = 1 + self.entropy.below(2),
            FaultKind::PowerCutAtChange | FaultKind::FsyncFail => self.arm(kind, host),
            FaultKind::Pause => self.pause(host, 100_000, 2_000_000),
            FaultKind::Suspend => self.pause(host, 3_000_000, 8_000_000),
            FaultKind::FsyncStall => self.stall(host),
            FaultKind::DiskFull => self.fill(host),
            FaultKind::Partition
            | FaultKind::OneWay
            | FaultKind::Flapping
            | FaultKind::Bridge
            | FaultKind::Isolate => {
                self.part_ways(kind, host);
            }
            FaultKind::ClockJump => self.jump(host),
            FaultKind::Slow
            | FaultKind::Loss
            | FaultKind::Duplicate
            | FaultKind::Reorder
            | FaultKind::ClockDrift => {}
        }
    }

    /// When all nodes have started at one time there is an election soon, and often several want it: has
    /// some of them killed as they vote.
    pub(crate) fn kill_voters(&mut self) {
        for host in 0..self.hosts.len() {
            if self.plan.has(FaultKind::KillAfterVote) && self.entropy.below(2) == 0 {
                self.hosts[host].kill_after_votes = 1 + self.entropy.below(2);
            }
        }
    }

    /// Kills a process, or cuts its power.
    fn strike(&mut self, kind: FaultKind, host: usize) {
        let death = if kind == FaultKind::Kill { Death::Kill } else { Death::PowerCut };
        self.hosts[host].cut_next_start = kind == FaultKind::PowerCutInStart;
        self.die(host, death);
        let limit_us = self.absence_us(3_000_000);
        self.boot_within(host, limit_us);
    }

    /// How long a node is away, at most: now and then so short that what was under way finds it again.
    pub(crate) fn absence_us(&self, limit_us: u64) -> u64 {
        if self.entropy.below(2) == 0 { 10_000 } else { limit_us }
    }

    /// Has a disk fail at an operation to come.
    fn arm(&mut self, kind: FaultKind, host: usize) {
        let nth = 1 + self.entropy.below(30);
        let seen = &mut self.hosts[host];
        if seen.node.is_none() || seen.cut_armed {
            return;
        }
        let fault = if kind == FaultKind::PowerCutAtChange {
            seen.cut_armed = true;
            cut_at_change(nth)
        } else {
            Fault {
                outcome: DiskOutcome::Fail,
                occurrence: Occurrence::Nth(nth),
                operations: Operations::Only(Operation::Sync),
                pattern: "*".to_owned(),
            }
        };
        let id = seen.id;
        seen.sim.inject(fault.clone());
        self.trace.note(self.now_us, "arm", &[id, nth], || format!("the disk of node {id} will {fault}"));
    }

    fn pause(&mut self, host: usize, low_us: u64, high_us: u64) {
        let for_us = self.between(low_us, high_us);
        if self.hosts[host].node.is_none() {
            return;
        }
        self.hosts[host].paused_until_us = self.now_us + for_us;
        self.probes.sometimes(Probe::Paused, true);
        self.trace.note(self.now_us, "pause", &[host as u64, for_us], || {
            format!("node {} stands still for {} ms", host + 1, for_us / 1_000)
        });
    }

    fn stall(&mut self, host: usize) {
        let for_us = self.between(500_000, 4_000_000);
        self.hosts[host].fsync_until_us = self.now_us + for_us;
        self.trace.note(self.now_us, "stall", &[host as u64, for_us], || {
            format!("the disk of node {} syncs nothing for {} ms", host + 1, for_us / 1_000)
        });
    }

    fn fill(&mut self, host: usize) {
        let free = self.entropy.below(6_000);
        let seen = &mut self.hosts[host];
        if seen.node.is_none() {
            return;
        }
        seen.sim.set_capacity(seen.sim.used_bytes() + free);
        seen.is_full = true;
        self.trace.note(self.now_us, "full", &[host as u64, free], || {
            format!("the disk of node {} has room for {free} bytes", host + 1)
        });
        self.within(3_000_000, Event::End(Ending::Room { host }));
    }

    /// Parts the network.
    fn part_ways(&mut self, kind: FaultKind, host: usize) {
        let nodes = self.plan.nodes;
        let alone = host as u64 + 1;
        let side: BTreeSet<u64> = match kind {
            FaultKind::Isolate | FaultKind::OneWay => BTreeSet::from([alone]),
            _ => (1..=nodes).filter(|_| self.entropy.below(2) == 0).collect(),
        };
        let mut directions = BTreeSet::new();
        for from in 1..=nodes {
            for to in (1..=nodes).filter(|to| side.contains(to) != side.contains(&from)) {
                directions.insert((from, to));
            }
        }
        if kind == FaultKind::Bridge {
            let other = 1 + (alone + self.entropy.below(nodes - 1)) % nodes;
            directions = BTreeSet::from([(alone, other), (other, alone)]);
        }
        if kind == FaultKind::OneWay {
            let outward = self.entropy.below(2) == 0;
            directions.retain(|(from, _)| side.contains(from) == outward);
        }
        let partition = self.next_partition;
        self.next_partition += 1;
        self.trace.note(self.now_us, "cut", &[partition, directions.len() as u64], || {
            let ways: Vec<_> = directions.iter().map(|(from, to)| format!("{from} to {to}")).collect();
            format!("nothing passes from {}", ways.join(", "))
        });
        self.weather.cut(partition, directions.clone());
        let ending = if kind == FaultKind::Flapping {
            Ending::Flap { partition, directions, times: 2 * self.between(2, 8) }
        } else {
            Ending::Heal { partition }
        };
        let limit_us = if kind == FaultKind::Flapping { 300_000 } else { 4_000_000 };
        self.within(limit_us, Event::End(ending));
    }

    /// Sets a wall clock by up to an hour, either way.
    fn jump(&mut self, host: usize) {
        let hour_us = 3_600_000_000;
        let by = self.between(0, 2 * hour_us);
        self.touch(host);
        let clock = &self.hosts[host].clock;
        clock.jump_to(clock.wall_micros() + by - hour_us);
        self.probes.sometimes(Probe::ClockJumped, true);
        self.trace.note(self.now_us, "jump", &[host as u64, by], || {
            format!("the wall clock of node {} jumps by {} s", host + 1, by as i64 / 1_000_000 - 3_600)
        });
    }

    /// A fault ends; those of the network have ended with the storm.
    pub(crate) fn end_fault(&mut self, ending: Ending) {
        match ending {
            Ending::Room { host } => {
                self.hosts[host].sim.set_capacity(u64::MAX);
                self.hosts[host].is_full = false;
                self.poke(host);
            }
            _ if self.part != Part::Storm => {}
            Ending::Heal { partition } | Ending::Flap { partition, times: 0, .. } => {
                self.weather.heal(partition);
                self.trace.note(self.now_us, "heal", &[partition], || "messages pass again".to_owned());
            }
            Ending::Flap { partition, directions, times } => {
                if times.is_multiple_of(2) {
                    self.weather.heal(partition);
                } else {
                    self.weather.cut(partition, directions.clone());
                }
                self.trace.note(self.now_us, "flap", &[partition, times], String::new);
                self.within(300_000, Event::End(Ending::Flap { partition, directions, times: times - 1 }));
            }
        }
    }
}
