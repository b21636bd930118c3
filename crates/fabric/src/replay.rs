//! Replaying the log at start: one pass, every record to its owner.
//!
//! Mutations go to the engine as they come, which skips what its files have; Raft records into one
//! [`Replayed`] a group. Nothing here needs the catalog: the catalog is one of the groups.

use std::collections::BTreeMap;

use base::{Cause, GroupId, Hlc, Mutation, NodeId, Position, Reader, StreamId};
use disk_engine::{Engine, tree::Work};

use crate::{
    group::{Place, Replayed},
    records::{self, BORN_INDEX, BORN_TERM, Base, GroupRecord},
};

/// What the log held.
#[derive(Default)]
pub(crate) struct Recovered {
    groups: BTreeMap<GroupId, Replayed>,
    /// Every time issued before was below this.
    pub(crate) clock_bound: Hlc,
    /// Where the record that says so stands.
    pub(crate) clock_bound_at: Position,
    /// The highest start heard of each other node, and where the record that says so stands.
    pub(crate) starts: (Vec<(NodeId, u64)>, Position),
    /// The last record of mutations.
    pub(crate) tables_at: Position,
}

/// Bytes of memtables that wait for their files, at which a replay makes files before it goes on: a
/// log may be larger than memory.
const FROZEN_BYTES_MAX: u64 = 32 << 20;

impl Recovered {
    /// Takes one record.
    pub(crate) fn visit(
        &mut self,
        engine: &Engine,
        position: Position,
        stream: StreamId,
        payload: &[u8],
    ) -> Result<(), Cause> {
        match stream {
            records::TABLES => {
                let mut reader = Reader::new(payload);
                let mut mutations = Vec::new();
                while !reader.is_empty() {
                    mutations.push(Mutation::decode(&mut reader)?);
                }
                engine.apply(position, &mutations)?;
                self.tables_at = position;
                make_room(engine)
            }
            records::NODE => {
                self.clock_bound = self.clock_bound.max(records::decode_clock_bound(payload)?);
                self.clock_bound_at = position;
                Ok(())
            }
            records::STARTS => {
                self.starts = (records::decode_starts(payload)?, position);
                Ok(())
            }
            _ => {
                let group = records::group_of(stream).ok_or_else(|| {
                    Cause::corrupt(format!("the log holds a record of the unknown stream {stream}"))
                })?;
                let replayed = self.groups.entry(group).or_default();
                replayed.visit(position, GroupRecord::decode(payload)?)
            }
        }
    }

    /// What the log held of `group`, once.
    pub(crate) fn take_group(&mut self, group: GroupId) -> Result<Replayed, Cause> {
        let replayed = self.groups.remove(&group).unwrap_or_default();
        if replayed.storage.snapshot_index > 0 && !replayed.has_base {
            return Err(Cause::corrupt(format!(
                "the log of Raft group {group} begins in the middle, without a base"
            )));
        }
        Ok(replayed)
    }

    /// A group that nobody took.
    pub(crate) fn unclaimed(&self) -> Option<GroupId> {
        self.groups.keys().next().copied()
    }
}

/// Purges nothing: what is still to come from the log may be old.
fn make_room(engine: &Engine) -> Result<(), Cause> {
    while engine.forest().debt().frozen_bytes > FROZEN_BYTES_MAX {
        if engine.forest().work(8 << 20, &|_| None)? == Work::Done {
            break;
        }
    }
    Ok(())
}

