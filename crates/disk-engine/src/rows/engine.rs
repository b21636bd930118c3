//! [`Engine`]: the tables of a node, on the trees of its disk.

use std::sync::Arc;

use base::{GroupId, Mutation, Page, Position, TableId, Token, token_of};
use world::Disk;

use super::{
    raw::{self, Raw},
    resolved::Resolved,
    rule::RowRule,
    walk::Walk,
    write,
};
use crate::{
    RawFound, ReadSpec,
    tree::{Batch, Forest, Latest, Merge, Patience, Rules, TreeError, TreeId, TreeSettings, View},
};

/// The bit of a [`TreeId`] that says: the state of a Machine, and not a table.
const MACHINE: u64 = 1 << 62;
/// Below it, in the [`TreeId`] of a Machine: the generation, and in the lower bits the group.
const GROUP_BITS: u32 = 40;

/// How large a table is, as far as that can be told without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableEstimate {
    /// Row fragments in files: a row that was written to in parts, deleted rows and rows that
    /// others supersede count until compaction has folded them. What is in memory does not count.
    pub rows: u64,
    /// Memory of what is in no file yet, in bytes.
    pub memory_bytes: u64,
    /// Bytes of its files, compressed.
    pub file_bytes: u64,
}

/// Tables on the trees of one disk. Clones are the same engine.
///
/// One tree for each table. The state of Machines is in trees of the same [`Forest`], so that one
/// batch can change both; they are written and read there.
#[derive(Clone, Debug)]
pub struct Engine {
    forest: Forest,
    tokens: fn(&[u8]) -> Token,
}

impl Engine {
    /// Opens the tables of a disk, or begins them: see [`Forest::open`], errors included. What the
    /// log has behind the flushed positions has to be applied again.
    pub fn open(disk: Disk, settings: TreeSettings) -> Result<Engine, TreeError> {
        Engine::with(disk, settings, token_of)
    }

    pub(crate) fn with(
        disk: Disk,
        settings: TreeSettings,
        tokens: fn(&[u8]) -> Token,
    ) -> Result<Engine, TreeError> {
        let rules: Rules = Arc::new(rule_of);
        Ok(Engine { forest: Forest::open(disk, settings, rules)?, tokens })
    }

    /// The trees underneath: their upkeep, their positions, the trees of Machines.
    pub fn forest(&self) -> &Forest {
        &self.forest
    }

    /// Merges mutations into their tables, all in one batch: a reader sees all of them or none. A
    /// table begins with its first mutation. A table that has what was applied at `position`
    /// already skips it; mutations of dropped tables, and those that say nothing, are void.
    ///
    /// # Errors
    /// Those of [`Forest::apply`]; [`TreeError::TooLarge`] also for keys above
    /// [`base::MAX_PARTITION_KEY_BYTES`] and [`base::MAX_CLUSTERING_KEY_BYTES`]. Nothing was done
    /// then.
    pub fn apply(&self, position: Position, mutations: &[Mutation]) -> Result<(), TreeError> {
        let mut batch = Batch::new();
        self.add(&mut batch, mutations)?;
        self.forest.apply(position, batch)
    }

