//! Fifty times `kill -9` on real files, while memtables of a few kilobytes are flushed and
//! compacted all the time. The node runs in a child process, which is this test program once more;
//! it tells each acknowledgement on its standard output, and at its next start what it has found.
//!
//! Each lane writes its rows in order, so what is found of it must be a prefix, with every
//! acknowledged row in it; the Machine's entries and the conditional counter likewise. No life but
//! the last ends cleanly: each begins where a kill left the directory.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests may touch the world")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base::{Cell, Change, ColumnId, Mutation, TableId};
use bytes::Bytes;
use store::{
    Action, Consistency, Read, Selection, Store, Target, Write,
    conformance::{TALLY_GROUP, decode_tally},
    waiter,
};
use world::{Clock, Disk, Entropy, World};

use super::{Scratch, power_cut, tally, tiny};
use crate::{Addresses, Fabric, Settings};

const KILLS: u64 = 50;
const LANES: u64 = 3;
/// How far back a start looks; the last one looks at everything.
const LOOK_BACK: u64 = 50;
/// Rows of a lane under way at a time.
const IN_FLIGHT: u64 = 16;

const DIRECTORY: &str = "HOLDFAST_TEST_KILLS_DIRECTORY";
const KNOWN: &str = "HOLDFAST_TEST_KILLS_KNOWN";

fn start(directory: &Path) -> Fabric {
    let world =
        World { clock: Clock::real(), entropy: Entropy::real(), disk: Disk::real(directory).unwrap() };
    // Nothing is to be refused, or rows would be missing in the middle of a lane.
    let mut settings = Settings { log_keep_bytes: 256 << 10, ..tiny() };
    settings.tree.memtable_bytes = 2 << 10;
    settings.tree.file_bytes = 4 << 10;
    settings.tree.level_bytes = 16 << 10;
    settings.log.segment_bytes = 64 << 10;
    settings.log.queue_bytes = 60 << 10;
    Fabric::start(&world, settings, tally(), Addresses::new()).unwrap()
}

fn key(lane: u64, number: u64) -> Bytes {
    [lane.to_be_bytes(), number.to_be_bytes()].concat().into()
}

/// A row's value tells its number many times over, so that wrong bytes are noticed.
fn value(number: u64) -> Bytes {
    let mut value = number.to_le_bytes().repeat(40);
    value.truncate(20 + (number * 37 % 280) as usize);
    value.into()
}

fn write(store: &Store, table: TableId, lane: u64, number: u64) -> store::Waiter<()> {
    let cells = vec![(ColumnId(2), Cell::live(1, value(number)))];
    let changes = vec![Change::Row { clustering: Bytes::new(), cells }];
    let mutation = Mutation { table, key: key(lane, number), changes };
    let permit = power_cut::permit(store, Action::Write, Target::Table(table));
    let (done, answer) = waiter();
    store.tables.write(permit, Write { mutation, consistency: Consistency::One }, done);
    answer
}

/// Whether the row is there; if it is, it is right.
fn is_there(store: &Store, table: TableId, lane: u64, number: u64) -> bool {
    let page = power_cut::read(store, table, key(lane, number));
    let Some(partition) = page.partitions.first() else { return false };
    assert_eq!(partition.rows[0].cells[0].1.value, Some(value(number)), "row {number} of lane {lane}");
    true
}

/// How many rows of a lane there are, which are the first ones, if those before `from` are.
fn prefix(store: &Store, table: TableId, lane: u64, from: u64) -> u64 {
    let end = (from + 1..).find(|&number| !is_there(store, table, lane, number)).unwrap() - 1;
    for later in end + 1..end + 2 * IN_FLIGHT {
        assert!(!is_there(store, table, lane, later), "lane {lane} ends at {end} and has row {later}");
    }
    end
}

fn propose(store: &Store, number: u64) -> store::Waiter<Bytes> {
    let entry = Bytes::copy_from_slice(&number.to_le_bytes());
    let permit = power_cut::permit(store, Action::Write, Target::Machine(TALLY_GROUP));
    let (done, answer) = waiter();
    store.machines.propose(permit, TALLY_GROUP, entry.into(), done);
    answer
}

/// How many entries the Machine has, which are the first ones. Asking leaves a zero among them.
fn entries(store: &Store) -> u64 {
    let mut had = decode_tally(&propose(store, 0).wait().unwrap()).unwrap();
    had.retain(|&number| number > 0);
    assert!(had.iter().copied().eq(1..=had.len() as u64), "{had:?}");
    had.len() as u64
}

fn counted(store: &Store, table: TableId) -> u64 {
    power_cut::count_of(&power_cut::read(store, table, Bytes::from_static(power_cut::COUNTER)))
}

/// What a parent tells and hears: a number for each lane, the Machine and the counter.
type Numbers = [u64; LANES as usize + 2];

const MACHINE: usize = LANES as usize;
const COUNTER: usize = MACHINE + 1;

