//! Bits flip on the disk: each is found and named, and no read gives a wrong answer for it.

use base::Position;
use bytes::Bytes;
use world::{Disk, Entropy, SimDisk};

use super::{
    model::{TREES, rules, seen},
    program::{Memory, Program, Tally, Violation, finish_work},
};
use crate::tree::{Forest, TreeError, TreeId, TreeSettings};

const FORESTS: u64 = 200;
const FLIPS: u64 = 10;

/// A forest of a random program, all of it in files, and what it must say.
pub(super) fn forest_in_files(seed: u64) -> Result<(Disk, SimDisk, TreeSettings, Memory), Violation> {
    let (disk, sim) = Disk::simulated(seed);
    let mut program = Program::new(seed, disk.clone(), None, None)?;
    for _ in 0..60 {
        program.step()?;
    }
    program.forest.freeze(Position(program.memory.position));
    finish_work(&program.forest, None)?;
    let (settings, memory) = (program.settings.clone(), program.memory.clone());
    drop(program);
    // Opening it once removes what readers had still held.
    Forest::open(disk.clone(), settings.clone(), rules())?;
    Ok((disk, sim, settings, memory))
}

fn wrong<T>(what: String) -> Result<T, Violation> {
    Err(Violation(what, None))
}

/// A read that fails must say which file is to blame; one that succeeds must be right.
fn judge<T: PartialEq + std::fmt::Debug>(
    file: &str,
    found: Result<T, TreeError>,
    expected: &T,
) -> Result<bool, Violation> {
    match found {
        Ok(found) if found == *expected => Ok(true),
        Ok(found) => wrong(format!("a wrong answer: {found:?} instead of {expected:?}")),
        Err(error) if names(&error, file) => Ok(false),
        Err(error) => wrong(format!("{file} is damaged, but it says: {error}")),
    }
}

fn names(error: &TreeError, file: &str) -> bool {
    matches!(error, TreeError::Damaged(damage) if damage.file == file)
}

/// Reads everything there is; returns whether all of it could be read.
fn read_all(forest: &Forest, memory: &Memory, file: &str) -> Result<bool, Violation> {
    let mut sound = true;
    for tree in TREES {
        for backward in [false, true] {
            let expected = memory.model.scan(tree, (b"", None), backward, memory.moment, memory.now);
            let scan =
                forest.scan(tree, "", None, backward).and_then(|scan| scan.collect::<Result<Vec<_>, _>>());
            let found = scan.map(|rows| {
                let seen =
                    |(key, value): &(Bytes, Bytes)| Some((key.to_vec(), seen(tree, value, memory.now)?));
                rows.iter().filter_map(seen).collect()
            });
            sound &= judge(file, found, &expected)?;
            for (key, value) in expected {
                sound &= judge(file, get(forest, tree, &key, memory.now), &Some(value))?;
            }
        }
    }
    Ok(sound)
}

fn get(forest: &Forest, tree: TreeId, key: &[u8], now: u32) -> Result<Option<Vec<u8>>, TreeError> {
    Ok(forest.get(tree, key)?.and_then(|value| seen(tree, &value, now)))
}

fn run(seed: u64) -> Result<Tally, Violation> {
    let (disk, sim, settings, memory) = forest_in_files(seed)?;
    let random = Entropy::seeded(!seed);
    let names_there = disk.list("tree").map_err(TreeError::from)?;
    let mut tally = Tally::default();
    for _ in 0..FLIPS {
        let nth = random.below(names_there.len() as u64) as usize;
        let name = format!("tree/{}", names_there[nth]);
        let len = disk.open(&name).and_then(|file| file.len()).map_err(TreeError::from)?;
        let (offset, bit) = (random.below(len), random.below(8) as u8);
        sim.flip_bit(&name, offset, bit).map_err(TreeError::from)?;
        match Forest::open(disk.clone(), settings.clone(), rules()) {
            Err(error) if name.ends_with("MANIFEST") && names(&error, &name) => tally.failures += 1,
            Err(error) => return wrong(format!("{name} at {offset}: {error}")),
            Ok(forest) => {
                tally.reads += u64::from(read_all(&forest, &memory, &name)?);
                let faults = forest.verify();
                if faults.is_empty() || !faults.iter().all(|fault| names(fault, &name)) {
                    return wrong(format!("{name} at {offset}: verify says {faults:?}"));
                }
                tally.files += 1;
            }
        }
        sim.flip_bit(&name, offset, bit).map_err(TreeError::from)?;
    }
    Ok(tally)
}

