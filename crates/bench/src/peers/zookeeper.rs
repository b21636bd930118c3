//! Apache ZooKeeper 3.9.5, one server, as shipped: every write is fsynced before its answer.
//! There is no logging back end among its jars, so it writes no log lines; that is in its favour.

use std::{fs, net::SocketAddr, process::Command};

use super::Artifact;
use crate::{
    Outcome, place,
    server::{Addresses, Kind, Server, ask, free_port, loopback, number_after},
};

const ARTIFACTS: [Artifact; 3] = [
    ("org.apache.zookeeper", "zookeeper", "3.9.5"),
    ("io.dropwizard.metrics", "metrics-core", "4.1.12.1"),
    ("org.xerial.snappy", "snappy-java", "1.1.10.5"),
];

pub(crate) async fn start() -> Outcome<Server> {
    start_with(Kind::ZooKeeper.name(), &[]).await
}

/// Starts it on the emptied folder `folder`, with more options of the Java machine.
pub(crate) async fn start_with(folder: &str, properties: &[String]) -> Outcome<Server> {
    let lib = super::jars("zookeeper-3.9.5", &ARTIFACTS)?;
    let data = place::data(folder);
    place::emptied(&data)?;
    let port = free_port()?;
    let settings = data.join("zoo.cfg");
    fs::write(
        &settings,
        format!(
            "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             4lw.commands.whitelist=*\nadmin.enableServer=false\nmaxClientCnxns=0\n",
            data.display()
        ),
    )?;
    let mut command = Command::new(super::java()?);
    command.args(["-Xmx512m", super::STEADY_COMPILERS, "-Dfile.encoding=UTF-8"]);
    command.args(properties).args(["-Dzookeeper.extendedTypesEnabled=true", "-cp"]);
    command.arg(super::class_path(None, &lib));
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(&settings);
    let address = loopback(port);
    let is_ready = || {
        // `srvr` answers with the version only when the server can take sessions.
        let answer = ask(address, b"srvr").ok()?;
        answer
            .starts_with("Zookeeper version")
            .then_some(Addresses { zookeeper: Some(address), ..Addresses::default() })
    };
    Server::launch(Kind::ZooKeeper, command, data, is_ready).await
}

/// Fsyncs of its transaction log so far.
pub(crate) fn fsyncs(address: SocketAddr) -> Outcome<Option<u64>> {
    Ok(number_after(&ask(address, b"mntr")?, "zk_cnt_fsynctime"))
}
