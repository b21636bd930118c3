//! Who this data directory belongs to: the file `IDENTITY`.
//!
//! ```text
//! holdfast <disk format>\n
//! node <id>\n
//! host <uuid, 32 hex digits>\n
//! checksum <crc-32c of the lines above, 8 hex digits>\n
//! ```
//! It is written once, before anything else, and tells a directory of ours from a stranger's. Text,
//! so that a person who finds the directory can read what it is.

use base::{Cause, NodeId};
use world::{Disk, DiskError, Entropy};

/// The version of everything under a data directory. Before 0.1 it may change without a way up.
pub const DISK_FORMAT: u32 = 3;

pub(crate) const FILE: &str = "IDENTITY";
/// Far above what the file can hold.
pub(crate) const MAX_BYTES: u64 = 4096;

/// A node's identity, for the life of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) host_uuid: u128,
}

impl Identity {
    /// Reads the identity, or makes one in an empty directory.
    pub(crate) fn load_or_create(disk: &Disk, entropy: &Entropy) -> Result<Identity, Cause> {
        match disk.read(FILE, MAX_BYTES) {
            Ok(bytes) => Identity::parse(&bytes)
                .map_err(|cause| Cause::new(cause.class, format!("{}/{FILE}: {cause}", disk.describe()))),
            Err(DiskError::NotFound { .. }) => Identity::create(disk, entropy),
            Err(error) => Err(unusable(error)),
        }
    }

    fn create(disk: &Disk, entropy: &Entropy) -> Result<Identity, Cause> {
        let logs = match disk.list("log") {
            Err(DiskError::NotFound { .. }) => Vec::new(),
            listed => listed.map_err(unusable)?.into_iter().map(|name| format!("log/{name}")).collect(),
        };
        let files = disk.list("").map_err(unusable)?;
        if let Some(foreign) = files.into_iter().find(|name| !is_debris(name)).or(logs.into_iter().next()) {
            return Err(Cause::invalid(format!(
                "{} is not empty (it holds {foreign}) and is no data directory of this store: it has no {FILE} file",
                disk.describe()
            )));
        }
        let identity = Identity { node: NodeId(1), host_uuid: entropy.uuid() };
        disk.replace(FILE, identity.print().as_bytes()).map_err(unusable)?;
        Ok(identity)
    }

    fn print(&self) -> String {
        let body = format!("holdfast {DISK_FORMAT}\nnode {}\nhost {:032x}\n", self.node, self.host_uuid);
        let checksum = checksum(body.as_bytes());
        format!("{body}checksum {checksum:08x}\n")
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Identity, Cause> {
        let damaged = || Cause::corrupt("damaged");
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let field = |line: Option<&str>, name: &str| -> Result<String, Cause> {
            let value = line.and_then(|line| line.strip_prefix(name)).and_then(|rest| rest.strip_prefix(' '));
            value.map(str::to_owned).ok_or_else(damaged)
        };
        let mut lines = text.lines();
        let format: u32 = field(lines.next(), "holdfast")?.parse().map_err(|_| damaged())?;
        if format != DISK_FORMAT {
            return Err(Cause::invalid(format!(
                "disk format {format}, but this build reads format {DISK_FORMAT} only; before 0.1 there is no way to carry data over"
            )));
        }
        let node = field(lines.next(), "node")?.parse().map_err(|_| damaged())?;
        let host_uuid = u128::from_str_radix(&field(lines.next(), "host")?, 16).map_err(|_| damaged())?;
        let identity = Identity { node: NodeId(node), host_uuid };
        if identity.print() == text { Ok(identity) } else { Err(damaged()) }
    }
}

/// What a first start that was cut short may have left.
fn is_debris(name: &str) -> bool {
    name == "IDENTITY.new" || name == world::LOCK_FILE
}

fn unusable(error: DiskError) -> Cause {
    match error {
        DiskError::Full { .. } => Cause::busy(error.to_string()),
        _ => Cause::invalid(error.to_string()),
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    // CRC-32C is 32 bits wide; the crate returns every width as a u64.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_found_again() {
        let disk = Disk::in_memory();
        let made = Identity::load_or_create(&disk, &Entropy::seeded(1)).expect("an empty disk");
        let found = Identity::load_or_create(&disk, &Entropy::seeded(2)).expect("an identity");
        assert_eq!(made, found);
    }

    #[test]
    fn another_format_and_damage_are_told_apart() {
        let identity = Identity { node: NodeId(1), host_uuid: 5 };
        let text = identity.print();
        assert_eq!(Identity::parse(text.as_bytes()), Ok(identity));
        let other =
            Identity::parse(text.replace("holdfast 3", "holdfast 4").as_bytes()).expect_err("format 4");
        assert!(other.message.contains("disk format 4"), "{other}");
        for offset in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[offset] ^= 1;
            assert!(Identity::parse(&bytes).is_err(), "bit flipped at {offset}");
        }
    }

    #[test]
    fn a_strangers_directory_is_left_alone() {
        let disk = Disk::in_memory();
        disk.create("thesis.tex", 10).expect("room");
        let refused = Identity::load_or_create(&disk, &Entropy::seeded(1)).expect_err("foreign");
        assert!(refused.message.contains("thesis.tex"), "{refused}");
    }
}
