//! [`Scale`]: how much data a turn has, and the sizes that both trees are given.

use serde_json::{Value, json};

use super::data::KEY_BYTES;

/// Sizes of a turn. The defaults of a node are 4 to 16 times as large; these keep their
/// proportions, so that data of 256 MiB makes as many runs and levels as gigabytes would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Bytes of keys and values in the data set, about.
    pub data_bytes: u64,
    /// Bytes of the block cache: a quarter of the data.
    pub cache_bytes: u64,
    /// Bytes of a memtable.
    pub memtable_bytes: u64,
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes that the first level below the newest may have.
    pub level_bytes: u64,
    /// Milliseconds that each row of reads is measured for.
    pub row_ms: u64,
}

impl Scale {
    /// What is recorded.
    pub const FULL: Scale = Scale {
        data_bytes: 256 << 20,
        cache_bytes: 64 << 20,
        memtable_bytes: 8 << 20,
        file_bytes: 8 << 20,
        level_bytes: 32 << 20,
        row_ms: 1000,
    };

    /// Whether it works.
    pub const QUICK: Scale = Scale {
        data_bytes: 32 << 20,
        cache_bytes: 8 << 20,
        memtable_bytes: 1 << 20,
        file_bytes: 1 << 20,
        level_bytes: 4 << 20,
        row_ms: 200,
    };

    /// `full` or `quick`.
    pub fn named(name: &str) -> Option<Scale> {
        match name {
            "full" => Some(Scale::FULL),
            "quick" => Some(Scale::QUICK),
            _ => None,
        }
    }

    /// How many values of `value_bytes` the data set has: the power of two by which keys and values
    /// come closest to the bytes of data from below, or a little above them.
    pub fn items(self, value_bytes: usize) -> u64 {
        let most = (self.data_bytes + self.data_bytes / 8) / (value_bytes + KEY_BYTES) as u64;
        1 << most.ilog2()
    }

    /// For the raw figures.
    pub fn json(self) -> Value {
        json!({
            "data_bytes": self.data_bytes,
            "cache_bytes": self.cache_bytes,
            "memtable_bytes": self.memtable_bytes,
            "file_bytes": self.file_bytes,
            "level_bytes": self.level_bytes,
            "block_bytes": BLOCK_BYTES,
            "row_ms": self.row_ms,
        })
    }
}

/// Bytes of a data block before compression.
pub const BLOCK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::VALUE_BYTES;

    #[test]
    fn the_data_is_four_times_the_cache() {
        for scale in [Scale::FULL, Scale::QUICK] {
            assert_eq!(scale.data_bytes, 4 * scale.cache_bytes);
            for value_bytes in VALUE_BYTES {
                let raw_bytes = scale.items(value_bytes) * (value_bytes + KEY_BYTES) as u64;
                let share = raw_bytes as f64 / scale.data_bytes as f64;
                assert!((0.9..1.1).contains(&share), "{share} of the data with {value_bytes} B");
            }
        }
    }
}
