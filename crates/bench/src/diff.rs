//! The differential run: random programs of eight clients against this house's ZooKeeper door and
//! against Apache ZooKeeper, compared line by line. `cargo xtask diff zookeeper`.
//!
//! A program ([`program`]) is played on both servers at the same time, each at its own pace, over
//! sockets, by the clients of `door_zk::script`; what they are told must be the same: results,
//! errors, every field of every Stat, the order of events among answers, and the zxids. A block of
//! requests is in flight before its first answer is read, so the price of a round trip and of an
//! fsync is shared by a dozen requests; that is how a million of them take minutes.
//!
//! After each program the tree is swept, and the next one begins on what is left: the same on
//! both. What differs is printed with its seed, cut down to a short story by leaving out
//! what does not matter to it ([`shrink`]). What differs on purpose is in `door_zk::script`: an order that
//! ZooKeeper leaves to its hash tables is told in order ([`door_zk::script::Names::sorts`]), and the
//! rest is [`is_explained`].

pub mod program;
mod shrink;
mod sockets;
mod sweep;

use std::{
    io,
    time::{Duration, Instant},
};

use door_zk::script::{Block, Scene, Stage, has_hung_up, is_explained};

use self::{
    program::{count, program},
    sockets::Sockets,
};
use crate::{
    Outcome, holdfast,
    peers::zookeeper,
    place,
    server::{Kind, Server},
};

/// Requests of one program. Short enough that a difference is found near its cause.
const PROGRAM_OPERATIONS: usize = 2_000;
/// How often the state of the run is told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Differences after which a run ends.
const ENOUGH_DIFFERENCES: usize = 5;

/// A program is played again at most so often because ZooKeeper has hung up.
const HANG_UPS: usize = 3;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Requests in all.
    pub operations: usize,
    /// The seed of the first program; each following one has the next seed.
    pub seed: u64,
    /// Whether a program that differs is cut down, which takes minutes.
    pub shrinks: bool,
}

/// What a run found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Requests that were compared.
    pub operations: usize,
    /// Programs.
    pub programs: usize,
    /// Programs that differed.
    pub differences: usize,
    /// Scenes that differed as is explained.
    pub explained: usize,
    /// Programs that were played again because ZooKeeper had hung up.
    pub again: usize,
}

/// Both servers, and their clients.
pub struct Pair {
    ours: Side,
    theirs: Side,
}

struct Side {
    stage: Stage<Sockets>,
    /// Ends with this value.
    _server: Server,
}

impl Side {
    fn new(server: Server) -> Outcome<Side> {
        let address = server.addresses.zookeeper.ok_or("a server without a ZooKeeper door")?;
        Ok(Side { stage: Stage::new(Sockets::new(address)), _server: server })
    }

    /// Plays a program and sweeps behind it.
    fn perform(&mut self, program: &[Block]) -> io::Result<Vec<Scene>> {
        let mut scenes = Vec::with_capacity(program.len());
        for block in program {
            let told = self.stage.play(block)?;
            scenes.push(Scene { block: block.clone(), told });
        }
        sweep::sweep(&mut self.stage, &mut scenes)?;
        Ok(scenes)
    }
}

/// What both said.
struct Both {
    ours: Vec<Scene>,
    theirs: Vec<Scene>,
}

impl Both {
    /// Whether the first difference is that ZooKeeper has hung up ([`has_hung_up`]).
    fn has_hung_up(&self) -> bool {
        let (Some(at), _) = self.difference() else { return false };
        self.ours.get(at).zip(self.theirs.get(at)).is_some_and(|(ours, theirs)| has_hung_up(ours, theirs))
    }

    /// The first scene that shows a fault of one side: one that differs, unless all that it says is that
    /// ZooKeeper has hung up.
    fn fault(&self) -> Option<usize> {
        if self.has_hung_up() { None } else { self.difference().0 }
    }

    /// The first scene that differs, if one does, and how many differ as is explained.
    fn difference(&self) -> (Option<usize>, usize) {
        let mut explained = 0;
        for (at, (ours, theirs)) in self.ours.iter().zip(&self.theirs).enumerate() {
            if ours == theirs {
                continue;
            }
            if !is_explained(ours, theirs) {
                return (Some(at), explained);
            }
            explained += 1;
        }
        let shorter = self.ours.len().min(self.theirs.len());
        ((self.ours.len() != self.theirs.len()).then_some(shorter), explained)
    }
}

