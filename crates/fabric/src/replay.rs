//! Replaying the log at start: one pass, every record to its owner.
//!
//! Mutations go into the engine as they come; Raft records into one [`Replayed`] a group. Nothing
//! here needs the catalog: the catalog is one of the groups.

use std::collections::{BTreeMap, VecDeque};

use base::{Cause, GroupId, Hlc, Position, Reader, StreamId};
use disk_engine::MemoryEngine;

use crate::{
    group::Replayed,
    records::{self, GroupRecord},
};

/// What the log held.
#[derive(Default)]
pub(crate) struct Recovered {
    groups: BTreeMap<GroupId, GroupReplay>,
    /// Every time issued before was below this.
    pub(crate) clock_bound: Hlc,
    /// Mutations replayed.
    pub(crate) mutations: u64,
}

#[derive(Default)]
struct GroupReplay {
    replayed: Replayed,
    /// A snapshot whose end has not come.
    partial: Option<Partial>,
}

struct Partial {
    index: u64,
    bytes: Vec<u8>,
    /// Bytes of records before its beginning, counted as [`Replayed::bytes_since_snapshot`].
    before_bytes: u64,
}

impl Recovered {
    /// Takes one record.
    pub(crate) fn visit(
        &mut self,
        engine: &MemoryEngine,
        position: Position,
        stream: StreamId,
        payload: &[u8],
    ) -> Result<(), Cause> {
        match stream {
            records::TABLES => {
                let mut reader = Reader::new(payload);
                while !reader.is_empty() {
                    engine.apply(&base::Mutation::decode(&mut reader)?);
                    self.mutations += 1;
                }
                Ok(())
            }
            records::NODE => {
                self.clock_bound = self.clock_bound.max(records::decode_clock_bound(payload)?);
                Ok(())
            }
            _ => {
                let group = records::group_of(stream).ok_or_else(|| {
                    Cause::corrupt(format!("the log holds a record of the unknown stream {stream}"))
                })?;
                let replay = self.groups.entry(group).or_default();
                replay.visit(position, GroupRecord::decode(payload)?, payload.len() as u64)
            }
        }
    }

    /// What the log held of `group`, once.
    pub(crate) fn take_group(&mut self, group: GroupId) -> Result<Replayed, Cause> {
        let replayed = self.groups.remove(&group).map(|group| group.replayed).unwrap_or_default();
        if replayed.storage.snapshot_index > 0 && replayed.snapshot.is_none() {
            return Err(Cause::corrupt(format!(
                "the log of Raft group {group} begins in the middle, without a snapshot"
            )));
        }
        Ok(replayed)
    }

    /// A group that nobody took.
    pub(crate) fn unclaimed(&self) -> Option<GroupId> {
        self.groups.keys().next().copied()
    }
}

