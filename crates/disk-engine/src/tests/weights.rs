//! The allocator as judge of `weight_bytes`: it counts what this thread holds.

#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell as Counter,
};

use base::{Cell, Change, ColumnId, Mutation, Selection, TableId};
use bytes::Bytes;

use crate::{MemoryEngine, ReadSpec};

thread_local! {
    static HELD: Counter<isize> = const { Counter::new(0) };
}

struct Counting;

/// What an allocation of `size` bytes takes of the heap in the common allocators: rounded to 16,
/// with a header of 8.
fn taken(size: usize) -> isize {
    (size + 8).next_multiple_of(16).max(32) as isize
}

fn count(by: isize) {
    // A thread that ends frees when its counter is gone already.
    let _ = HELD.try_with(|held| held.set(held.get() + by));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(taken(layout.size()));
        // SAFETY: the caller's promises are the system allocator's demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-taken(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Bytes that this thread holds.
pub(crate) fn held_bytes() -> isize {
    HELD.get()
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Fills an engine and reads it all once (which makes shared what is handed out), then compares.
fn check(name: &str, mutations: impl Iterator<Item = Mutation>) {
    let before = HELD.get();
    let engine = MemoryEngine::new();
    mutations.for_each(|mutation| engine.apply(&mutation));
    let mut spec = ReadSpec::partition(TableId(1), Bytes::new(), 0);
    spec.selection = Selection::Tokens { first: i64::MIN, last: i64::MAX };
    drop(engine.read(&spec));
    let (held, says) = ((HELD.get() - before) as f64, engine.weight_bytes() as f64);
    drop(engine);
    // Before anything is printed: captured output is memory of this thread, too.
    let left = HELD.get() - before;
    let ratio = says / held;
    println!("{name}: holds {held}, says {ratio:.2} of it");
    assert!((0.7..1.3).contains(&ratio), "{name}: says {ratio:.2} of what it holds");
    assert_eq!(left, 0, "{name}: all is freed");
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

fn row(clustering: Bytes, columns: u32, value: usize) -> Change {
    let cell = |_| Cell::live(1, vec![1; value].into());
    Change::Row { clustering, cells: (1..=columns).map(|column| (ColumnId(column), cell(()))).collect() }
}

fn put(key: Bytes, changes: Vec<Change>) -> Mutation {
    Mutation { table: TableId(1), key, changes }
}

#[test]
fn weights_are_honest() {
    check("one row of 1 KB a partition", (0..3000).map(|n| put(key(n), vec![row(Bytes::new(), 2, 500)])));
    check("one row of 8 bytes a partition", (0..20_000).map(|n| put(key(n), vec![row(Bytes::new(), 1, 8)])));
    check("five rows a partition", (0..10_000).map(|n| put(key(n % 2000), vec![row(key(n), 3, 20)])));
    check("a thousand rows a partition", (0..10_000).map(|n| put(key(n % 10), vec![row(key(n), 3, 20)])));
    check(
        "rows in order",
        (0..10_000u32).map(|n| put(key(0), vec![row(n.to_be_bytes().to_vec().into(), 1, 30)])),
    );
    let delete = |n: u64| {
        let from = n.to_be_bytes().to_vec();
        let change = Change::DeleteRows {
            to: Some([&from[..], &[9]].concat().into()),
            from: from.into(),
            timestamp: 5,
        };
        put(key(0), vec![change])
    };
    check("deletions of ranges", (0..10_000).map(delete));
    check(
        "deleted partitions",
        (0..10_000).map(|n| put(key(n), vec![Change::DeletePartition { timestamp: 5 }])),
    );
    check(
        "overwritten",
        (0..20_000).map(|n| put(key(n % 500), vec![row(Bytes::new(), 2, 100 + n as usize % 400)])),
    );
}
