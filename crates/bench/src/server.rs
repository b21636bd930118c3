//! A server under load: a child process, where it listens, and what it costs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Outcome, holdfast, peers, place,
    process::{self, Cpu},
};

/// The servers that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Holdfast,
    /// Cassandra as it is shipped: acknowledges before fsync, and fsyncs every 10 s.
    CassandraPeriodic,
    /// Cassandra that acknowledges after fsync, as Holdfast does.
    CassandraBatch,
    /// ZooKeeper, which acknowledges after fsync.
    ZooKeeper,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] =
        [Kind::Holdfast, Kind::CassandraBatch, Kind::CassandraPeriodic, Kind::ZooKeeper];

    /// Its name in options, file names and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Holdfast => "holdfast",
            Kind::CassandraPeriodic => "cassandra-periodic",
            Kind::CassandraBatch => "cassandra-batch",
            Kind::ZooKeeper => "zookeeper",
        }
    }

    /// Starts it on an empty folder and waits until it serves.
    pub async fn start(self) -> Outcome<Server> {
        match self {
            Kind::Holdfast => holdfast::start().await,
            Kind::CassandraPeriodic => peers::cassandra::start(self, peers::cassandra::PERIODIC).await,
            Kind::CassandraBatch => peers::cassandra::start(self, peers::cassandra::BATCH).await,
            Kind::ZooKeeper => peers::zookeeper::start().await,
        }
    }
}

/// Where a server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// CQL.
    pub cql: Option<SocketAddr>,
    /// ZooKeeper.
    pub zookeeper: Option<SocketAddr>,
    /// HTTP: health and metrics.
    pub http: Option<SocketAddr>,
}

/// What a server has used up to one moment.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// Processor time.
    pub cpu: Cpu,
    /// Processor time of its threads by name, microseconds.
    pub threads_us: BTreeMap<String, u64>,
    /// Calls of fsync, if the server counts them.
    pub fsyncs: Option<u64>,
}

/// A running server. Dropping it kills the process and removes its data.
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where it answers.
    pub addresses: Addresses,
    /// Milliseconds from the start of the process until it served.
    pub ready_after_ms: f64,
    child: Child,
    /// What is removed with it.
    data: Option<PathBuf>,
}

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long it may take to stop when asked to, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

impl Server {
    /// Starts `command`, whose data is in `data`, and asks `is_ready` until it gives addresses.
    /// Output goes to the server's log file.
    pub(crate) async fn launch(
        kind: Kind,
        mut command: Command,
        data: PathBuf,
        is_ready: impl Fn() -> Option<Addresses>,
    ) -> Outcome<Server> {
        let log = place::log(kind.name());
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| format!("{} does not start: {error}", kind.name()))?;
        let mut server =
            Server { kind, addresses: Addresses::default(), ready_after_ms: 0.0, child, data: Some(data) };
        loop {
            if let Some(addresses) = is_ready() {
                server.addresses = addresses;
                server.ready_after_ms = started.elapsed().as_secs_f64() * 1000.0;
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended at its start ({status}):\n{}", kind.name(), tail(kind)).into());
            }
            if started.elapsed() > START_TIMEOUT {
                return Err(format!("{} is not ready in time:\n{}", kind.name(), tail(kind)).into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used so far.
    pub fn used(&self) -> Outcome<Used> {
        let (cpu, threads_us) = (process::cpu(self.pid())?, process::threads_us(self.pid())?);
        Ok(Used { cpu, threads_us, fsyncs: self.fsyncs()? })
    }

    fn fsyncs(&self) -> Outcome<Option<u64>> {
        match (self.kind, self.addresses) {
            (Kind::Holdfast, Addresses { http: Some(address), .. }) => holdfast::fsyncs(address),
            (Kind::ZooKeeper, Addresses { zookeeper: Some(address), .. }) => {
                peers::zookeeper::fsyncs(address)
            }
            _ => Ok(None),
        }
    }

    /// Takes the processor away from it, so that its background work does not disturb another's
    /// turn.
    pub fn pause(&self) -> Outcome<()> {
        process::signal(self.pid(), "STOP")
    }

    /// Gives the processor back.
    pub fn resume(&self) -> Outcome<()> {
        process::signal(self.pid(), "CONT")
    }

    /// Asks it to stop and waits; a server that does not is killed, and that is an error.
    pub async fn stop(mut self) -> Outcome<()> {
        self.resume()?;
        process::signal(self.pid(), "TERM")?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{} did not stop in {} s and was killed", self.kind.name(), STOP_TIMEOUT.as_secs())
            .into())
    }
}

impl Server {
    /// Its data stays when it ends.
    pub fn keep_data(&mut self) {
        self.data = None;
    }

    /// Kills it, so that nothing that it has begun is ended.
    pub fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL ends a paused process too; one that ended by itself has nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(data) = &self.data
            && let Err(error) = place::remove(data)
        {
            eprintln!("{}: its data stays behind: {error}", self.kind.name());
        }
    }
}

/// The last lines a server printed.
fn tail(kind: Kind) -> String {
    let text = fs::read(place::log(kind.name())).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A loopback port that is free now. Another process may take it before the server does; then the
/// server says so and the run is repeated.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A loopback address with `port`.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// How long one question to a server may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 4 << 20;

/// Sends `question` on a fresh connection and reads until the server closes it.
pub(crate) fn ask(address: SocketAddr, question: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ASK_TIMEOUT)?;
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    stream.write_all(question)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The sum of the numbers on the lines of `text` that begin with `name`, labels in braces or none,
/// and white space; `None` if there is no such line.
pub(crate) fn number_after(text: &str, name: &str) -> Option<u64> {
    let numbers = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        let value = rest.strip_prefix([' ', '\t'])?.split_ascii_whitespace().next()?;
        Some(value.parse::<f64>().ok()? as u64)
    });
    numbers.reduce(|sum, number| sum + number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_server_that_ends_at_its_start_is_told_with_its_last_words() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let data = std::env::temp_dir().join(format!("bench-server-{}", std::process::id()));
        fs::create_dir(&data).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the port is taken; exit 3"]);
        let launched = Server::launch(Kind::CassandraBatch, command, data.clone(), || None);
        let error = runtime.block_on(launched).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("the port is taken"), "{error}");
        assert!(!data.exists());
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP a\na_total_more 9\na_total 12\nb\t3.0\n";
        assert_eq!(number_after(text, "a_total"), Some(12));
        assert_eq!(number_after(text, "b"), Some(3));
        assert_eq!(number_after(text, "a"), None);
        assert_eq!(number_after("a{disk=\"0\"} 2\na{disk=\"1\"} 3\n", "a"), Some(5));
    }
}
