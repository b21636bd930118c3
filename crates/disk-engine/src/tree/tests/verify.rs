//! `verify` reads trees that nobody uses: each fault is named, the rest is read all the same, and
//! nothing is changed.

use world::{Disk, Entropy, SimDisk};

use super::damage::forest_in_files;
use crate::tree::{Damage, Finding, TreeError, Verified, manifest, verify};

fn run(disk: &Disk) -> (Verified, Vec<Finding>) {
    let mut findings = Vec::new();
    let verified = verify(disk, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(verified.faults as usize, damages(&findings).len());
    (verified, findings)
}

fn damages(findings: &[Finding]) -> Vec<&Damage> {
    let damage = |finding| match finding {
        &Finding::Fault(TreeError::Damaged(ref damage)) => Some(damage),
        Finding::Fault(error) => panic!("{error}"),
        _ => None,
    };
    findings.iter().filter_map(damage).collect()
}

fn content(disk: &Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list("tree").unwrap();
    names
        .into_iter()
        .map(|name| (name.clone(), disk.read(&format!("tree/{name}"), 1 << 30).unwrap()))
        .collect()
}

/// A forest with some data files, on a disk whose bits can be flipped.
fn written() -> (Disk, SimDisk, Vec<String>) {
    let (disk, sim, ..) =
        (0..).map(|seed| forest_in_files(seed).unwrap()).find(|it| files(&it.0).len() > 4).unwrap();
    let files = files(&disk);
    (disk, sim, files)
}

fn files(disk: &Disk) -> Vec<String> {
    let names = disk.list("tree").unwrap();
    names.into_iter().filter(|name| name.ends_with(".tree")).map(|name| format!("tree/{name}")).collect()
}

#[test]
fn sound_trees_are_read_whole_and_left_alone() {
    let (disk, _sim, files) = written();
    let before = content(&disk);
    let (verified, findings) = run(&disk);
    assert_eq!(findings, []);
    assert_eq!(verified.files as usize, files.len() + 1);
    assert_eq!(verified.bytes as usize, before.iter().map(|file| file.1.len()).sum::<usize>());
    assert!(!verified.trees.is_empty());
    assert_eq!(content(&disk), before);
    let nothing = Disk::in_memory();
    assert_eq!(run(&nothing), (Verified::default(), vec![]));
    assert!(nothing.list("tree").is_err(), "it makes nothing");
}

#[test]
fn it_goes_on_after_a_fault_and_names_each_with_its_tree() {
    let (disk, sim, files) = written();
    let random = Entropy::seeded(1);
    for file in &files {
        let len = disk.open(file).unwrap().len().unwrap();
        sim.flip_bit(file, random.below(len), 3).unwrap();
    }
    disk.remove(&files[0]).unwrap();
    let before = content(&disk);
    let (_, findings) = run(&disk);
    let mut named: Vec<&str> = damages(&findings).iter().map(|damage| damage.file.as_str()).collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named, files.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(damages(&findings).iter().all(|damage| damage.tree.is_some()), "{findings:?}");
    assert_eq!(content(&disk), before);
}

#[test]
fn without_a_manifest_each_file_is_read_as_it_describes_itself() {
    let (disk, sim, files) = written();
    let (sound, _) = run(&disk);
    sim.flip_bit(manifest::NAME, 30, 0).unwrap();
    sim.flip_bit(&files[1], 0, 0).unwrap();
    let len = disk.open(&files[2]).unwrap().len().unwrap();
    sim.flip_bit(&files[2], len - 1, 0).unwrap();
    for gone in [false, true] {
        if gone {
            disk.remove(manifest::NAME).unwrap();
        }
        let (verified, findings) = run(&disk);
        let named: Vec<&str> = damages(&findings).iter().map(|damage| damage.file.as_str()).collect();
        assert_eq!(named, [manifest::NAME, &files[2], &files[1]]);
        assert!(findings.iter().any(|finding| matches!(finding, Finding::Unchecked(_))));
        assert_eq!(verified.files, sound.files - u64::from(gone));
    }
}

#[test]
fn a_file_that_no_manifest_names_is_a_leftover_and_no_fault() {
    let (disk, ..) = written();
    disk.create("tree/99999999.tree", 10).unwrap();
    disk.create("tree/MANIFEST.new", 0).unwrap();
    let (verified, findings) = run(&disk);
    assert_eq!(verified.faults, 0);
    let leftover = |file: &str| Finding::Leftover { file: file.to_owned() };
    assert_eq!(findings, [leftover("tree/99999999.tree"), leftover("tree/MANIFEST.new")]);
}
