//! `sim`: runs seeds, tells the story of one, measures how long planted bugs live. See `cargo xtask
//! sim`, which builds it with optimisation.

use std::{process::ExitCode, sync::Arc, time::Duration};

use sim::{Bug, Many, Options, Plan, run, run_many};
use world::Clock;

const USAGE: &str = "usage: sim [--seeds N | --hours N] [--first N] [--nodes N]
       sim --seed N [--explain] [--nodes N]
       sim --bugs [--seeds N]

--seeds N    runs N seeds (2000 unless told), and fails if one fails or a probe was never reached
--hours N    runs seeds for so long
--first N    begins with seed N (0)
--nodes N    nodes of every cluster (the seed chooses)
--seed N     runs one seed; --explain tells its story
--bugs       plants each bug and tells in which seed it is found, as a table; fails if one is not found";

/// Seeds that fail before the run ends.
const FAILURES_MAX: usize = 5;

struct Args {
    seeds: u64,
    hours: Option<u64>,
    first: u64,
    nodes: u64,
    seed: Option<u64>,
    explain: bool,
    bugs: bool,
}

fn main() -> ExitCode {
    // A panic in a node is a violation, told once, with its seed.
    std::panic::set_hook(Box::new(|_| ()));
    let Some(args) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let sound = match args.seed {
        Some(seed) => one(seed, &args),
        None if args.bugs => bugs(&args),
        None => many(&args),
    };
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(args: impl Iterator<Item = String>) -> Option<Args> {
    let mut parsed =
        Args { seeds: 2_000, hours: None, first: 0, nodes: 0, seed: None, explain: false, bugs: false };
    let mut args = args;
    while let Some(flag) = args.next() {
        if flag == "--explain" {
            parsed.explain = true;
            continue;
        }
        if flag == "--bugs" {
            parsed.bugs = true;
            continue;
        }
        let number: u64 = args.next()?.parse().ok()?;
        match flag.as_str() {
            "--seeds" => parsed.seeds = number,
            "--hours" => parsed.hours = Some(number),
            "--first" => parsed.first = number,
            "--nodes" if number <= 9 => parsed.nodes = number,
            "--seed" => parsed.seed = Some(number),
            _ => return None,
        }
    }
    Some(parsed)
}

/// Runs one seed, twice, and tells how it went.
fn one(seed: u64, args: &Args) -> bool {
    let plan = Plan::of(seed, args.nodes);
    println!("{plan}");
    let report = run(&plan, Options { explain: args.explain, ..Options::default() });
    report.story.iter().for_each(|line| println!("{line}"));
    let again = run(&plan, Options::default());
    println!(
        "{} events, {} operations, {:.1} s simulated, trace {:016x}",
        report.steps,
        report.operations,
        report.simulated_us as f64 / 1e6,
        report.hash
    );
    if again.hash != report.hash {
        println!("NOT REPEATABLE: the second run's trace is {:016x}", again.hash);
        return false;
    }
    match &report.violation {
        None => println!("nothing wrong"),
        Some(violation) => println!("WRONG: {violation}"),
    }
    report.violation.is_none()
}

fn many(args: &Args) -> bool {
    let clock = Clock::real();
    let began = clock.boot();
    let more: Arc<dyn Fn(u64) -> bool + Send + Sync> = match args.hours {
        Some(hours) => {
            let clock = clock.clone();
            Arc::new(move |_| clock.boot() - began < Duration::from_secs(3_600 * hours))
        }
        None => {
            let seeds = args.seeds;
            Arc::new(move |nth| nth < seeds)
        }
    };
    let totals = match run_many(
        Many { first: args.first, nodes: args.nodes, failures_max: FAILURES_MAX, bug: None },
        more,
    ) {
        Ok(totals) => totals,
        Err(error) => {
            eprintln!("sim: {error}");
            return false;
        }
    };
    let real_s = (clock.boot() - began).as_secs_f64();
    let simulated_s = totals.simulated_us as f64 / 1e6;
    print!("{}", totals.probes);
    println!(
        "{} seeds, {} of them twice: {} operations, {} events; {simulated_s:.0} s simulated in {real_s:.1} s ({:.0} to 1)",
        totals.seeds,
        totals.twice,
        totals.operations,
        totals.steps,
        simulated_s / real_s
    );
    for (seed, violation) in &totals.failed {
        println!("WRONG: seed {seed}: {violation}");
    }
    let unreached: Vec<_> = totals.probes.unreached().collect();
    for probe in &unreached {
        println!("NEVER REACHED: {}", probe.text());
    }
    totals.failed.is_empty() && unreached.is_empty()
}

/// Plants every bug and prints a table of how long each lives.
fn bugs(args: &Args) -> bool {
    let mut all_found = true;
    println!("| bug | seeds until it is found | what is seen |");
    println!("|---|---:|---|");
    for bug in Bug::ALL {
        match find(*bug, args) {
            Err(error) => {
                eprintln!("sim: {error}");
                return false;
            }
            Ok(Some((seed, violation))) => {
                let seen = violation.replace('|', "/").replace('\n', " ");
                println!("| {bug} | {} | {seen} |", seed - args.first + 1);
            }
            Ok(None) => {
                println!("| {bug} | not in {} | |", args.seeds);
                all_found = false;
            }
        }
    }
    all_found
}

/// The first seed that is clean without the bug and is not with it.
fn find(bug: Bug, args: &Args) -> std::io::Result<Option<(u64, String)>> {
    let end = args.first + args.seeds;
    let mut first = args.first;
    while first < end {
        let many = Many { first, nodes: args.nodes, failures_max: 1, bug: Some(bug) };
        let totals = run_many(many, Arc::new(move |nth| first + nth < end))?;
        let Some((seed, violation)) = totals.failed.into_iter().next() else { break };
        if run(&Plan::of(seed, args.nodes), Options::default()).violation.is_none() {
            return Ok(Some((seed, violation)));
        }
        first = seed + 1;
    }
    Ok(None)
}