fn parse(words: &str) -> Numbers {
    let numbers: Vec<u64> = words.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn show(numbers: &Numbers) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// What a node finds, if what is before `known` is known to be there.
fn find(store: &Store, table: TableId, known: &Numbers) -> Numbers {
    let mut found = Numbers::default();
    for lane in 0..LANES {
        found[lane as usize] = prefix(store, table, lane, known[lane as usize].saturating_sub(LOOK_BACK));
    }
    found[MACHINE] = entries(store);
    found[COUNTER] = counted(store, table);
    found
}

/// Reads the whole table: of each lane the rows up to the last one found, and no others.
fn check_all(store: &Store, table: TableId, found: &Numbers) {
    let mut seen: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
    let mut after = None;
    loop {
        let (done, answer) = waiter();
        let read = Read {
            table,
            selection: Selection::Tokens { first: i64::MIN, last: i64::MAX },
            after: after.take(),
            columns: None,
            limit_rows: 1_000,
            limit_bytes: 1 << 20,
            now_seconds: power_cut::NOW_SECONDS,
            consistency: Consistency::One,
        };
        store.tables.read(power_cut::permit(store, Action::Read, Target::Table(table)), read, done);
        let page = answer.wait().unwrap();
        for partition in page.partitions {
            seen.insert(partition.key, partition.rows[0].cells[0].1.value.clone());
        }
        after = page.more;
        if after.is_none() {
            break;
        }
    }
    seen.remove(power_cut::COUNTER);
    let lanes = (0..LANES).flat_map(|lane| (1..=found[lane as usize]).map(move |number| (lane, number)));
    assert!(seen.into_iter().eq(lanes.map(|(lane, number)| (key(lane, number), Some(value(number))))));
}

/// The child: finds, tells, and writes until it is killed.
#[test]
#[ignore = "the child of the other test"]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let known = parse(&std::env::var(KNOWN).unwrap());
    let node = start(Path::new(&directory));
    let store = node.store();
    let table = power_cut::table(store).unwrap_or_else(|| power_cut::define_by(store, &mut || ()));
    let found = find(store, table, &known);
    tell(&format!("found {}", show(&found)));
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || write_lane(store, table, lane, found[lane as usize]));
        }
        let mut number = found[MACHINE];
        loop {
            number += 1;
            propose(store, number).wait().unwrap();
            tell(&format!("ack {MACHINE} {number}"));
            let (done, answer) = waiter();
            power_cut::count(store, table, done);
            let count = power_cut::count_of(&answer.wait().unwrap().page) + 1;
            tell(&format!("ack {COUNTER} {count}"));
        }
    });
}

fn write_lane(store: &Store, table: TableId, lane: u64, mut number: u64) {
    loop {
        let numbers = number + 1..=number + IN_FLIGHT;
        let answers: Vec<_> = numbers.map(|number| write(store, table, lane, number)).collect();
        for answer in answers {
            answer.wait().unwrap();
            number += 1;
            tell(&format!("ack {lane} {number}"));
        }
    }
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the parent is done with this child.
    let _ = writeln!(out, "\n{line}").and_then(|()| out.flush());
}

/// A child that is running, and what it tells.
struct Life {
    child: Child,
    told: mpsc::Receiver<String>,
}

impl Life {
    fn begin(directory: &Path, known: &Numbers) -> Life {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::kills::child", "--include-ignored", "--nocapture"]);
        command.env(DIRECTORY, directory).env(KNOWN, show(known));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if line.starts_with("found ") || line.starts_with("ack ") {
                    let _ = sender.send(line);
                }
            }
        });
        Life { child, told }
    }

    /// What it found at its start.
    fn found(&self) -> Numbers {
        let line = self.told.recv_timeout(Duration::from_secs(60)).expect("the child starts");
        parse(line.strip_prefix("found ").unwrap())
    }

    /// Kills it, and returns what it had acknowledged by then, beyond `known`.
    fn kill(mut self, known: &Numbers) -> Numbers {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut acknowledged = *known;
        // Until the pipe is empty.
        for line in self.told.iter() {
            let mut words =
                line.strip_prefix("ack ").unwrap().split(' ').map(|word| word.parse::<u64>().unwrap());
            let (what, number) = (words.next().unwrap() as usize, words.next().unwrap());
            acknowledged[what] = acknowledged[what].max(number);
        }
        acknowledged
    }
}

#[test]
fn a_node_killed_while_it_flushes_and_compacts_loses_nothing() {
    let random = Entropy::real();
    let scratch = Scratch::new("kills");
    let mut known = Numbers::default();
    let began = Instant::now();
    for kill in 0..KILLS {
        let life = Life::begin(&scratch.0, &known);
        let found = life.found();
        for (nth, (found, known)) in found.iter().zip(&known).enumerate() {
            assert!(found >= known, "kill {kill}: {known} of {nth} were acknowledged, {found} are found");
        }
        std::thread::sleep(Duration::from_millis(random.below(250)));
        known = life.kill(&found);
    }
    println!("{KILLS} kills in {:?}: {}", began.elapsed(), show(&known));
    let node = start(&scratch.0);
    let table = power_cut::table(node.store()).unwrap();
    let found = find(node.store(), table, &known);
    check_all(node.store(), table, &found);
    assert!(found.iter().zip(&known).all(|(found, known)| found >= known), "{found:?} {known:?}");
    node.stop().unwrap();
    // Storms there were: files are numbered in the order they are made.
    let files = Disk::real(&scratch.0).unwrap().list("tree").unwrap();
    let newest = files.iter().filter_map(|name| name.strip_suffix(".tree")?.parse::<u64>().ok()).max();
    assert!(newest.unwrap_or(0) > 5 * KILLS, "{newest:?}");
    assert!(known[..MACHINE].iter().sum::<u64>() > 20 * KILLS && known[MACHINE] > KILLS / 2, "{known:?}");
}