    /// Adds mutations to a batch that changes other trees too, for [`Forest::apply`].
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] for keys; the batch may not be applied then.
    pub fn add(&self, batch: &mut Batch, mutations: &[Mutation]) -> Result<(), TreeError> {
        mutations.iter().try_for_each(|mutation| {
            write::add(batch, Engine::tree_of(mutation.table), (self.tokens)(&mutation.key), mutation)
        })
    }

    /// Reads live rows. A table that does not exist is empty. A page is of one moment.
    ///
    /// # Errors
    /// [`TreeError::NotNow`] only with [`Patience::Now`]: the same read with [`Patience::Wait`]
    /// begins again. [`TreeError::Damaged`] and [`TreeError::Disk`] for what lies in files.
    pub fn read(&self, spec: &ReadSpec, patience: Patience) -> Result<Page, TreeError> {
        let Some(view) = self.view(spec.table) else { return Ok(Page::default()) };
        let mut walk = Walk::new(&view, spec, patience, self.tokens, Resolved::new(spec));
        walk.run()?;
        Ok(Page {
            partitions: walk.sink.partitions,
            more: walk.pager.more,
            scanned_rows: walk.pager.scanned_rows,
            scanned_bytes: walk.pager.scanned_bytes,
        })
    }

    /// Reads everything that is known of the same rows, deletions and expired cells included, as
    /// mutations that would rebuild it: see [`MemoryEngine::read_raw`](crate::MemoryEngine::read_raw),
    /// whose answer this one equals as long as nothing was purged.
    ///
    /// # Errors
    /// Those of [`Engine::read`].
    pub fn read_raw(&self, spec: &ReadSpec, patience: Patience) -> Result<RawFound, TreeError> {
        let Some(view) = self.view(spec.table) else { return Ok(RawFound::default()) };
        let mut walk = Walk::new(&view, spec, patience, self.tokens, Raw::new(spec));
        walk.run()?;
        raw::complete(walk)
    }

    /// Forgets a table for good: mutations of it are void from now on, its files are removed when
    /// their last reader lets go. Durable on return.
    ///
    /// # Errors
    /// Those of [`Forest::drop_tree`].
    pub fn drop_table(&self, table: TableId) -> Result<(), TreeError> {
        self.forest.drop_tree(Engine::tree_of(table))
    }

    /// The tables that were ever written to, ascending.
    pub fn tables(&self) -> Vec<TableId> {
        self.forest.trees().into_iter().filter_map(Engine::table_of).collect()
    }

    /// How large a table is; zeros if it does not exist.
    pub fn table_stats(&self, table: TableId) -> TableEstimate {
        let figures = self.forest.figures(Engine::tree_of(table));
        TableEstimate {
            rows: figures.entries,
            memory_bytes: figures.memtable_bytes,
            file_bytes: figures.file_bytes,
        }
    }

    /// The tree of a table's rows.
    pub fn tree_of(table: TableId) -> TreeId {
        TreeId(table.0)
    }

    /// The tree of a Machine's durable state. A replica that takes over the state of another one has it in
    /// a tree of the next generation.
    ///
    /// # Panics
    /// If `group` or `generation` is not below [`Engine::MAX_GROUPS`] or [`Engine::MAX_GENERATIONS`].
    pub fn machine_tree(group: GroupId, generation: u64) -> TreeId {
        assert!(group.0 < Engine::MAX_GROUPS && generation < Engine::MAX_GENERATIONS, "ids are bounded");
        TreeId(MACHINE | generation << GROUP_BITS | group.0)
    }

    /// Ids of groups are below.
    pub const MAX_GROUPS: u64 = 1 << GROUP_BITS;
    /// Generations are below.
    pub const MAX_GENERATIONS: u64 = MACHINE >> GROUP_BITS;

    /// The Machine whose state is in `tree`, and of which generation; `None` if it is a table's.
    pub fn machine_of(tree: TreeId) -> Option<(GroupId, u64)> {
        let id = tree.0 ^ MACHINE;
        (id < tree.0).then_some((GroupId(id % Engine::MAX_GROUPS), id >> GROUP_BITS))
    }

    /// The table whose rows are in `tree`; `None` if it is a Machine's.
    pub fn table_of(tree: TreeId) -> Option<TableId> {
        (tree.0 & MACHINE == 0).then_some(TableId(tree.0))
    }

    fn view(&self, table: TableId) -> Option<View> {
        self.forest.inner.view(Engine::tree_of(table), None)
    }
}

/// Which rule the values of a tree follow.
fn rule_of(tree: TreeId) -> Arc<dyn Merge> {
    match Engine::table_of(tree) {
        Some(_) => Arc::new(RowRule),
        None => Arc::new(Latest),
    }
}
