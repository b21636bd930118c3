//! The command line of `bench-run`.

use crate::{Outcome, server::Kind};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Time to ready and idle memory.
    Start,
    /// The log's group commit against the bare disk.
    Log,
    /// The cost of the waist.
    Waist,
    /// Messages between two nodes.
    Link,
    /// CQL beside Cassandra.
    Cql,
    /// ZooKeeper beside ZooKeeper.
    ZooKeeper,
    /// The merge tree beside `lsm-tree`.
    Engine,
    /// Many rows through the CQL door: restarts, memory, reads. Only run when named.
    Rows,
    /// Many sessions at the ZooKeeper door, and many watchers of one znode. Only run when named.
    Sessions,
}

impl Suite {
    /// Every suite, in the order they run.
    pub const ALL: [Suite; 9] = [
        Suite::Start,
        Suite::Log,
        Suite::Waist,
        Suite::Link,
        Suite::Cql,
        Suite::ZooKeeper,
        Suite::Engine,
        Suite::Rows,
        Suite::Sessions,
    ];

    /// Its name on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Start => "start",
            Suite::Log => "log",
            Suite::Waist => "waist",
            Suite::Link => "link",
            Suite::Cql => "cql",
            Suite::ZooKeeper => "zookeeper",
            Suite::Engine => "engine",
            Suite::Rows => "rows",
            Suite::Sessions => "zookeeper-sessions",
        }
    }

    /// Whether it only runs when it is named, because it takes long or much.
    pub fn is_special(self) -> bool {
        matches!(self, Suite::Rows | Suite::Sessions)
    }

    /// Rounds if the command line names none. `rows` and `zookeeper-sessions` are one long round.
    pub fn usual_rounds(self) -> usize {
        match self {
            Suite::Engine => 5,
            Suite::Rows | Suite::Sessions => 1,
            _ => 3,
        }
    }

    /// Whether its runs last as long as the command line says.
    pub fn is_timed(self) -> bool {
        !matches!(self, Suite::Log | Suite::Waist | Suite::Link | Suite::Engine | Suite::Sessions)
    }

    /// The servers it compares.
    pub fn servers(self) -> &'static [Kind] {
        match self {
            Suite::Start => &Kind::ALL,
            Suite::Log | Suite::Waist | Suite::Link | Suite::Engine => &[],
            Suite::Rows => &[Kind::Holdfast],
            Suite::Cql => &[Kind::Holdfast, Kind::CassandraBatch, Kind::CassandraPeriodic],
            Suite::ZooKeeper | Suite::Sessions => &[Kind::Holdfast, Kind::ZooKeeper],
        }
    }
}

/// What to run and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to measure; all if none is named.
    pub suites: Vec<Suite>,
    /// Servers to measure; the others are left out.
    pub servers: Vec<Kind>,
    /// Rounds; figures are medians over them. Without it the suite's own number.
    pub rounds: Option<usize>,
    /// Whether only to see if it works.
    pub quick: bool,
    /// Rows that the suite `rows` loads.
    pub rows: u64,
    /// Seconds measured in every run.
    pub seconds: u64,
    /// Seconds of the same load before them.
    pub warm_up_seconds: u64,
    /// Seconds of each load, once for each server, before the first round: a JVM compiles in them.
    pub first_warm_up_seconds: u64,
    /// Whether servers are bound to core 0 and the client to core 1.
    pub pin: bool,
    /// The name under which results go to `bench/results/` and into `bench/README.md`.
    pub record: Option<String>,
    /// Whether the release binaries are built first.
    pub build: bool,
}

