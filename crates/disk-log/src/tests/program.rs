//! Random programs for a log, run step by step beside a model of what it must remember.
//!
//! The disk keeps a copy of itself before each of its operations. From each copy the power is cut:
//! whatever survives, the log must open and hold a prefix of what it accepted, whole calls only,
//! with every acknowledged record, less what was trimmed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use base::{Position, StreamId};
use world::{Boundary, Disk, Entropy, SimDisk};

use super::{Seen, open, tiny};
use crate::{LogError, LogSettings, LogWriter, Stepper, settings::Sabotage};

/// One thing a program does.
#[derive(Debug)]
enum Action {
    /// One call with records of these sizes.
    Append { stream: u64, sizes: Vec<usize> },
    /// The writer's turn.
    Step,
    /// Records of these streams up to this many before the last acknowledged one are dead.
    Trim { streams: Vec<u64>, keep: u64 },
    /// A clean stop and a start.
    Stop,
    /// The process is killed and started again; the page cache stays.
    Kill,
    /// The power is cut and comes back.
    PowerCut,
    /// The n-th sync (of bytes, or of the folder) of the writer's turn fails, the process dies of it and is started again.
    FailSync { folder: bool, nth: u64 },
}

fn draw_action(random: &Entropy) -> Action {
    // Half of all goes to stream 1.
    let stream = 1 + random.below(6).saturating_sub(3);
    match random.below(32) {
        0..14 => {
            let count = if random.below(4) == 0 { 1 + random.below(3) } else { 1 };
            let sizes = (0..count).map(|_| random.below(120) as usize).collect();
            Action::Append { stream, sizes }
        }
        14..24 => Action::Step,
        24..26 => Action::Trim { streams: vec![stream], keep: random.below(4) },
        26..28 => Action::Trim { streams: vec![1, 2, 3], keep: random.below(4) },
        28 => Action::Stop,
        29 => Action::Kill,
        30 => Action::PowerCut,
        _ => Action::FailSync { folder: random.below(4) == 0, nth: 1 + random.below(3) },
    }
}

/// One call of `append_many`.
struct Call {
    records: Vec<Seen>,
}

/// What the log may and must remember.
#[derive(Default)]
struct Model {
    /// Calls that were accepted, in order, from the first record that may still be there.
    calls: Vec<Call>,
    /// Everything before is acknowledged.
    durable_before: Position,
    /// Trim points asked for.
    trims: BTreeMap<StreamId, Position>,
}

/// What a program came across.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Tally {
    /// Power cuts.
    pub(super) cuts: u64,
    /// Cuts after which something accepted and not acknowledged was gone.
    pub(super) lost_a_tail: u64,
    /// Segments after the first of each program.
    pub(super) began_a_segment: u64,
    /// Segments removed.
    pub(super) dropped_a_segment: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.cuts += other.cuts;
        self.lost_a_tail += other.lost_a_tail;
        self.began_a_segment += other.began_a_segment;
        self.dropped_a_segment += other.dropped_a_segment;
    }
}

/// What is wrong with a log after a power cut.
#[derive(Debug)]
pub(super) struct Violation(pub(super) String);

fn violated(what: String) -> Result<(), Violation> {
    Err(Violation(what))
}

impl Model {
    fn next(&self) -> Position {
        self.calls.last().map_or(self.durable_before, after)
    }

    /// Judges what the log shows, when its next position is `next`.
    fn judge(&self, seen: &[Seen], next: Position, acknowledged: Position) -> Result<(), Violation> {
        if next < acknowledged {
            return violated(format!("acknowledged up to before {acknowledged}, held up to before {next}"));
        }
        if next != self.durable_before && !self.calls.iter().any(|call| after(call) == next) {
            return violated(format!("the end {next} is not the end of a call"));
        }
        let held: BTreeMap<Position, &Seen> = seen.iter().map(|record| (record.0, record)).collect();
        if held.len() != seen.len() || !seen.is_sorted_by_key(|record| record.0) {
            return violated("records are not in order".to_owned());
        }
        let mut expected = 0;
        // Whether a record of the stream was seen: from then on, all must be.
        let mut begun: BTreeMap<StreamId, bool> = BTreeMap::new();
        for record in self.calls.iter().flat_map(|call| &call.records).filter(|record| record.0 < next) {
            let (position, stream) = (record.0, record.1);
            let begun = begun.entry(stream).or_default();
            match held.get(&position) {
                Some(held) if *held != record => return violated(format!("record {position} is another")),
                Some(_) => {
                    expected += 1;
                    *begun = true;
                }
                None if *begun => {
                    return violated(format!("{stream} misses record {position} in the middle"));
                }
                None if self.trims.get(&stream).is_some_and(|up_to| position <= *up_to) => {}
                None => return violated(format!("record {position} of stream {stream} is lost")),
            }
        }
        if expected != seen.len() { violated("records that were never accepted".to_owned()) } else { Ok(()) }
    }
}

