//! The engine: tables by identifier, each split by token into shards with a lock of its own.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{
        Arc, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed},
    },
};

use base::{Cell, ColumnId, Mutation, Page, PartitionRows, Selection, Slice, TableId, Token, token_of};
use bytes::Bytes;

use super::{
    partition::Partition,
    raw::Raw,
    rows::Row,
    shard::{Shard, Sink, Walk, leaves_a_trace},
};
use crate::{RawFound, ReadSpec};

/// Shards of a table: enough that readers of other partitions seldom meet the applier.
const SHARD_BITS: u32 = 6;

/// How large a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Partitions of which anything is known, deleted ones included.
    pub partitions: u64,
    /// Rows with cells, expired cells and deleted cells (but not deleted rows) included.
    pub rows: u64,
    /// Memory it takes, in bytes.
    pub weight_bytes: u64,
}

/// A table that was dropped and is still to be freed.
#[must_use = "dropping it takes as long as the table is large"]
pub struct Dropped {
    _table: Option<Arc<Table>>,
}

/// All tables of one replica, in memory.
pub struct MemoryEngine {
    tables: RwLock<Tables>,
    weight: Arc<AtomicIsize>,
    shard_bits: u32,
    tokens: fn(&[u8]) -> Token,
}

#[derive(Default)]
struct Tables {
    by_id: BTreeMap<TableId, Arc<Table>>,
    /// Identifiers are never reused, so a late mutation of one of these is void.
    dropped: BTreeSet<TableId>,
}

struct Table {
    shards: Vec<RwLock<Shard>>,
    partitions: AtomicU64,
    rows: AtomicIsize,
    weight: AtomicIsize,
    /// The engine's sum, from which a table takes itself when its memory is really freed: readers
    /// may hold a dropped table for a while.
    total: Arc<AtomicIsize>,
}

impl Default for MemoryEngine {
    fn default() -> MemoryEngine {
        MemoryEngine::new()
    }
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> MemoryEngine {
        MemoryEngine::with(SHARD_BITS, token_of)
    }

    /// An empty engine that is cheap to make: for merging the raw answers of a few replicas (see
    /// [`MemoryEngine::read_raw`]).
    pub fn scratch() -> MemoryEngine {
        MemoryEngine::with(0, token_of)
    }

    pub(crate) fn with(shard_bits: u32, tokens: fn(&[u8]) -> Token) -> MemoryEngine {
        MemoryEngine { tables: RwLock::default(), weight: Arc::default(), shard_bits, tokens }
    }

    /// Merges a mutation into its table, which begins with its first mutation. Afterwards every
    /// reader sees all of it; before, none. Applying it again changes nothing. A mutation of a
    /// dropped table is void.
    pub fn apply(&self, mutation: &Mutation) {
        if !leaves_a_trace(mutation) {
            return;
        }
        let Some(table) = self.table_to_write(mutation.table) else { return };
        let token = (self.tokens)(&mutation.key);
        let (meter, made) = write(&table.shards[self.shard_of(token)]).apply(token, mutation);
        table.partitions.fetch_add(made, Relaxed);
        table.rows.fetch_add(meter.rows, Relaxed);
        table.weight.fetch_add(meter.bytes, Relaxed);
        self.weight.fetch_add(meter.bytes, Relaxed);
    }

    /// Reads live rows. A table that does not exist is empty. The rows of one partition in one
    /// page are as they stood at one moment; partitions of a scan may be of different moments.
    pub fn read(&self, spec: &ReadSpec) -> Page {
        let mut walk = Walk::new(spec, Resolved { spec, partitions: Vec::new(), fresh: false });
        self.walk(&mut walk);
        Page {
            partitions: walk.sink.partitions,
            more: walk.pager.more,
            scanned_rows: walk.pager.scanned_rows,
            scanned_bytes: walk.pager.scanned_bytes,
        }
    }

