//! Compares the ZooKeeper door with Apache ZooKeeper: `cargo xtask diff zookeeper`. See `bench::diff`.

use std::process::ExitCode;

use bench::{
    Outcome,
    diff::{self, Plan},
    holdfast, place,
};

const USAGE: &str = "usage: cargo xtask diff zookeeper [--operations N] [--seed N] [--no-shrink] [--record]

Plays random programs on both servers until N requests (default 100000) were compared, and prints what
differs. --record writes what the peer answers to the first 20000 requests of the seed to RECORD, which the
door's tests replay.";

const RECORD: &str = "crates/door-zk/tests/golden/zookeeper-3.9.5.peer.zst";
const RECORDED_OPERATIONS: usize = 20_000;
/// The best that costs no more than a few seconds.
const COMPRESSION_LEVEL: i32 = 19;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-diff: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<bool> {
    let (mut plan, mut records) = (Plan { operations: 100_000, seed: 1, shrinks: true }, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|word| word.parse::<u64>().ok()).ok_or(USAGE);
        match arg.as_str() {
            "--operations" => plan.operations = number()? as usize,
            "--seed" => plan.seed = number()?,
            "--no-shrink" => plan.shrinks = false,
            "--record" => records = true,
            _ => return Err(USAGE.into()),
        }
    }
    holdfast::build_debug()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = world::process::StopSignals::watch()?;
        tokio::select! {
            outcome = act(plan, records) => outcome,
            // Servers are dropped, and so killed, on the way out.
            signal = signals.recv() => Err(format!("ended by {signal}").into()),
        }
    })
}

async fn act(plan: Plan, records: bool) -> Outcome<bool> {
    if !records {
        return Ok(diff::run(plan).await?.differences == 0);
    }
    let scenes = diff::record(Plan { operations: RECORDED_OPERATIONS, ..plan }).await?;
    let text = format!(
        "# Random programs of eight clients, and what Apache ZooKeeper 3.9.5 answered; see bench::diff.\n\
         # Written by `cargo xtask diff zookeeper --record --seed {}`.\n\n{}",
        plan.seed,
        door_zk::script::print(&scenes)
    );
    let packed = zstd::encode_all(text.as_bytes(), COMPRESSION_LEVEL)?;
    std::fs::write(place::root().join(RECORD), &packed)?;
    println!("{RECORD}: {} scenes, {} bytes, {} when packed", scenes.len(), text.len(), packed.len());
    Ok(true)
}
