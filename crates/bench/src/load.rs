//! A closed loop: so many workers, each asking for its next operation when the last is answered.
//!
//! Closed loops flatter a server that stalls (nobody arrives while it does), so what they compare
//! is cost an operation and latency at a stated number in flight, not behaviour under a flood.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use crate::{
    Outcome,
    process::{self, Cpu},
    server::{Server, Used},
};

/// What an operation does to the data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Replaces one value, durably.
    Write,
    /// Makes one more value beside the data set, durably.
    Create,
    /// Reads one value.
    Read,
}

/// One kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What each operation does.
    pub work: Work,
    /// How many operations are under way at any time.
    pub in_flight: usize,
}

impl Work {
    /// For the raw figures.
    pub fn name(self) -> &'static str {
        match self {
            Work::Write => "write",
            Work::Create => "create",
            Work::Read => "read",
        }
    }
}

/// What is promised beside a peer, as shares of its figures.
#[derive(Clone, Copy, Debug)]
pub struct Bars {
    /// Server processor time an operation.
    pub cpu: f64,
    /// The median latency with one operation in flight; not every suite promises it.
    pub p50_at_one: Option<f64>,
    /// The latency of 99 in 100 at this many in flight.
    pub p99_at: Option<(usize, f64)>,
}

/// A client program for one protocol.
pub trait Load: Sized + Send + Sync + 'static {
    /// The name of the suite, as given on the command line.
    const SUITE: &'static str;
    /// The kinds of runs, in the order they are made.
    const CELLS: &'static [Cell];
    /// What is promised.
    const BARS: Bars;
    /// How many values the data set has.
    const ITEMS: u64;

    /// What the protocol calls this work.
    fn work_name(work: Work) -> &'static str;

    /// Connects for `in_flight` operations at a time, and makes what the data set lies in if it
    /// isn't there.
    fn connect(server: &Server, in_flight: usize) -> impl Future<Output = Outcome<Self>>;

    /// Makes value number `item` of the data set.
    fn fill(&self, item: u64) -> impl Future<Output = Result<(), String>> + Send;

    /// Does one operation on the value that `random` chooses, and checks its answer.
    fn operate(
        &self,
        worker: usize,
        work: Work,
        random: u64,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Removes what [`Work::Create`] made, many at a time.
    fn clean(self: Arc<Self>, _at_a_time: usize) -> impl Future<Output = Outcome<()>> {
        async { Ok(()) }
    }
}

/// What one run came to.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds measured.
    pub seconds: f64,
    /// Operations answered rightly within them.
    pub operations: u64,
    /// Operations answered otherwise, or not at all.
    pub errors: u64,
    /// The first of those.
    pub first_error: Option<String>,
    /// Latency that half the operations kept within, microseconds.
    pub p50_us: f64,
    /// Latency that 99 in 100 kept within, microseconds.
    pub p99_us: f64,
    /// Latency that 999 in 1,000 kept within, microseconds.
    pub p999_us: f64,
    /// The longest, microseconds.
    pub max_us: f64,
    /// Processor time of the server.
    pub server_cpu: Cpu,
    /// The same by the names of its threads, microseconds; those that used none are left out.
    pub server_threads_us: BTreeMap<String, u64>,
    /// Processor time of the client, microseconds.
    pub client_cpu_us: u64,
    /// Fsyncs of the server, if it counts them.
    pub fsyncs: Option<u64>,
}

/// How the kernel names the threads in which a JVM compiles.
const JVM_COMPILERS: [&str; 2] = ["C1 CompilerThre", "C2 CompilerThre"];