    /// Reads everything that is known of the same rows, deletions and expired cells included, as
    /// mutations that would rebuild it. That is what a replica answers a coordinator which has to
    /// weigh it against other replicas: applying the answers of all to an [`MemoryEngine::scratch`] is
    /// the merge, reading that is the result, and its own raw answer is what a stale replica lacks.
    ///
    /// The form is a function of what was ever written, not of the order, so equal answers mean
    /// equal replicas. All columns come, whatever the spec's columns. Limits count live rows. If
    /// there is more, nothing is said about rows behind that place, nor about rows up to `after`;
    /// the deletion of a partition is said of the whole of it.
    pub fn read_raw(&self, spec: &ReadSpec) -> RawFound {
        let mut walk = Walk::new(spec, Raw::new(spec.table));
        self.walk(&mut walk);
        RawFound {
            mutations: walk.sink.into_mutations(spec, walk.pager.more.as_ref()),
            more: walk.pager.more,
            scanned_rows: walk.pager.scanned_rows,
            scanned_bytes: walk.pager.scanned_bytes,
        }
    }

    /// Forgets a table for good: mutations of it are void from now on. Its memory is freed when
    /// what is returned is dropped, which takes as long as the table is large.
    pub fn drop_table(&self, id: TableId) -> Dropped {
        let mut tables = self.tables.write().expect(UNPOISONED);
        tables.dropped.insert(id);
        Dropped { _table: tables.by_id.remove(&id) }
    }

    /// The tables that hold anything, ascending.
    pub fn tables(&self) -> Vec<(TableId, TableStats)> {
        let tables = self.tables.read().expect(UNPOISONED);
        tables.by_id.iter().map(|(id, table)| (*id, table.stats())).collect()
    }

    /// How large a table is; zeros if it does not exist.
    pub fn table_stats(&self, id: TableId) -> TableStats {
        self.table(id).map_or_else(TableStats::default, |table| table.stats())
    }

    /// Memory that all tables take, in bytes, allocator included; an estimate to within 30 %.
    pub fn weight_bytes(&self) -> u64 {
        u64::try_from(self.weight.load(Relaxed)).unwrap_or(0)
    }

    fn table(&self, id: TableId) -> Option<Arc<Table>> {
        self.tables.read().expect(UNPOISONED).by_id.get(&id).cloned()
    }

    fn table_to_write(&self, id: TableId) -> Option<Arc<Table>> {
        if let Some(table) = self.table(id) {
            return Some(table);
        }
        let mut tables = self.tables.write().expect(UNPOISONED);
        if tables.dropped.contains(&id) {
            return None;
        }
        let made = || {
            Arc::new(Table {
                shards: (0..1usize << self.shard_bits).map(|_| RwLock::default()).collect(),
                partitions: AtomicU64::default(),
                rows: AtomicIsize::default(),
                weight: AtomicIsize::default(),
                total: self.weight.clone(),
            })
        };
        Some(tables.by_id.entry(id).or_insert_with(made).clone())
    }

    /// The shard of a token: its high bits, so that shards follow the ring.
    fn shard_of(&self, token: Token) -> usize {
        let from_start = (token as u64) ^ (1 << 63);
        from_start.checked_shr(64 - self.shard_bits).unwrap_or(0) as usize
    }

    fn walk<S: Sink>(&self, walk: &mut Walk<'_, S>) {
        let Some(table) = self.table(walk.spec.table) else { return };
        let spec = walk.spec;
        // Whether the walk ended itself or ran out of rows is in the pager.
        let _ended = match &spec.selection {
            Selection::Partition { key, slices, reversed } => {
                self.walk_partition(&table, walk, key, slices, *reversed)
            }
            Selection::Tokens { first, last } => self.walk_tokens(&table, walk, *first, *last),
        };
    }

