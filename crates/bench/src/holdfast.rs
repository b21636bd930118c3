//! Our own server, started as a user starts it, on free ports.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Outcome, place,
    server::{Addresses, Kind, Server, ask, number_after},
};

/// Builds the release binary.
pub fn build() -> Outcome<()> {
    cargo(&["--package", "server", "--bin", "holdfast"])
}

/// Builds the release binary of one of this crate's programs.
pub fn build_bench(name: &str) -> Outcome<()> {
    cargo(&["--package", "bench", "--bin", name])
}

/// Builds the binary with its assertions, for runs that judge what it says and not how fast.
pub fn build_debug() -> Outcome<()> {
    build_with(&["--package", "server", "--bin", "holdfast"])
}

fn cargo(what: &[&str]) -> Outcome<()> {
    build_with(&[&["--release"], what].concat())
}

fn build_with(what: &[&str]) -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(place::root()).args(["build", "--quiet"]).args(what);
    if command.status()?.success() { Ok(()) } else { Err(format!("cargo could not build {what:?}").into()) }
}

/// Starts it with every door open, on an empty folder.
pub(crate) async fn start() -> Outcome<Server> {
    let data = place::data(Kind::Holdfast.name());
    place::emptied(&data)?;
    start_on(data, &[]).await
}

/// Starts it with every door open on the folder `data`, whatever is in it, with `settings`
/// (`NAME=VALUE`).
pub(crate) async fn start_on(data: PathBuf, settings: &[String]) -> Outcome<Server> {
    start_binary(place::root().join("target/release/holdfast"), data, settings).await
}

/// What [`build_debug`] makes.
pub(crate) fn debug_binary() -> PathBuf {
    place::root().join("target/debug/holdfast")
}

/// As [`start_on`], with another binary.
pub(crate) async fn start_binary(binary: PathBuf, data: PathBuf, settings: &[String]) -> Outcome<Server> {
    let mut command = Command::new(binary);
    command.arg("start").arg("--data-dir").arg(&data);
    for setting in settings {
        command.arg("--set").arg(setting);
    }
    for door in ["cql", "zookeeper", "http"] {
        command.arg("--listen").arg(format!("{door}=127.0.0.1:0"));
    }
    let listen = data.join("listen.json");
    // One that was killed has left the addresses that it had.
    if let Err(error) = fs::remove_file(&listen)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error.into());
    }
    Server::launch(Kind::Holdfast, command, data, || ready(&listen)).await
}

/// The addresses in `listen.json`, once the server behind them says that it is ready.
fn ready(listen: &Path) -> Option<Addresses> {
    let addresses = parse_listen(&fs::read(listen).ok()?)?;
    let answer = get(addresses.http?, "/ready").ok()?;
    answer.lines().next()?.contains(" 200").then_some(addresses)
}

/// `{"pid":N,"doors":{"cql":"127.0.0.1:9042",...}}`; a file written halfway is no answer yet.
fn parse_listen(bytes: &[u8]) -> Option<Addresses> {
    let listen: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let door = |name: &str| listen["doors"][name].as_str()?.parse::<SocketAddr>().ok();
    Some(Addresses { cql: door("cql"), zookeeper: door("zookeeper"), http: door("http") })
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Calls of fdatasync by the log so far.
pub(crate) fn fsyncs(http: SocketAddr) -> Outcome<Option<u64>> {
    Ok(number_after(&get(http, "/metrics")?, "holdfast_log_fsyncs_total"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_listen_file_is_no_answer() {
        let whole = br#"{"pid":1,"doors":{"cql":"127.0.0.1:9042","http":"127.0.0.1:7070"}}"#;
        let addresses = parse_listen(whole).expect("whole");
        assert_eq!(addresses.cql.map(|address| address.port()), Some(9042));
        assert_eq!(addresses.zookeeper, None);
        assert_eq!(parse_listen(&whole[..20]), None);
    }
}
