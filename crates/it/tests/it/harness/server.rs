//! A server process: started, asked where it listens, killed in every way, started again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use super::{Process, Scratch, eventually, http};

/// A server is ready, or has refused to start, within this. Far above what it needs, because the
/// machine may be busy compiling.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server that was asked to stop has stopped within this.
const STOP_LIMIT: Duration = Duration::from_secs(30);

const DOORS: [&str; 3] = ["cql", "zookeeper", "http"];

/// How a server is to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    scratch: Scratch,
    flags: Vec<String>,
    listen: BTreeMap<String, String>,
    in_memory: bool,
    data: PathBuf,
}

impl Launch {
    /// Every door on a free port, over an empty data directory.
    pub(crate) fn new(name: &str) -> Launch {
        let listen = DOORS.map(|door| (door.to_owned(), "127.0.0.1:0".to_owned())).into();
        let scratch = Scratch::new(name);
        let data = scratch.path().join("data");
        Launch { scratch, flags: Vec::new(), listen, in_memory: false, data }
    }

    /// Adds command-line arguments.
    pub(crate) fn flags(mut self, flags: &[&str]) -> Launch {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Makes segments, memtables and files small, so that kills fall into their making too.
    pub(crate) fn small_files(self) -> Launch {
        let small = [
            "log.segment_bytes=1048576",
            "log.max_record_bytes=262144",
            "log.keep_bytes=1048576",
            "engine.memtable_bytes=65536",
            "engine.file_bytes=65536",
            "engine.level_bytes=262144",
        ];
        self.flags(&small.map(|setting| ["--set", setting]).concat())
    }

    /// Sets where a door listens; `off` closes it.
    pub(crate) fn listen(mut self, door: &str, address: &str) -> Launch {
        self.listen.insert(door.to_owned(), address.to_owned());
        self
    }

    /// Leaves every door's address to the server's defaults.
    pub(crate) fn default_ports(mut self) -> Launch {
        self.listen.clear();
        self
    }

    /// Runs on the RAM disk.
    pub(crate) fn in_memory(mut self) -> Launch {
        self.in_memory = true;
        self
    }

    /// Writes a settings file and names it on the command line.
    pub(crate) fn config(self, text: &str) -> Launch {
        let path = self.scratch.path().join("holdfast.toml");
        fs::write(&path, text).unwrap();
        self.flags(&["--config", path.to_str().unwrap()])
    }

    /// Uses another server's data directory.
    pub(crate) fn over(mut self, data: &Path) -> Launch {
        self.data = data.to_owned();
        self
    }

    /// A folder for whatever else the test keeps.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("start").current_dir(self.scratch.path()).stdin(Stdio::null());
        if self.in_memory {
            command.arg("--in-memory");
        } else {
            command.arg("--data-dir").arg(&self.data);
        }
        for (door, address) in &self.listen {
            command.arg("--listen").arg(format!("{door}={address}"));
        }
        command.args(&self.flags);
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn start(self) -> Server {
        let log = self.scratch.path().join("server.log");
        let process = spawn(self.command(), &log);
        let mut server = Server { launch: self, log, process: Some(process), doors: BTreeMap::new() };
        server.wait_until_ready();
        server
    }

    /// Starts it and expects it to refuse: its exit code and everything that it said.
    pub(crate) fn refused(&self) -> (i32, String) {
        let log = self.scratch.path().join("refused.log");
        let _ = fs::remove_file(&log);
        let status = spawn(self.command(), &log)
            .ends_within(START_LIMIT)
            .unwrap_or_else(|| panic!("the server was to refuse, and runs: {}", said(&log)));
        (status.code().expect("an exit, not a signal"), said(&log))
    }
}

/// A running server, or one that was killed and can be started again. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    launch: Launch,
    log: PathBuf,
    process: Option<Process>,
    doors: BTreeMap<String, SocketAddr>,
}

impl Server {
    /// A server with the defaults, on free ports, over an empty data directory.
    pub(crate) fn start(name: &str) -> Server {
        Launch::new(name).start()
    }

    pub(crate) fn cql(&self) -> SocketAddr {
        self.door("cql")
    }

