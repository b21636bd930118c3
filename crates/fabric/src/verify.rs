//! [`verify`]: reads everything in a data directory that no node uses, changes nothing, and names
//! every fault in the words of those who keep the directory: files, offsets, tables, groups.

use std::fmt;

use base::{Cause, StreamId};
use disk_engine::{
    Engine,
    tree::{self, TreeError, TreeId},
};
use disk_log::LogFinding;
use world::{Disk, DiskError};

use crate::{
    identity::{self, Identity},
    paxos, records, starts,
};

/// What [`verify`] has to say. Shown as one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// Something that was once durable is gone or changed, or cannot be read.
    Fault {
        /// The file, relative to the directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// Whose data it is, if that is known: a tree's, or (as far as the damaged bytes tell)
        /// streams' of the log.
        whose: Option<String>,
        /// What is wrong there.
        why: String,
    },
    /// What could not be judged, and why.
    Unchecked(String),
    /// Something that looks odd and is sound: what a stop in the middle of something leaves.
    Remains(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Fault { file, offset, whose: Some(whose), why } => {
                write!(f, "damaged: {file} at byte {offset} ({whose}): {why}")
            }
            Finding::Fault { file, offset, whose: None, why } => {
                write!(f, "damaged: {file} at byte {offset}: {why}")
            }
            Finding::Unchecked(what) => write!(f, "not checked: {what}"),
            Finding::Remains(what) => write!(f, "no fault: {what}"),
        }
    }
}

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Files of the log and the trees, and the identity.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trees that have files.
    pub trees: u64,
    /// Sound records of the log.
    pub records: u64,
    /// Faults found.
    pub faults: u64,
}

/// Reads all of `disk`, telling `tell` what it finds as it is found. Whoever calls has locked it.
///
/// # Errors
/// A cause of class `invalid` if this is no data directory of this build's; what the disk says if
/// its folders cannot be listed.
pub fn verify(disk: &Disk, tell: &mut dyn FnMut(Finding)) -> Result<Verified, Cause> {
    let mut verified = Verified::default();
    verify_identity(disk, &mut verified, tell)?;
    verify_starts(disk, &mut verified, tell)?;
    let log = disk_log::verify(disk, &mut |finding| tell(of_log(finding)))?;
    verified.files += log.segments;
    verified.bytes += log.bytes;
    verified.records = log.records.values().sum();
    verified.faults += log.faults;
    let trees = tree::verify(disk, &mut |finding| tell(of_tree(finding)))?;
    verified.files += trees.files;
    verified.bytes += trees.bytes;
    verified.trees = trees.trees.len() as u64;
    verified.faults += trees.faults;
    Ok(verified)
}

/// Without a sound identity a node does not start; the rest is read all the same.
fn verify_identity(disk: &Disk, verified: &mut Verified, tell: &mut dyn FnMut(Finding)) -> Result<(), Cause> {
    let why = match disk.read(identity::FILE, identity::MAX_BYTES) {
        Ok(bytes) => {
            (verified.files, verified.bytes) = (1, bytes.len() as u64);
            match Identity::parse(&bytes) {
                Ok(_) => return Ok(()),
                Err(cause) if cause.class == base::Class::Corrupt => cause.message.into_owned(),
                Err(cause) => return Err(Cause::new(cause.class, format!("{}: {cause}", identity::FILE))),
            }
        }
        Err(DiskError::NotFound { .. }) => {
            let is_there = |folder: &str| disk.list(folder).is_ok_and(|names| !names.is_empty());
            if !is_there("log") && !is_there("tree") {
                return Err(Cause::invalid(format!(
                    "{} is no data directory of this store: it has no {} file",
                    disk.describe(),
                    identity::FILE
                )));
            }
            "it is missing, but there is a log or a tree".to_owned()
        }
        Err(error) => error.to_string(),
    };
    verified.faults += 1;
    tell(Finding::Fault { file: identity::FILE.to_owned(), offset: 0, whose: None, why });
    Ok(())
}