impl Replayed {
    fn visit(&mut self, position: Position, record: GroupRecord) -> Result<(), Cause> {
        let Replayed { storage, born, places, has_base, base_at, generation: counts } = self;
        match record {
            GroupRecord::Born { members } => {
                *born = members;
                storage.hard_state = records::born_hard_state();
                storage.compact(BORN_INDEX, BORN_TERM);
                *has_base = true;
                *base_at = position;
            }
            GroupRecord::Entry(entry) => {
                // Trimming may leave entries that a base to come covers. One that came before the
                // gap does not.
                // And trimming may leave an entry that another leader's took the place of, without those
                // that stood before it: then the log begins with what took their place.
                let gap = entry.index > storage.last() + 1 && storage.last() == storage.snapshot_index;
                let replaced = entry.index <= storage.snapshot_index && !*has_base;
                if gap || replaced {
                    // Of what term the one before was, only a base can say.
                    storage.restart_at(entry.index - 1, 0);
                    places.clear();
                    *has_base = false;
                }
                if entry.index <= storage.snapshot_index || entry.index > storage.last() + 1 {
                    return Err(Cause::corrupt(format!(
                        "entry {} does not follow {}",
                        entry.index,
                        storage.last()
                    )));
                }
                while places.pop_back_if(|place| place.index >= entry.index).is_some() {}
                places.push_back(Place { index: entry.index, term: entry.term, position });
                storage.append(&[entry]);
            }
            GroupRecord::HardState(hard_state) => storage.hard_state = hard_state,
            GroupRecord::Base(Base { index, term, members, hard_state, generation }) => {
                // An older one, which trimming left, covers less than entries show to be gone.
                if index < storage.snapshot_index {
                    return Ok(());
                }
                *has_base = true;
                *base_at = position;
                *counts = generation;
                storage.compact(index, term);
                while places.pop_front_if(|place| place.index <= index).is_some() {}
                *born = members;
                if hard_state.term >= storage.hard_state.term {
                    storage.hard_state = hard_state;
                }
            }
            GroupRecord::Installed(Base { index, term, members, hard_state, generation }) => {
                *has_base = true;
                *base_at = position;
                *counts = generation;
                storage.restart_at(index, term);
                places.clear();
                *born = members;
                storage.hard_state = hard_state;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raft::eraftpb::{Entry, HardState};

    use super::*;

    fn entry(index: u64) -> GroupRecord {
        entry_of(index, 1)
    }

    fn entry_of(index: u64, term: u64) -> GroupRecord {
        GroupRecord::Entry(Entry { index, term, ..Entry::default() })
    }

    fn base(index: u64) -> GroupRecord {
        let hard_state = HardState { term: 1, vote: 1, commit: index, ..HardState::default() };
        let members = records::voters_only(&[1]);
        GroupRecord::Base(Base { index, term: 1, members, hard_state, generation: 0 })
    }

    fn installed(index: u64, generation: u64) -> GroupRecord {
        let GroupRecord::Base(base) = base(index) else { unreachable!("a base is one") };
        GroupRecord::Installed(Base { generation, ..base })
    }

    fn replay(records: Vec<GroupRecord>) -> Result<Replayed, Cause> {
        let mut replayed = Replayed::default();
        for (position, record) in (1..).zip(records) {
            replayed.visit(Position(position), record)?;
        }
        let mut recovered = Recovered::default();
        recovered.groups.insert(GroupId(7), replayed);
        recovered.take_group(GroupId(7))
    }

    /// Entries are appended while a base is on its way. The next one trims up to its own entry,
    /// which may stand just before the first of these, and leave the older base whole.
    #[test]
    fn a_base_that_trimming_left_behind_does_not_count() {
        let records = vec![entry(5), base(3), entry(6)];
        assert!(replay(records).is_err(), "nothing covers entry 4");
        let replayed = replay(vec![entry(5), base(3), entry(6), base(4), entry(7)]).expect("base 4 does");
        assert_eq!((replayed.storage.snapshot_index, replayed.storage.last()), (4, 7));
        assert_eq!(replayed.places.iter().map(|place| place.index).collect::<Vec<_>>(), [5, 6, 7]);
    }

    #[test]
    fn a_gap_behind_the_last_base_is_damage() {
        assert!(replay(vec![base(3), entry(5)]).is_err());
    }

    /// Of entries that another leader's took the place of, trimming leaves the last ones.
    #[test]
    fn what_trimming_left_of_entries_that_were_replaced_does_not_count() {
        let records = vec![entry(6), entry_of(5, 2), entry_of(6, 2), base(4), entry_of(7, 2)];
        let replayed = replay(records).expect("entry 5 of term 2 replaces both of term 1");
        assert_eq!((replayed.storage.snapshot_index, replayed.storage.last()), (4, 7));
        assert_eq!(replayed.places.iter().map(|place| place.term).collect::<Vec<_>>(), [2, 2, 2]);
    }

    /// What was installed takes the place of all that stands before, entries behind it included; which tree
    /// counts is said again by each base.
    #[test]
    fn an_installed_state_replaces_what_was_before() {
        let before = vec![base(3), entry(4), entry(5), entry(6)];
        let replayed = replay(before.into_iter().chain([installed(5, 2), entry_of(6, 2)]).collect());
        let replayed = replayed.expect("it is whole");
        assert_eq!((replayed.storage.snapshot_index, replayed.storage.last()), (5, 6));
        assert_eq!(replayed.places.iter().map(|place| place.term).collect::<Vec<_>>(), [2]);
        assert_eq!(replayed.generation, 2);
        // Trimming may leave the end of what was before, and no base of it.
        let replayed = replay(vec![entry(4), installed(90, 1), entry(91)]).expect("it is whole");
        assert_eq!((replayed.storage.snapshot_index, replayed.storage.last()), (90, 91));
        assert!(replay(vec![entry(4), installed(90, 1), entry(92)]).is_err(), "a gap");
    }
}
