//! What an operator may set about this door.

use std::time::Duration;

use crate::{
    exec::{Budget, EngineSettings},
    limits::FRAME_BYTES_CEILING,
};

/// What to do with a SELECT that has to look at rows it does not return and does not say
/// `ALLOW FILTERING`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Refuse, as Cassandra does.
    Strict,
    /// Answer if the whole answer is found within a budget, with a warning that Cassandra would
    /// refuse; refuse else. Never a part of the answer.
    #[default]
    Bounded,
    /// Answer, whatever it takes, with the warning.
    Permissive,
}

/// Settings of the Cassandra door.
#[derive(Clone, Debug)]
pub struct Settings {
    /// See [`Filtering`]. Default `Bounded`: a small table can be searched like in any database;
    /// clusters with large tables are better off with `Strict`.
    pub filtering: Filtering,
    /// Rows that one SELECT may look at under [`Filtering::Bounded`]. Default 100,000; 1 to 10^12.
    /// What a node reads from memory without others noticing.
    pub filtering_rows: u64,
    /// Bytes, likewise. Default 64 MiB; 1 KiB to 1 TiB.
    pub filtering_bytes: u64,
    /// Time, likewise. Default 1,000; 1 to 3,600,000.
    pub filtering_ms: u64,
    /// Time that one answer of a read within partitions may take, as Cassandra's
    /// `read_request_timeout`. Default 5,000; 1 to 3,600,000.
    pub read_ms: u64,
    /// Time that one answer of a read over a stretch of the ring may take, as Cassandra's
    /// `range_request_timeout`: long enough for a page that has to skip much, short enough that
    /// nobody waits in vain. Default 10,000; 1 to 3,600,000.
    pub range_read_ms: u64,
    /// Bytes of a request's body; a larger one is passed over and refused. Default 16 MiB, as
    /// Cassandra's `native_transport_max_frame_size`; 64 KiB to 256 MiB, which the protocol allows
    /// at most.
    pub max_frame_bytes: usize,
    /// Bounds of the door as a door.
    pub limits: door::Limits,
    /// Whether clients may or must speak TLS. Default off. Cassandra's `client_encryption_options`
    /// with `optional`, which it also detects on the same port.
    pub tls: door::Tls,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            filtering: Filtering::default(),
            filtering_rows: 100_000,
            filtering_bytes: 64 << 20,
            filtering_ms: 1_000,
            read_ms: 5_000,
            range_read_ms: 10_000,
            max_frame_bytes: 16 << 20,
            limits: door::Limits::default(),
            tls: door::Tls::Off,
        }
    }
}

impl Settings {
    pub(crate) fn frame_bytes(&self) -> usize {
        self.max_frame_bytes.min(FRAME_BYTES_CEILING)
    }

    pub(crate) fn engine(&self) -> EngineSettings {
        EngineSettings {
            filtering: self.filtering,
            budget: Budget {
                rows: self.filtering_rows,
                bytes: self.filtering_bytes,
                time: Duration::from_millis(self.filtering_ms),
            },
            read_limit: Duration::from_millis(self.read_ms),
            range_read_limit: Duration::from_millis(self.range_read_ms),
        }
    }
}
