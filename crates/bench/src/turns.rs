//! Servers take turns under the same load, in one run, so that what the machine does to one it
//! does to all.
//!
//! All stay alive between their turns, because a JVM that is started anew measures its compiler;
//! those whose turn it isn't are stopped with SIGSTOP, so that their compactions don't run in
//! another's time. Each round begins with another server.

use std::{sync::Arc, time::Duration};

use crate::{
    Outcome,
    figures::Run,
    fsync,
    load::{self, Cell, Load},
    options::Options,
    place, process,
    server::{Kind, Server},
};

/// Between the end of a pause and the first request, so that timers which ran out settle.
const SETTLE: Duration = Duration::from_millis(500);
/// Between the end of a load and the next pause, so that sessions are closed.
const CLOSE: Duration = Duration::from_millis(200);

/// How many remove at a time what a turn has made.
const CLEANERS: usize = 64;

/// Starts `kinds`, lets them take turns, and stops them.
pub async fn take<L: Load>(kinds: &[Kind], rounds: usize, options: &Options) -> Outcome<Vec<Run>> {
    if kinds.is_empty() {
        return Err(format!("none of the servers named belongs to the suite {}", L::SUITE).into());
    }
    let mut servers = Vec::new();
    for kind in kinds {
        eprintln!("{}: starting, filling, warming up {}", L::SUITE, kind.name());
        let server = kind.start().await?;
        prepare::<L>(&server, options).await?;
        server.pause()?;
        servers.push(server);
    }
    if options.pin {
        // Only now: a JVM that is born on one core chooses another garbage collector.
        for server in &servers {
            process::pin(server.pid(), "0")?;
        }
        process::pin(std::process::id(), "1")?;
    }
    let mut runs = Vec::new();
    for round in 0..rounds {
        if round > 0 {
            servers.rotate_left(1);
        }
        for &cell in L::CELLS {
            for server in &servers {
                let run = turn::<L>(server, cell, round, options).await?;
                eprintln!("{}", run.line(L::work_name(cell.work)));
                runs.push(run);
            }
        }
    }
    if options.pin {
        process::pin(std::process::id(), &format!("0-{}", process::cores() - 1))?;
    }
    for server in servers {
        server.stop().await?;
    }
    Ok(runs)
}

/// Writes the data set and runs each heavy load for a while.
async fn prepare<L: Load>(server: &Server, options: &Options) -> Outcome<()> {
    let most = L::CELLS.iter().map(|cell| cell.in_flight).max().unwrap_or(1);
    let client = Arc::new(L::connect(server, most).await?);
    load::fill(&client, most).await?;
    let warm_up = Duration::from_secs(options.first_warm_up_seconds);
    for &cell in L::CELLS.iter().filter(|cell| cell.in_flight == most) {
        load::run(&client, server, cell, warm_up, Duration::from_millis(100)).await?;
        client.clone().clean(most).await?;
    }
    drop(client);
    tokio::time::sleep(CLOSE).await;
    Ok(())
}

async fn turn<L: Load>(server: &Server, cell: Cell, round: usize, options: &Options) -> Outcome<Run> {
    let fdatasync_p50_us = fsync::p50_us(&place::root().join("target/bench"))?;
    server.resume()?;
    tokio::time::sleep(SETTLE).await;
    let client = Arc::new(L::connect(server, cell.in_flight).await?);
    let warm_up = Duration::from_secs(options.warm_up_seconds);
    let sample = load::run(&client, server, cell, warm_up, Duration::from_secs(options.seconds)).await?;
    let size = process::size(server.pid())?;
    client.clean(CLEANERS).await?;
    tokio::time::sleep(CLOSE).await;
    server.pause()?;
    Ok(Run { server: server.kind, cell, round, sample, size, fdatasync_p50_us })
}