fn after(call: &Call) -> Position {
    Position(call.records.last().expect("a call has records").0.0 + 1)
}

/// A program in execution.
struct Run {
    disk: Disk,
    sim: SimDisk,
    settings: LogSettings,
    running: Option<(LogWriter, Stepper)>,
    model: Model,
    /// Acknowledgements: operations the disk had done then, and the position after the call.
    acks: Arc<Mutex<Vec<(u64, Position)>>>,
    seed: u64,
    tally: Tally,
}

/// Runs the program drawn from `seed`, cutting the power at every boundary of it.
pub(super) fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Tally, Violation> {
    let random = Entropy::seeded(seed);
    let (disk, sim) = Disk::simulated(seed);
    let settings = LogSettings { sabotage, ..tiny() };
    let model = Model { durable_before: Position(1), ..Model::default() };
    let mut run = Run {
        disk,
        sim,
        settings,
        running: None,
        model,
        acks: Arc::default(),
        seed,
        tally: Tally::default(),
    };
    run.restart()?;
    for _ in 0..4 + random.below(32) {
        let action = draw_action(&random);
        run.perform(action, &random)
            .map_err(|violation| Violation(format!("program {seed}: {}", violation.0)))?;
    }
    let newest = super::segments(&run.disk).last().and_then(|name| name[4..12].parse().ok()).unwrap_or(1);
    run.tally.began_a_segment = newest - 1;
    run.tally.dropped_a_segment = newest - super::segments(&run.disk).len() as u64;
    Ok(run.tally)
}

impl Run {
    fn perform(&mut self, action: Action, random: &Entropy) -> Result<(), Violation> {
        match action {
            Action::Append { stream, sizes } => self.append(StreamId(stream), &sizes, random),
            Action::Step => self.act(|run| run.step()),
            Action::Trim { streams, keep } => {
                let durable = self.acks.lock().unwrap().iter().map(|ack| ack.1).max();
                let durable = durable.unwrap_or(self.model.durable_before).max(self.model.durable_before);
                let up_to = Position((durable.0 - 1).saturating_sub(keep));
                for stream in streams.into_iter().map(StreamId) {
                    let point = self.model.trims.entry(stream).or_insert(up_to);
                    *point = up_to.max(*point);
                    self.running.as_ref().unwrap().0.trim(stream, up_to);
                }
                self.act(|run| run.step())
            }
            Action::Stop => {
                self.act(|run| {
                    let (_, stepper) = run.running.take().unwrap();
                    stepper.seal().map_err(|error| Violation(format!("seal: {error}")))
                })?;
                self.restart()
            }
            Action::Kill => {
                self.running = None;
                self.sim.kill();
                self.restart()
            }
            Action::PowerCut => {
                self.running = None;
                self.sim.crash();
                self.restart()
            }
            Action::FailSync { folder, nth } => {
                let sync = if folder { "sync-folder" } else { "sync" };
                self.sim.inject(format!("fail nth({nth}) {sync}").parse().unwrap());
                self.act(|run| match run.running.as_mut().unwrap().1.step() {
                    Ok(_) | Err(LogError::Fatal(_)) => Ok(()),
                    Err(error) => violated(format!("a step after a failed sync: {error}")),
                })?;
                self.running = None;
                self.sim.kill();
                self.restart()
            }
        }
    }

