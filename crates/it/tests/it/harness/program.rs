//! Python programs: the real clients. A program says how far it is in lines on standard output, can
//! be told to go on by a line on standard input, and fails its test by an exit code.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use super::{Process, Scratch, Server, root};

/// A program has ended within this, unless its test says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// The interpreter with the drivers in it, or `None`, told to whoever counts the tests.
pub(crate) fn interpreter() -> Option<PathBuf> {
    let named = std::env::var_os("HOLDFAST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| root().join("target/python/bin/python"));
    if python.exists() {
        return Some(python);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!ci, "CI has no Python with the drivers");
    let why = "no Python environment; `cargo xtask python` makes it";
    // Past libtest's capture, so that `xtask` can count it.
    let _ = writeln!(std::io::stdout(), "holdfast-test-skipped: {why}");
    None
}

/// Leaves the test, counted as skipped, if there is no Python to run clients with.
#[macro_export]
macro_rules! need_python {
    () => {
        if $crate::harness::program::interpreter().is_none() {
            return;
        }
    };
}

/// A running program. Killed when dropped.
pub(crate) struct Program {
    name: String,
    process: Process,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: PathBuf,
    _scratch: Scratch,
}

impl Program {
    /// Starts `name`, a file of `crates/it/python` or of `examples`, against `server`.
    pub(crate) fn start(server: &Server, name: &str, args: &[&str]) -> Program {
        Program::start_with(server, name, args, &[])
    }

    /// As [`Program::start`], with more environment variables.
    pub(crate) fn start_with(server: &Server, name: &str, args: &[&str], env: &[(&str, &str)]) -> Program {
        let python = interpreter().expect("the test needs Python, and has asked");
        let path = [root().join("crates/it/python").join(name), root().join("examples").join(name)];
        let path = path.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no program {name}"));
        let scratch = Scratch::new(&name.replace('/', "-"));
        let errors = scratch.path().join("stderr");
        let mut command = Command::new(python);
        command.arg("-u").arg(path).args(args).current_dir(scratch.path());
        // Byte code written into the source tree would be litter.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PYTHONPATH", root().join("crates/it/python"));
        for (door, address) in server.doors() {
            command.env(format!("HOLDFAST_{}", door.to_uppercase()), address.to_string());
        }
        command.envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&errors).unwrap());
        let mut process = Process::start(command);
        let input = process.child().stdin.take();
        let lines = lines_of(process.child().stdout.take().unwrap());
        Program { name: name.to_owned(), process, input, lines, seen: Vec::new(), errors, _scratch: scratch }
    }

    /// Runs it to its end; it must succeed. Its output, in lines.
    pub(crate) fn run(server: &Server, name: &str, args: &[&str]) -> Vec<String> {
        Program::start(server, name, args).finish()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, with: &str) {
        self.process.signal(with);
    }

    /// Tells it something by a line on its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until `close_input`");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} hears nothing: {error}", self.name));
    }

    /// Ends its standard input, and waits for its end as [`Program::finish`] does.
    pub(crate) fn close_input(mut self) -> Vec<String> {
        self.input = None;
        self.finish()
    }

    /// Whether it says nothing for `time`.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        matches!(self.lines.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }

    /// Its next line.
    pub(crate) fn line(&mut self, within: Duration) -> String {
        match self.lines.recv_timeout(within) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(RecvTimeoutError::Timeout) => self.fail(&format!("said nothing for {within:?}")),
            Err(RecvTimeoutError::Disconnected) => self.fail("ended too early"),
        }
    }

    /// Its next line, which must begin with `start`; the rest of it.
    pub(crate) fn expect(&mut self, start: &str, within: Duration) -> String {
        let line = self.line(within);
        match line.strip_prefix(start) {
            Some(rest) => rest.trim().to_owned(),
            None => self.fail(&format!("was to say `{start}`")),
        }
    }

    /// Waits for its end, which must be a success. Every line it said.
    pub(crate) fn finish(self) -> Vec<String> {
        self.finish_within(LIMIT)
    }

    /// As [`Program::finish`], with another bound.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("did not end within {limit:?}")),
            }
        }
        let status = self.process.child().wait().unwrap();
        if !status.success() {
            self.fail(&format!("ended with {status}"));
        }
        std::mem::take(&mut self.seen)
    }

    /// `kill -9`, and its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.child().kill();
        self.process.child().wait().unwrap();
    }

    fn fail(&self, what: &str) -> ! {
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        panic!("{} {what}\nit said:\n{}\nand on stderr:\n{errors}", self.name, self.seen.join("\n"))
    }
}

fn lines_of(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