impl GroupReplay {
    fn visit(&mut self, position: Position, record: GroupRecord<'_>, length: u64) -> Result<(), Cause> {
        let Replayed { storage, positions, snapshot, bytes_since_snapshot } = &mut self.replayed;
        if let GroupRecord::Born { .. } | GroupRecord::Entry(_) | GroupRecord::HardState(_) = &record {
            *bytes_since_snapshot += length;
        }
        match record {
            GroupRecord::Born { voters } => storage.conf_state = records::conf_state(&voters),
            GroupRecord::Entry(entry) => {
                // Trimming may leave entries that the snapshot to come covers. One that came before
                // the gap does not.
                if entry.index > storage.last() + 1 && storage.last() == storage.snapshot_index {
                    storage.compact(entry.index - 1, 0);
                    *snapshot = None;
                }
                if entry.index <= storage.snapshot_index || entry.index > storage.last() + 1 {
                    return Err(Cause::corrupt(format!(
                        "entry {} does not follow {}",
                        entry.index,
                        storage.last()
                    )));
                }
                while positions.pop_back_if(|(index, _)| *index >= entry.index).is_some() {}
                positions.push_back((entry.index, position));
                storage.append(&[entry]);
            }
            GroupRecord::HardState(hard_state) => storage.hard_state = hard_state,
            GroupRecord::SnapshotBegin { index } => {
                let before_bytes = *bytes_since_snapshot;
                self.partial = Some(Partial { index, bytes: Vec::new(), before_bytes });
            }
            GroupRecord::SnapshotChunk(chunk) => {
                // Without a beginning it was trimmed, because a later snapshot is complete.
                if let Some(partial) = &mut self.partial {
                    partial.bytes.extend_from_slice(chunk);
                }
            }
            GroupRecord::SnapshotEnd { index, term, voters, hard_state, length } => {
                let Some(partial) = self.partial.take() else { return Ok(()) };
                let Partial { index: begun, bytes, before_bytes } = partial;
                if begun != index || bytes.len() as u64 != length {
                    return Err(Cause::corrupt(format!("the snapshot at entry {index} is not whole")));
                }
                // It was followed by a later one, which let go of entries that it does not cover: of
                // that, this is a remainder.
                if index < storage.snapshot_index {
                    return Ok(());
                }
                *snapshot = Some(bytes);
                *bytes_since_snapshot -= before_bytes;
                compact(storage, positions, index, term);
                storage.conf_state = records::conf_state(&voters);
                if hard_state.term >= storage.hard_state.term {
                    storage.hard_state = hard_state;
                }
            }
        }
        Ok(())
    }
}

fn compact(
    storage: &mut crate::storage::GroupStorage,
    positions: &mut VecDeque<(u64, Position)>,
    index: u64,
    term: u64,
) {
    storage.compact(index, term);
    while positions.pop_front_if(|(i, _)| *i <= index).is_some() {}
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Entry, HardState};

    use super::*;

    fn entry(index: u64) -> GroupRecord<'static> {
        GroupRecord::Entry(Entry { index, term: 1, ..Entry::default() })
    }

    fn end(index: u64) -> GroupRecord<'static> {
        let hard_state = HardState { term: 1, vote: 1, commit: index, ..HardState::default() };
        GroupRecord::SnapshotEnd { index, term: 1, voters: vec![1], hard_state, length: 1 }
    }

    fn replay(records: Vec<GroupRecord<'_>>) -> Result<Replayed, Cause> {
        let mut group = GroupReplay::default();
        for (position, record) in (1..).zip(records) {
            group.visit(Position(position), record, 10)?;
        }
        let mut recovered = Recovered::default();
        recovered.groups.insert(GroupId(7), group);
        recovered.take_group(GroupId(7))
    }

    /// Entries are appended while a snapshot is written. The next one trims up to its own entry,
    /// which may stand just before the first of these, and leave the older snapshot whole.
    #[test]
    fn a_snapshot_that_trimming_left_behind_does_not_count() {
        let older = [GroupRecord::SnapshotBegin { index: 3 }, GroupRecord::SnapshotChunk(b"o")];
        let newer = [GroupRecord::SnapshotBegin { index: 4 }, GroupRecord::SnapshotChunk(b"n"), end(4)];
        let mut records: Vec<_> = older.into_iter().chain([entry(5), end(3), entry(6)]).collect();
        assert!(replay(records).is_err(), "nothing covers entry 4");

        let older = [GroupRecord::SnapshotBegin { index: 3 }, GroupRecord::SnapshotChunk(b"o")];
        records =
            older.into_iter().chain([entry(5), end(3), entry(6)]).chain(newer).chain([entry(7)]).collect();
        let replayed = replay(records).expect("the newer snapshot covers what is missing");
        assert_eq!(replayed.snapshot.as_deref(), Some(&b"n"[..]));
        assert_eq!((replayed.storage.snapshot_index, replayed.storage.last()), (4, 7));
    }

    #[test]
    fn a_gap_behind_the_last_snapshot_is_damage() {
        let begin = GroupRecord::SnapshotBegin { index: 3 };
        assert!(replay(vec![begin, GroupRecord::SnapshotChunk(b"o"), end(3), entry(5)]).is_err());
    }
}
