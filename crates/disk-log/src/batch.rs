//! [`Batch`]: records that become durable together.

use base::StreamId;

use crate::format;

/// Records in order, already as they will stand in the log.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    body: Vec<u8>,
    records: u32,
    longest_bytes: u64,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// A batch of one record.
    pub fn of(stream: StreamId, payload: &[u8]) -> Batch {
        let mut batch = Batch::new();
        batch.push(stream, payload);
        batch
    }

    /// Adds a record.
    pub fn push(&mut self, stream: StreamId, payload: &[u8]) {
        format::put_record(&mut self.body, stream, payload);
        self.records += 1;
        self.longest_bytes = self.longest_bytes.max(payload.len() as u64);
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The number of records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The bytes of its longest payload.
    pub(crate) fn longest_bytes(&self) -> u64 {
        self.longest_bytes
    }

    /// Its bytes, as they will stand in the log.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}