/// Nor without a sound count of its starts, if it ever had one.
fn verify_starts(disk: &Disk, verified: &mut Verified, tell: &mut dyn FnMut(Finding)) -> Result<(), Cause> {
    let bytes = match disk.read(starts::FILE, identity::MAX_BYTES) {
        Ok(bytes) => Ok(bytes),
        Err(DiskError::NotFound { .. }) => return Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let why = match bytes.map(|bytes| (bytes.len() as u64, starts::parse(&bytes))) {
        Ok((length, parsed)) => {
            verified.files += 1;
            verified.bytes += length;
            match parsed {
                Ok(_) => return Ok(()),
                Err(cause) => cause.message.into_owned(),
            }
        }
        Err(why) => why,
    };
    verified.faults += 1;
    tell(Finding::Fault { file: starts::FILE.to_owned(), offset: 0, whose: None, why });
    Ok(())
}

fn of_log(finding: LogFinding) -> Finding {
    match finding {
        LogFinding::Fault { file, offset, streams, why } => {
            let names: Vec<String> = streams.into_iter().map(stream_name).collect();
            let whose = (!names.is_empty()).then(|| format!("streams: {}", names.join(", ")));
            Finding::Fault { file, offset, whose, why }
        }
        LogFinding::Remains { file, offset, bytes } => Finding::Remains(format!(
            "{file} has {bytes} bytes behind its last record, at byte {offset}, as a stop in the middle of a \
             write leaves them"
        )),
        LogFinding::Unchecked(what) => Finding::Unchecked(what),
    }
}

fn of_tree(finding: tree::Finding) -> Finding {
    match finding {
        tree::Finding::Fault(error) => of_error(error),
        tree::Finding::Leftover { file } => {
            Finding::Remains(format!("{file} is used by no tree; the next start removes it"))
        }
        tree::Finding::Unchecked(what) => Finding::Unchecked(what),
    }
}

fn of_error(error: TreeError) -> Finding {
    let why = error.to_string();
    match error {
        TreeError::Damaged(damage) => Finding::Fault {
            file: damage.file,
            offset: damage.offset,
            whose: damage.tree.map(|tree| format!("tree {}: {}", tree.0, tree_name(tree))),
            why: damage.why,
        },
        TreeError::Version { file, .. } => Finding::Fault { file, offset: 0, whose: None, why },
        TreeError::Disk(DiskError::Failed { path, .. } | DiskError::NotFound { path }) => {
            Finding::Fault { file: path, offset: 0, whose: None, why }
        }
        // No other comes of reading; if one does, it is told.
        _ => Finding::Unchecked(why),
    }
}

fn stream_name(stream: StreamId) -> String {
    match stream {
        records::NODE => "the node's clock".to_owned(),
        records::TABLES => "changes of tables".to_owned(),
        records::STARTS => "the starts of other nodes".to_owned(),
        _ => match records::group_of(stream) {
            Some(group) => format!("group {group}"),
            None => format!("stream {stream}"),
        },
    }
}

fn tree_name(tree: TreeId) -> String {
    match Engine::table_of(tree) {
        Some(table) if table != paxos::owner(table) => {
            format!("Paxos rounds of table {}", paxos::owner(table))
        }
        Some(table) => format!("table {table}"),
        None => match Engine::machine_of(tree) {
            Some((group, 0)) => format!("state of group {group}"),
            Some((group, generation)) => format!("state of group {group}, generation {generation}"),
            None => "nobody's".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_and_streams_are_named_by_what_they_hold() {
        for (tree, name) in [
            (7, "table 7"),
            (7 | 1 << 63, "Paxos rounds of table 7"),
            (3 | 1 << 62, "state of group 3"),
            (3 | 1 << 62 | 5 << 40, "state of group 3, generation 5"),
        ] {
            assert_eq!(tree_name(TreeId(tree)), name);
        }
        for (stream, name) in [
            (1, "the node's clock"),
            (2, "changes of tables"),
            (17, "group 1"),
            (3, "the starts of other nodes"),
            (4, "stream 4"),
        ] {
            assert_eq!(stream_name(StreamId(stream)), name);
        }
    }

    #[test]
    fn a_fault_is_one_line() {
        let fault = Finding::Fault {
            file: "tree/00000001.tree".to_owned(),
            offset: 12,
            whose: Some("tree 7: table 7".to_owned()),
            why: "the block fails its checksum".to_owned(),
        };
        let line = "damaged: tree/00000001.tree at byte 12 (tree 7: table 7): the block fails its checksum";
        assert_eq!(fault.to_string(), line);
    }
}
