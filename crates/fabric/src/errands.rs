//! What groups want done with files: on the threads that may wait for the disk, and back as events.

use std::sync::Arc;

use base::GroupId;
use disk_engine::{Engine, tree::TreeError};

use crate::{
    group::catch_up::{Errand, Part},
    settings::Sabotage,
    shared::Shared,
    snapshot::{self, CutTree},
    spine::Event,
};

/// Has it done soon.
pub(crate) fn run(shared: &Arc<Shared>, group: GroupId, errand: Errand) {
    let own = shared.clone();
    match errand {
        Errand::Read { to, cut, pull, bytes } => shared.readers.submit(Box::new(move |turn| {
            let cut = planted(&own, cut);
            let chunk = turn.and_then(|()| snapshot::read_chunk(&cut, &pull, bytes));
            own.post(Event::ChunkRead { group, to, chunk });
        })),
        Errand::Stage { mut part, entries, last } => shared.readers.submit(Box::new(move |turn| {
            let outcome = turn.and_then(|()| Ok(stage(&mut part, entries, last)?));
            own.post(Event::Staged { group, part, outcome });
        })),
        Errand::Drop { generation } => {
            shared.drop_tree_later(Engine::machine_tree(group, generation));
            shared.upkeep.ring();
        }
    }
}

fn stage(part: &mut Part, entries: Vec<(bytes::Bytes, bytes::Bytes)>, last: bool) -> Result<(), TreeError> {
    // One that failed is dropped here.
    let Some(mut stage) = part.stage.take() else { return Ok(()) };
    stage.add(entries)?;
    if last {
        return stage.install();
    }
    part.stage = Some(stage);
    Ok(())
}

/// The state as it is, instead of as it was, if that bug is planted.
fn planted(shared: &Shared, cut: CutTree) -> CutTree {
    if shared.settings.planted() == Some(Sabotage::SnapshotNotAtomic) {
        return CutTree { snapshot: Arc::new(shared.engine.forest().snapshot()), ..cut };
    }
    cut
}
