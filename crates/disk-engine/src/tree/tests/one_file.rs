//! One file against a sorted map: every way of reading it, in both directions, with blocks so small
//! that there are many between the root and a leaf, and with keys as long as keys may be.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use base::Cell;
use bytes::Bytes;
use proptest::prelude::*;
use world::Disk;

use crate::tree::{
    Compression, LastWriteWins, Merge, Patience, TreeId, TreeSettings,
    build::FileBuilder,
    cursor::{Access, Cursor},
    encode_cell,
    file::{FileHandle, Steps},
    files::Files,
    filter,
    memtable::Versions,
    ranges::Ranges,
};

type Entries = BTreeMap<(Vec<u8>, Reverse<u64>), Bytes>;
type Deletion = (Vec<u8>, Option<Vec<u8>>, (u64, i64));

/// Mostly short keys of few letters; some of 64 KiB that differ at their end only.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(0u8..3, 0..5);
    (tail, prop_oneof![20 => Just(0usize), 2 => 60usize..70, 1 => Just((64 << 10) - 10)]).prop_map(
        |(tail, same)| {
            let mut key = vec![1; same];
            key.extend(tail);
            key
        },
    )
}

fn value() -> impl Strategy<Value = Bytes> {
    (0i64..50, prop_oneof![5 => 0usize..20, 1 => Just(500)])
        .prop_map(|(timestamp, len)| encode_cell(&Cell::live(timestamp, Bytes::from(vec![7; len]))))
}

fn settings() -> impl Strategy<Value = TreeSettings> {
    let compression =
        prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd { level: 1 })];
    (64usize..300, compression, 0usize..20_000).prop_map(|(block_bytes, compression, cache_bytes)| {
        TreeSettings { block_bytes, compression, cache_bytes, ..TreeSettings::default() }
    })
}

fn file(settings: TreeSettings, entries: &Entries, ranges: &Ranges) -> Arc<FileHandle> {
    let disk = Disk::in_memory();
    disk.make_folder("tree").unwrap();
    let files = Arc::new(Files::new(disk.clone(), settings.cache_bytes, 1));
    let rule: Arc<dyn Merge> = Arc::new(LastWriteWins { prefix_bytes: 1 });
    let mut builder = FileBuilder::create(&disk, &Arc::new(settings), &rule, TreeId(1), 7).unwrap();
    for ((key, sequence), value) in entries {
        builder.add(key, sequence.0, value).unwrap();
    }
    Arc::new(FileHandle::new(builder.finish(ranges).unwrap(), &files))
}

fn entry_of(cursor: &Cursor) -> Option<(Vec<u8>, u64, Bytes)> {
    let (sequence, value) = cursor.value()?;
    Some((cursor.key()?.to_vec(), sequence, value))
}

fn walk(cursor: &mut Cursor, forward: bool) -> Vec<(Vec<u8>, u64, Bytes)> {
    let mut met = Vec::new();
    while let Some(entry) = entry_of(cursor) {
        met.push(entry);
        if forward { cursor.next().unwrap() } else { cursor.prev().unwrap() }
    }
    met
}

fn flat(entry: (&(Vec<u8>, Reverse<u64>), &Bytes)) -> (Vec<u8>, u64, Bytes) {
    (entry.0.0.clone(), entry.0.1.0, entry.1.clone())
}

