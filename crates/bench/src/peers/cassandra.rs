//! Apache Cassandra 5.0.6, one node, in the two ways it can acknowledge a write. The jars carry no
//! settings; what is not said here has its shipped default. Heap: `-Xmx2g`, the garbage collector
//! options those of its own `jvm17-server.options`, without the shipped `AlwaysPreTouch` and equal
//! `-Xms`, which would only make its memory look larger.

use std::{fs, net::TcpStream, path::Path, process::Command, time::Duration};

use super::Artifact;
use crate::{
    Outcome, place,
    server::{Addresses, Kind, Server, free_port, loopback},
};

const ARTIFACTS: [Artifact; 1] = [("org.apache.cassandra", "cassandra-all", "5.0.6")];

/// The shipped default: an answer may come up to 10 s before its fsync.
pub(crate) const PERIODIC: &str = "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms\n";
/// Durable: the answer comes after the fsync.
pub(crate) const BATCH: &str = "commitlog_sync: batch\n";

pub(crate) async fn start(kind: Kind, commitlog: &str) -> Outcome<Server> {
    let java = super::java()?;
    let lib = super::jars("cassandra-5.0.6", &ARTIFACTS)?;
    let data = place::data(kind.name());
    let settings = data.join("conf");
    place::emptied(&settings)?;
    let [cql, internode, management] = [free_port()?, free_port()?, free_port()?];
    fs::write(settings.join("cassandra.yaml"), yaml(&data, commitlog, cql, internode))?;
    fs::write(settings.join("logback.xml"), LOGBACK)?;
    let mut command = Command::new(java);
    command.args(MACHINE).arg(java_agent(&lib));
    command.arg(format!("-Dcassandra.config=file://{}", settings.join("cassandra.yaml").display()));
    command.arg(format!("-Dcassandra.storagedir={}", data.display()));
    command.arg(format!("-Dcassandra.jmx.local.port={management}"));
    command.args(exports());
    command.arg("-cp").arg(super::class_path(Some(&settings), &lib));
    command.arg("org.apache.cassandra.service.CassandraDaemon");
    let address = loopback(cql);
    let is_ready = || {
        // The CQL port opens when the node has joined.
        let open = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        open.then_some(Addresses { cql: Some(address), ..Addresses::default() })
    };
    Server::launch(kind, command, data, is_ready).await
}

fn java_agent(lib: &Path) -> String {
    format!("-javaagent:{}", lib.join("jamm-0.4.0.jar").display())
}

const MACHINE: [&str; 15] = [
    "-Xmx2g",
    super::STEADY_COMPILERS,
    "-Xss256k",
    "-XX:+UseG1GC",
    "-XX:+ParallelRefProcEnabled",
    "-XX:MaxTenuringThreshold=1",
    "-XX:G1HeapRegionSize=16m",
    "-XX:G1RSetUpdatingPauseTimePercent=5",
    "-XX:MaxGCPauseMillis=300",
    "-XX:InitiatingHeapOccupancyPercent=70",
    "-XX:+PerfDisableSharedMem",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.security.manager=allow",
    "-Dcassandra-foreground=yes",
    "-Djdk.attach.allowAttachSelf=true",
];

const EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];

const OPENS: [&str; 15] = [
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

fn exports() -> impl Iterator<Item = String> {
    let exports = EXPORTS.iter().map(|package| format!("--add-exports={package}=ALL-UNNAMED"));
    exports.chain(OPENS.iter().map(|package| format!("--add-opens={package}=ALL-UNNAMED")))
}

/// Without it logback prints every debug line, which costs as much as the work.
const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

fn yaml(data: &Path, commitlog: &str, cql: u16, internode: u16) -> String {
    let data = data.display();
    format!(
        "cluster_name: bench
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: [{data}/data]
commitlog_directory: {data}/commitlog
saved_caches_directory: {data}/saved_caches
hints_directory: {data}/hints
cdc_raw_directory: {data}/cdc_raw
{commitlog}seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: '127.0.0.1:{internode}'}}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {internode}
native_transport_port: {cql}
endpoint_snitch: SimpleSnitch
disk_failure_policy: stop
commit_failure_policy: stop
"
    )
}
