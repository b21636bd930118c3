//! The catalog in a file, and back.
//!
//! ```text
//! "holdfast catalog" | version u32 | count varint | (key | value)... | crc-32c u32 of all before
//! ```
//! Keys and values are those of the durable state ([`durable`]), each behind its length. What comes back are the
//! definitions, with their ids, and the cluster's name; nodes and groups are those of the cluster that takes them
//! up, which is another one: a node of the old cluster that turns up later has no part in it. Rows are not in it.
//!
//! It is taken up as one entry, so that a stop in the middle leaves nothing or all; hence its bound.

use base::{Cause, Malformed, Reader, Writer};
use bytes::Bytes;
use store::{Changes, Cluster, Schema};

use super::{durable, state::State};

const MAGIC: &[u8; 16] = b"holdfast catalog";
const VERSION: u32 = 1;

/// The catalog, as last applied here, as a file.
pub(crate) fn write(schema: &Schema, cluster: &Cluster) -> Vec<u8> {
    let mut changes = Changes::new();
    let tables = || schema.spaces.values().flat_map(|space| space.tables.values());
    let counters = State {
        epoch: schema.epoch,
        // Ids of what was dropped may be given again where nothing of it is left.
        last_space: schema.spaces.values().map(|space| space.id.0).max().unwrap_or(0),
        last_table: tables().map(|table| table.id.0).max().unwrap_or(0),
        cluster: cluster.id,
        cluster_name: cluster.name.clone(),
        version: cluster.version,
        ..State::default()
    };
    durable::put_counters(&counters, &mut changes);
    for space in schema.spaces.values() {
        durable::put_space(space, &mut changes);
        space.tables.values().for_each(|table| durable::put_table(space.id, table, &mut changes));
    }
    let mut records: Vec<_> = changes.drain().filter_map(|(key, value)| Some((key, value?))).collect();
    records.sort_unstable();
    let mut out = Writer::new();
    out.raw(MAGIC);
    out.u32(VERSION);
    out.varint(records.len() as u64);
    for (key, value) in records {
        out.bytes(&key);
        out.bytes(&value);
    }
    let mut bytes = out.into_vec();
    bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
    bytes
}

/// The records of such a file.
///
/// # Errors
/// `Invalid` for what is no such file or of a later version, `Corrupt` for damage.
pub(crate) fn read(file: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Cause> {
    if !file.starts_with(MAGIC) {
        return Err(Cause::invalid("it is no backup of a catalog"));
    }
    let (body, check) = file.split_last_chunk::<4>().ok_or(Malformed("backup"))?;
    let mut reader = Reader::new(body);
    reader.take(MAGIC.len(), "backup")?;
    let version = reader.u32("backup")?;
    if version > VERSION {
        return Err(Cause::invalid(format!("it has version {version}, and this build reads {VERSION}")));
    }
    if checksum(body) != u32::from_le_bytes(*check) {
        return Err(Cause::corrupt("it fails its checksum"));
    }
    let count = reader.count("backup")?;
    let mut records = Vec::new();
    for _ in 0..count {
        let key = Bytes::copy_from_slice(reader.bytes("backup")?);
        records.push((key, Bytes::copy_from_slice(reader.bytes("backup")?)));
    }
    reader.end("backup")?;
    Ok(records)
}

fn checksum(bytes: &[u8]) -> u32 {
    // CRC-32C is 32 bits wide; the crate returns every width as a u64.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_noticed_and_strangers_are_refused() {
        let cluster = Cluster { name: "c".to_owned(), ..Cluster::default() };
        let file = write(&Schema::default(), &cluster);
        assert_eq!(read(&file).map(|records| records.len()), Ok(1));
        assert!((0..file.len()).all(|cut| read(&file[..cut]).is_err()));
        for offset in 0..file.len() {
            let mut flipped = file.clone();
            flipped[offset] ^= 1;
            assert!(read(&flipped).is_err(), "bit flipped at {offset}");
        }
    }
}
