//! What can be set about the spine.

/// Settings of the spine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Memory that stored data may take, in bytes: tables, Machines and requests in flight
    /// together. Writes above it are refused as busy. Default 512 MiB; at least 16 MiB; until
    /// tables have files on disk, this bounds how much a node can hold.
    pub memory_budget_bytes: usize,
    /// A Machine is snapshotted once its log since the last snapshot passes this many bytes, or
    /// the size of that snapshot if larger, so that the work stays in proportion. Default 16 MiB;
    /// at least 1 byte (tests).
    pub snapshot_after_bytes: u64,
    /// Proposals and conditional writes in flight, in bytes, above which more are refused as
    /// busy. Default 64 MiB; at least 1 MiB.
    pub in_flight_bytes: usize,
    /// The log's settings.
    pub log: disk_log::LogSettings,
    /// The name of the cluster, shown to clients; fixed at the first start. Default `holdfast`.
    pub cluster_name: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            memory_budget_bytes: 512 << 20,
            snapshot_after_bytes: 16 << 20,
            in_flight_bytes: 64 << 20,
            log: disk_log::LogSettings::default(),
            cluster_name: "holdfast".to_owned(),
        }
    }
}
