//! Changes of definitions.

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
    let changed = told(&change);
    let (forgiving, warnings) = (define.forgiving, define.warnings.clone());
    let answer = then(move |result: Result<Arc<Schema>, base::Cause>| {
        let outcome = match result {
            Ok(_) => Ok(Answered { answer: Answer::SchemaChange(changed), warnings }),
            // Another client was faster.
            Err(cause) if forgiving && matches!(cause.class, Class::Exists | Class::Absent) => {
                Ok(Answer::Void.into())
            }
            Err(cause) if cause.class == Class::Exists => {
                Err(exists_already(&changed.keyspace, changed.table.as_deref().unwrap_or_default()))
            }
            Err(cause) => Err(failed(cause, Doing::Define, Consistency::All)),
        };
        done.complete(Ok(outcome));
    });
    engine.store.catalog.change(permit, change, answer);
}

fn told(change: &SchemaChange) -> SchemaChanged {
    let (created, keyspace, table) = match change {
        SchemaChange::CreateSpace { name, .. } => (true, name, None),
        SchemaChange::DropSpace { name } => (false, name, None),
        SchemaChange::CreateTable(draft) => (true, &draft.space, Some(&draft.name)),
        SchemaChange::DropTable { space, name } => (false, space, Some(name)),
    };
    SchemaChanged { created, keyspace: keyspace.clone(), table: table.cloned() }
}
