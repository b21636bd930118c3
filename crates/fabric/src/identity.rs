//! Who this data directory belongs to: the file `IDENTITY`, and before there is one, `JOINING`.
//!
//! ```text
//! IDENTITY                          JOINING
//! holdfast <disk format>\n          holdfast <disk format>\n
//! cluster <uuid, 32 hex digits>\n   joining host <uuid, 32 hex digits>\n
//! node <id>\n                       checksum <crc-32c of the lines above, 8 hex digits>\n
//! host <uuid, 32 hex digits>\n
//! checksum <as there>\n
//! ```
//! `IDENTITY` is written once, before anything else, and tells a directory of ours from a stranger's.
//! Text, so that a person who finds the directory can read what it is. The founder of a cluster draws
//! its own; who joins is given one. What it asks with, its host UUID, is in `JOINING` before it asks: a
//! node that dies between the asking and the answer asks again as the same, and is given the same id.

use base::{Cause, NodeId};
use world::{Disk, DiskError, Entropy};

/// The version of everything under a data directory. Before 0.1 it may change without a way up.
pub const DISK_FORMAT: u32 = 4;

pub(crate) const FILE: &str = "IDENTITY";
const JOINING: &str = "JOINING";
/// Far above what the files can hold.
pub(crate) const MAX_BYTES: u64 = 4096;
/// The id of the node that founds a cluster.
pub(crate) const FOUNDER: NodeId = NodeId(1);

/// A node's identity, for the life of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster it belongs to (a UUID).
    pub cluster: u128,
    /// Its id in that cluster.
    pub node: NodeId,
    /// The id of its disk's life, drawn at its first start (a UUID).
    pub host_uuid: u128,
}

impl Identity {
    /// Reads the identity of a directory, if it has one.
    ///
    /// # Errors
    /// `Corrupt` for damage, `Invalid` for another disk format, what the disk says.
    pub fn load(disk: &Disk) -> Result<Option<Identity>, Cause> {
        read(disk, FILE, Identity::parse)
    }

    /// Reads the identity, or founds a cluster in an empty directory.
    pub(crate) fn load_or_create(disk: &Disk, entropy: &Entropy) -> Result<Identity, Cause> {
        if let Some(identity) = Identity::load(disk)? {
            return Ok(identity);
        }
        refuse_strangers(disk)?;
        if read(disk, JOINING, parse_joining)?.is_some() {
            return Err(Cause::invalid(format!(
                "{} belongs to a node that has asked to join a cluster: say --join again, or empty it",
                disk.describe()
            )));
        }
        let identity = Identity { cluster: entropy.uuid(), node: FOUNDER, host_uuid: entropy.uuid() };
        identity.write(disk)?;
        Ok(identity)
    }

    fn write(&self, disk: &Disk) -> Result<(), Cause> {
        disk.replace(FILE, self.print().as_bytes()).map_err(unusable)
    }