impl Sample {
    /// Processor time of the server without a JVM's compiler: a server that has run for days does
    /// not pay for it any more, a run of seconds does. In the peers' favour, microseconds.
    pub fn steady_server_cpu_us(&self) -> u64 {
        let compiled = JVM_COMPILERS.iter().filter_map(|name| self.server_threads_us.get(*name));
        self.server_cpu.total_us().saturating_sub(compiled.sum())
    }
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// How long an operation begun within the run may stay unanswered before it counts as an error.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// A failed operation is followed by this pause: a loop of quick refusals is not a load.
const AFTER_ERROR: Duration = Duration::from_millis(1);
/// Latencies are told apart to 64 ns, or to three digits, up to a minute.
const LATENCY_BOUNDS_NS: (u64, u64) = (100, 60_000_000_000);

/// Loads `server` through `client` for `warm_up`, then for `measured`.
pub async fn run<L: Load>(
    client: &Arc<L>,
    server: &Server,
    cell: Cell,
    warm_up: Duration,
    measured: Duration,
) -> Outcome<Sample> {
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let begin = |worker| tokio::spawn(work(Arc::clone(client), Arc::clone(&phase), worker, cell.work));
    let workers: Vec<_> = (0..cell.in_flight).map(begin).collect();
    tokio::time::sleep(warm_up).await;
    let before = server.used()?;
    let (client_before, started) = (process::cpu(std::process::id())?, Instant::now());
    phase.store(MEASURE, Ordering::Relaxed);
    tokio::time::sleep(measured).await;
    phase.store(STOP, Ordering::Relaxed);
    let (seconds, client_after) = (started.elapsed().as_secs_f64(), process::cpu(std::process::id())?);
    let after = server.used()?;
    let tally = gather(workers).await?;
    Ok(tally.sample(seconds, (before, after), client_after.since(client_before).total_us()))
}

/// One worker's loop.
async fn work<L: Load>(client: Arc<L>, phase: Arc<AtomicU8>, worker: usize, work: Work) -> Tally {
    let mut tally = Tally::new();
    let mut random = Random::new(worker as u64);
    while phase.load(Ordering::Relaxed) != STOP {
        let started = Instant::now();
        let answer = client.operate(worker, work, random.next()).await;
        let failed = answer.is_err();
        // Counted by the moment of the answer, as the server's processor time is.
        if phase.load(Ordering::Relaxed) == MEASURE {
            tally.count(answer, started.elapsed());
        }
        if failed {
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
    tally
}

async fn gather(workers: Vec<JoinHandle<Tally>>) -> Outcome<Tally> {
    let mut total = Tally::new();
    let deadline = tokio::time::Instant::now() + LAST_ANSWER;
    for mut worker in workers {
        match tokio::time::timeout_at(deadline, &mut worker).await {
            Ok(tally) => total.add(tally?),
            Err(_) => {
                worker.abort();
                total.fail(format!("no answer within {} s", LAST_ANSWER.as_secs()));
            }
        }
    }
    Ok(total)
}

/// Makes the data set, many values at a time.
pub async fn fill<L: Load>(client: &Arc<L>, at_a_time: usize) -> Outcome<()> {
    let client = Arc::clone(client);
    let act = move |_, item| {
        let client = Arc::clone(&client);
        async move { client.fill(item).await }
    };
    let filled = each(L::ITEMS, at_a_time, act).await;
    Ok(filled.map_err(|error| format!("the data set could not be written: {error}"))?)
}

/// Does `act` with every number below `count`, by `workers` at once, each of which it is told the number of.
///
/// # Errors
/// The first of theirs.
pub(crate) async fn each<F>(
    count: u64,
    workers: usize,
    act: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let begin = |worker| {
        let (act, next) = (act.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    item if item >= count => return Ok(()),
                    item => act(worker, item).await?,
                }
            }
        })
    };
    let begun: Vec<JoinHandle<Result<(), String>>> = (0..workers).map(begin).collect();
    for worker in begun {
        worker.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// What one worker counted.
struct Tally {
    latencies_ns: Histogram<u32>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn new() -> Tally {
        let (low, high) = LATENCY_BOUNDS_NS;
        let latencies_ns =
            Histogram::new_with_bounds(low, high, 3).expect("the bounds and digits are constants");
        Tally { latencies_ns, errors: 0, first_error: None }
    }

    fn count(&mut self, answer: Result<(), String>, latency: Duration) {
        match answer {
            Ok(()) => self.latencies_ns.saturating_record(latency.as_nanos() as u64),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    fn add(&mut self, other: Tally) {
        self.latencies_ns.add(other.latencies_ns).expect("all histograms have the same bounds");
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn sample(self, seconds: f64, (before, after): (Used, Used), client_cpu_us: u64) -> Sample {
        let within = |quantile| self.latencies_ns.value_at_quantile(quantile) as f64 / 1000.0;
        Sample {
            seconds,
            operations: self.latencies_ns.len(),
            errors: self.errors,
            p50_us: within(0.5),
            p99_us: within(0.99),
            p999_us: within(0.999),
            max_us: self.latencies_ns.max() as f64 / 1000.0,
            first_error: self.first_error,
            server_cpu: after.cpu.since(before.cpu),
            client_cpu_us,
            fsyncs: after.fsyncs.zip(before.fsyncs).map(|(after, before)| after - before),
            server_threads_us: grown(&before.threads_us, after.threads_us),
        }
    }
}

/// What each thread used; one that ended in between would seem to have used less than nothing.
fn grown(before: &BTreeMap<String, u64>, mut after: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (name, used_us) in &mut after {
        *used_us = used_us.saturating_sub(before.get(name).copied().unwrap_or(0));
    }
    after.retain(|_, used_us| *used_us > 0);
    after
}

/// A quick sequence of numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xA076_1D64_78BD_642F))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A pool of bytes that do not compress; values are slices of it, so that making one costs the
/// client nothing.
pub(crate) struct Values(Vec<u8>);

impl Values {
    pub(crate) fn new() -> Values {
        let mut random = Random::new(u64::MAX);
        Values((0..POOL_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect())
    }

    /// A value of `length` bytes, one of a million.
    pub(crate) fn value(&self, random: u64, length: usize) -> &[u8] {
        // The low bits choose the key.
        let start = (random >> 32) as usize % (self.0.len() - length);
        &self.0[start..start + length]
    }
}

const POOL_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Addresses, Kind};

    #[test]
    fn tallies_add_up_and_keep_the_first_error() {
        let mut total = Tally::new();
        for microseconds in 1..=100 {
            let mut tally = Tally::new();
            tally.count(Ok(()), Duration::from_micros(microseconds));
            tally.count(Err(format!("error {microseconds}")), Duration::ZERO);
            total.add(tally);
        }
        let before = Used { cpu: Cpu { user_us: 10, system_us: 1 }, fsyncs: Some(1), ..Used::default() };
        let threads_us = BTreeMap::from([("door".to_owned(), 14), ("C2 CompilerThre".to_owned(), 6)]);
        let after = Used { cpu: Cpu { user_us: 30, system_us: 1 }, fsyncs: Some(4), threads_us };
        let sample = total.sample(1.0, (before, after), 5);
        assert_eq!((sample.operations, sample.errors), (100, 100));
        assert_eq!(sample.first_error.as_deref(), Some("error 1"));
        assert!((49.0..52.0).contains(&sample.p50_us), "{}", sample.p50_us);
        assert!((98.0..101.0).contains(&sample.p99_us), "{}", sample.p99_us);
        assert_eq!((sample.server_cpu.total_us(), sample.fsyncs), (20, Some(3)));
        assert_eq!(sample.server_threads_us["door"], 14);
        assert_eq!(sample.steady_server_cpu_us(), 14);
    }

    /// Answers after a millisecond; worker 0 is refused.
    struct Fake;

    impl Load for Fake {
        const SUITE: &'static str = "fake";
        const CELLS: &'static [Cell] = &[Cell { work: Work::Read, in_flight: 4 }];
        const BARS: Bars = Bars { cpu: 0.5, p50_at_one: None, p99_at: None };
        const ITEMS: u64 = 10;

        fn work_name(_: Work) -> &'static str {
            "fake"
        }

        async fn connect(_: &Server, _: usize) -> Outcome<Fake> {
            Ok(Fake)
        }

        async fn fill(&self, item: u64) -> Result<(), String> {
            if item == 9 { Err("full".to_owned()) } else { Ok(()) }
        }

        async fn operate(&self, worker: usize, _: Work, _: u64) -> Result<(), String> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if worker == 0 { Err("refused".to_owned()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_loop_counts_answers_and_refusals_and_ends() {
        let data = std::env::temp_dir().join(format!("bench-load-{}", std::process::id()));
        std::fs::create_dir(&data).expect("a new folder");
        let mut command = std::process::Command::new("sleep");
        command.arg("60");
        let launched = Server::launch(Kind::ZooKeeper, command, data, || Some(Addresses::default()));
        let server = launched.await.expect("sleep starts");
        let client = Arc::new(Fake::connect(&server, 4).await.expect("a fake"));
        let (warm_up, measured) = (Duration::from_millis(20), Duration::from_millis(200));
        let sample = run(&client, &server, Fake::CELLS[0], warm_up, measured).await.expect("a run");
        assert!((20..=600).contains(&sample.operations), "{sample:?}");
        assert!((5..=200).contains(&sample.errors), "{sample:?}");
        assert_eq!(sample.first_error.as_deref(), Some("refused"));
        assert!(sample.p50_us >= 1000.0 && sample.seconds >= 0.2);
        let error = fill(&client, 3).await.expect_err("item 9 is refused");
        assert!(error.to_string().contains("full"));
    }

    #[test]
    fn values_have_their_length_and_differ() {
        let (values, mut random) = (Values::new(), Random::new(1));
        let (one, two) = (values.value(random.next(), 1024), values.value(random.next(), 1024));
        assert_eq!((one.len(), two.len()), (1024, 1024));
        assert_ne!(one, two);
        assert_eq!(values.value(u64::MAX, 256).len(), 256);
    }
}