/// Told when the command line is wrong, or asked for.
pub const USAGE: &str = "\
usage: cargo xtask bench [start] [log] [waist] [link] [cql] [zookeeper] [engine]   (all if none is named)
       cargo xtask bench rows | zookeeper-sessions                        (only if named)
  --servers A,B     only these of holdfast, cassandra-batch, cassandra-periodic, zookeeper
  --rounds N        rounds, servers taking turns in each (3; engine 5; those only if named 1)
  --seconds N       seconds measured in each run (10)
  --warm-up N       seconds of the same load before each run (2)
  --first-warm-up N seconds of each load on each server before the first round (10)
  --quick           one round of 3 seconds: whether it works, not what it gives
  --rows N          rows of 1 KB that the suite rows loads (10000000; with --quick 100000)
  --pin             bind servers to core 0 and the client to core 1
  --record NAME     keep the results in bench/results/DATE-NAME and in bench/README.md
  --no-build        take the release binaries as they are";

impl Options {
    /// The options in `arguments`, the program's name left out.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome<Options> {
        let mut options = Options {
            suites: Vec::new(),
            servers: Kind::ALL.to_vec(),
            rounds: None,
            quick: false,
            rows: 10_000_000,
            seconds: 10,
            warm_up_seconds: 2,
            first_warm_up_seconds: 10,
            pin: false,
            record: None,
            build: true,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--servers" => options.servers = value()?.split(',').map(kind).collect::<Outcome<_>>()?,
                "--rounds" => options.rounds = Some(value()?.parse::<usize>()?.max(1)),
                "--rows" => options.rows = value()?.parse::<u64>()?.max(1),
                "--seconds" => options.seconds = value()?.parse::<u64>()?.max(1),
                "--warm-up" => options.warm_up_seconds = value()?.parse()?,
                "--first-warm-up" => options.first_warm_up_seconds = value()?.parse()?,
                "--quick" => {
                    (options.quick, options.rounds, options.seconds) = (true, Some(1), 3);
                    options.rows = options.rows.min(100_000);
                    (options.warm_up_seconds, options.first_warm_up_seconds) = (1, 2);
                }
                "--pin" => options.pin = true,
                "--record" => options.record = Some(file_name(value()?)?),
                "--no-build" => options.build = false,
                name => options.suites.push(suite(name)?),
            }
        }
        if options.suites.is_empty() {
            options.suites = Suite::ALL.into_iter().filter(|suite| !suite.is_special()).collect();
        }
        Ok(options)
    }

    /// How many rounds `suite` has.
    pub fn rounds_of(&self, suite: Suite) -> usize {
        self.rounds.unwrap_or(suite.usual_rounds())
    }

    /// The servers of `suite` that are wanted.
    pub fn servers_of(&self, suite: Suite) -> Vec<Kind> {
        suite.servers().iter().copied().filter(|kind| self.servers.contains(kind)).collect()
    }
}

fn kind(name: &str) -> Outcome<Kind> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| format!("there is no server {name:?}").into())
}

fn suite(name: &str) -> Outcome<Suite> {
    let suite = Suite::ALL.into_iter().find(|suite| suite.name() == name);
    suite.ok_or_else(|| format!("there is no suite {name:?}").into())
}

fn file_name(name: String) -> Outcome<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !name.is_empty() && name.bytes().all(plain) {
        Ok(name)
    } else {
        Err(format!("{name:?} can't name results: letters, digits and hyphens only").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(line: &str) -> Outcome<Options> {
        Options::parse(line.split_ascii_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_named_is_everything() {
        let options = parse("").unwrap();
        assert_eq!(options.suites, Suite::ALL[..7], "all that need not be named");
        assert_eq!(options.rounds_of(Suite::Engine), 5);
        assert_eq!(options.servers_of(Suite::ZooKeeper), [Kind::Holdfast, Kind::ZooKeeper]);
    }

    #[test]
    fn what_is_named_is_taken() {
        let options =
            parse("cql --servers cassandra-batch,zookeeper --seconds 4 --record first-light --pin").unwrap();
        assert_eq!(options.suites, [Suite::Cql]);
        assert_eq!(options.servers_of(Suite::Cql), [Kind::CassandraBatch]);
        assert_eq!((options.seconds, options.rounds_of(Suite::Cql), options.pin), (4, 3, true));
        assert_eq!(options.record.as_deref(), Some("first-light"));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in ["redis", "--servers redis", "--seconds", "--seconds x", "--rows many", "--record ../up"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
