//! What may be set about a log.

/// Settings of one disk's log. [`Default`] is what a node uses.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Bytes of one segment file, preallocated. Default 32 MiB, range 1 KiB to 1 GiB.
    /// Larger wastes more at the end of a short log and when one live record holds a segment;
    /// smaller creates files more often. A segment must hold the largest record.
    pub segment_bytes: u64,
    /// Bytes of the largest record, refused above. Default 16 MiB, range 1 B to what a segment
    /// holds. Cassandra's default for a mutation is the same (half of its 32 MiB segment).
    pub max_record_bytes: u64,
    /// Bytes of records that were accepted and are not yet durable, above which the writer is
    /// busy. Default 24 MiB, range from `max_record_bytes` on; never more than one segment
    /// holds, because an accepted record is a record that has its place on the disk.
    pub queue_bytes: u64,
    /// Bytes of the active segment that are written with zeros ahead of the records, at a time,
    /// with the sync of a batch. Default 1 MiB, range 0 (never) to 32 MiB. Without it every batch
    /// touches room that was only taken, which makes the file system write its own records with
    /// each sync; more at a time makes fewer and longer pauses (1 MiB: 0.6 ms).
    pub prepare_bytes: u64,
    /// How long the writer waits for those it has just answered to come back with more before it
    /// writes again, at most. Default 200 microseconds, range 0 (never) to 10,000. Without it,
    /// clients that all wait for their answers would share every second fsync only.
    pub gather_us: u64,
    /// What to do wrong.
    #[cfg(test)]
    pub(crate) sabotage: Option<Sabotage>,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            segment_bytes: 32 << 20,
            max_record_bytes: 16 << 20,
            queue_bytes: 24 << 20,
            prepare_bytes: 1 << 20,
            gather_us: 200,
            #[cfg(test)]
            sabotage: None,
        }
    }
}

/// Bugs planted by tests, to see the tests that guard against them fail.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// Batches are written and not synced.
    BatchUnsynced,
    /// A segment's new name is not synced.
    NameUnsynced,
    /// Appends are answered before the sync that makes them durable.
    EarlyAck,
}
