//! A bit flips anywhere in a node's directory, 2,000 times: in the log, in files of trees, in the
//! manifest, in the identity. Either `verify` names the file, or the flip is harmless: space that
//! nothing reads. A node that starts nevertheless answers each read rightly, or says which file is
//! damaged; one that does not start says so too.

use std::collections::BTreeMap;

use base::{Cause, Class, TableId};
use bytes::Bytes;
use store::{
    Action, Target,
    conformance::{Dice, TALLY_GROUP, decode_tally},
    waiter,
};
use world::{Disk, SimDisk};

use super::{
    power_cut::{COUNTER, History, count_of, define, permit, run, settle_all, tiniest, try_read},
    tally, world,
};
use crate::{Addresses, Finding, Stepped, verify};

const NODES: u64 = 20;
const FLIPS: u64 = 100;

fn start(disk: &Disk) -> Result<Stepped, Cause> {
    Stepped::start(&world(disk.clone(), 1), tiniest(), tally(), Addresses::new())
}

/// A node that was stopped cleanly, so that the end of its log is vouched for too.
fn stopped(seed: u64) -> (SimDisk, TableId, History) {
    let (disk, sim) = Disk::simulated(seed);
    let mut node = start(&disk).unwrap();
    let table = define(&mut node);
    let (mut dice, mut all) = (Dice(seed), History::default());
    for part in 0..3 {
        all.add(run(&mut node, &sim, table, part * 30, &mut dice));
    }
    node.stop().unwrap();
    sim.crash();
    (sim, table, all)
}

/// The disk as it is, for somebody who changes it.
fn copy(sim: &SimDisk) -> (Disk, SimDisk) {
    sim.record_boundaries();
    sim.take_boundaries().remove(0).crash(0)
}

/// What a flip came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Came {
    /// Nothing was wrong with anything.
    Harmless,
    /// The node did not start, and named the file.
    Refused,
    /// Some reads failed and named the file, the others were right.
    Failed,
    /// `verify` named it; the node never came to it.
    NamedOnly,
}

/// Whether the cause tells of damage to this file; otherwise it is wrong.
fn assert_names(cause: &Cause, file: &str) {
    // A flipped digit of the identity may be another disk format, as far as anybody can tell.
    let class = cause.class == Class::Corrupt || file == "IDENTITY" && cause.class == Class::Invalid;
    assert!(class && cause.message.contains(file), "{file} is damaged: {cause}");
}

/// Reads everything; returns whether all of it could be read.
fn judge(node: &mut Stepped, table: TableId, history: &History, file: &str) -> bool {
    let mut sound = true;
    for number in &history.written {
        match try_read(node.store(), table, Bytes::copy_from_slice(&number.to_le_bytes())) {
            Ok(page) => {
                let cells = &page.partitions[0].rows[0].cells;
                assert_eq!(cells[0].1.value.as_deref(), Some(&number.to_le_bytes()[..]));
                let second = cells[1].1.value.as_ref().unwrap();
                assert!(second.iter().all(|byte| *byte == *number as u8), "row {number}");
            }
            Err(cause) => {
                assert_names(&cause, file);
                sound = false;
            }
        }
    }
    match try_read(node.store(), table, Bytes::from_static(COUNTER)) {
        Ok(page) => assert_eq!(count_of(&page), history.counted()),
        Err(cause) => {
            assert_names(&cause, file);
            sound = false;
        }
    }
    let (done, answer) = waiter();
    let probe = Bytes::copy_from_slice(&999u64.to_le_bytes());
    let permit = permit(node.store(), Action::Write, Target::Machine(TALLY_GROUP));
    node.store().machines.propose(permit, TALLY_GROUP, probe.into(), done);
    settle_all(node).unwrap();
    let had = decode_tally(&answer.wait().unwrap()).unwrap();
    assert_eq!(had, [&history.proposed[..], &[999]].concat());
    sound
}

fn flip(sim: &SimDisk, table: TableId, history: &History, dice: &mut Dice) -> (String, Came) {
    let (disk, sim) = copy(sim);
    let (folder, prefix) = match dice.below(10) {
        0 => ("", ""),
        1..4 => ("log", "log/"),
        _ => ("tree", "tree/"),
    };
    let mut names = disk.list(folder).unwrap();
    // What counts: not what a power cut has brought back of what was removed.
    let mut leftovers = String::new();
    let sound = verify(&disk, &mut |finding| leftovers += &finding.to_string()).unwrap();
    assert_eq!(sound.faults, 0, "{leftovers}");
    names.retain(|name| name != "reserve" && name != world::LOCK_FILE && !leftovers.contains(name.as_str()));
    let file = format!("{prefix}{}", names[dice.below(names.len() as u64) as usize]);
    let len = disk.open(&file).unwrap().len().unwrap();
    let (offset, bit) = (dice.below(len), dice.below(8) as u8);
    sim.flip_bit(&file, offset, bit).unwrap();

    let mut named = Vec::new();
    let verified = verify(&disk, &mut |finding| {
        if let Finding::Fault { file, .. } = finding {
            named.push(file);
        }
    });
    match &verified {
        Ok(verified) => assert_eq!(verified.faults as usize, named.len()),
        Err(cause) => assert_names(cause, &file),
    }
    assert!(named.iter().all(|named| *named == file), "{file} byte {offset} bit {bit}: {named:?}");
    let found = verified.is_err() || !named.is_empty();
    let came = match start(&disk) {
        Err(cause) => {
            assert_names(&cause, &file);
            Came::Refused
        }
        Ok(mut node) => match (judge(&mut node, table, history, &file), found) {
            (false, _) => Came::Failed,
            (true, true) => Came::NamedOnly,
            (true, false) => Came::Harmless,
        },
    };
    assert!(found || came == Came::Harmless, "{file} byte {offset} bit {bit}: not found, and {came:?}");
    (file, came)
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_harmless_and_never_a_wrong_answer() {
    let mut tally: BTreeMap<(String, Came), u64> = BTreeMap::new();
    for seed in 0..NODES {
        let (sim, table, history) = stopped(seed);
        let mut dice = Dice(!seed);
        for _ in 0..FLIPS {
            let (file, came) = flip(&sim, table, &history, &mut dice);
            let kind = file.trim_matches(|c: char| c.is_ascii_digit() || c == '/').to_owned();
            let kind = kind.replace(|c: char| c.is_ascii_digit(), "");
            *tally.entry((kind, came)).or_default() += 1;
        }
    }
    for ((kind, came), count) in &tally {
        println!("{kind}: {came:?} {count}");
    }
    let sum =
        |wanted: Came| tally.iter().filter(|(key, _)| key.1 == wanted).map(|(_, count)| count).sum::<u64>();
    assert!(sum(Came::Refused) > 500 && sum(Came::Failed) > 50 && sum(Came::NamedOnly) > 20, "{tally:?}");
    assert!(tally.keys().all(|(kind, came)| *came != Came::Harmless || kind.contains("seg")), "{tally:?}");
}
