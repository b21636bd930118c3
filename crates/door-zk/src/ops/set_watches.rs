//! setWatches (101) and setWatches2 (105): a client that comes back sets its watches again. Those
//! that would have fired since the last zxid that it saw fire at once, before the answer; what
//! changed is told by the Stats, for no log of changes is kept. setWatches2 has watches that stay
//! too.
//!
//! As in ZooKeeper, these events carry no zxid, and are told whoever may read the znode.

use super::{Reading, Stop};
use crate::{
    watches::{Kind, Mode},
    wire::{
        jute::Input,
        reply::{self, EventKind, Stat},
        request,
    },
};

/// The zxid of an event without one.
const NO_ZXID: i64 = -1;

pub(super) fn read(reading: &mut Reading<'_>, record: Input<'_>, _: &mut Vec<u8>) -> Result<(), Stop> {
    set(reading, record, false)
}

pub(super) fn read_all(reading: &mut Reading<'_>, record: Input<'_>, _: &mut Vec<u8>) -> Result<(), Stop> {
    set(reading, record, true)
}

fn set(reading: &mut Reading<'_>, mut record: Input<'_>, with_lasting: bool) -> Result<(), Stop> {
    let seen = record.i64()?;
    let mut next = || request::texts(&mut record);
    let (data, exist, children) = (next()?, next()?, next()?);
    let (persistent, recursive) = if with_lasting { (next()?, next()?) } else { (vec![], vec![]) };
    let all = [&data, &exist, &children, &persistent, &persistent, &recursive];
    reading.state.watches.check_room(all.into_iter().flatten().copied())?;
    let mut stats = Vec::new();
    for path in [&data, &exist, &children].into_iter().flatten().copied() {
        match reading.find(path) {
            Ok(place) => stats.push(place.map(|place| reading.node(place).stat())),
            // What else is not there is asked for together.
            Err(Stop::Cold) => {}
            Err(stop) => return Err(stop),
        }
    }
    if !reading.wants.is_empty() {
        return Err(Stop::Cold);
    }
    let mut stats = stats.into_iter();
    let mut stat = || stats.next().flatten();

    for path in data {
        let changed = |stat: Stat| (stat.mzxid > seen).then_some(EventKind::DataChanged);
        again(reading, Kind::Data, path, stat().map_or(Some(EventKind::Deleted), changed));
    }
    for path in exist {
        again(reading, Kind::Data, path, stat().map(|_| EventKind::Created));
    }
    for path in children {
        let changed = |stat: Stat| (stat.pzxid > seen).then_some(EventKind::ChildrenChanged);
        again(reading, Kind::Children, path, stat().map_or(Some(EventKind::Deleted), changed));
    }
    for path in persistent {
        reading.add_watch(Kind::Children, Mode::Persistent, path);
        reading.add_watch(Kind::Data, Mode::Persistent, path);
    }
    for path in recursive {
        reading.add_watch(Kind::Data, Mode::Recursive, path);
    }
    Ok(())
}

/// Fires a watch at once, if there is something to tell, or sets it.
fn again(reading: &mut Reading<'_>, kind: Kind, path: &str, missed: Option<EventKind>) {
    match missed {
        Some(event) => reply::event(reading.events, event, path, NO_ZXID),
        None => reading.watch(kind, path),
    }
}