impl Pair {
    /// Fresh servers.
    ///
    /// # Errors
    /// When one does not start; the peer is fetched if it is not there.
    pub async fn start() -> Outcome<Pair> {
        let data = place::data("diff-holdfast");
        place::emptied(&data)?;
        let settings = [
            format!("zookeeper.super_digest={SUPER}"),
            // Containers are not looked for: when one would go, is a question of time.
            "zookeeper.reap_ms=86400000".to_owned(),
            "zookeeper.enforce_quota=true".to_owned(),
        ];
        let ours = holdfast::start_binary(holdfast::debug_binary(), data, &settings).await?;
        let properties = [
            format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER}"),
            "-Dznode.container.checkIntervalMs=86400000".to_owned(),
            "-Dzookeeper.enforceQuota=true".to_owned(),
        ];
        let theirs = zookeeper::start_with("diff-zookeeper", &properties).await?;
        Ok(Pair { ours: Side::new(ours)?, theirs: Side::new(theirs)? })
    }

    /// Plays a program on both, on fresh servers where there are none in `pair`, and again on fresh servers
    /// when ZooKeeper hangs up; gives how often that was. The inner result is that of the last time.
    ///
    /// # Errors
    /// When servers do not start.
    async fn play(pair: &mut Option<Pair>, program: &[Block]) -> Outcome<Outcome<(Both, usize)>> {
        let mut again = 0;
        loop {
            let servers = match pair {
                Some(servers) => servers,
                None => pair.insert(Pair::start().await?),
            };
            match servers.perform(program) {
                Ok(both) if both.has_hung_up() && again < HANG_UPS => *pair = None,
                played => return Ok(played.map(|both| (both, again))),
            }
            again += 1;
        }
    }

    /// Plays a program on both at the same time.
    fn perform(&mut self, program: &[Block]) -> Outcome<Both> {
        let Pair { ours, theirs } = self;
        let (ours, theirs) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| theirs.perform(program));
            (ours.perform(program), theirs.join())
        });
        let theirs = theirs.map_err(|_| "the peer's clients have panicked")?;
        let told = |kind: Kind, error| format!("{}: {error}", kind.name());
        Ok(Both {
            ours: ours.map_err(|error| told(Kind::Holdfast, error))?,
            theirs: theirs.map_err(|error| told(Kind::ZooKeeper, error))?,
        })
    }
}

/// `super` with the password `secret`.
const SUPER: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// Compares programs until the plan is done or enough has differed.
///
/// # Errors
/// When a server cannot be started or does not answer.
pub async fn run(plan: Plan) -> Outcome<Found> {
    let mut pair = None;
    let mut found = Found::default();
    let (began, mut told) = (Instant::now(), Instant::now());
    let mut seed = plan.seed;
    while found.operations < plan.operations && found.differences < ENOUGH_DIFFERENCES {
        let program = program(seed, PROGRAM_OPERATIONS.min(plan.operations - found.operations));
        let played = Pair::play(&mut pair, &program).await?;
        let (both, again) = played.map_err(|error| format!("seed {seed}: {error}"))?;
        found.again += again;
        found.operations +=
            both.ours.iter().map(|scene| count(std::slice::from_ref(&scene.block))).sum::<usize>();
        found.programs += 1;
        let (difference, explained) = both.difference();
        found.explained += explained;
        if let Some(at) = difference {
            found.differences += 1;
            println!("seed {seed} differs:\n{}", shrink::story(&both, at));
            pair = None;
            if plan.shrinks {
                shrink::shrink(&program[..program.len().min(at + 1)]).await?;
            }
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("{} requests in {:.0} s: {found:?}", found.operations, began.elapsed().as_secs_f64());
        }
        seed += 1;
    }
    println!("{} requests in {:.0} s: {found:?}", found.operations, began.elapsed().as_secs_f64());
    Ok(found)
}

/// The recorded answers of the peer to `plan`, which the door's tests replay.
///
/// # Errors
/// When a server does not answer, or the two differ.
pub async fn record(plan: Plan) -> Outcome<Vec<Scene>> {
    let mut pair = Pair::start().await?;
    let mut scenes: Vec<Scene> = Vec::new();
    let (mut seed, mut operations) = (plan.seed, 0);
    while operations < plan.operations {
        let program = program(seed, PROGRAM_OPERATIONS.min(plan.operations - operations));
        operations += program::count(&program);
        let both = pair.perform(&program).map_err(|error| format!("seed {seed}: {error}"))?;
        if let (Some(at), _) = both.difference() {
            return Err(
                format!("seed {seed} differs, and is not recorded:\n{}", shrink::story(&both, at)).into()
            );
        }
        scenes.extend(both.theirs);
        seed += 1;
    }
    Ok(scenes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(ours: &str, theirs: &str) -> Both {
        Both { ours: door_zk::script::parse(ours), theirs: door_zk::script::parse(theirs) }
    }

    #[test]
    fn a_peer_that_hangs_up_shows_no_fault_and_another_difference_does() {
        let same = "c0> ping\nc0< -2: ok zxid=9\n\n";
        let answered = format!("{same}x1> ping\nx1< -2: ok zxid=9\n");
        let hung_up = format!("{same}x1> ping\nx1< connection closed\n");
        assert_eq!(both(&answered, &answered).fault(), None);
        assert!(both(&answered, &hung_up).has_hung_up());
        assert_eq!(both(&answered, &hung_up).fault(), None);
        assert_eq!(both(&hung_up, &answered).fault(), Some(1), "this door may not");
        let before = answered.replace("zxid=9\n\n", "zxid=8\n\n");
        assert_eq!(both(&before, &hung_up).fault(), Some(0), "what is told before it counts");
    }
}
