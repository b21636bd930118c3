//! Runs the benches: `cargo xtask bench`. See `bench/README.md`.

#![allow(clippy::disallowed_methods, reason = "runs other programs, outside the store")]

use std::{
    process::{Command, ExitCode},
    time::Duration,
};

use bench::{
    Outcome,
    cql::Cql,
    engine, holdfast, link,
    load::Load,
    options::{Options, Suite, USAGE},
    place, report, rows,
    server::Kind,
    sessions, start, turns, waist,
    zookeeper::ZooKeeper,
};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    if options.build {
        build(options)?;
    }
    // One thread for the client: on two cores a second one would take the server's.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = world::process::StopSignals::watch()?;
        tokio::select! {
            result = suites(options) => result,
            // Servers are dropped, and so killed, on the way out.
            signal = signals.recv() => Err(format!("ended by {signal}").into()),
        }
    })
}

fn build(options: &Options) -> Outcome<()> {
    let wants = |suite| options.suites.contains(&suite);
    if wants(Suite::Log) {
        holdfast::build_bench("bench-log")?;
    }
    if wants(Suite::Engine) {
        holdfast::build_bench(engine::suite::PROGRAM)?;
    }
    if options.suites.iter().any(|suite| options.servers_of(*suite).contains(&Kind::Holdfast)) {
        holdfast::build()?;
    }
    Ok(())
}

async fn suites(options: &Options) -> Outcome<()> {
    for suite in Suite::ALL.into_iter().filter(|suite| options.suites.contains(suite)) {
        match suite {
            Suite::Start => start(options).await?,
            Suite::Log => log(options)?,
            Suite::Waist => waist(options).await?,
            Suite::Link => link(options).await?,
            Suite::Cql => load::<Cql>(suite, options).await?,
            Suite::ZooKeeper => load::<ZooKeeper>(suite, options).await?,
            Suite::Engine => engine(options).await?,
            Suite::Rows => rows(options).await?,
            Suite::Sessions => crowd(options).await?,
        }
    }
    Ok(())
}

async fn start(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Start, options);
    let starts = start::run(&options.servers_of(Suite::Start)).await?;
    let raw = starts.iter().map(start::Start::json).collect();
    report::keep(Suite::Start, options, &circumstances, raw, &report::start_table(&starts))
}

/// The log has a program of its own, which prints its table and its raw figures together.
fn log(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Log, options);
    let folder = place::data("log");
    place::emptied(&folder)?;
    let output = Command::new(place::root().join("target/release/bench-log")).arg(&folder).output()?;
    place::remove(&folder)?;
    if !output.status.success() {
        return Err(format!("bench-log failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let table = format!("```text\n{}\n```\n", text.trim_end());
    report::keep(Suite::Log, options, &circumstances, json!({ "output": text }), &table)
}

async fn waist(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Waist, options);
    // It has a runtime of its own, which can't be entered from a thread of this one.
    let costs = tokio::task::spawn_blocking(waist::run).await??;
    let raw: Value = costs.iter().map(waist::Cost::json).collect();
    report::keep(Suite::Waist, options, &circumstances, raw, &report::waist_table(&costs))
}

async fn link(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Link, options);
    let echoes = tokio::task::spawn_blocking(link::run).await??;
    let raw: Value = echoes.iter().map(link::Echoes::json).collect();
    report::keep(Suite::Link, options, &circumstances, raw, &report::link_table(&echoes))
}

async fn engine(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Engine, options);
    let (wanted, rounds) = (options.clone(), options.rounds_of(Suite::Engine));
    let results = tokio::task::spawn_blocking(move || engine::suite::run(&wanted, rounds)).await??;
    let table = engine::table::tables(&results);
    report::keep(Suite::Engine, options, &circumstances, results.json(), &table)
}

async fn rows(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Rows, options);
    let told = rows::run(options.rows, Duration::from_secs(options.seconds)).await?;
    let table = rows::table(&told);
    report::keep(Suite::Rows, options, &circumstances, told, &table)
}

async fn crowd(options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(Suite::Sessions, options);
    let crowd = if options.quick { sessions::Crowd::QUICK } else { sessions::Crowd::FULL };
    let told = sessions::run(&options.servers_of(Suite::Sessions), crowd).await?;
    let table = sessions::table(&told);
    report::keep(Suite::Sessions, options, &circumstances, told, &table)
}

async fn load<L: Load>(suite: Suite, options: &Options) -> Outcome<()> {
    let circumstances = report::circumstances(suite, options);
    let kinds = options.servers_of(suite);
    let runs = turns::take::<L>(&kinds, options.rounds_of(suite), options).await?;
    let raw = runs.iter().map(bench::figures::Run::json).collect();
    report::keep(suite, options, &circumstances, raw, &report::load_tables::<L>(&runs, &kinds))
}
