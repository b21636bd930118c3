//! Changes of definitions, and TRUNCATE, which is one that clients are not told of.

use std::sync::Arc;

use base::Class;
use store::{Action, Consistency, Done, Schema, SchemaChange, Target};

use super::{Answer, Answered, Engine, Outcome, SchemaChanged, failed, then::then};
use crate::bind::{Define, Doing, exists_already};

pub(super) fn start(engine: &Arc<Engine>, define: &Define, done: Done<Outcome>) {
    let Some(mut change) = define.change.clone() else {
        return done.complete(Ok(Ok(Answer::Void.into())));
    };
    if let SchemaChange::CreateTable(draft) = &mut change {
        draft.uuid = engine.entropy.uuid();
    }
    let permit = match engine.permit(Action::Define, Target::Cluster) {
        Ok(permit) => permit,
        Err(cause) => return done.complete(Ok(Err(failed(cause, Doing::Define, Consistency::All)))),
    };
    let changed = SchemaChanged::of(&change);
    let doing = if changed.is_some() { Doing::Define } else { Doing::Truncate };
    let (forgiving, warnings) = (define.forgiving, define.warnings.clone());
    let answer = then(move |result: Result<Arc<Schema>, base::Cause>| {
        let outcome = match (result, changed) {
            (Ok(_), None) => Ok(Answer::Void.into()),
            (Ok(_), Some(changed)) => Ok(Answered { answer: Answer::SchemaChange(changed), warnings }),
            // Another client was faster.
            (Err(cause), _) if forgiving && matches!(cause.class, Class::Exists | Class::Absent) => {
                Ok(Answer::Void.into())
            }
            (Err(cause), Some(changed)) if cause.class == Class::Exists => {
                Err(exists_already(&changed.keyspace, changed.table.as_deref().unwrap_or_default()))
            }
            (Err(cause), _) => Err(failed(cause, doing, Consistency::All)),
        };
        done.complete(Ok(outcome));
    });
    engine.store.catalog.change(permit, change, answer);
}
