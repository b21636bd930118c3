//! What can be set about the spine.

use disk_engine::tree::TreeSettings;
use store::{Locality, Versions};

/// Settings of the spine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory that this node takes for data, in bytes: blocks of files kept in memory, what is not
    /// in files yet, Machines, requests in flight. Default 512 MiB; at least 1 MiB. See
    /// [`Settings::tree_settings`] for who gets how much.
    pub memory_budget_bytes: usize,
    /// Bytes by which the log may grow before what it still has to keep is moved forward, so that
    /// it can forget the rest; also about what a start after a crash has to read. Default 256 MiB.
    pub log_keep_bytes: u64,
    /// The engine's settings. What it says of memory is an upper bound beside the shares of the
    /// budget.
    pub tree: TreeSettings,
    /// Proposals and conditional writes in flight, in bytes, above which more are refused as
    /// busy. Default 64 MiB; at least 1 MiB.
    pub in_flight_bytes: usize,
    /// The log's settings.
    pub log: disk_log::LogSettings,
    /// The name of the cluster, shown to clients; fixed at the first start. Default `holdfast`.
    pub cluster_name: String,
    /// Where this node stands. Default: Cassandra's names for what was not said.
    pub locality: Locality,
    /// Versions of the cluster that this node can work with. Those of the build; others are for tests
    /// of what happens when builds differ.
    pub versions: Versions,
    /// Bounds of Raft groups.
    pub groups: GroupSettings,
    /// What to do wrong.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<Sabotage>,
}

/// Bounds of each Raft group.
#[derive(Clone, Copy, Debug)]
pub struct GroupSettings {
    /// Applied entries that are kept in memory for followers that lag behind; one that lags further gets a
    /// snapshot. Default 4096.
    pub kept_entries: usize,
    /// Their bytes. Default 1 MiB.
    pub kept_bytes: usize,
    /// Entries that are in a leader's log and not applied there, above which it refuses proposals as busy.
    /// Default 65,536.
    pub lag_entries: u64,
    /// Bytes of entries that are in a leader's log and not committed, above which it refuses proposals as
    /// busy. Default 64 MiB.
    pub uncommitted_bytes: u64,
    /// Bytes of entries in one message to a follower, but for the first entry. Default 128 KiB.
    pub message_bytes: u64,
    /// Messages with entries that are on their way to a follower at a time. Default 64.
    pub messages_in_flight: usize,
    /// Bytes of a piece of a state that a replica takes over from another one, but for its last record.
    /// Default 256 KiB.
    pub snapshot_chunk_bytes: usize,
    /// Bytes of such pieces that a replica asks for in 50 ms, on average. Default 1.6 MB: 32 MB a second.
    pub snapshot_tick_bytes: usize,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            kept_entries: 4096,
            kept_bytes: 1 << 20,
            lag_entries: 65_536,
            uncommitted_bytes: 64 << 20,
            message_bytes: 128 << 10,
            messages_in_flight: 64,
            snapshot_chunk_bytes: 256 << 10,
            snapshot_tick_bytes: 1_600_000,
        }
    }
}

/// Bugs that tests plant, to see the tests that guard against them fail. Nothing else can: only tests, and builds with
/// the feature `sabotage`, have a setting for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// The log forgets what is applied, not what is in files.
    TrimAtApplied,
    /// The index in a Machine's tree is that of the entry before the last applied.
    IndexLags,
    /// A vote and its term are not written.
    VoteNotPersisted,
    /// A follower says that it has entries before they are durable.
    AckBeforeFsync,
    /// A leader counts itself before its entries are durable.
    LeaderCountsEarly,
    /// A leader answers reads before an entry of its own term is committed.
    ReadBeforeOwnTerm,
    /// A change of several members is made at once, without both majorities.
    NoJointMajority,
    /// A proposal that was sent twice is applied twice.
    ApplyTwice,
    /// A leader forgets entries that a follower lacks, and gives it no snapshot.
    TruncatePastFollower,
    /// A node whose disk was set back to an older state is believed.
    BelieveAnyLife,
    /// The pieces of a snapshot are read from the state as it is, which goes on meanwhile.
    SnapshotNotAtomic,
    /// A snapshot is installed though the state here is newer.
    StaleSnapshot,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory_budget_bytes: 512 << 20,
            log_keep_bytes: 256 << 20,
            tree: TreeSettings { cache_bytes: usize::MAX, ..TreeSettings::default() },
            in_flight_bytes: 64 << 20,
            log: disk_log::LogSettings::default(),
            cluster_name: "holdfast".to_owned(),
            locality: Locality::default(),
            versions: Versions::BUILD,
            groups: GroupSettings::default(),
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

impl Settings {
    /// The bug that is planted: none, but in tests.
    pub(crate) fn planted(&self) -> Option<Sabotage> {
        #[cfg(any(test, feature = "sabotage"))]
        return self.sabotage;
        #[cfg(not(any(test, feature = "sabotage")))]
        None
    }

    /// The engine's settings with its shares of the memory: three eighths for blocks of files, an
    /// eighth for memtables that are being filled, and as much again for those that wait for their
    /// files. The rest, three eighths, is for Machines and requests.
    pub(crate) fn tree_settings(&self) -> TreeSettings {
        let eighth = self.memory_budget_bytes / 8;
        TreeSettings {
            cache_bytes: self.tree.cache_bytes.min(3 * eighth),
            memtables_bytes: self.tree.memtables_bytes.min(eighth.max(MEMTABLE_BYTES_MIN)),
            memtable_bytes: self.tree.memtable_bytes.min((eighth / 2).max(MEMTABLE_BYTES_MIN)),
            ..self.tree.clone()
        }
    }

    /// Bytes of memtables, full ones included, above which writes are refused.
    pub(crate) fn memtables_max(&self) -> usize {
        2 * self.tree_settings().memtables_bytes
    }
}

/// The smallest memtable the engine takes.
const MEMTABLE_BYTES_MIN: usize = 256;