    fn walk_partition<S: Sink>(
        &self,
        table: &Table,
        walk: &mut Walk<'_, S>,
        key: &Bytes,
        slices: &[Slice],
        reversed: bool,
    ) -> ControlFlow<()> {
        let token = (self.tokens)(key);
        let mut after = None;
        if let Some(place) = &walk.spec.after {
            let behind = (token, key).cmp(&((self.tokens)(&place.key), &place.key));
            match (behind, &place.clustering) {
                (Ordering::Greater, _) => {}
                (Ordering::Equal, Some(clustering)) => after = Some(clustering.as_ref()),
                (Ordering::Equal, None) | (Ordering::Less, _) => return ControlFlow::Continue(()),
            }
        }
        let shard = read(&table.shards[self.shard_of(token)]);
        match shard.find(token, key) {
            Some(partition) => walk.partition(partition, slices, reversed, after),
            None => ControlFlow::Continue(()),
        }
    }

    fn walk_tokens<S: Sink>(
        &self,
        table: &Table,
        walk: &mut Walk<'_, S>,
        mut first: Token,
        last: Token,
    ) -> ControlFlow<()> {
        let slices = [Slice::all()];
        let place = walk.spec.after.as_ref().map(|place| ((self.tokens)(&place.key), place));
        if let Some((token, _)) = place {
            first = first.max(token);
        }
        if first > last {
            return ControlFlow::Continue(());
        }
        for shard in &table.shards[self.shard_of(first)..=self.shard_of(last)] {
            for (token, partition) in read(shard).scan(first, last) {
                let mut after = None;
                if let Some((place_token, place)) = place {
                    match (token, &partition.key).cmp(&(place_token, &place.key)) {
                        Ordering::Less => continue,
                        Ordering::Greater => {}
                        Ordering::Equal => match &place.clustering {
                            Some(clustering) => after = Some(clustering.as_ref()),
                            None => continue,
                        },
                    }
                }
                walk.partition(partition, &slices, false, after)?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Table {
    fn stats(&self) -> TableStats {
        TableStats {
            partitions: self.partitions.load(Relaxed),
            rows: u64::try_from(self.rows.load(Relaxed)).unwrap_or(0),
            weight_bytes: u64::try_from(self.weight.load(Relaxed)).unwrap_or(0),
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.total.fetch_sub(*self.weight.get_mut(), Relaxed);
    }
}

const UNPOISONED: &str = "no code panics while it holds this lock";

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().expect(UNPOISONED)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().expect(UNPOISONED)
}

/// Rows for a client: live cells of the columns asked for.
struct Resolved<'a> {
    spec: &'a ReadSpec,
    partitions: Vec<PartitionRows>,
    /// The partition being walked has no row in `partitions` yet.
    fresh: bool,
}

impl Resolved<'_> {
    fn wanted(&self, column: ColumnId, cell: &Cell) -> bool {
        cell.is_live(self.spec.now_seconds)
            && self.spec.columns.as_ref().is_none_or(|columns| columns.contains(&column))
    }
}

impl Sink for Resolved<'_> {
    fn open(&mut self, _: &Partition, _: &[Slice]) {
        self.fresh = true;
    }

    fn live(&mut self, partition: &Partition, clustering: &Bytes, row: &Row) -> usize {
        let mut bytes = clustering.len();
        if std::mem::take(&mut self.fresh) {
            bytes += partition.key.len();
            self.partitions.push(PartitionRows { key: partition.key.clone(), rows: Vec::new() });
        }
        let mut cells = Vec::with_capacity(row.cells.len());
        for (column, cell) in &row.cells {
            if self.wanted(*column, cell) {
                bytes += 16 + cell.value.as_ref().map_or(0, Bytes::len);
                cells.push((*column, cell.clone()));
            }
        }
        let found = self.partitions.last_mut().expect("the first row of a partition pushed it");
        found.rows.push(base::Row { clustering: clustering.clone(), cells });
        bytes
    }

    fn dead(&mut self, _: &Bytes, _: &Row) {}

    fn full(&mut self) {}

    /// Dead rows left nothing.
    fn cut(&mut self) {}
}