    fn append(&mut self, stream: StreamId, sizes: &[usize], random: &Entropy) -> Result<(), Violation> {
        let payloads: Vec<Vec<u8>> = sizes
            .iter()
            .map(|&size| {
                let mut payload = vec![0; size];
                random.fill(&mut payload);
                payload
            })
            .collect();
        let records: Vec<(StreamId, &[u8])> = payloads.iter().map(|payload| (stream, &payload[..])).collect();
        let (acks, sim) = (self.acks.clone(), self.sim.clone());
        let next = self.model.next();
        let end = Position(next.0 + sizes.len() as u64);
        let done = move |outcome: Result<Position, base::Cause>| {
            if outcome.is_ok() {
                acks.lock().unwrap().push((sim.ops(), end));
            }
        };
        match self.running.as_ref().unwrap().0.append_many(&records, Box::new(done)) {
            Ok(position) if position != next => violated(format!("accepted at {position}, not at {next}")),
            Ok(_) => {
                let records = (next.0..).zip(payloads).map(|(at, payload)| (Position(at), stream, payload));
                self.model.calls.push(Call { records: records.collect() });
                Ok(())
            }
            // The queue is small on purpose.
            Err(refused) if refused.cause.class == base::Class::Busy => self.act(|run| run.step()),
            Err(refused) => violated(format!("refused: {}", refused.cause)),
        }
    }

    fn step(&mut self) -> Result<(), Violation> {
        let stepped = self.running.as_mut().unwrap().1.step();
        stepped.map(drop).map_err(|error| Violation(format!("step: {error}")))
    }

    /// Does something, and afterwards cuts the power at every boundary it crossed.
    fn act(&mut self, what: impl FnOnce(&mut Run) -> Result<(), Violation>) -> Result<(), Violation> {
        let begun = self.sim.ops();
        self.sim.record_boundaries();
        let done = what(self);
        let boundaries = self.sim.take_boundaries();
        done?;
        let acks = self.acks.lock().unwrap().clone();
        for (index, boundary) in boundaries.iter().enumerate() {
            let ops = begun + index as u64;
            let acknowledged = acks.iter().filter(|ack| ack.0 <= ops).map(|ack| ack.1).max();
            let acknowledged = acknowledged.unwrap_or_default().max(self.model.durable_before);
            self.tally.cuts += 1;
            let next = self.cut(boundary, acknowledged, self.seed ^ ops << 20)?;
            self.tally.lost_a_tail += u64::from(next < self.model.next());
        }
        Ok(())
    }

    /// Cuts the power at `boundary` and judges what comes up again. Returns how far it goes.
    fn cut(&self, boundary: &Boundary, acknowledged: Position, seed: u64) -> Result<Position, Violation> {
        let broken = |when: &str, error: LogError| Violation(format!("{when}: {error}"));
        let honest = LogSettings { sabotage: None, ..self.settings.clone() };
        let (disk, sim) = boundary.crash(seed);
        let (mut log, seen) =
            open(&disk, honest.clone()).map_err(|error| broken("open after a power cut", error))?;
        let next = log.next_position();
        self.model.judge(&seen, next, acknowledged)?;
        // What was shown is durable, and the log goes on: seen in a part of the cases, for time.
        match seed >> 20 & 3 {
            0 => {
                sim.crash();
                let (log, again) = open(&disk, honest).map_err(|error| broken("open again", error))?;
                self.model.judge(&again, log.next_position(), acknowledged)?;
                if again != seen {
                    violated("a second power cut lost what was shown".to_owned())?;
                }
            }
            1 => {
                let first = log
                    .append(&crate::Batch::of(StreamId(9), b"on"))
                    .map_err(|error| broken("append after recovery", error))?;
                drop(log);
                sim.crash();
                let (_, again) = open(&disk, honest).map_err(|error| broken("open after going on", error))?;
                let last = again.last();
                if last != Some(&(first, StreamId(9), b"on".to_vec())) || again.len() != seen.len() + 1 {
                    violated("what was appended after recovery is lost".to_owned())?;
                }
            }
            _ => {}
        }
        Ok(next)
    }

    /// Starts the process again. What the log shows then, it must never lose.
    fn restart(&mut self) -> Result<(), Violation> {
        self.act(|run| run.start())?;
        let next = self.running.as_ref().unwrap().1.next_position();
        self.model.calls.retain(|call| after(call) <= next);
        self.model.durable_before = next;
        self.acks.lock().unwrap().clear();
        Ok(())
    }

    fn start(&mut self) -> Result<(), Violation> {
        let opened = open(&self.disk, self.settings.clone());
        let (log, seen) = opened.map_err(|error| Violation(format!("start: {error}")))?;
        let acknowledged = self.acks.lock().unwrap().iter().map(|ack| ack.1).max().unwrap_or_default();
        self.model.judge(&seen, log.next_position(), acknowledged.max(self.model.durable_before))?;
        self.running = Some(LogWriter::stepped(log));
        Ok(())
    }
}