#[test]
fn a_flipped_bit_is_found_and_gives_no_wrong_answer() {
    let tally = super::power_cut::on_all_cores(FORESTS, run);
    println!(
        "{} flips, {} in manifests, {} harmless to readers",
        FORESTS * FLIPS,
        tally.failures,
        tally.reads
    );
    assert_eq!(tally.files + tally.failures, FORESTS * FLIPS);
    assert!(tally.failures > 0 && tally.files > FORESTS);
}

#[test]
fn a_damaged_file_fails_what_it_serves_and_nothing_else() {
    let (disk, _sim, settings, memory) = forest_in_files(1).unwrap();
    let name = format!("tree/{}", disk.list("tree").unwrap()[0]);
    disk.remove(&name).unwrap();
    let forest = Forest::open(disk, settings, rules()).unwrap();
    assert!(!read_all(&forest, &memory, &name).unwrap());
    let faults = forest.verify();
    assert!(matches!(&faults[..], [fault] if names(fault, &name)), "{faults:?}");
    assert!(faults[0].to_string().contains("missing"));
    // Writing goes on, and what does not need the file is read.
    let mut batch = crate::tree::Batch::new();
    batch.put(TreeId(77), "key", crate::tree::encode_cell(&base::Cell::tombstone(1)));
    forest.apply(Position(memory.position + 1), batch).unwrap();
    assert!(forest.get(TreeId(77), b"key").unwrap().is_some());
}

#[test]
fn a_manifest_that_is_gone_is_no_new_forest() {
    let (disk, _sim, settings, _) = forest_in_files(2).unwrap();
    disk.remove("tree/MANIFEST").unwrap();
    let error = Forest::open(disk.clone(), settings, rules()).unwrap_err();
    assert!(names(&error, "tree/MANIFEST"), "{error}");
    assert!(disk.list("tree").unwrap().len() > 1, "nothing was removed");
}

/// A read that fails is no reason to stop writing: nobody is in doubt about what is on the disk.
#[test]
fn a_compaction_that_cannot_read_leaves_its_tree_alone_and_nothing_else() {
    let (disk, sim) = Disk::simulated(1);
    let settings = TreeSettings { cache_bytes: 0, tier_runs: 2, ..TreeSettings::default() };
    let forest = Forest::open(disk, settings, rules()).unwrap();
    let put = |tree: u64, position: u64| {
        let mut batch = crate::tree::Batch::new();
        let cell = base::Cell::live(position as i64, Bytes::from(vec![7; 100]));
        batch.put(TreeId(tree), position.to_be_bytes().to_vec(), crate::tree::encode_cell(&cell));
        forest.apply(Position(position), batch).unwrap();
        forest.freeze_tree(TreeId(tree));
    };
    put(1, 1);
    finish_work(&forest, None).unwrap();
    put(1, 2);
    sim.inject("fail every read".parse().unwrap());
    let error = finish_work(&forest, None).unwrap_err();
    assert!(matches!(error, TreeError::Disk(_)), "{error}");
    sim.relent();
    put(2, 3);
    put(2, 4);
    finish_work(&forest, None).unwrap();
    assert_eq!((forest.figures(TreeId(1)).runs, forest.debt().level0_runs), (2, 1));
    assert!(forest.get(TreeId(1), &1u64.to_be_bytes()).unwrap().is_some());
}