const ACCESSES: [Access; 3] = [Access::Cached(Patience::Wait), Access::Cached(Patience::Now), Access::Ahead];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_file_is_its_entries_whichever_way_it_is_read(
        settings in settings(),
        entries in prop::collection::btree_map((key(), (1u64..9).prop_map(Reverse)), value(), 0..120),
        sought in prop::collection::vec((key(), 0u64..10), 0..20),
    ) {
        let entries: Entries = entries;
        let file = file(settings, &entries, &Ranges::default());
        prop_assert_eq!(file.verify(), []);
        let all: Vec<_> = entries.iter().map(flat).collect();
        let places: Vec<_> = entries.keys().map(|(key, at)| (key.clone(), at.0)).chain(sought).collect();
        for access in ACCESSES {
            let mut cursor = file.entries(access).unwrap();
            prop_assert_eq!(entry_of(&cursor), None);
            cursor.seek(&[], u64::MAX).unwrap();
            prop_assert_eq!(&walk(&mut cursor, true), &all);
            cursor.seek_below(None).unwrap();
            prop_assert!(walk(&mut cursor, false).into_iter().eq(all.iter().rev().cloned()));
            for (key, sequence) in &places {
                let place = (key.clone(), Reverse(*sequence));
                cursor.seek(key, *sequence).unwrap();
                prop_assert_eq!(entry_of(&cursor), entries.range(place..).next().map(flat));
                cursor.next().unwrap();
                cursor.seek_below(Some(key)).unwrap();
                let below = entries.range(..(key.clone(), Reverse(u64::MAX))).next_back();
                prop_assert_eq!(entry_of(&cursor), below.map(flat));
            }
        }
        for (key, sequence) in &places {
            let mut found = Versions::new();
            file.collect((key, filter::hash(key)), *sequence, &mut found, Patience::Now).unwrap();
            let seen = entries.range((key.clone(), Reverse(*sequence))..=(key.clone(), Reverse(0)));
            prop_assert_eq!(found, seen.map(|(place, value)| (place.1.0, value.clone())).collect::<Versions>());
        }
        // What it says of its size adds up to what its leaves take.
        let outline = file.outline(&[], None).unwrap();
        prop_assert!(outline.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        prop_assert_eq!(outline.is_empty(), entries.is_empty());
        prop_assert!(outline.iter().map(|leaf| leaf.1).sum::<u64>() < file.meta.bytes);
    }

    #[test]
    fn deletions_of_ranges_in_a_file_are_found_without_reading_all(
        settings in settings(),
        deletions in prop::collection::vec(
            (key(), prop::option::of(key()), (1u64..9, 0i64..9)),
            0..60,
        ),
        sought in prop::collection::vec(key(), 1..20),
        limit in 1usize..9,
    ) {
        let deletions: Vec<Deletion> = deletions;
        let mut ranges = Ranges::default();
        for (from, to, mark) in &deletions {
            ranges.add(from, to.as_deref(), *mark);
        }
        let file = file(settings, &Entries::new(), &ranges);
        prop_assert_eq!(file.verify(), []);
        prop_assert_eq!(file.meta.has_ranges, !ranges.is_empty());
        let all = file.ranges((&[], None), usize::MAX, Access::Ahead).unwrap();
        prop_assert_eq!(&all, &ranges);
        let edges = deletions.iter().flat_map(|(from, to, _)| [Some(from), to.as_ref()]).flatten();
        let keys: Vec<_> = edges.chain(&sought).collect();
        let mut steps = file.meta.has_ranges.then(|| Steps::new(&file, Patience::Now).unwrap());
        for (nth, key) in keys.iter().enumerate() {
            for sequence in [0, 3, 5, 9] {
                let expected = ranges.at(key, sequence);
                prop_assert_eq!(file.deleted_at(key, sequence, Patience::Now).unwrap(), expected);
                if let Some(steps) = &mut steps {
                    prop_assert_eq!(steps.at(key, sequence).unwrap(), expected);
                }
            }
            let to = keys.get(nth + 1).map(|key| key.as_slice());
            let some = file.ranges((key, to), limit, Access::Cached(Patience::Now)).unwrap();
            prop_assert_eq!(some.cut_some(key, to, limit), ranges.cut_some(key, to, limit));
        }
    }
}

#[test]
fn a_file_whose_entries_are_not_in_order_is_told() {
    let disk = Disk::in_memory();
    disk.make_folder("tree").unwrap();
    let files = Arc::new(Files::new(disk.clone(), 0, 1));
    let rule: Arc<dyn Merge> = Arc::new(LastWriteWins::default());
    let settings = Arc::new(TreeSettings { block_bytes: 64, ..TreeSettings::default() });
    let cell = encode_cell(&Cell::tombstone(1));
    // Wrong within a block; wrong from one block to the next; twice the same.
    for keys in [["a", "c", "b"], ["c", "d", "a"], ["a", "a", "b"]] {
        for bytes in [1, 100] {
            let mut builder = FileBuilder::create(&disk, &settings, &rule, TreeId(1), 7).unwrap();
            for key in keys {
                builder.add(key.repeat(bytes).as_bytes(), 5, &cell).unwrap();
            }
            let file = FileHandle::new(builder.finish(&Ranges::default()).unwrap(), &files);
            let faults = file.verify();
            assert!(faults.iter().any(|fault| fault.to_string().contains("order")), "{keys:?}: {faults:?}");
            files.forget(7);
            disk.remove("tree/00000007.tree").unwrap();
        }
    }
}