    fn print(&self) -> String {
        let Identity { cluster, node, host_uuid } = self;
        seal(format!("holdfast {DISK_FORMAT}\ncluster {cluster:032x}\nnode {node}\nhost {host_uuid:032x}\n"))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Identity, Cause> {
        let mut lines = lines_of(bytes)?;
        let cluster = uuid(field(lines.next(), "cluster")?)?;
        let node = field(lines.next(), "node")?.parse().map_err(|_| damaged())?;
        let host_uuid = uuid(field(lines.next(), "host")?)?;
        let identity = Identity { cluster, node: NodeId(node), host_uuid };
        if identity.print().as_bytes() == bytes { Ok(identity) } else { Err(damaged()) }
    }
}

/// The host UUID with which the node of an empty directory asks to join: drawn once, and durable
/// before this returns.
///
/// # Errors
/// The directory is not empty, or what the disk says.
pub fn ask_as(disk: &Disk, entropy: &Entropy) -> Result<u128, Cause> {
    if let Some(host_uuid) = read(disk, JOINING, parse_joining)? {
        return Ok(host_uuid);
    }
    refuse_strangers(disk)?;
    let host_uuid = entropy.uuid();
    disk.replace(JOINING, print_joining(host_uuid).as_bytes()).map_err(unusable)?;
    Ok(host_uuid)
}

/// Makes the identity that a cluster has given durable: from here on the directory is that node's.
///
/// # Errors
/// What the disk says.
pub fn enter(disk: &Disk, identity: Identity) -> Result<(), Cause> {
    identity.write(disk)?;
    match disk.remove(JOINING) {
        Ok(()) | Err(DiskError::NotFound { .. }) => Ok(()),
        Err(error) => Err(unusable(error)),
    }
}

fn print_joining(host_uuid: u128) -> String {
    seal(format!("holdfast {DISK_FORMAT}\njoining host {host_uuid:032x}\n"))
}

fn parse_joining(bytes: &[u8]) -> Result<u128, Cause> {
    let host_uuid = uuid(field(lines_of(bytes)?.next(), "joining host")?)?;
    if print_joining(host_uuid).as_bytes() == bytes { Ok(host_uuid) } else { Err(damaged()) }
}

/// Refuses a directory that holds what this store has not put there before it had an identity.
fn refuse_strangers(disk: &Disk) -> Result<(), Cause> {
    let logs = match disk.list("log") {
        Err(DiskError::NotFound { .. }) => Vec::new(),
        listed => listed.map_err(unusable)?.into_iter().map(|name| format!("log/{name}")).collect(),
    };
    let files = disk.list("").map_err(unusable)?;
    let Some(foreign) = files.into_iter().find(|name| !is_debris(name)).or(logs.into_iter().next()) else {
        return Ok(());
    };
    Err(Cause::invalid(format!(
        "{} is not empty (it holds {foreign}) and is no data directory of this store: it has no {FILE} file",
        disk.describe()
    )))
}

/// What a first start that was cut short may have left.
fn is_debris(name: &str) -> bool {
    name == "IDENTITY.new" || name == JOINING || name == "JOINING.new" || name == world::LOCK_FILE
}

/// Reads a small text file of the directory, if it is there.
pub(crate) fn read<T>(
    disk: &Disk,
    file: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, Cause>,
) -> Result<Option<T>, Cause> {
    match disk.read(file, MAX_BYTES) {
        Ok(bytes) => parse(&bytes)
            .map(Some)
            .map_err(|cause| Cause::new(cause.class, format!("{}/{file}: {cause}", disk.describe()))),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(unusable(error)),
    }
}

/// The lines of such a file behind the first, which says the disk format.
fn lines_of(bytes: &[u8]) -> Result<std::str::Lines<'_>, Cause> {
    let mut lines = std::str::from_utf8(bytes).map_err(|_| damaged())?.lines();
    let format: u32 = field(lines.next(), "holdfast")?.parse().map_err(|_| damaged())?;
    if format != DISK_FORMAT {
        return Err(Cause::invalid(format!(
            "disk format {format}, but this build reads format {DISK_FORMAT} only; before 0.1 there is no way to carry data over"
        )));
    }
    Ok(lines)
}

/// What stands behind the name in such a line.
pub(crate) fn field<'a>(line: Option<&'a str>, name: &str) -> Result<&'a str, Cause> {
    let value = line.and_then(|line| line.strip_prefix(name)).and_then(|rest| rest.strip_prefix(' '));
    value.ok_or_else(damaged)
}

fn uuid(digits: &str) -> Result<u128, Cause> {
    u128::from_str_radix(digits, 16).map_err(|_| damaged())
}

pub(crate) fn damaged() -> Cause {
    Cause::corrupt("damaged")
}

pub(crate) fn unusable(error: DiskError) -> Cause {
    match error {
        DiskError::Full { .. } => Cause::busy(error.to_string()),
        _ => Cause::invalid(error.to_string()),
    }
}

/// The lines with their checksum.
pub(crate) fn seal(body: String) -> String {
    // CRC-32C is 32 bits wide; the crate returns every width as a u64.
    let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body.as_bytes()) as u32;
    format!("{body}checksum {checksum:08x}\n")
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
        let identity = Identity { cluster: 3, node: NodeId(1), host_uuid: 5 };
        let text = identity.print();
        assert_eq!(Identity::parse(text.as_bytes()), Ok(identity));
        let other =
            Identity::parse(text.replace("holdfast 4", "holdfast 3").as_bytes()).expect_err("format 3");
        assert!(other.message.contains("disk format 3"), "{other}");
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

    #[test]
    fn who_asks_to_join_asks_as_the_same_until_it_has_an_identity() {
        let disk = Disk::in_memory();
        let host_uuid = ask_as(&disk, &Entropy::seeded(1)).expect("an empty disk");
        assert_eq!(ask_as(&disk, &Entropy::seeded(2)), Ok(host_uuid));
        let founding = Identity::load_or_create(&disk, &Entropy::seeded(3)).expect_err("it joins");
        assert!(founding.message.contains("--join"), "{founding}");

        let identity = Identity { cluster: 3, node: NodeId(7), host_uuid };
        enter(&disk, identity).expect("room");
        assert_eq!(Identity::load(&disk), Ok(Some(identity)));
        assert_eq!(Identity::load_or_create(&disk, &Entropy::seeded(4)), Ok(identity));
        assert_eq!(disk.read(JOINING, MAX_BYTES).map_err(|_| ()), Err(()));

        let disk = Disk::in_memory();
        disk.create("thesis.tex", 10).expect("room");
        assert!(ask_as(&disk, &Entropy::seeded(1)).is_err(), "a stranger's directory");
    }
}
