//! The binary `holdfast`: the roof, where doors, spine and world are put together.
//!
//! Everything a node is made of meets here and only here: doors know the waist, the spine
//! implements it, and neither knows the other.

mod ask;
mod cli;
mod cluster;
mod exit;
mod http;
mod place;
mod settings;
mod start;
mod tls;
mod verify;
mod view;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_target(false)
        .compact()
        .init();
    let done = match cli.command {
        cli::Command::Start(options) => start::start(options),
        cli::Command::Verify(options) => verify::verify(&options),
        cli::Command::Nodes(options) => ask::nodes(&options),
        cli::Command::Groups(options) => ask::groups(&options),
        cli::Command::Catalog(what) => ask::catalog(&what),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("holdfast: {}", refusal.message);
            ExitCode::from(refusal.exit.code())
        }
    }
}