    pub(crate) fn zookeeper(&self) -> SocketAddr {
        self.door("zookeeper")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.door("http")
    }

    pub(crate) fn node(&self) -> SocketAddr {
        self.door("node")
    }

    fn door(&self, name: &str) -> SocketAddr {
        *self.doors.get(name).unwrap_or_else(|| panic!("the door {name} is closed; open: {:?}", self.doors))
    }

    /// The doors that are open.
    pub(crate) fn doors(&self) -> &BTreeMap<String, SocketAddr> {
        &self.doors
    }

    pub(crate) fn data(&self) -> &Path {
        &self.launch.data
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.launch.scratch()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").pid()
    }

    /// What it wrote to standard output and error since its first start.
    pub(crate) fn said(&self) -> String {
        said(&self.log)
    }

    /// Whether the process is still there.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take().expect("running"));
    }

    /// Asks it to stop with `signal`, and waits until it did.
    pub(crate) fn stop(&mut self, with: &str) -> ExitStatus {
        let mut process = self.process.take().expect("running");
        process.signal(with);
        process.ends_within(STOP_LIMIT).unwrap_or_else(|| {
            panic!("SIG{with} did not stop the server within {STOP_LIMIT:?}:\n{}", self.said())
        })
    }

    /// Starts it again, over the same data and on the same ports, and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "stop it first");
        for (door, address) in &self.doors {
            self.launch.listen.insert(door.clone(), address.to_string());
        }
        self.process = Some(spawn(self.launch.command(), &self.log));
        self.wait_until_ready();
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    fn wait_until_ready(&mut self) {
        let what = format!("the server is ready (its log: {})", self.log.display());
        let doors = eventually(&what, START_LIMIT, || {
            let process = self.process.as_mut().expect("just started");
            if let Some(status) = process.ended() {
                panic!("the server ended with {status} instead of starting:\n{}", said(&self.log));
            }
            let doors = if self.launch.in_memory {
                printed_doors(&said(&self.log))
            } else {
                listed_doors(&self.launch.data, process.pid())
            }?;
            let ready = match (doors.get("http"), doors.values().next()) {
                (Some(http), _) => http::get(*http, "/ready").is_ok_and(|(status, _)| status == 200),
                (None, Some(first)) => TcpStream::connect(first).is_ok(),
                (None, None) => false,
            };
            ready.then_some(doors)
        });
        self.doors = doors;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.take());
        if std::thread::panicking() {
            let said = said(&self.log);
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("the end of the server's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// The server's binary: where `cargo xtask test` says it is, or beside this test.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HOLDFAST_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("holdfast");
    assert!(path.exists(), "{} is not built: cargo build --package server", path.display());
    path
}

/// Runs `holdfast verify`: its exit code and everything that it said.
pub(crate) fn verify(data: &Path) -> (i32, String) {
    let output = Command::new(binary()).arg("verify").arg("--data-dir").arg(data).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("an exit, not a signal"), String::from_utf8_lossy(&said).into_owned())
}

fn spawn(mut command: Command, log: &Path) -> Process {
    let file: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    Process::start(command)
}

fn said(log: &Path) -> String {
    fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The addresses in `listen.json`, once they are this process's.
fn listed_doors(data: &Path, pid: u32) -> Option<BTreeMap<String, SocketAddr>> {
    let text = fs::read_to_string(data.join("listen.json")).ok()?;
    let listed: serde_json::Value = serde_json::from_str(&text).ok()?;
    if listed["pid"].as_u64() != Some(pid.into()) {
        return None;
    }
    let doors = listed["doors"].as_object().expect("listen.json has doors");
    Some(doors.iter().map(|(door, at)| (door.clone(), at.as_str().unwrap().parse().unwrap())).collect())
}

/// The addresses in the table that a server prints. A server in memory has no `listen.json`.
fn printed_doors(said: &str) -> Option<BTreeMap<String, SocketAddr>> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let door = words.next().filter(|door| DOORS.contains(door))?;
        Some((door.to_owned(), words.next()?.parse().ok()?))
    };
    let doors: BTreeMap<String, SocketAddr> = said.lines().filter_map(row).collect();
    (!doors.is_empty()).then_some(doors)
}
